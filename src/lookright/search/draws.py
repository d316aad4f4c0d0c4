"""Which plans an update of a shared training run is under. Pure Python.

What is drawn is a function of the seed and the number of the update, so that a run can be resumed. One set of weights
for many networks is trained by the sandwich rule (Yu and Huang 2019, arXiv 1903.05134): the smallest and the largest
are always among what is trained, since they bound the others. An update here costs what an ordinary one costs: its
sentences are seen under one plan, or divided among two, instead of being seen under several.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Final

from lookright.errors import RecipeError
from lookright.plan import MaskPlan
from lookright.search.candidates import Candidates, opposite

UNIFORM: Final = ("plans", "open")
"""What may be uniform: the plans, or the number of open layers."""


@dataclass(frozen=True)
class PlanDraw:
    """The plans of each update.

    Draws are spread evenly: in a block of draws each plan comes up as often as its probability says, give or take one.
    Each draw is followed by its opposite, so that where all plans of some groups are candidates, each group is open for
    half of the two.

    Attributes:
        candidates: what is drawn from.
        seed: of the draws.
        extremes: probability of the two extremes, besides their share in the other draws.
        uniform: `plans`: over plans; `open`: over the number of open layers, then over the plans that have it.
        per_update: plans of an update: 2, which divide its sentences; or 1, and the opposite in the next update. Two
            make updates slower where they are small, since there are twice as many passes.
    """

    candidates: Candidates
    seed: int = 0
    extremes: float = 0.25
    uniform: str = "plans"
    per_update: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.extremes <= 1:
            raise RecipeError(f"the share of the extremes is {self.extremes}, expected a number from 0 to 1")
        if self.uniform not in UNIFORM:
            raise RecipeError(f"uniform is {self.uniform!r}, expected one of {', '.join(UNIFORM)}")
        if self.per_update not in (1, 2):
            raise RecipeError(f"{self.per_update} plans per update, expected 1 or 2")

    def __call__(self, update: int) -> tuple[MaskPlan, ...]:
        """The plans of an update, counted from 0."""
        number, turn = (update, 0) if self.per_update == 2 else divmod(update, 2)
        block, place = divmod(number, self.block)
        first = self.candidates.plans[_block(self, block)[place]]
        pair = first, self._opposites[first]
        return pair if self.per_update == 2 else (pair[turn],)

    @property
    def block(self) -> int:
        """Draws in a block."""
        return 2 * len(self.candidates)

    @cached_property
    def probabilities(self) -> tuple[float, ...]:
        """Of each candidate to be drawn; its opposite comes besides."""
        plans = self.candidates.plans
        if self.uniform == "plans":
            base = [1 / len(plans)] * len(plans)
        else:
            counts = Counter(len(plan.unmasked_layers) for plan in plans)
            base = [1 / (len(counts) * counts[len(plan.unmasked_layers)]) for plan in plans]
        ends = self.candidates.extremes
        return tuple(
            (1 - self.extremes) * share + self.extremes / 2 * (plan in ends)
            for plan, share in zip(plans, base, strict=True)
        )

    @cached_property
    def _opposites(self) -> dict[MaskPlan, MaskPlan]:
        plans = self.candidates.plans
        return {plan: opposite(plan, plans) for plan in plans}


@lru_cache(maxsize=16)
def _block(draw: PlanDraw, number: int) -> tuple[int, ...]:
    """The candidates of a block's draws: systematic sampling (Madow 1949), in random order."""
    source = random.Random(f"plans {draw.seed} {number}")
    borders = list(accumulate(draw.probabilities))
    start = source.random()
    points = [(index + start) / draw.block * borders[-1] for index in range(draw.block)]
    found = [min(bisect_right(borders, point), len(borders) - 1) for point in points]
    source.shuffle(found)
    return tuple(found)
