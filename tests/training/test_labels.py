"""Labels: all prefixes of every type in train, and what is said of types that only others have."""

from __future__ import annotations

import pytest

from lookright.data import Dataset, Sentence
from lookright.errors import DataError, LabelError
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme
from lookright.training.labels import check_labels, scheme_of, settings_for, tags_in
from lookright.training.recipe import Recipe


def data(*tags: str, scheme: Scheme | None = Scheme.IOB2) -> Dataset:
    return Dataset((Sentence(tuple("w" for _ in tags), tags, path="x.conll"),), path="x.conll", scheme=scheme)


def test_every_prefix_of_every_type() -> None:
    settings = settings_for(Recipe(window=100, subword="mean"), data("B-PER", "O"))
    assert settings.labels == ("O", "B-PER", "I-PER")
    assert (settings.window, settings.subword, settings.scheme) == (100, "mean", Scheme.IOB2)
    assert settings_for(Recipe(), data("NOUN", "VERB", scheme=Scheme.PLAIN)).labels == ("NOUN", "VERB")


def test_labels_of_a_saved_tagger_keep_their_places(caplog: pytest.LogCaptureFixture) -> None:
    old = TaggerSettings(labels=("O", "B-ZOO", "I-ZOO"), word_rule={"rule": "whitespace"}, subword="first")
    with caplog.at_level("INFO", logger="lookright"):
        new = settings_for(Recipe(), data("B-ANT", "E-ANT", scheme=Scheme.IOBES), old)
    assert new.labels == ("O", "B-ZOO", "I-ZOO", "B-ANT", "I-ANT")
    assert (new.word_rule, new.subword) == ({"rule": "whitespace"}, "first")
    assert "new in train: ANT" in caplog.text
    assert settings_for(Recipe(word_split="default"), data("O"), old).word_rule["rule"] == "default"
    with pytest.raises(LabelError, match="do not mix"):
        settings_for(Recipe(), data("NOUN", scheme=Scheme.PLAIN), old)


def test_types_of_dev_only_are_named_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(Recipe(), data("B-PER"))
    assert check_labels(data("B-PER", "O"), settings, "dev") is None
    assert check_labels(data("O", "O"), settings, "dev") is None
    found = check_labels(data("B-PER", "B-LOC", "I-LOC", "B-LOC", "B-ORG"), settings, "dev")
    assert found is not None
    assert found.counts == {"LOC": 2, "ORG": 1}
    assert "dev has types that train has not, scored as missed gold: LOC (2), ORG (1); 3 in all" in caplog.text


def test_no_type_in_common_or_strict_is_an_error_that_lists_both() -> None:
    settings = settings_for(Recipe(), data("B-PER"))
    with pytest.raises(LabelError, match=r"x.conll: train and dev share no type: train has PER; dev has LOC, ORG"):
        check_labels(data("B-LOC", "B-ORG"), settings, "dev")
    with pytest.raises(LabelError, match=r"types that train has not: LOC; train has PER; dev has LOC, PER"):
        check_labels(data("B-LOC", "B-PER"), settings, "dev", strict=True)
    with pytest.raises(LabelError, match="share no type"):
        check_labels(data("NOUN", scheme=Scheme.PLAIN), settings, "dev")


def test_data_that_cannot_be_trained_on() -> None:
    with pytest.raises(DataError, match="no sentence"):
        scheme_of(Dataset((), scheme=Scheme.IOB2), "train")
    with pytest.raises(DataError, match="without tags"):
        scheme_of(Dataset((Sentence(("a",)),)), "train")


def test_gold_in_another_scheme() -> None:
    assert tags_in(data("S-PER", scheme=Scheme.IOBES), Scheme.IOB2) == [["B-PER"]]


def test_an_ill_formed_span_of_another_scheme_is_no_span() -> None:
    """As in strict scores; a well-formed one beside it is converted."""
    sentence = Sentence(("Ana", "x", "y", "z"), ("S-NP", "B-NP", "E-NP", "I-NP"))
    gold = tags_in(Dataset((sentence,), scheme=Scheme.IOBES), Scheme.IOB2)
    assert [list(tags) for tags in gold] == [["B-NP", "B-NP", "I-NP", "O"]]
