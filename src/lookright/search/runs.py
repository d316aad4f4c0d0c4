"""The training runs of a search: one under many plans at once, and one that shows no table of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from torch import Tensor, nn
from transformers import TrainingArguments

from lookright.attention import can_pack, plan_switch
from lookright.search.draws import PlanDraw
from lookright.training.progress import Reporter
from lookright.training.run import Outcome, TaggerRun
from lookright.training.trainer import Collate, TaggerTrainer, UpdateTrainer

PART: Final = "plan_of_update"
"""Which of the plans of its update a micro-batch is computed under: a key that the trainer takes out again."""


class BarOnly(Reporter):
    """Shows how far a run is, on a terminal; what came of it is the search's to tell."""

    def row(self, values: Mapping[str, Any], *, best: bool) -> None:
        """Nothing."""


class QuietRun(TaggerRun):
    """A run that shows a bar and no table."""

    def reporter(self) -> Reporter:
        """A bar on a terminal."""
        return BarOnly(self.plan.n_updates, None)


class SharedRun(QuietRun):
    """A run for all plans: each update is under plans of its own, and the last weights are taken.

    Args:
        arguments: of `TaggerRun`.
        draw: the plans of each update.
    """

    def __init__(self, *arguments: Any, draw: PlanDraw, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.draw = draw
        self.plan = replace(self.plan, opening=0)  # there is no one plan to open gradually
        self.scorer = self.score_name = None

    def go(self, device: Any, account: dict[str, Any], *, progress: bool) -> Outcome:
        """As every run; its account names all plans."""
        account["plan"] = [plan.to_list() for plan in self.draw.candidates.plans]
        return super().go(device, account, progress=progress)

    def trainer(self, args: TrainingArguments) -> UpdateTrainer:
        """The loop over examples. The output of frozen layers is not kept: it differs from plan to plan."""
        layout: Literal["packed", "padded"] = "packed" if can_pack(self.backbone) else "padded"
        collator = PlansCollator(self.examples.collator(self.recipe.token_budget or 1, layout), self.draw.per_update)
        return SharedTrainer(
            self.model, args, recipe=self.recipe, plan=self.plan, examples=self.examples, collator=collator,
            evaluate_dev=None, draw=self.draw,
        )  # fmt: skip


class PlansCollator:
    """Divides the examples of an update among its plans, and has each part put together as micro-batches.

    Args:
        collate: puts examples together.
        n_plans: of an update.
    """

    def __init__(self, collate: Collate, n_plans: int) -> None:
        self.collate, self.n_plans = collate, n_plans

    @property
    def budget(self) -> int:
        """Sub-words per micro-batch."""
        return self.collate.budget

    @budget.setter
    def budget(self, budget: int) -> None:
        """It is halved where memory runs out."""
        self.collate.budget = budget

    @property
    def least(self) -> int:
        """Micro-batches of a part, at least."""
        return self.collate.least

    @least.setter
    def least(self, least: int) -> None:
        """Set by the loop."""
        self.collate.least = least

    def __call__(self, update: Sequence[Any]) -> dict[str, Any]:
        """As `Collate`; each micro-batch says which plan of the update it is for."""
        parts = [part for number in range(self.n_plans) if (part := update[number :: self.n_plans])]
        made = [self.collate(part) for part in parts or [update]]
        for number, one in enumerate(made):
            for batch in one["micro_batches"]:
                batch[PART] = number
        return {
            "micro_batches": [batch for one in made for batch in one["micro_batches"]],
            "n_words": sum(one["n_words"] for one in made),
            "n_examples": sum(one["n_examples"] for one in made),
            "update": update,
            "budget": self.budget,
        }

    def batch(self, examples: Any) -> dict[str, Any]:
        """One micro-batch, of no plan of its own."""
        return self.collate.batch(examples)


class SharedTrainer(TaggerTrainer):
    """The loop for models with a head, each micro-batch under a plan of its update.

    Args:
        arguments, rest: of `TaggerTrainer`.
        draw: the plans of each update.
    """

    def __init__(self, model: nn.Module, *arguments: Any, draw: PlanDraw, **rest: Any) -> None:
        super().__init__(model, *arguments, **rest)
        self.draw = draw
        tagger: Any = model
        self.switch = plan_switch(tagger.backbone)

    def in_halves(self) -> bool:
        """Micro-batches under different plans cannot be computed at once; and plans are switched for each of them."""
        return False

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The SUM of the cross-entropies of a micro-batch under its plan."""
        plans = self.draw(int(self.state.global_step))
        self.switch(plans[inputs.pop(PART, 0) % len(plans)])
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
