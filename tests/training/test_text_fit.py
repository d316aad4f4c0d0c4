"""Training a text classifier: gradients, windows, dev, resumption, and what cannot be trained on."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from lookright import TextClassifier
from lookright.data import hold_out_texts
from lookright.data.texts import Target, Text, TextDataset
from lookright.encoding import TextEncoder
from lookright.errors import DataError, LabelError, RecipeError
from lookright.inference.text_predictor import TextPredictor
from lookright.models.base import load_base
from lookright.models.store import build_model
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.text_metrics import LARGEST_TEMPERATURE
from lookright.training.examples import At
from lookright.training.progress import Reporter
from lookright.training.recipe import Recipe
from lookright.training.text_examples import MOST_WINDOWS, TrainingTexts
from lookright.training.text_fit import TextFitResult, fit_texts
from lookright.training.text_labels import text_settings_for
from lookright.training.trainer import TaggerTrainer
from training.training_support import in_child, same, weights


def texts(n: int, seed: int) -> TextDataset:
    found = (Text(text, labels=(label,)) for text, label in toys.toy_texts(n, seed))
    return TextDataset(tuple(found), Target.SINGLE)


def as_multi(data: TextDataset) -> TextDataset:
    several = (dataclasses.replace(t, labels=(*t.labels, *["early"] * ("early" in t.text))) for t in data)  # type: ignore[misc]
    return TextDataset(tuple(several), Target.MULTI)


def as_numbers(data: TextDataset) -> TextDataset:
    return TextDataset(tuple(Text(t.text, value=50.0 + 10 * (t.labels == ("good",))) for t in data), Target.REGRESSION)


TRAIN, DEV = texts(24, 0), texts(16, 1)
SHORT: dict[str, Any] = {"epochs": 2.0, "batch_size": 4, "learning_rate": 3e-3, "precision": "float32"}


def classifier(
    folder: Path, train: TextDataset = TRAIN, plan: str = "1", **settings: Any
) -> tuple[LookRightForSequenceClassification, Any]:
    base = load_base(folder, plan=plan, check=False)
    model = build_model(base, dataclasses.replace(text_settings_for(Recipe(), train), **settings))
    assert isinstance(model, LookRightForSequenceClassification)
    return model, base.tokenizer


def run(
    folder: Path,
    out: Path | None = None,
    train: TextDataset = TRAIN,
    dev: TextDataset | None = DEV,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[TextFitResult, LookRightForSequenceClassification]:
    model, tokenizer = classifier(folder, train, **(settings or {}))
    recipe = Recipe(**{**SHORT, **options})
    return fit_texts(model, tokenizer, train, dev, recipe, out, progress=False), model


@pytest.mark.parametrize(
    ("target", "pooling"), [("single", "last"), ("multi", "mean"), ("regression", "max"), ("single", "attention")]
)
def test_it_learns(tiny_llama: Path, target: str, pooling: str) -> None:
    turn = {"single": lambda data: data, "multi": as_multi, "regression": as_numbers}[target]
    train, dev = turn(texts(60, 0)), turn(DEV)
    result, model = run(
        tiny_llama, train=train, dev=dev, settings={"pooling": pooling}, epochs=5.0, learning_rate=1e-2, dropout=0.0
    )
    assert result.outcome.best_score is not None
    assert result.outcome.best_score > 0.7
    assert result.outcome.chosen_by == "dev"
    assert len(result.settings.thresholds) == (3 if target == "multi" else 0)
    assert result.recipe.task == "text"
    assert result.recipe.pooling == pooling
    assert result.recipe.subword is None
    assert model.settings is result.settings


def trainer(folder: Path, tmp_path: Path, budget: int, layout: Any, data: TextDataset, **settings: Any) -> Any:
    from lookright.training.trainer import RunPlan, training_arguments

    torch.manual_seed(0)
    model, tokenizer = classifier(folder, data, plan="0011", dropout=0.0, **settings)
    with torch.no_grad():
        model.score.weight.normal_()
    recipe = Recipe(**{**SHORT, "batch_size": 12, "task": "text"})
    plan = RunPlan(12, 2, 4, (4,), 1)
    args = training_arguments(recipe, plan, tmp_path, device=torch.device("cpu"), resumable=False)
    examples = TrainingTexts(data, model.settings, TextEncoder(tokenizer), seed=0)
    return TaggerTrainer(
        model, args, recipe=recipe, plan=plan, examples=examples, collator=examples.collator(budget, layout),
        evaluate_dev=None,
    )  # fmt: skip


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
def test_micro_batches_have_the_gradient_of_one_batch(tiny_llama: Path, tmp_path: Path, target: str) -> None:
    long = Text("a long text that goes on and on " * 12, labels=("good",))
    data = TextDataset((*TRAIN.texts[:11], long), Target.SINGLE)
    data = {"single": lambda d: d, "multi": as_multi, "regression": as_numbers}[target](data)

    def gradients(budget: int, layout: str) -> tuple[list[torch.Tensor], int]:
        loop = trainer(tiny_llama, tmp_path, budget, layout, data, window=32, pooling="attention")
        update = [loop.train_dataset[At(0, number)] for number in range(12)]
        batch = loop.data_collator(update)
        loop.training_step(loop.model, batch)
        found = [p.grad.clone() for p in loop.model.parameters() if p.grad is not None]
        return found, len(batch["micro_batches"])

    whole, n = gradients(10_000, "packed")
    assert n == 1
    for budget, layout in ((60, "packed"), (60, "padded"), (10_000, "padded")):
        parts, n = gradients(budget, layout)
        assert (n > 1) == (budget < 100)
        largest = max(float(g.abs().max()) for g in whole)
        assert max(float((a - b).abs().max()) for a, b in zip(whole, parts, strict=True)) < 1e-5 * largest


def test_a_text_that_does_not_count_changes_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    for data in (TRAIN, as_multi(TRAIN), as_numbers(TRAIN)):
        loop = trainer(tiny_llama, tmp_path, 1000, "packed", data)
        batch = loop.data_collator([])
        assert batch["n_words"] == 0
        loop.training_step(loop.model, batch)
        assert all(not p.grad.any() for p in loop.model.parameters() if p.grad is not None)


def test_of_a_book_some_windows_are_drawn_and_it_is_said(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = classifier(tiny_llama, window=32)
    book = Text("once upon a time there was a fox " * 80, labels=("good",))
    data = TextDataset((book, *TRAIN.texts), Target.SINGLE)
    examples = TrainingTexts(data, model.settings, TextEncoder(tokenizer), seed=0)
    assert examples.n_long == 1
    assert f"1 text is longer than {MOST_WINDOWS} windows of 32 sub-words" in caplog.text
    drawn = [[id(w) for w in examples[At(epoch, 0)].windows] for epoch in (0, 0, 1)]
    assert len(drawn[0]) == MOST_WINDOWS
    assert drawn[0] == drawn[1] != drawn[2]


def test_killed_and_resumed_is_uninterrupted(tiny_llama: Path, tmp_path: Path) -> None:
    whole, model = run(tiny_llama, tmp_path / "whole", train=as_multi(TRAIN), dev=as_multi(DEV))
    step = TaggerTrainer.training_step

    def work() -> None:
        import os

        def dying(self: Any, *rest: Any) -> Any:
            if self.state.global_step == 8:
                os._exit(7)
            return step(self, *rest)

        TaggerTrainer.training_step = dying  # type: ignore[method-assign]
        run(tiny_llama, tmp_path / "cut", train=as_multi(TRAIN), dev=as_multi(DEV))

    assert in_child(work) == 7
    resumed, again = run(tiny_llama, tmp_path / "cut", train=as_multi(TRAIN), dev=as_multi(DEV), resume=True)
    assert same(weights(model), weights(again))
    assert resumed.settings == whole.settings
    assert (tmp_path / "cut" / "log.jsonl").read_text() == (tmp_path / "whole" / "log.jsonl").read_text()


def test_the_same_seed_gives_the_same_bytes(tiny_llama: Path) -> None:
    one, other = (weights(run(tiny_llama, settings={"pooling": "attention"})[1]) for _ in range(2))
    assert same(one, other)
    assert not same(one, weights(run(tiny_llama, settings={"pooling": "attention"}, seed=1)[1]))


def test_a_frozen_trunk_gives_the_same_training(tiny_llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOOKRIGHT_CACHE", str(tmp_path))
    kept = run(tiny_llama, train_layers="top:2")[1]
    from lookright.training import run as runs

    monkeypatch.setattr(runs, "keep_trunk", lambda *args, **options: None)
    computed = run(tiny_llama, train_layers="top:2")[1]
    for name, tensor in weights(kept).items():
        assert torch.allclose(tensor, weights(computed)[name], atol=1e-5), name


def test_adapters_train_the_head_and_its_attention(tiny_llama: Path) -> None:
    torch.manual_seed(0)
    model, tokenizer = classifier(tiny_llama, pooling="attention")
    before = weights(model)
    result = fit_texts(model, tokenizer, TRAIN, DEV, Recipe(**SHORT, method="lora", lora_r=2), progress=False)
    after = weights(model)
    assert not torch.equal(after["attention.weight"], before["attention.weight"])
    assert not torch.equal(after["score.bias"], before["score.bias"])
    assert result.n_trained < result.n_parameters / 4


def test_the_whole_head_has_the_learning_rate_of_the_head(tiny_llama: Path, tmp_path: Path) -> None:
    loop = trainer(tiny_llama, tmp_path, 1000, "packed", TRAIN, pooling="attention")
    loop.recipe = loop.recipe.replace(learning_rate=1e-3, head_learning_rate=7e-3)
    for name, parameter in loop.model.named_parameters():
        assert loop.group_of(name, parameter)[0] == (1e-3 if name.startswith("backbone.") else 7e-3), name


def test_a_temperature_is_fitted_where_asked(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lookright")
    noisy = TextDataset(
        tuple(Text(t.text, labels=(("good", "bad")[i % 3 == 0],)) for i, t in enumerate(DEV)), Target.SINGLE
    )
    result, _ = run(tiny_llama, dev=noisy, calibrate=True)
    assert result.settings.temperature != 1
    assert "divided by a temperature of" in caplog.text
    caplog.clear()
    assert run(tiny_llama, dev=noisy)[0].settings.temperature == 1
    assert "temperature" not in caplog.text
    for fitted, temperature, words in (
        (None, 1, "--calibrate fitted no temperature, and probabilities stay as they were trained: every text of dev"),
        (LARGEST_TEMPERATURE, 50, "divided by the largest temperature that is tried, 50: on dev"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lookright.training.text_fit.fit_temperature", lambda *_, fitted=fitted, **__: fitted)
            assert run(tiny_llama, dev=noisy, calibrate=True)[0].settings.temperature == temperature
        assert words in caplog.text
    with pytest.raises(RecipeError, match="no dev set to fit a temperature on"):
        run(tiny_llama, dev=None, calibrate=True)
    with pytest.raises(RecipeError, match="a regression has no probabilities"):
        run(tiny_llama, train=as_numbers(TRAIN), dev=as_numbers(DEV), calibrate=True)


def test_a_share_of_train_is_held_out(tiny_llama: Path) -> None:
    result, _ = run(tiny_llama, dev=None, train=texts(60, 3), epochs=1.0, batch_size=16)
    assert result.outcome.chosen_by == "last"
    model, tokenizer = classifier(tiny_llama)
    result = fit_texts(model, tokenizer, texts(60, 3), None, Recipe(**{**SHORT, "dev": 0.2}), progress=False)
    assert result.outcome.chosen_by == "dev"
    assert result.n_texts < 60


def test_a_label_that_is_only_in_what_is_held_out_is_none_that_can_be_learned(
    tiny_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same as with two files: it is said, or refused, and the classifier does not have it."""
    data = texts(60, 3)
    _, dev = hold_out_texts(data, 0.2)
    rare = TextDataset(
        tuple(dataclasses.replace(t, labels=("rare",)) if t.text == dev[0].text else t for t in data), Target.SINGLE
    )
    made = TextClassifier.from_pretrained(tiny_llama, plan="1", device="cpu")
    made.fit(rare, 0.2, progress=False, **SHORT)
    assert made.labels == ("bad", "good")
    assert "dev has labels that train has not, scored as missed gold: rare" in caplog.text
    with pytest.raises(LabelError, match="dev has labels that train has not: rare"):
        TextClassifier.from_pretrained(tiny_llama, plan="1", device="cpu").fit(
            rare, 0.2, progress=False, strict_labels=True, **SHORT
        )
    with pytest.raises(RecipeError, match=r"dev is 1\.0, expected a path, or a share between 0 and 1"):
        TextClassifier.from_pretrained(tiny_llama, plan="1", device="cpu").fit(rare, 1, progress=False, **SHORT)


