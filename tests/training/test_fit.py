"""`fit` from end to end: what chooses the checkpoint, what is refused before any work, what is written."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_support import DEV, SHORT, TRAIN, run, same, tagger, toy_data, weights

from lookright.data import Dataset, Sentence
from lookright.errors import LabelError, OutputError, RecipeError
from lookright.models.lora import LoraSettings, add_lora, has_lora, lora_targets
from lookright.models.store import load_tagger, save_tagger
from lookright.tags import Scheme
from lookright.training.evaluation import DevScorer
from lookright.training.fit import fit
from lookright.training.recipe import Recipe
from lookright.training.trainer import TaggerTrainer


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, torch.Tensor]]:
    """Let dev score what the script says; returns the weights at each evaluation."""
    seen: list[dict[str, torch.Tensor]] = []

    def figures(self: DevScorer, **_: Any) -> dict[str, float | None]:
        seen.append(weights(self.predictor.model))
        return {"score": scores[len(seen) - 1], "precision": None, "recall": None, "macro_f1": None, "accuracy": 0.0}

    monkeypatch.setattr(DevScorer, "figures", figures)
    return seen


@pytest.mark.parametrize("kept", [True, False])
def test_the_checkpoint_is_the_one_that_dev_likes_best(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    seen = scripted(monkeypatch, [0.3, 0.7, 0.6])
    result, model = run(tiny_llama, tmp_path / "out" if kept else None)
    assert (result.outcome.update, result.outcome.best_score, result.outcome.chosen_by) == (10, 0.7, "dev")
    assert same(weights(model), seen[1])
    assert not same(weights(model), seen[2])
    if kept:
        names = {p.name for p in (tmp_path / "out" / "checkpoints").iterdir()}
        assert names == {"update-10", "update-15"}, "the best and the last are kept"


def test_test_data_is_never_looked_at(tiny_llama: Path, tmp_path: Path) -> None:
    """A recipe may name a test file; training neither opens it nor changes by it."""
    plain, one = run(tiny_llama)
    named, two = run(tiny_llama, test=str(tmp_path / "there-is-none.conll"))
    assert plain.outcome == named.outcome
    assert same(weights(one), weights(two))


def test_without_dev_the_last_weights_are_taken_and_that_is_said(tiny_llama: Path, tmp_path: Path) -> None:
    result, _ = run(tiny_llama, tmp_path / "out", dev=None)
    assert (result.outcome.chosen_by, result.outcome.update) == ("last", 15)
    assert result.outcome.best_score is None
    assert [p.name for p in (tmp_path / "out" / "checkpoints").iterdir()] == ["update-15"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["outcome"]["chosen_by"] == "last"


def test_a_share_of_train_can_be_dev(tiny_llama: Path) -> None:
    model, tokenizer = tagger(tiny_llama)
    data = toy_data(60)
    result = fit(model, tokenizer, data, recipe=Recipe(**SHORT | {"epochs": 1.0}, dev=0.3), progress=False)
    assert result.outcome.chosen_by == "dev"
    assert 30 <= result.n_sentences < 55
    assert result.account["dev"]["sentences"] + result.n_sentences == 60


def test_patience_stops_the_run(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [0.1, 0.9, 0.2, 0.3, 0.95, 0.95])
    result, model = run(tiny_llama, tmp_path / "out", epochs=6.0, patience=2, dev=DEV)
    assert result.outcome.stopped_early
    assert (result.outcome.n_updates, result.outcome.update) == (20, 10)
    assert same(weights(model), seen[1])


def test_patience_with_dev_data_needs_no_dev_in_the_recipe(tiny_llama: Path) -> None:
    result, _ = run(tiny_llama, patience=1, epochs=2.0)
    assert result.outcome.n_updates <= 10


def test_dev_scores_are_over_the_full_gold(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    strange = Dataset(
        (*DEV.sentences, Sentence(("Ziggy",), ("B-CAT",)), Sentence(("Zoe",), ("B-CAT",))), scheme=Scheme.IOB2
    )
    result, model = run(tiny_llama, dev=strange)
    assert result.unseen_types is not None
    assert result.unseen_types.counts == {"CAT": 2}
    assert "dev has types that train has not, scored as missed gold: CAT (2)" in caplog.text
    scorer = DevScorer(model, tagger(tiny_llama)[1], strange, torch.device("cpu"), 1000)
    assert scorer.scores().per_type["CAT"].gold == 2
    with pytest.raises(LabelError, match="CAT"):
        run(tiny_llama, dev=strange, strict_labels=True)


def test_the_result_can_be_made_again(tiny_llama: Path, tmp_path: Path) -> None:
    result, model = run(tiny_llama, tmp_path / "out")
    account = json.loads((tmp_path / "out" / "run.json").read_text())
    assert account["train"]["sha256"] == TRAIN.content_hash()
    assert account["dev"]["sha256"] == DEV.content_hash()
    assert account["seed"] == 0
    assert set(account["versions"]) >= {"lookright", "torch", "transformers", "python"}
    assert account["labels"] == list(model.settings.labels)
    assert account["plan"] == [-1] * 4
    recipe = Recipe.from_toml(tmp_path / "out" / "recipe.toml")
    assert recipe.differences(result.recipe) == []
    again, other = run(
        tiny_llama, None, **{n: v for n, v in recipe.to_dict().items() if n not in ("plan", "out", "dev")}
    )
    assert again.outcome == result.outcome
    assert same(weights(model), weights(other))


@pytest.mark.parametrize("there", ["file", "folder", "run"])
def test_an_out_folder_that_holds_something_else_is_refused(tiny_llama: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    else:
        run(tiny_llama, out, epochs=1.0)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError) as caught:
        run(tiny_llama, out)
    assert str(out) in str(caught.value)
    expected = {"file": "is a file", "folder": "thesis.tex", "run": "--resume"}[there]
    assert expected in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_bad_input_leaves_nothing_behind(tiny_llama: Path, tmp_path: Path) -> None:
    other = Dataset((Sentence(("a",), ("B-CAT",)),), scheme=Scheme.IOB2)
    with pytest.raises(LabelError, match="share no type"):
        run(tiny_llama, tmp_path / "out", dev=other)
    with pytest.raises(RecipeError, match="qlora"):
        run(tiny_llama, tmp_path / "out", method="qlora")
    with pytest.raises(RecipeError, match="at most"):
        run(tiny_llama, tmp_path / "out", window=100_000)
    assert list(tmp_path.iterdir()) == []


def test_options_that_need_others(tiny_llama: Path) -> None:
    with pytest.raises(RecipeError, match="patience is 3, but there is no dev set"):
        run(tiny_llama, dev=None, patience=3)
    with pytest.raises(RecipeError, match="no out folder to resume from"):
        run(tiny_llama, resume=True)


def test_another_plan_than_the_models_is_refused(tiny_llama: Path) -> None:
    model, tokenizer = tagger(tiny_llama, "1")
    with pytest.raises(RecipeError, match="plan is '01', but the model was loaded with 1"):
        fit(model, tokenizer, TRAIN, recipe=Recipe(plan="01"), progress=False)


def test_ctrl_c_leaves_the_last_checkpoint_whole(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole, _ = run(tiny_llama, tmp_path / "whole")
    step = TaggerTrainer.training_step

    def interrupted(self: TaggerTrainer, *rest: Any) -> Any:
        if self.state.global_step == 7:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(TaggerTrainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after update 7; .*update-5 is whole: go on with --resume"):
        run(tiny_llama, out)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["update-5"]
    monkeypatch.setattr(TaggerTrainer, "training_step", step)
    result, _ = run(tiny_llama, out, resume=True)
    assert result.outcome == whole.outcome


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TaggerTrainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
        run(tiny_llama, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["model", "optimizer", "log"])
def test_a_full_disk_is_one_line(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*_: Any, **__: Any) -> None:
        raise full if what != "optimizer" else RuntimeError("PytorchStreamWriter failed") from full

    target = {"model": "lookright.training.trainer.save_file", "optimizer": "torch.save"}.get(what)
    monkeypatch.setattr(target or "lookright.training.progress.RunLog.add", fails)
    with pytest.raises(OutputError, match=r"out: the disk is full; free some space") as caught:
        run(tiny_llama, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_training_leaves_the_process_as_it_was(tiny_llama: Path) -> None:
    import os

    from transformers.utils import logging as hf_logging

    environment, verbosity = dict(os.environ), hf_logging.get_verbosity()
    run(tiny_llama, precision="bfloat16", epochs=1.0)
    assert dict(os.environ) == environment
    assert hf_logging.get_verbosity() == verbosity
    result, _ = run(tiny_llama, precision="float32", epochs=1.0)  # a second run in other precision works
    assert result.recipe.precision == "float32"


def test_nothing_is_written_to_stdout(tiny_llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = tagger(tiny_llama)
    result = fit(model, tokenizer, TRAIN, DEV, Recipe(**SHORT))
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert "strict span F1, IOB2, micro" in lines[0]
    assert lines[1].split() == ["epoch", "update", "loss", "score", "precision", "recall"]
    rows = [line.split() for line in lines[2:]]
    assert [row[1] for row in rows] == ["5", "10", "15"]
    losses = [entry["loss"] for entry in result.outcome.history if "loss" in entry]
    assert len(losses) == 15
    epochs = [sum(losses[number : number + 5]) / 5 for number in (0, 5, 10)]
    assert [float(row[2]) for row in rows] == pytest.approx(epochs, abs=1e-4), "of the epoch, not of its last update"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_saved_tagger_is_a_base(tiny_llama: Path, tmp_path: Path, method: str) -> None:
    """Labels keep their places and their weights, new ones come after; adapters are trained further."""
    _, model = run(tiny_llama, method=method)
    save_tagger(tmp_path / "saved", model, tagger(tiny_llama)[1])
    loaded = load_tagger(tmp_path / "saved", merge=False)
    old = loaded.settings.labels
    more = Dataset(tuple(Sentence(("Ziggy", "sleeps"), ("B-CAT", "O")) for _ in range(4)), scheme=Scheme.IOB2)
    recipe = Recipe(**SHORT, method=method)
    result = fit(loaded.model, loaded.tokenizer, more, recipe=recipe, progress=False)
    assert result.settings.labels == (*old, "B-CAT", "I-CAT")
    assert result.new_labels == ("B-CAT", "I-CAT")
    assert has_lora(loaded.model.backbone) is (method == "lora")
    save_tagger(tmp_path / "again", loaded.model, loaded.tokenizer)
    assert load_tagger(tmp_path / "again").settings.labels == result.settings.labels


def test_adapters_are_merged_for_full_fine_tuning(tiny_llama: Path) -> None:
    model, tokenizer = tagger(tiny_llama)
    add_lora(model.backbone, LoraSettings(r=2, alpha=4, dropout=0.0, targets=lora_targets(model.backbone, "paper")))
    fit(model, tokenizer, TRAIN, recipe=Recipe(**SHORT, method="full"), progress=False)
    assert not has_lora(model.backbone)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_adapters_on_a_whole_tagger_are_merged(tiny_llama: Path, tmp_path: Path, method: str) -> None:
    """They belong to weights that are nowhere else; saved apart, they would be read back onto the wrong ones."""
    _, model = run(tiny_llama, method=method)
    save_tagger(tmp_path / "saved", model, tagger(tiny_llama)[1])
    loaded = load_tagger(tmp_path / "saved")  # an adapter is merged here, as for prediction
    result = fit(loaded.model, loaded.tokenizer, TRAIN, recipe=Recipe(**SHORT, method="lora"), progress=False)
    assert not has_lora(loaded.model.backbone)
    assert result.n_trained < result.n_parameters / 2
    save_tagger(tmp_path / "again", loaded.model, loaded.tokenizer)
    assert same(weights(loaded.model), weights(load_tagger(tmp_path / "again").model))


def test_encoders_and_document_context_train(tiny_encoder: Path, tiny_llama: Path) -> None:
    from lookright.models.base import load_base
    from lookright.models.settings import TaggerSettings
    from lookright.models.store import build_tagger

    base = load_base(tiny_encoder)
    model = build_tagger(base, TaggerSettings(window=64))
    result = fit(model, base.tokenizer, TRAIN, DEV, Recipe(**SHORT), progress=False)
    assert result.recipe.plan is None
    losses = [entry["loss"] for entry in result.outcome.history if "loss" in entry]
    assert losses[-1] < losses[0]
    result, _ = run(tiny_llama, context="document", window=40)
    assert result.settings.context == "document"


def test_plain_tags_are_chosen_by_accuracy(tiny_llama: Path) -> None:
    plain = Dataset(
        tuple(Sentence(s.words, tuple("NAME" if t != "O" else "x" for t in s.tags or ())) for s in TRAIN),
        scheme=Scheme.PLAIN,
    )
    model, tokenizer = tagger(tiny_llama, labels=("NAME",), scheme=Scheme.PLAIN)
    result = fit(model, tokenizer, plain, plain, Recipe(**SHORT), progress=False)
    assert result.settings.labels == ("NAME", "x")
    assert result.outcome.score_name == "accuracy, plain tags"


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_written(tiny_llama: Path, tmp_path: Path) -> None:
    model, tokenizer = tagger(tiny_llama)
    with pytest.raises(RecipeError, match="report_to is 'foo'"):
        fit(model, tokenizer, TRAIN, None, Recipe(epochs=0.1, report_to="foo"), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
