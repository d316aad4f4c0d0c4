"""Two text classifiers on one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from lookright import Tagger, Text, TextClassifier, TextDataset, compare
from lookright.data.texts import Target
from lookright.errors import DataError, LabelError
from lookright.metrics import approximate_randomization, paired_bootstrap


def made(folder: Path, seed: int, labels: tuple[str, ...] = ("bad", "good"), **options: Any) -> TextClassifier:
    """A classifier that guesses."""
    classifier = TextClassifier.from_pretrained(folder, labels=labels, plan="0011", device="cpu", **options)
    assert classifier.model is not None
    torch.manual_seed(seed)
    with torch.no_grad():
        classifier.model.score.weight.normal_(std=5)
    return classifier


def dataset(n: int = 40, target: Target = Target.SINGLE) -> TextDataset:
    found = []
    for line, (text, label) in enumerate(toys.toy_texts(n, 1), start=1):
        several = (label, "early") if target is Target.MULTI and "early" in text else (label,)
        found.append(Text(text, labels=several, line=line))
    return TextDataset(tuple(found), target)


def said(folder: Path, name: str, texts: list[str], key: str, labels: list[Any]) -> Path:
    """A file of predictions."""
    rows = (json.dumps({"text": text, key: gold}) for text, gold in zip(texts, labels, strict=True))
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


@pytest.mark.parametrize("target", [Target.SINGLE, Target.MULTI])
def test_the_figures_are_those_of_evaluate(tiny_llama: Path, target: Target) -> None:
    labels = ("bad", "good") if target is Target.SINGLE else ("bad", "early", "good")
    one, other = (made(tiny_llama, seed, labels, target=target.value) for seed in (0, 1))
    data = dataset(target=target)
    found = compare(one, other, data, samples=500, names=("one", "other"))
    reports = [model.evaluate(data, samples=1) for model in (one, other)]
    assert [score.headline[1] for score in found.scores] == pytest.approx([r.headline[1] for r in reports])
    for score, report in zip(found.scores, reports, strict=True):
        assert np.array_equal(score.per_sentence, report.scores.counts)  # type: ignore[union-attr]
    assert found.bootstrap == paired_bootstrap(*found.scores, samples=500)
    assert found.randomization == approximate_randomization(*found.scores, samples=500)
    assert 0 < len(found.sentences) < 40
    for item in found.types:
        for side, report in zip((item.first, item.second), reports, strict=True):
            assert side == report.scores.per_label[item.type]  # type: ignore[union-attr]
    pairs = zip(one.predict(data), other.predict(data), strict=True)
    assert [item.index for item in found.sentences] == [
        index for index, (a, b) in enumerate(pairs) if set(a.labels) != set(b.labels)
    ]
    item = found.sentences[0]
    row = item.to_dict()
    assert row["gold"] == sorted(data[item.index].labels or ())
    assert (row["line"], row["text"]) == (item.index + 1, data[item.index].text)
    rights = {item.index: item.right for item in found.sentences}
    for index, right in rights.items():
        assert (right == "one") == (set(one.predict(data[index]).labels) == set(data[index].labels or ()))
    json.dumps([found.to_dict(), *(item.to_dict() for item in found.sentences)], allow_nan=False)
    assert (found.to_dict()["n_texts"], found.kind) == (40, "label")


def test_predictions_in_files(tmp_path: Path, tiny_llama: Path) -> None:
    texts = ["it was fine", "", "it was awful"]
    gold = said(tmp_path, "gold.jsonl", texts, "labels", [["a", "b"], [], ["b"]])
    right = said(tmp_path, "right.jsonl", texts, "labels", [["b", "a"], [], ["b"]])
    wrong = said(tmp_path, "wrong.jsonl", texts, "labels", [["a"], ["c"], []])
    found = compare(right, wrong, gold, samples=100)
    assert (found.scores[0].f1, found.scores[1].counts) == (1.0, (3, 2, 1))
    assert [item.right for item in found.sentences] == ["right.jsonl"] * 3
    assert found.sentences[1].text == "(empty)"
    short = said(tmp_path, "short.jsonl", texts[:2], "labels", [["a"], []])
    with pytest.raises(DataError, match=r"short.jsonl: has 2 texts, and the test set 3"):
        compare(right, short, gold)
    odd = said(tmp_path, "odd.jsonl", ["x", *texts[1:]], "labels", [["a"], [], ["b"]])
    with pytest.raises(DataError, match=r"odd.jsonl:1: text 1 is not that of the test set"):
        compare(right, odd, gold)


def test_what_cannot_be_compared(tiny_llama: Path, tmp_path: Path) -> None:
    one = made(tiny_llama, 0)
    with pytest.raises(LabelError, match="one is a tagger and the other a text classifier"):
        compare(one, Tagger.from_pretrained(tiny_llama, labels=["X"], device="cpu"), dataset())
    with pytest.raises(LabelError, match="A has the labels bad, good and B has x, y: they share none"):
        compare(one, made(tiny_llama, 0, ("x", "y")), dataset())
    with pytest.raises(LabelError, match="the target of B is multi-label, and that of the gold single-label"):
        compare(one, made(tiny_llama, 0, target="multi-label"), dataset())
    numbers = TextDataset((Text("a", value=1.0), Text("b", value=2.5)), Target.REGRESSION)
    files = [said(tmp_path, f"{name}.jsonl", ["a", "b"], "label", [1.5, 2]) for name in "ab"]
    with pytest.raises(LabelError, match="the target is a regression: there are no labels to compare"):
        compare(*files, numbers)
