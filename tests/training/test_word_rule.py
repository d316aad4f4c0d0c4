"""Which word rule a trained tagger gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookright.api.tagger import Tagger
from lookright.data import Dataset, Sentence, WordSplitter
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme
from lookright.training.recipe import Recipe
from lookright.training.word_rule import word_rule_for

TEXT = "A third-quarter loss"


def data(*lines: str) -> Dataset:
    sentences = (Sentence(tuple(line.split()), ("B-X", *["O"] * (len(line.split()) - 1))) for line in lines)
    return Dataset(tuple(sentences), scheme=Scheme.IOB2)


WHOLE = data(*["the third-quarter net rose .", "a well-known man left ."] * 3)
APART = data(*["the third - quarter net rose .", "a well - known man left ."] * 3)
SPLIT_TEXT = Dataset(
    tuple(WordSplitter().sentence(text).with_tags(["O"] * n) for text, n in [("a well-known man", 5), ("one-way", 3)]),
    scheme=Scheme.IOB2,
)


def test_it_is_learned_from_train_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lookright"):
        rule = word_rule_for(Recipe(), WHOLE)
    assert WordSplitter.from_dict(rule).sentence(TEXT).words == ("A", "third-quarter", "loss")
    [record] = caplog.records
    assert "as train is, with 2 exceptions to the default rule: 100.0 % of the words" in record.message
    caplog.clear()
    with caplog.at_level("INFO", logger="lookright"):
        assert word_rule_for(Recipe(), APART) == WordSplitter().to_dict()
    assert "by the default rule, as the words of train are" in caplog.records[0].message


def test_dev_that_is_split_otherwise_keeps_the_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lookright"):
        assert word_rule_for(Recipe(), WHOLE, SPLIT_TEXT) == WordSplitter().to_dict()
    assert "it finds 100.0 % of the words of dev, and the rule learned from train" in caplog.records[0].message
    assert word_rule_for(Recipe(), WHOLE, WHOLE)["rule"] == "learned"


@pytest.mark.parametrize("name", ["default", "whitespace"])
def test_a_choice_wins(name: str) -> None:
    chosen = Recipe(word_split=name)
    learned = TaggerSettings(word_rule=word_rule_for(Recipe(), WHOLE))
    assert word_rule_for(chosen, WHOLE)["rule"] == word_rule_for(chosen, WHOLE, None, learned)["rule"] == name


def test_a_tagger_that_goes_on_keeps_its_own() -> None:
    learned = TaggerSettings(word_rule=word_rule_for(Recipe(), WHOLE))
    own = TaggerSettings(word_rule={"rule": "callable", "name": "f"})
    for settings in (learned, own):
        for recipe in (Recipe(), Recipe(word_split="learned")):
            assert word_rule_for(recipe, APART, None, settings) == settings.word_rule


SHORT = {"epochs": 1, "batch_size": 4, "progress": False}


def test_through_a_tagger(tiny_llama: Path, tmp_path: Path) -> None:
    words = ("A", "third-quarter", "loss")
    for labels in (None, ["X"]):  # with labels there is a model, with the default rule, before the training
        tagger = Tagger.from_pretrained(tiny_llama, plan="0011", labels=labels, device="cpu")
        if labels is not None:
            assert tagger.splitter == WordSplitter()
        result = tagger.fit(WHOLE, **SHORT)  # type: ignore[arg-type]
        assert result.recipe.word_split == result.settings.word_rule["rule"] == "learned"
        assert tagger.splitter.sentence(TEXT).words == words
    assert "with 2 exceptions that the training words show" in tagger.card()
    folder = tagger.save_pretrained(tmp_path / "tagger")
    loaded = Tagger.from_pretrained(folder, device="cpu")
    assert loaded.splitter == tagger.splitter
    assert loaded.predict(TEXT) == tagger.predict(TEXT)
    loaded.fit(APART, **SHORT)  # type: ignore[arg-type]
    assert loaded.splitter == tagger.splitter
    loaded.fit(APART, word_split="default", **SHORT)  # type: ignore[arg-type]
    assert loaded.splitter == WordSplitter()
    again = Tagger.from_pretrained(loaded.save_pretrained(tmp_path / "second"), device="cpu")
    again.fit(WHOLE, **SHORT)  # type: ignore[arg-type]
    assert again.splitter == WordSplitter()


def test_labeled_text_is_cut_as_the_tagger_cuts(tiny_llama: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, plan="0011", device="cpu")
    tagger.fit(WHOLE, **SHORT)  # type: ignore[arg-type]
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"text": "A third-quarter loss", "spans": [{"start": 2, "end": 15, "label": "X"}]}\n')
    assert tagger.evaluate(gold).scores.n_words == 3


def splits(text: str) -> list[tuple[int, int]]:
    return [(i, i + 1) for i, character in enumerate(text) if not character.isspace()]


def test_a_rule_given_to_the_tagger_is_not_learned_over(tiny_llama: Path) -> None:
    mine = WordSplitter.like([("a/b", ((0, 3),))] * 2)
    for given, expected in (("default", WordSplitter()), (mine, mine), (splits, WordSplitter(splits))):
        tagger = Tagger.from_pretrained(tiny_llama, plan="0011", device="cpu", word_split=given)
        tagger.fit(WHOLE, **SHORT)  # type: ignore[arg-type]
        assert tagger.splitter == expected
        assert tagger.settings.word_rule == expected.to_dict()
