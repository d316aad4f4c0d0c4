"""Searching for the plan of a text classifier: the same search, over texts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_support import DEV as SENTENCES
from search_support import TRAINING

import toys
from lookright import TextClassifier, search_plan
from lookright.attention import apply_plan, current_plan, decoder_layers
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError, RecipeError
from lookright.models.base import load_base
from lookright.models.store import build_model
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.search.candidates import Candidates, layers_computed
from lookright.search.scoring import TextPlanScorer
from lookright.search.strategies import Shared
from lookright.search.tasks import TagTask, TextTask, task_for
from lookright.training.recipe import Recipe
from lookright.training.text_evaluation import TextScorer
from lookright.training.text_labels import text_settings_for


def texts(n: int, seed: int, target: Target = Target.SINGLE) -> TextDataset:
    """Texts with the label good or bad; of several labels, some have `early`, too; or with a number."""
    found = []
    for text, label in toys.toy_texts(n, seed):
        several = (label, "early") if target is Target.MULTI and "early" in text else (label,)
        found.append(Text(text, labels=several, value=2.5 if label == "good" else 0.0))
    return TextDataset(tuple(found), target)


TRAIN, DEV = texts(40, 0), texts(60, 1)
SEVERAL = texts(40, 0, Target.MULTI), texts(60, 1, Target.MULTI)
ALL = Candidates.of_groups(4).plans


def search(base: Path, out: Path | None = None, sets: Any = (TRAIN, DEV), **options: Any) -> Any:
    return search_plan(base, *sets, out=out, **{"progress": False, "device": "cpu", **TRAINING, **options})


def classifier(folder: Path, train: TextDataset, **settings: Any) -> tuple[LookRightForSequenceClassification, Any]:
    base = load_base(folder, plan="0000", check=False)
    torch.manual_seed(3)
    model = build_model(base, dataclasses.replace(text_settings_for(Recipe(), train), **settings))
    assert isinstance(model, LookRightForSequenceClassification)
    with torch.no_grad():
        model.score.weight.normal_()
        if model.attention is not None:
            model.attention.weight.normal_()
    return model, base.tokenizer


@pytest.mark.parametrize(
    ("pooling", "sets", "window"),
    [("mean", (TRAIN, DEV), 512), ("last", (TRAIN, DEV), 512), ("max", SEVERAL, 512), ("attention", SEVERAL, 12)],
)
def test_the_same_counts_as_plan_by_plan(tiny_llama: Path, pooling: str, sets: Any, window: int) -> None:
    """With texts of one window and of several, and batches that cut them."""
    train, dev = sets
    model, tokenizer = classifier(tiny_llama, train, pooling=pooling, window=window)
    apply_plan(model.backbone, ALL[6])
    model.train()
    found = TextPlanScorer(model, tokenizer, dev, torch.device("cpu"), 64).counts(ALL, [range(len(dev))])
    assert current_plan(model.backbone) == ALL[6]
    assert model.training
    for plan in ALL[::5]:
        apply_plan(model.backbone, plan)
        expected = TextScorer(model, tokenizer, dev, torch.device("cpu"), 64).scores()
        assert np.array_equal(found[plan], expected.counts)  # type: ignore[union-attr]
    assert len({tuple(counts[:, 2]) for counts in found.values()}) > 1


def test_layers_that_plans_share_are_computed_once(tiny_llama: Path) -> None:
    scorer = TextPlanScorer(*classifier(tiny_llama, TRAIN), DEV, torch.device("cpu"), 500)
    calls: list[Any] = []
    for layer in decoder_layers(scorer.model.backbone):
        layer.self_attn.register_forward_hook(lambda *_: calls.append(None))  # type: ignore[operator, union-attr]
    scorer.counts(ALL, [range(3)])
    assert len(calls) == layers_computed(ALL) == 30


def test_less_memory_means_smaller_batches(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = classifier(tiny_llama, TRAIN)
    scorer = TextPlanScorer(model, tokenizer, DEV, torch.device("cpu"), 200)
    expected = scorer.counts(ALL[:3], [range(20), range(30, 40)])
    assert all(len(counts) == 30 for counts in expected.values())
    inner, calls = LookRightForSequenceClassification.represent, iter(range(10**6))

    def failing(self: Any, *rest: Any, **more: Any) -> Any:
        if next(calls) == 1:  # the second plan of a batch: the first one's vectors are there already
            raise MemoryError
        return inner(self, *rest, **more)

    monkeypatch.setattr(LookRightForSequenceClassification, "represent", failing)
    found = scorer.counts(ALL[:3], [range(20), range(30, 40)])
    assert scorer.budget < 200
    assert all(np.array_equal(found[plan], counts) for plan, counts in expected.items())


def test_from_texts_to_a_classifier(tiny_llama: Path, tmp_path: Path) -> None:
    found = search(tiny_llama, tmp_path / "out")
    result, trials = found.result, found.result.trials
    assert [trial.stage for trial in trials] == ["shared", *["dev"] * 16, "final"]
    assert (result.score_name, result.cost.fine_tunings <= 1.5) == ("accuracy", True)
    counts = trials[-1].counts
    assert counts.shape == (60, 3)
    assert (counts[:, :2] == 1).all()
    assert counts[:, 2].mean() == result.score == pytest.approx(found.classifier.evaluate(DEV).headline[1])
    # the folder, and what is said
    loaded = TextClassifier.from_pretrained(tmp_path / "out")
    assert (loaded.plan, loaded.settings) == (result.plan, found.classifier.settings)
    assert loaded.settings.pooling == "mean"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["dev"] == {"score": "accuracy", "value": result.score, "texts": 60}
    page = (tmp_path / "out" / "report.md").read_text()
    assert "The text classifier trained under it: accuracy" in page
    assert "sub-words trained on" in page
    assert "over 60 texts" in page or "texts: not told apart" in page
    assert "sentences" not in page
    with pytest.raises(RecipeError, match=r"over whole texts: take \.classifier"):
        _ = found.tagger


def test_thresholds_are_those_of_the_weights_that_come_out(tiny_llama: Path) -> None:
    """Of a plan that is read back, too: thresholds are not among the weights."""
    found = search(tiny_llama, sets=SEVERAL, strategy="exhaustive", plans=["0000", "0001"], margin=1.0, level=0.999)
    assert found.result.name == "0000"
    assert found.classifier.settings.pooling == "mean"  # all plans of a search have one; on its own it would be `last`
    report = found.classifier.evaluate(SEVERAL[1])
    assert len(found.classifier.settings.thresholds) == 3
    assert found.result.score_name == "micro F1, thresholds tuned on dev"
    assert report.headline == ("micro F1", pytest.approx(found.result.score))
    gold = sum(len(text.labels or ()) for text in SEVERAL[1])
    assert all(trial.counts[:, 0].sum() == gold for trial in found.result.trials)


@pytest.mark.slow
def test_a_trial_is_the_fine_tuning_that_it_stands_for(tiny_llama: Path) -> None:
    found = search(tiny_llama, strategy="exhaustive", plans=["0000", "0011"], epochs=2.0, pooling="max")
    one = TextClassifier.from_pretrained(tiny_llama, plan=found.result.name, pooling="max", device="cpu")
    result = one.fit(TRAIN, DEV, progress=False, **{**TRAINING, "epochs": 2.0})
    assert result.outcome.best_score == found.result.score


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_stopped(tiny_llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    plans = ["0000", "0011", "1111"]
    whole = search(tiny_llama, tmp_path / "whole", SEVERAL, plans=plans).result
    inner = Shared.run

    def interrupted(self: Shared, shop: Any, budget: float) -> Any:
        monkeypatch.setattr(type(shop), "finalist", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        return inner(self, shop, budget)

    with monkeypatch.context() as patch:
        patch.setattr(Shared, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(tiny_llama, tmp_path / "out", SEVERAL, plans=plans)
    monkeypatch.undo()
    again = search(tiny_llama, tmp_path / "out", SEVERAL, plans=plans, resume=True).result
    assert (again.name, again.score) == (whole.name, whole.score)
    weights = [tmp_path / name / "model.safetensors" for name in ("whole", "out")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "search.json").write_bytes((tmp_path / "out" / "search.json").read_bytes())
    with pytest.raises(RecipeError, match="another one: train data was"):
        search(tiny_llama, tmp_path / "begun", plans=plans, resume=True)


def test_fit_with_plan_auto(tiny_llama: Path) -> None:
    one = TextClassifier.from_pretrained(tiny_llama, plan="0000", device="cpu")
    result = one.fit(TRAIN, 0.5, plan="auto", progress=False, **TRAINING)
    assert one.search_result is not None
    assert one.plan == one.search_result.plan
    assert one.settings.pooling == "mean"  # though it was causal, and had `last`
    assert one.evaluate(one.search_result and TRAIN).headline[0] == "accuracy"
    assert result.outcome.best_score == one.search_result.score
    with pytest.raises(RecipeError, match="this text classifier was trained under the plan"):
        one.fit(TRAIN, 0.5, plan="auto", progress=False, **TRAINING)


def test_what_cannot_be_searched(tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    numbers = texts(40, 0, Target.REGRESSION), texts(20, 1, Target.REGRESSION)
    with pytest.raises(RecipeError, match="regression, and a search compares plans by labels that are right"):
        search(tiny_llama, out, numbers)
    with pytest.raises(DataError, match="dev has 3 texts with 3 gold labels, which cannot tell plans apart"):
        search(tiny_llama, out, (TRAIN, texts(3, 1)))
    with pytest.raises(RecipeError, match="subword is given, which is for --task tags"):
        search(tiny_llama, out, subword="first")
    assert not out.exists()


def test_a_task_is_told_from_its_data() -> None:
    assert isinstance(task_for(TRAIN, DEV), TextTask)
    assert isinstance(task_for(SENTENCES, SENTENCES), TagTask)
    empty = TextTask(TextDataset((Text("", labels=("x",)),), Target.SINGLE), DEV)
    assert empty.sizes(toys.byte_bpe_tokenizer())[0] == 1
