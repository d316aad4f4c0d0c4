"""The fault of the released code of arXiv 2401.14556, reproduced where it is asked for, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_support import SHORT, run

from lookright.training.examples import At, UpdateSampler
from lookright.training.recipe import Recipe
from lookright.training.schedule import Schedule, updates_per_epoch
from lookright.training.trainer import RunPlan, UpdateTrainer


def batches(n: int, fault: int) -> list[list[At]]:
    return [list(update) for update in UpdateSampler(n, 4, 7, lambda: 0, fault=fault)]


@pytest.mark.parametrize("n", [3, 16, 17, 40, 41])
def test_of_four_batches_the_last_one_is_left_and_an_epoch_ends_with_its_last(n: int) -> None:
    whole, left = batches(n, 0), batches(n, 4)
    kept = {index for index in range(len(whole)) if (index + 1) % 4 == 0} | {len(whole) - 1}
    assert left == [whole[index] for index in sorted(kept)]
    assert len(left) == updates_per_epoch(n, 4, 4)


def test_the_figures_of_the_released_run_on_conll_2003() -> None:
    # 14,041 sentences in batches of 16, five epochs: 1,100 updates that end at 1.7058e-4, as its loop was measured.
    recipe = Recipe(batch_size=16, epochs=5, accumulation_fault=4)
    plan = RunPlan.of(recipe, 14_041)
    assert (plan.updates_per_epoch, plan.n_updates, plan.n_scheduled) == (220, 1_100, 4_390)
    assert plan.n_scheduled is not None
    assert 2e-4 * Schedule("cosine", plan.n_scheduled)(1_100) == pytest.approx(1.7058e-4, rel=1e-4)
    sound = RunPlan.of(recipe.replace(accumulation_fault=0), 14_041)
    assert (sound.updates_per_epoch, sound.n_updates, sound.n_scheduled) == (878, 4_390, None)


def test_what_is_left_is_divided_by_the_number_of_batches(tiny_llama: Path, monkeypatch: Any) -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    losses: dict[int, list[float]] = {}
    plain = UpdateTrainer._gradients

    def watched(self: UpdateTrainer, model: Any, inputs: Any) -> Any:
        loss = plain(self, model, inputs)
        seen.setdefault(self.plan.fault, []).append(model.score.weight.grad.clone())
        losses.setdefault(self.plan.fault, []).append(float(loss))
        return loss

    monkeypatch.setattr(UpdateTrainer, "_gradients", watched)
    # Dropout would draw otherwise in the batches that are left out; with a batch an epoch, the first is the same.
    options = {**SHORT, "epochs": 1.0, "batch_size": 20, "dropout": 0.0, "detokenize": 0.0}
    for fault in (0, 4):
        run(tiny_llama, dev=None, **{**options, "accumulation_fault": fault})
    assert torch.allclose(4 * seen[4][0], seen[0][0], rtol=1e-5, atol=1e-9)
    assert losses[4][0] == pytest.approx(losses[0][0])  # what is logged is the loss of the batch


def test_the_learning_rate_does_not_come_down(tiny_llama: Path, monkeypatch: Any) -> None:
    made: list[Any] = []
    plain = UpdateTrainer.create_scheduler

    def kept(self: UpdateTrainer, *args: Any, **options: Any) -> Any:
        made.append(plain(self, *args, **options))
        return made[-1]

    monkeypatch.setattr(UpdateTrainer, "create_scheduler", kept)
    options = {"schedule": "cosine", "warmup_ratio": 0.0, "learning_rate": 1e-3}
    result, _ = run(tiny_llama, dev=None, accumulation_fault=4, **options)
    assert result.outcome.n_updates == 6  # of 15 batches
    assert made[-1].get_last_lr()[0] == pytest.approx(1e-3 * Schedule("cosine", 15)(6))
    run(tiny_llama, dev=None, **options)
    assert made[-1].get_last_lr()[0] == pytest.approx(0)


def test_one_evaluation_at_the_end(tiny_llama: Path) -> None:
    result, _ = run(tiny_llama, evals_per_epoch=0)
    scored = [entry["step"] for entry in result.outcome.history if "eval_score" in entry]
    assert scored == [result.outcome.n_updates] == [15]
