from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookright.data import WordSplitter
from lookright.errors import DataError


def cut(text, rule="default"):
    return [text[start:end] for start, end in WordSplitter(rule).split(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Angela Merkel visited Zagreb.", ["Angela", "Merkel", "visited", "Zagreb", "."]),
        ("2nd_try: don't!!", ["2nd", "_", "try", ":", "don", "'", "t", "!", "!"]),
        ("größer Übung", ["größer", "Übung"]),
        ("cafe\u0301s bar", ["cafe\u0301s", "bar"]),
        ("हिन्दी क्\u200dष", ["हिन्दी", "क्\u200dष"]),
        ("I ❤\ufe0f U", ["I", "❤\ufe0f", "U"]),
        ("👨‍👩‍👧‍👦!", ["👨‍👩‍👧‍👦", "!"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("🇭🇷🇩🇪🇭", ["🇭🇷", "🇩🇪", "🇭"]),
        ("1\ufe0f\u20e32", ["1\ufe0f\u20e32"]),
        ("🏴\U000e0067\U000e0062\U000e007f.", ["🏴\U000e0067\U000e0062\U000e007f", "."]),
        ("\ufe0f x", ["\ufe0f", "x"]),
        ("张三 said", ["张", "三", "said"]),
        ("a\u00a0b\u2028c\u3000d", ["a", "b", "c", "d"]),
        ("x\u200by", ["x", "\u200b", "y"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_default_rule(text, words):
    assert cut(text) == words


def test_whitespace_rule_keeps_marks_with_their_words():
    assert cut(" a.b,  c\u00a0d ", "whitespace") == ["a.b,", "c", "d"]


@given(st.text())
@example("e\u0301\u200d\u0301 \ufe0f\u200d🇭\u0301🇷")
@settings(deadline=None, max_examples=300)
def test_every_visible_character_is_in_exactly_one_word(text):
    for rule in ("default", "whitespace"):
        borders = WordSplitter(rule).split(text)
        covered = [index for start, end in borders for index in range(start, end)]
        assert covered == sorted(set(covered))
        assert covered == [index for index, character in enumerate(text) if not character.isspace()]
        WordSplitter(rule).sentence(text)  # its own check: text[start:end] is the word


@given(st.text(st.one_of(st.sampled_from("ab1.\u0301\ufe0f\u093f\u200d👍🏽❤"), st.characters(categories=["L", "M"]))))
@settings(deadline=None, max_examples=300)
def test_no_border_falls_before_a_mark_that_touches_what_it_modifies(text):
    starts = {start for start, _ in WordSplitter().split(text)} - {0}
    assert not [i for i in starts if unicodedata.category(text[i])[0] == "M" and not text[i - 1].isspace()]


def test_a_callable_is_checked():
    assert WordSplitter(lambda text: [(0, 1), (1, 3)]).sentence("abc").words == ("a", "bc")
    for borders in ([(0, 0)], [(0, 2), (1, 3)], [(0, 4)], [(-1, 1)], [(2, 3), (0, 1)]):
        with pytest.raises(DataError, match="the word splitter gave"):
            WordSplitter(lambda text, borders=borders: borders).split("abc")


def test_saving_and_reading_back():
    for rule in ("default", "whitespace"):
        assert WordSplitter.from_dict(WordSplitter(rule).to_dict()) == WordSplitter(rule)
    saved = WordSplitter(cut).to_dict()
    assert saved == {"rule": "callable", "name": "cut"}
    with pytest.raises(DataError, match="callable 'cut', which cannot be saved"):
        WordSplitter.from_dict(saved)
    for unknown in ({"rule": "default", "version": 99}, {"rule": "regex"}, {}):
        with pytest.raises(DataError, match="is not known here"):
            WordSplitter.from_dict(unknown)
    with pytest.raises(DataError, match="no word rule 'spacy'"):
        WordSplitter("spacy")
