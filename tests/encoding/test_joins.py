"""Which words stand without a space before them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data.sentence import Sentence
from lookright.encoding import detokenize, join, true_gaps
from lookright.encoding.joins import RULES

WRITTEN = [
    ("Angela Merkel visited Zagreb .", "Angela Merkel visited Zagreb."),
    ("well , yes ; no : maybe ! really ?!", "well, yes; no: maybe! really?!"),
    ("wait ... what", "wait... what"),
    ("he came ( twice ) .", "he came (twice)."),
    ("see [ 3 ] and { x }", "see [3] and {x}"),
    ("I do n't know", "I don't know"),
    ("we ca n’t , they 're , she 'll , I 'd , I 'm , you 've", "we can’t, they're, she'll, I'd, I'm, you've"),
    ("the dog 's bone", "the dog's bone"),
    ("the U.S. 's debt", "the U.S.'s debt"),
    ("gon na , wan na , got ta , gim me , lem me , can not", "gonna, wanna, gotta, gimme, lemme, cannot"),
    ("up 3.5 % or $ 12 million", "up 3.5% or $12 million"),
    ("US$ 3 and € 4,000", "US$3 and €4,000"),
    ('he said " hello there " and left', 'he said "hello there" and left'),
    ("`` hello '' he said", "``hello'' he said"),
    ("“ hello ” and ‘ you ’", "“hello” and ‘you’"),
    ("she said ' no ' twice", "she said 'no' twice"),
    ("the dogs ' bones", "the dogs' bones"),
    ("and / or", "and/or"),
    ("¿ qué ?", "¿qué?"),
]
LEFT_ALONE = [
    "SOCCER - JAPAN WIN",
    "% of people",
    "cost 3 €",
    "my $ and me",
    "na ta me not",
    "'s",
    "5 ' and 6 feet",
    'he said " hello',
    "« bonjour »",
    ":) :-( <3 @user #tag",
    "/ path",
    "東京 は 都 です 。",
]


@pytest.mark.parametrize(("spaced", "written"), WRITTEN)
def test_as_people_write(spaced: str, written: str) -> None:
    words = spaced.split()
    assert join(words, detokenize(words))[0] == written


@pytest.mark.parametrize("spaced", LEFT_ALONE)
def test_left_alone(spaced: str) -> None:
    words = spaced.split()
    assert join(words, detokenize(words))[0] == spaced


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.word)
def test_every_rule_closes_a_gap(rule: object) -> None:
    assert rule.left or rule.right  # type: ignore[attr-defined]


def test_first_word_is_never_glued() -> None:
    assert detokenize(["."]) == (False,)
    assert detokenize([]) == ()
    assert detokenize([")", "."]) == (False, True)


def test_true_gaps() -> None:
    assert true_gaps(Sentence(("a", "b"))) is None
    text = "  Zagreb.\nIt's  so"
    offsets = ((2, 8), (8, 9), (10, 12), (12, 14), (16, 18))
    sentence = Sentence(("Zagreb", ".", "It", "'s", "so"), text=text, offsets=offsets)
    assert true_gaps(sentence) == (False, True, False, True, False)
    assert true_gaps(Sentence((), text="", offsets=())) == ()


marks = st.sampled_from([*"\"'.,()$%/-“”`", "n't", "'s", "''", "``", "na", "gon", "3", "can", "not", "ß", "e\u0301"])


@settings(deadline=None, max_examples=200)
@given(st.lists(marks | st.text(min_size=1, max_size=5)))
def test_words_stay_words(words: list[str]) -> None:
    glued = detokenize(words)
    assert len(glued) == len(words)
    text, offsets = join(words, glued)
    assert [text[start:end] for start, end in offsets] == words
    sentence = Sentence(tuple(words), text=text, offsets=offsets)
    assert true_gaps(sentence) == glued
