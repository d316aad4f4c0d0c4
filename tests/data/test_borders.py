"""The learned word rule: it gives the words it was learned from, loses nothing, and is saved."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data import Sentence, WordSplitter
from lookright.data.borders import Borders
from lookright.encoding import join, running_texts
from lookright.errors import DataError

TREEBANK = [
    "Mr. Smith 's third-quarter net did n't rise 1.5 % in the U.S. , he said .",
    "Mrs. Jones can not sell $ 1,000 of the company 's e-mail lists , she said .",
    "He would n't say `` no '' -- the U.N. does n't pay , and we 're not sorry .",
    "They 've paid 2.5 % to Mr. Jones , a well-known man , at 10:30 on Monday .",
]
EVERY_MARK = [
    "single - strand DNA ( p53 ) is 0 . 5 % , not 1 , 000 .",
    "The patient ' s beta - blocker ( 2 . 5 mg ) was e - mailed .",
]
TWEETS = [
    "@user I'm reading https://t.co/aB3x #NewYork now :)",
    "@the_other it's here: https://example.org/a?b=c #fun !!!",
    "so @some_one don't care #wow http://t.co/9Zq ...",
    "@user they're at #home and #NewYork :)",
]
STYLES = {"treebank": TREEBANK, "every mark": EVERY_MARK}


def of_words(lines, times=2):
    return list(running_texts([Sentence(tuple(line.split())) for line in lines] * times))


def of_texts(lines, times=2):
    """Texts whose words stand between spaces, as in tweets that were cut at white space and hardly else."""
    sentences = [Sentence(tuple(line.split())) for line in lines] * times
    return [join(sentence.words, [False] * len(sentence)) for sentence in sentences]


def cut(rule, text):
    return " ".join(rule.sentence(text).words)


LEARNED = {
    "treebank": WordSplitter.like(of_words(TREEBANK)),
    "every mark": WordSplitter.like(of_words(EVERY_MARK)),
    "tweets": WordSplitter.like(of_texts(TWEETS)),
}


@pytest.mark.parametrize("texts", [of_words(TREEBANK), of_words(EVERY_MARK), of_texts(TWEETS)])
def test_the_words_it_was_learned_from_are_found_again(texts):
    rule = WordSplitter.like(texts)
    for text, borders in texts:
        assert tuple(rule.split(text)) == borders


@pytest.mark.parametrize(
    ("style", "text", "words"),
    [
        (
            "treebank",
            "Mr. Brown's first-half sales didn't fall 3.7%.",
            "Mr. Brown 's first-half sales did n't fall 3.7 % .",
        ),
        ("treebank", "It isn't 2,500, you cannot.", "It is n't 2,500 , you can not ."),
        ("treebank", "The U.K. and a well. Dr. No", "The U.K. and a well . Dr . No"),
        ("treebank", "We've 張三 👍🏽 @x_y", "We 've 張 三 👍🏽 @ x _ y"),
        ("every mark", "Mr. B's 1.5-fold", "Mr . B ' s 1 . 5 - fold"),
        ("tweets", "@new_name they're at http://x.org/y-z #cool", "@new_name they're at http://x.org/y-z #cool"),
        ("tweets", "see http://t.co/a, ok", "see http://t.co/a , ok"),
    ],
)
def test_words_it_has_not_seen(style, text, words):
    assert cut(LEARNED[style], text) == words


def test_what_is_not_covered_is_as_by_the_default_rule():
    assert WordSplitter.like(of_words(EVERY_MARK)) == WordSplitter.like([]) == WordSplitter()
    for text in ("a/b (c) \u201cd\u201d", "👨‍👩‍👧‍👦! 🇭🇷🇩🇪 cafe\u0301s 1\ufe0f\u20e3", "张三said x_y"):
        assert LEARNED["treebank"].split(text) == WordSplitter().split(text)


def test_emoji_and_han_take_no_part():
    for text in ("ok👍", "👍👍", "张三", "a张", "张-三", "-👍"):
        assert WordSplitter.like([(text, ((0, len(text)),))] * 5) == WordSplitter()


def test_once_is_not_enough():
    assert WordSplitter.like(of_words(["a third-quarter loss"], times=1)) == WordSplitter()
    assert WordSplitter.like(of_words(["a third-quarter loss"], times=2)) != WordSplitter()


def test_the_majority_decides_and_the_particular_wins():
    texts = of_texts(["well-known man", "far-off land", "one-way street"])
    apart = [(text, ((0, 3), (3, 4), (4, 7))) for text in ("pre-war", "pre-tax")]
    rule = WordSplitter.like([*texts, *apart])
    assert cut(rule, "ill-fated pre-war pre-season") == "ill-fated pre - war pre - season"
    assert "< =pre - A" in rule.learned.apart
    assert cut(WordSplitter.like([*texts, *apart * 10]), "ill-fated pre-war") == "ill - fated pre - war"


def test_true_text_is_learned_from_its_own_gaps():
    spans = Sentence(("a", "-", "b"), text="a-b", offsets=((0, 1), (1, 2), (2, 3)))
    whole = Sentence(("a-b",), text="a-b", offsets=((0, 3),))
    assert WordSplitter.like(list(running_texts([spans] * 5))) == WordSplitter()
    assert cut(WordSplitter.like(list(running_texts([whole] * 5))), "c-d") == "c-d"


WRITTEN = st.text(
    st.one_of(st.sampled_from("abnstDM019 .,'’-@#:/$%`\u0301\ufe0f👍🏽🇭🇷张"), st.characters(exclude_categories=["Cs"]))
)


@given(WRITTEN, st.sampled_from(sorted(LEARNED)))
@settings(deadline=None, max_examples=300)
def test_every_visible_character_is_in_exactly_one_word(text, style):
    rule = LEARNED[style]
    borders = rule.split(text)
    covered = [index for start, end in borders for index in range(start, end)]
    assert covered == [index for index, character in enumerate(text) if not character.isspace()]
    rule.sentence(text)  # its own check: text[start:end] is the word


@given(st.lists(st.text(st.sampled_from("abt1.'-@张👍\u0301"), min_size=1), min_size=1), st.randoms())
@settings(deadline=None, max_examples=150)
def test_any_words_can_be_learned_from_and_the_rule_is_a_function_of_them(words, random):
    texts = [join(words, [False] + [random.random() < 0.5 for _ in words[1:]])] * 3
    rule = WordSplitter.like(texts)
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert WordSplitter.like(shuffled).to_dict() == rule.to_dict()
    assert WordSplitter.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    text = texts[0][0]
    covered = [index for start, end in rule.split(text) for index in range(start, end)]
    assert covered == [index for index, character in enumerate(text) if not character.isspace()]


def test_saving_and_reading_back():
    rule = LEARNED["treebank"]
    saved = json.loads(json.dumps(rule.to_dict()))
    assert (saved["rule"], saved["version"]) == ("learned", 1)
    assert saved["joined"] == sorted(saved["joined"])
    again = WordSplitter.from_dict(saved)
    assert again == rule
    assert hash(again) == hash(rule)
    text = "Mr. Smith can't pay $1.5 in the U.S., he said."
    assert again.split(text) == rule.split(text) != WordSplitter().split(text)


def test_what_was_saved_before_there_were_exceptions_still_loads():
    for saved in ({"rule": "default"}, {"rule": "default", "version": 1}):
        assert WordSplitter.from_dict(saved) == WordSplitter()
    assert WordSplitter().to_dict() == {"rule": "default", "version": 1}


@pytest.mark.parametrize(
    "wrong", [{"joined": "x"}, {"apart": None}, {"cuts": ["no place"]}, {"joined": [1]}, {"version": 2}]
)
def test_a_damaged_rule_is_refused(wrong):
    with pytest.raises(DataError, match=r"expected"):
        WordSplitter.from_dict({**LEARNED["treebank"].to_dict(), **wrong})


def test_exceptions_belong_to_the_default_rule():
    with pytest.raises(DataError, match="the rule is 'whitespace'"):
        WordSplitter("whitespace", learned=Borders(cuts=frozenset({"can|not"})))
