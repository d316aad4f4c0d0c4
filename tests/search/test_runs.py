"""The shared run: each micro-batch under the plan that was drawn for it, all words of an update counted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from search_support import search
from torch import Tensor

from lookright.attention import current_plan
from lookright.attention.masks import weight_ahead
from lookright.models import base as base_module
from lookright.plan import MaskPlan
from lookright.search import workshop
from lookright.search.candidates import Candidates
from lookright.search.draws import PlanDraw
from lookright.search.runs import PART, PlansCollator, QuietRun, SharedTrainer
from lookright.search.strategies import Shared
from lookright.training.trainer import TaggerTrainer


@pytest.mark.parametrize(("per_update", "opening"), [(1, "sudden"), (2, "soft:1")])
def test_each_micro_batch_is_under_its_plan(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, per_update: int, opening: str
) -> None:
    seen: list[tuple[int, MaskPlan | None]] = []
    inner = TaggerTrainer.compute_loss

    def compute_loss(self: TaggerTrainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        if isinstance(self, SharedTrainer):
            assert PART not in inputs
            assert weight_ahead(model.backbone.config) == 1.0
            seen.append((int(self.state.global_step), current_plan(model.backbone)))
        return inner(self, model, inputs, *rest)

    monkeypatch.setattr(TaggerTrainer, "compute_loss", compute_loss)
    result = search(tiny_llama, strategy=Shared(per_update=per_update), seed=3, opening=opening).result
    draw = PlanDraw(Candidates.of_groups(4), 3, per_update=per_update)
    updates = next(trial.updates for trial in result.trials if trial.stage == "shared")
    assert seen == [(update, plan) for update in range(updates) for plan in draw(update)]


def test_the_final_model_is_probed_under_the_plan_that_was_found(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[MaskPlan | None] = []
    inner = base_module.check_plan

    def check_plan(model: Any) -> Any:
        probed.append(current_plan(model))
        return inner(model)

    monkeypatch.setattr(base_module, "check_plan", check_plan)
    result = search(tiny_llama, plans=["0000", "1111"]).result
    assert probed == [MaskPlan.bidirectional(4), result.plan]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The head's weights with which each run began, by the name of its folder."""
    found: dict[str, Tensor] = {}
    inner = QuietRun.trainer

    def trainer(self: QuietRun, *rest: Any) -> Any:
        found[self.folder.path.name] = self.headed.score.weight.detach().clone()
        return inner(self, *rest)

    monkeypatch.setattr(QuietRun, "trainer", trainer)
    return found


def test_a_round_of_halving_goes_on_with_the_weights_of_the_one_before(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: dict[str, Tensor]
) -> None:
    ended: dict[str, Tensor] = {}
    inner = workshop.save_file

    def save_file(state: dict[str, Tensor], path: Path) -> None:
        ended[path.parent.name] = state["score.weight"].clone()
        inner(state, path)

    monkeypatch.setattr(workshop, "save_file", save_file)
    plans = ["0000", "0011", "1111"]
    search(tiny_llama, tmp_path / "out", strategy="halving", plans=plans, epochs=3.0)
    second = [name for name in begun if name.startswith("round-2")]
    assert len(second) == 2
    assert all(begun[name].equal(ended[name.replace("round-2", "round-1")]) for name in second)
    (final,) = [name for name in begun if name.startswith("final")]
    assert begun[final].equal(ended[final.replace("final", "round-2")])
    assert len({weights.sum().item() for weights in begun.values()}) == 4  # the first round begins alike for all plans


def test_finalists_begin_alike(tiny_llama: Path, tmp_path: Path, begun: dict[str, Tensor]) -> None:
    search(tiny_llama, tmp_path / "out", strategy=Shared(finalists=2), budget=3)
    one, other = [weights for name, weights in begun.items() if name.startswith("final")]
    assert one.equal(other)


class Numbers:
    """Puts examples together that are numbers; a word each."""

    budget = 100

    def __call__(self, update: Any) -> dict[str, Any]:
        return {"micro_batches": [{"of": list(update)}], "n_words": len(update), "n_examples": len(update)}

    def batch(self, examples: Any) -> dict[str, Any]:
        return {"of": list(examples)}


def test_the_examples_of_an_update_are_divided_among_its_plans() -> None:
    numbers = Numbers()
    collator = PlansCollator(numbers, 2)
    found = collator([1, 2, 3, 4, 5])
    assert found["micro_batches"] == [{"of": [1, 3, 5], PART: 0}, {"of": [2, 4], PART: 1}]
    assert (found["n_words"], found["n_examples"], found["update"]) == (5, 5, [1, 2, 3, 4, 5])
    assert collator([1])["micro_batches"] == [{"of": [1], PART: 0}]
    assert collator([])["micro_batches"] == [{"of": [], PART: 0}]
    collator.budget = 50
    assert numbers.budget == 50
