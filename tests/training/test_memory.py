"""Memory that runs out in training: the update is cut finer, and stays the same update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainer import difference, gradients, trainer_of
from training_support import run, same, weights

from lookright.errors import LookRightError
from lookright.training.recipe import Recipe
from lookright.training.trainer import UpdateTrainer


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device on which more than `memory[0]` sub-words at once are too much; the sizes tried follow."""
    room = [40]
    real = UpdateTrainer.compute_loss

    def compute_loss(self: UpdateTrainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = real(self, model, inputs, *args, **kwargs)
        room.append(inputs["input_ids"].numel())
        if room[-1] > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return loss

    monkeypatch.setattr(UpdateTrainer, "compute_loss", compute_loss)
    return room


def test_the_update_is_cut_finer_and_has_the_same_gradient(
    tiny_llama: Path, tmp_path: Path, memory: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    found, loss, _ = gradients(trainer := trainer_of(tiny_llama, tmp_path, 10_000, "packed"))
    assert trainer.data_collator.budget <= 40
    assert max(memory[1:]) > 40
    assert "out of memory on cpu: going on with --token-budget" in caplog.text
    memory[0] = 10_000
    whole, whole_loss, _ = gradients(trainer_of(tiny_llama, tmp_path, 10_000, "packed"))
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert difference(whole, found) < 1e-5


def test_an_update_put_together_ahead_of_time_is_cut_anew(tiny_llama: Path, tmp_path: Path, memory: list[int]) -> None:
    trainer = trainer_of(tiny_llama, tmp_path, 10_000, "packed")
    before = trainer.data_collator.budget
    gradients(trainer)
    ahead = trainer.data_collator
    ahead.budget, now = before, ahead.budget
    try:
        update = ahead([trainer.train_dataset[at] for at in next(iter(trainer.get_train_dataloader().batch_sampler))])
    finally:
        ahead.budget = now
    del memory[1:]
    trainer.training_step(trainer.model, update)
    assert max(memory[1:]) <= 40


def test_a_single_example_that_is_too_much_ends_the_run(tiny_llama: Path, tmp_path: Path, memory: list[int]) -> None:
    memory[0] = 2
    with pytest.raises(LookRightError, match=r"out of memory with a single example of .* take a smaller window"):
        gradients(trainer_of(tiny_llama, tmp_path, 10_000, "packed"))


def test_other_errors_pass(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(UpdateTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        gradients(trainer_of(tiny_llama, tmp_path, 10_000, "packed"))


def test_one_of_several_processes_says_what_to_set(tiny_llama: Path, tmp_path: Path, memory: list[int]) -> None:
    trainer = trainer_of(tiny_llama, tmp_path, 10_000, "packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(trainer.args), "world_size", 2)
        patch.setattr(trainer, "_over_processes", lambda words, batches: (words, batches))
        with pytest.raises(LookRightError, match="ran out of memory; set --token-budget to less than 10000"):
            gradients(trainer)


def test_the_budget_is_kept_for_a_resumption(tiny_llama: Path, tmp_path: Path, memory: list[int]) -> None:
    result, model = run(tiny_llama, tmp_path / "out", token_budget=100)
    kept = Recipe.from_toml(tmp_path / "out" / "recipe.toml").token_budget
    assert kept is not None
    assert kept <= 40
    assert result.recipe.token_budget == kept
    del memory[1:]
    again, resumed = run(tiny_llama, tmp_path / "out", resume=True)
    assert again.recipe.token_budget == kept
    assert same(weights(model), weights(resumed))
    run(tiny_llama, tmp_path / "out", resume=True, token_budget=20)  # another budget is no other run
