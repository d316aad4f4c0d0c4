"""Which words stand without a space before them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data.sentence import Sentence
from lookright.encoding import detokenize, join, splits_inner_marks, true_gaps
from lookright.encoding.joins import JoinRule

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
    ("at 1 : 00 , room 3 : 2", "at 1:00, room 3: 2"),
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


INNER = [
    ("single - strand DNA - - x", "single-strand DNA - - x"),
    ("3 . 5 mg in 2019 . Then", "3.5 mg in 2019. Then"),
    ("1 , 000 or 1 , 2", "1,000 or 1, 2"),
    ("the patient ' s and Crohn ' s ' own ' don ' t", "the patient's and Crohn's 'own' don't"),
    ("( A - B )", "(A-B)"),
]


@pytest.mark.parametrize(("spaced", "written"), INNER)
def test_where_words_are_split_at_every_mark(spaced: str, written: str) -> None:
    words = spaced.split()
    assert join(words, detokenize(words, inner_marks=True))[0] == written


def of_texts(*texts: str) -> list[Sentence]:
    return [Sentence(tuple(text.split())) for text in texts]


def test_a_data_set_tells_whether_it_splits_words_at_marks() -> None:
    assert splits_inner_marks(of_texts("single - strand DNA", "no hyphen"))
    assert not splits_inner_marks(of_texts("single-strand DNA", "here - there"))
    assert not splits_inner_marks(of_texts("no hyphen"))
    assert not splits_inner_marks(of_texts("- at the start", "at the end -", "a ( - ) b", ") - a", "a - ("))
    assert not splits_inner_marks(of_texts(*["a - b"] * 50, "one-off"))
    assert splits_inner_marks(of_texts(*["a - b"] * 101, "one-off"))
    assert not splits_inner_marks([])


def test_a_rule_closes_a_gap() -> None:
    with pytest.raises(ValueError, match="closes no gap"):
        JoinRule("x")


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
@given(st.lists(marks | st.text(min_size=1, max_size=5)), st.booleans())
def test_words_stay_words(words: list[str], inner_marks: bool) -> None:
    glued = detokenize(words, inner_marks=inner_marks)
    assert len(glued) == len(words)
    text, offsets = join(words, glued)
    assert [text[start:end] for start, end in offsets] == words
    sentence = Sentence(tuple(words), text=text, offsets=offsets)
    assert true_gaps(sentence) == glued
