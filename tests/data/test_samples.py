from __future__ import annotations

import pytest

from lookright.data import read_conll, sample
from lookright.errors import DataError
from lookright.tags import Scheme, to_spans

COUNTS = {"train": (3394, 62730, 1975), "dev": (1009, 15733, 836), "test": (1287, 23394, 1079)}
TYPES = ("corporation", "creative-work", "group", "location", "person", "product")


def test_the_bundled_set_is_whole():
    files = sample("wnut17")
    assert list(files) == ["train", "dev", "test"]
    for split, path in files.items():
        dataset = read_conll(path)
        n_spans = sum(len(to_spans(s.tags, Scheme.IOB2)) for s in dataset)
        assert (len(dataset), dataset.n_words, n_spans) == COUNTS[split]
        assert dataset.types() == TYPES
        assert dataset.scheme is Scheme.IOB2
        assert dataset.note("ill-formed") is None
    assert "CC BY 4.0" in (files["train"].parent / "SOURCE.md").read_text(encoding="utf-8")


def test_words_without_a_visible_character_are_there():
    words = {word for path in sample().values() for s in read_conll(path) for word in s.words}
    assert "\ufe0f" in words


def test_a_set_that_is_not_bundled():
    with pytest.raises(DataError, match="no sample 'conll03': expected one of wnut17"):
        sample("conll03")
