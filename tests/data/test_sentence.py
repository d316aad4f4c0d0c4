from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from lookright.data import Dataset, Sentence
from lookright.errors import DataError
from lookright.tags import Scheme


def test_lists_become_tuples_and_nothing_can_be_changed():
    sentence = Sentence(["a", "b"], ["O", "O"])
    assert sentence.words == ("a", "b")
    assert hash(sentence) == hash(Sentence(("a", "b"), ("O", "O")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        sentence.words = ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": ("a", "")}, "words[1] is empty"),
        ({"words": ("a", 3)}, "words[1] is 3"),
        ({"words": "abc"}, "words is one string"),
        ({"words": ("a",), "tags": ("O", "O")}, "1 words and 2 tags"),
        ({"words": ("a",), "tags": (None,)}, "tags[0] is None"),
        ({"words": ("a",), "text": "a"}, "give both or neither"),
        ({"words": ("a",), "offsets": ((0, 1),)}, "give both or neither"),
        ({"words": ("a",), "text": "b", "offsets": ((0, 1),)}, "word 'a' is not at characters 0 to 1"),
        ({"words": ("a", "a"), "text": "a", "offsets": ((0, 1), (0, 1))}, "not at characters 0 to 1"),
        ({"words": ("a",), "text": "a", "offsets": ()}, "1 words and 0 offsets"),
        ({"words": ("a\ud83d",)}, "half a surrogate pair (U+D83D) at character 1"),
        ({"words": ("a",), "text": "a \udc00", "offsets": ((0, 1),)}, "half a surrogate pair (U+DC00) at character 2"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError) as caught:
        Sentence(**arguments, path="f.conll", line=7)
    assert str(caught.value).startswith("f.conll:7: ")
    assert message in str(caught.value)


def test_surface_joins_with_single_spaces_or_gives_the_text_back():
    assert Sentence(("ab", "c")).surface() == ("ab c", ((0, 2), (3, 4)))
    own = Sentence(("ab", "."), text="ab.", offsets=((0, 2), (2, 3)))
    assert own.surface() == ("ab.", ((0, 2), (2, 3)))
    assert Sentence(()).surface() == ("", ())


def test_documents_follow_their_starts():
    dataset = Dataset([Sentence((word,)) for word in "abcde"], (0, 2, 4))
    assert [[s.words[0] for s in document] for document in dataset.documents()] == [["a", "b"], ["c", "d"], ["e"]]
    assert Dataset([Sentence(("a",))]).document_starts == (0,)
    assert Dataset([]).documents() == ()


@pytest.mark.parametrize("starts", [(1,), (0, 2), (0, 0), (), (0, -1)])
def test_document_starts_that_do_not_fit_are_refused(starts):
    with pytest.raises(DataError, match="document starts"):
        Dataset([Sentence(("a",)), Sentence(("b",))], starts)


def test_types_and_labels_cover_every_prefix_of_every_type():
    dataset = Dataset([Sentence(("a", "b"), ("I-X-Y", "O"))], scheme=Scheme.IOBES)
    assert dataset.types() == ("X-Y",)
    assert dataset.labels() == ("O", "B-X-Y", "I-X-Y", "E-X-Y", "S-X-Y")
    assert Dataset([Sentence(("a",), ("NOUN",))], scheme=Scheme.PLAIN).labels() == ("NOUN",)


def test_content_hash_sees_content_and_nothing_else():
    def made(**changes):
        parts = {"words": ("a", "b"), "tags": ("O", "O"), "path": "x", "line": 1} | changes
        return Dataset([Sentence(**parts), Sentence(("c",), ("O",))], scheme=Scheme.IOB2).content_hash()

    assert made() == made(path="y", line=9)
    changed = [made(words=("ab", "c")), made(tags=("O", "B-X")), made(text="a b", offsets=((0, 1), (2, 3)))]
    assert len({made(), *changed}) == 4


def test_a_data_set_shows_itself_in_one_short_line():
    text = repr(Dataset([Sentence(("a",) * 1000)] * 1000, path="f"))
    assert text == "Dataset(1000 sentences, 1 documents, scheme=None, path='f')"


def test_importing_the_data_room_loads_no_heavy_package():
    code = "import sys, lookright.data; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'datasets')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