def only(label: str) -> TextDataset:
    return TextDataset((Text("a", labels=(label,)), Text("b", labels=(label,))), Target.SINGLE)


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        (TextDataset(()), DataError, "train has no text"),
        (TextDataset((Text("a"),)), DataError, "train has texts without gold"),
        (only("x"), LabelError, "every text of train has the label 'x': a classifier needs two"),
        (TextDataset((Text("a", labels=()),), Target.MULTI), LabelError, "no text of train has a label"),
        (TextDataset((Text("a", value=2.0), Text("b", value=2.0)), Target.REGRESSION), DataError, "the number 2"),
    ],
)
def test_what_cannot_be_learned(train: TextDataset, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        text_settings_for(Recipe(), train)


def test_labels_of_dev_that_train_has_not(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    dev = TextDataset((*DEV.texts, Text("so so", labels=("mixed",))), Target.SINGLE)
    result, _ = run(tiny_llama, dev=dev, epochs=1.0)
    assert "dev has labels that train has not, scored as missed gold: mixed (1); 1 in all" in caplog.text
    assert result.unseen_types is not None
    assert result.outcome.best_score is not None
    assert result.outcome.best_score < 1
    with pytest.raises(LabelError, match="dev has labels that train has not: mixed"):
        run(tiny_llama, dev=dev, strict_labels=True)
    with pytest.raises(LabelError, match="dev has none of the classifier's labels"):
        run(tiny_llama, dev=only("other"))
    with pytest.raises(LabelError, match="dev has the target multi-label, and the classifier single-label"):
        run(tiny_llama, dev=as_multi(DEV))


def test_a_trained_classifier_is_trained_further(tiny_llama: Path) -> None:
    _, model = run(tiny_llama)
    tokenizer = load_base(tiny_llama, check=False).tokenizer
    row = model.score.weight[model.settings.label_to_id["good"]].clone()
    more = TextDataset((*TRAIN.texts[:4], Text("so so", labels=("mixed",))), Target.SINGLE)
    result = fit_texts(model, tokenizer, more, None, Recipe(**{**SHORT, "learning_rate": 1e-9}), progress=False)
    assert result.settings.labels == ("bad", "good", "mixed")
    assert result.new_labels == ("mixed",)
    assert torch.allclose(model.score.weight[1], row, atol=1e-5)
    with pytest.raises(LabelError, match="the classifier's target is single-label and train's is regression"):
        fit_texts(model, tokenizer, as_numbers(TRAIN), None, Recipe(**SHORT), progress=False)


def test_options_of_the_other_task_are_refused() -> None:
    with pytest.raises(RecipeError, match="subword is given, which is for --task tags, but the task is 'text'"):
        Recipe(task="text", subword="first")
    with pytest.raises(RecipeError, match="pooling is given, which is for --task text, but the task is 'tags'"):
        Recipe(task="tags", pooling="mean")


def test_the_numbers_of_a_regression_keep_their_scale(tiny_llama: Path) -> None:
    result, model = run(tiny_llama, train=as_numbers(TRAIN), dev=as_numbers(DEV))
    numbers = np.array([text.value for text in as_numbers(TRAIN)])
    assert result.settings.mean == pytest.approx(numbers.mean())
    assert result.settings.deviation == pytest.approx(numbers.std())
    assert model.config.base


def test_a_regression_trained_further_says_what_it_said(tiny_llama: Path) -> None:
    """Whatever the mean and the deviation of the new numbers are: the head is counted in them."""
    _, model = run(tiny_llama, train=as_numbers(TRAIN), dev=None)
    tokenizer = load_base(tiny_llama, plan="1", check=False).tokenizer
    before = TextPredictor(model, tokenizer).logits(DEV.texts)
    high = TextDataset(tuple(Text(t.text, value=5.0 + 0.1 * i) for i, t in enumerate(TRAIN)), Target.REGRESSION)
    result = fit_texts(model, tokenizer, high, None, Recipe(**{**SHORT, "learning_rate": 1e-9}), progress=False)
    assert result.settings.mean == pytest.approx(6.15)
    assert TextPredictor(model, tokenizer).logits(DEV.texts) == pytest.approx(before, abs=1e-3)


def test_large_numbers_that_lie_close_together_are_learned(tiny_llama: Path) -> None:
    """Of 100,000,050 and 100,000,060, float32 makes 100,000,048 and 100,000,064."""
    far = [TextDataset(tuple(Text(t.text, value=1e9 + (t.value or 0)) for t in as_numbers(d)), Target.REGRESSION)
           for d in (TRAIN, DEV)]  # fmt: skip
    near, _ = run(tiny_llama, train=as_numbers(TRAIN), dev=as_numbers(DEV))
    result, _ = run(tiny_llama, train=far[0], dev=far[1])
    assert result.outcome.best_score == pytest.approx(near.outcome.best_score, abs=1e-6)


@pytest.mark.parametrize("values", [(1e200, -1e200), (0.0, 1e-300)])
def test_numbers_that_cannot_be_computed_with_are_refused(values: tuple[float, float]) -> None:
    data = TextDataset(tuple(Text("a", value=value) for value in values), Target.REGRESSION)
    with pytest.raises(DataError, match=r"the numbers of train go from .* give them in another unit"):
        text_settings_for(Recipe(), data)


@pytest.mark.parametrize(("opening", "steps"), [("soft:0.5", 6), ("sudden", 0)])
def test_gradual_opening_reaches_the_text_model(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, opening: str, steps: int
) -> None:
    """How much the first sub-word's state in the plan's layers depends on the last one, update by update."""
    seen: list[float] = []
    inner = TaggerTrainer.compute_loss

    def compute_loss(self: TaggerTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
        with torch.no_grad():
            one, other = model.eval().hidden_states(ids)[:, 0]
        model.train()
        seen.append(float((one - other).abs().max()))
        return inner(self, model, inputs, *rest)

    monkeypatch.setattr(TaggerTrainer, "compute_loss", compute_loss)
    result, model = run(tiny_llama, opening=opening, learning_rate=1e-6, settings={"pooling": "mean"})
    assert len(seen) == 12
    whole = seen[-1]
    assert whole > 1e-4
    assert seen[steps:] == pytest.approx([whole] * (12 - steps), rel=0.05)
    if opening.startswith("soft"):
        assert seen[0] == 0
        assert seen[:steps] == sorted(set(seen[:steps]))
        assert seen[steps - 1] < 0.99 * whole
    assert str(model.backbone.config.lookright_right_contexts) == "[-1, -1, -1, -1]"
    assert result.recipe.opening == opening


@pytest.mark.parametrize(("name", "shown"), [("accuracy", "42.00"), ("R²", "0.4200")])
def test_a_score_in_the_table_is_that_of_the_last_line(name: str, shown: str) -> None:
    stream = io.StringIO()
    Reporter(5, name, stream).row({"epoch": 1, "update": 5, "loss": 0.5, "score": 0.42}, best=False)
    assert stream.getvalue().splitlines()[-1].split() == ["1.00", "5", "0.5000", shown, "-", "-"]
