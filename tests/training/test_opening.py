"""Opening the layers of a plan gradually: what each update sees, and that all else is under the whole plan."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_resume import contents, kill_at_update
from test_trainer import difference, gradients, trainer_of
from training_support import SHORT, TRAIN, in_child, run, same, tagger, weights

from lookright.attention import current_plan
from lookright.attention.masks import WEIGHT_KEY
from lookright.errors import RecipeError
from lookright.models.store import load_tagger, save_tagger
from lookright.plan import MaskPlan
from lookright.training import kept_trunk
from lookright.training.evaluation import DevScorer
from lookright.training.fit import fit
from lookright.training.opening import SHARE, Opening, weight_at
from lookright.training.recipe import OPTIONS, Recipe
from lookright.training.trainer import TaggerTrainer, out_of_patience

# What an update is computed under


def test_what_people_write_is_read() -> None:
    assert Opening.parse("sudden") == Opening(0.0)
    assert Opening.parse("soft") == Opening(SHARE)
    assert Opening.parse("soft:0.25") == Opening(0.25)
    assert Opening.parse("soft:1").share == 1.0
    assert Opening.parse("soft:1e-3").n_updates(240) == 1


@pytest.mark.parametrize(
    "text",
    ["", "sof", "soft:", "soft:0", "soft:1.5", "soft:-0.3", "soft:nan", "soft:inf", "soft:a", "soft:0.3:1",
     "sudden:0.3", "Soft", "0.3", "soft: 0.3", "soft:1e400"],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(opening=text)
    assert "\n" not in str(caught.value)
    assert "opening is " in str(caught.value)
    if text.strip():
        assert "as in 'soft:0.3'" in str(caught.value)


def test_the_nearest_kind_is_named() -> None:
    with pytest.raises(RecipeError, match="did you mean 'soft'"):
        Recipe(opening="sof:0.3")
    with pytest.raises(RecipeError, match="did you mean 'sudden'"):
        Recipe(opening="suden")


def test_flag_and_toml(tmp_path: Path) -> None:
    assert OPTIONS["opening"].from_text("soft:0.3") == "soft:0.3"
    recipe = Recipe(opening="soft:0.5")
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert Recipe.from_toml(tmp_path / "r.toml") == recipe
    assert recipe.differences(Recipe()) == ["opening"]


@given(share=st.floats(0.01, 1.0), total=st.integers(1, 400))
def test_from_causal_to_the_plan(share: float, total: int) -> None:
    n_opening = Opening(share).n_updates(total)
    assert 1 <= n_opening <= total
    assert n_opening - 1 < share * total <= n_opening + 1e-9
    grown = [weight_at(n, n_opening) for n in range(n_opening + 1)]
    assert (grown[0], grown[-1]) == (0.0, 1.0)
    steps = [after - before for before, after in itertools.pairwise(grown)]
    assert steps == pytest.approx([1 / n_opening] * n_opening)
    assert weight_at(total + 7, n_opening) == weight_at(0, 0) == weight_at(5, 0) == 1.0


# The loop


def opened(folder: Path, tmp_path: Path, how: str, done: int, budget: int = 10_000, plan: str = "0011") -> Any:
    """The gradient and the loss of an update when so many of 15 are done."""
    trainer = trainer_of(folder, tmp_path, budget, "packed", plan)
    trainer.recipe = trainer.recipe.replace(opening=how)  # type: ignore[union-attr]
    trainer.plan = type(trainer.plan).of(trainer.recipe, len(TRAIN))  # type: ignore[arg-type]
    trainer.state.global_step = done
    return gradients(trainer)


def test_an_update_has_one_gradient_however_it_is_cut(tiny_llama: Path, tmp_path: Path) -> None:
    whole, loss, one = opened(tiny_llama, tmp_path, "soft:0.9", 7)
    cut, cut_loss, many = opened(tiny_llama, tmp_path, "soft:0.9", 7, budget=25)
    assert (one, many >= 5) == (1, True)
    assert cut_loss == pytest.approx(loss, rel=1e-5)
    assert difference(whole, cut) < 1e-5


def test_the_first_update_is_causal_and_those_after_the_opening_are_the_plans(tiny_llama: Path, tmp_path: Path) -> None:
    causal = opened(tiny_llama, tmp_path, "sudden", 0, plan="0")
    first = opened(tiny_llama, tmp_path, "soft:0.4", 0)
    last, after = (opened(tiny_llama, tmp_path, "soft:0.4", done) for done in (5, 6))
    plan = opened(tiny_llama, tmp_path, "sudden", 6)
    assert (first[1], difference(first[0], causal[0])) == (causal[1], 0.0)
    assert (after[1], difference(after[0], plan[0])) == (plan[1], 0.0)
    assert difference(plan[0], causal[0]) > 1e-3
    assert difference(last[0], plan[0]) > 1e-4


def test_all_but_the_updates_is_under_the_whole_plan(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Any]] = {"update": [], "dev": [], "save": []}

    def spy(owner: Any, name: str, what: str, model_of: Any) -> None:
        real = getattr(owner, name)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            config = model_of(self).backbone.config
            rights = tuple(config.lookright_right_contexts)
            seen[what].append((rights, getattr(config, WEIGHT_KEY, None)))
            return real(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    spy(TaggerTrainer, "compute_loss", "update", lambda trainer: trainer.model)
    spy(TaggerTrainer, "save_model", "save", lambda trainer: trainer.model)
    spy(DevScorer, "figures", "dev", lambda scorer: scorer.predictor.model)
    _, model = run(tiny_llama, tmp_path / "out", plan="0011", opening="soft:1")
    whole = ((0, 0, -1, -1), None)
    assert seen["update"] == [((0,) * 4, None), *((whole[0], n / 15) for n in range(1, 15))]
    assert seen["dev"] == seen["save"] == [whole] * 3
    assert current_plan(model.backbone) == MaskPlan((0, 0, -1, -1))
    assert WEIGHT_KEY not in model.config.to_json_string() + model.backbone.config.to_json_string()
    for file in (tmp_path / "out").rglob("*.json"):
        assert WEIGHT_KEY not in file.read_text()


def test_a_checkpoint_chosen_while_opening_is_what_was_scored(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[torch.Tensor] = []
    ids = torch.randint(5, 200, (1, 12), generator=torch.Generator().manual_seed(0))

    def figures(self: DevScorer, **_: Any) -> dict[str, float | None]:
        with torch.no_grad():
            scored.append(self.predictor.model.eval()(ids).logits)
        score = [0.3, 0.7, 0.6][len(scored) - 1]
        return {"score": score, "precision": None, "recall": None, "macro_f1": None, "accuracy": 0.0}

    monkeypatch.setattr(DevScorer, "figures", figures)
    result, model = run(tiny_llama, opening="soft:1", dropout=0.0)
    assert result.outcome.update == 10
    save_tagger(tmp_path / "saved", model, tagger(tiny_llama)[1])
    loaded = load_tagger(tmp_path / "saved").model.eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, scored[1], rtol=1e-5, atol=1e-6)
        assert (loaded(ids).logits - scored[2]).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_killed_while_opening_and_resumed(tiny_llama: Path, tmp_path: Path, method: str) -> None:
    options: dict[str, Any] = {"opening": "soft:0.9", "evals_per_epoch": 2, "method": method}
    _, whole = run(tiny_llama, tmp_path / "whole", **options)

    def work() -> None:
        kill_at_update(9)
        run(tiny_llama, tmp_path / "cut", **options)

    assert in_child(work) == -signal.SIGKILL
    with pytest.raises(RecipeError, match="opening was"):
        run(tiny_llama, tmp_path / "cut", resume=True, **{**options, "opening": "sudden"})
    _, resumed = run(tiny_llama, tmp_path / "cut", resume=True, **options)
    assert same(weights(whole), weights(resumed))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_an_interrupted_update_leaves_the_plan(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TaggerTrainer, "compute_loss", interrupted)
    model, tokenizer = tagger(tiny_llama, "0011")
    with pytest.raises(KeyboardInterrupt):
        fit(model, tokenizer, TRAIN, recipe=Recipe(**SHORT, opening="soft"), progress=False)
    assert current_plan(model.backbone) == MaskPlan((0, 0, -1, -1))


def losses(result: Any) -> list[float]:
    return [entry["loss"] for entry in result.outcome.history if "loss" in entry]


def test_other_paths_give_the_same_losses(tiny_llama: Path) -> None:
    common: dict[str, Any] = {"opening": "soft:0.9", "dev": None, "epochs": 1.0, "dropout": 0.0}
    expected = losses(run(tiny_llama, **common)[0])
    for option in ({"gradient_checkpointing": True}, {"backend": "eager", "token_budget": 30}):
        assert losses(run(tiny_llama, **common, **option)[0]) == pytest.approx(expected, rel=1e-4)


def test_nothing_to_open(tiny_llama: Path) -> None:
    """A causal plan is the same opened gradually, so that studies may cross plans with openings."""
    (one, model), (other, gradual) = (run(tiny_llama, plan="0", opening=how) for how in ("sudden", "soft:0.5"))
    assert one.outcome == other.outcome
    assert same(weights(model), weights(gradual))


def test_an_encoder_has_nothing_closed(tiny_encoder: Path, tmp_path: Path) -> None:
    model, tokenizer = tagger(tiny_encoder, plan=None, window=64)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="opening is 'soft', which is for decoders"):
        fit(model, tokenizer, TRAIN, recipe=Recipe(**SHORT, opening="soft"), out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_patience_waits_for_the_plan() -> None:
    history = [{"step": step, "eval_score": score} for step, score in ((5, 0.5), (10, 0.4), (15, 0.3), (20, 0.2))]
    assert out_of_patience(history[:3], 2)
    assert not out_of_patience(history[:3], 2, opening=12)
    assert not out_of_patience(history[:3], 2, opening=15)
    assert not out_of_patience(history, 2, opening=15)
    assert out_of_patience(history, 2, opening=12)
    assert out_of_patience(history, 1, opening=15)
    assert not out_of_patience(history, 0)


def test_a_run_is_not_stopped_while_opening(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = iter(range(100, 0, -1))

    def figures(self: DevScorer, **_: Any) -> dict[str, float | None]:
        return {"score": next(worse) / 100, "precision": None, "recall": None, "macro_f1": None, "accuracy": 0.0}

    monkeypatch.setattr(DevScorer, "figures", figures)
    common = {"epochs": 6.0, "patience": 1}
    assert run(tiny_llama, **common, opening="soft:0.5")[0].outcome.n_updates == 20


# Frozen layers


@pytest.mark.parametrize(("plan", "kept"), [("0011", True), ("1", False)])
def test_frozen_layers_that_are_opened_are_not_kept(
    tiny_llama: Path,
    tmp_path: Path,
    plan: str,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What they make of a sentence changes from update to update; a causal trunk stays what it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "lookright")
    options: dict[str, Any] = {"plan": plan, "train_layers": "top:2", "opening": "soft:0.9", "dev": None}
    found = losses(run(tiny_llama, **options)[0])
    assert (tmp_path / "cache" / "lookright" / "trunks").exists() is kept
    assert ("some of them are opened gradually" in caplog.text) is not kept
    monkeypatch.setattr(kept_trunk, "MOST_BYTES", 0)
    assert losses(run(tiny_llama, **options)[0]) == pytest.approx(found, rel=1e-4)
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "cache")
