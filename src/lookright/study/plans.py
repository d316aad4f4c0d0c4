"""Plans by name: which ones there are, and when two names mean the same. Pure Python."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from lookright.errors import PlanError
from lookright.plan import MaskPlan

LAYERS: Final = 5040
"""Plans are compared on a model of so many layers, which can be cut into equal groups of almost any number."""

OWN: Final = "own"
"""In a study: the plan that the base carries; an encoder sees everything."""


def all_plans(groups: int) -> tuple[str, ...]:
    """The plans of so many groups that are closed or open; the left-most digit is the lowest group, 1 = open."""
    return tuple("".join(digits) for digits in itertools.product("01", repeat=groups))


SIXTEEN: Final = all_plans(4)
"""The papers' plans."""


def plan_name(right_contexts: Sequence[int]) -> str:
    """The plan of a model in four digits where it has that form, else in the shortest form."""
    plan = MaskPlan.parse(right_contexts, len(right_contexts))
    if plan.n_layers < 4:
        return str(plan)
    same = [name for name in SIXTEEN if MaskPlan.parse(name, plan.n_layers) == plan]
    return same[0] if same else str(plan)


@lru_cache(maxsize=1024)
def layers_of(plan: str) -> tuple[int, ...] | None:
    """What a plan says of each of `LAYERS` layers; None where only the base knows."""
    try:
        return MaskPlan.parse(plan, LAYERS).right_contexts
    except PlanError:
        return None


def openness(plan: str) -> int:
    """How many of `LAYERS` layers a plan opens; a plan that only the base knows counts as closed."""
    return sum(right != 0 for right in layers_of(plan) or ())


def is_causal(plan: str) -> bool:
    """Whether a plan opens no layer."""
    return layers_of(plan) is not None and openness(plan) == 0


def in_digits(plan: str, groups: int = 4) -> str | None:
    """The name of the plan in so many digits, where it has that form."""
    layers = layers_of(plan)
    return None if layers is None else next((n for n in all_plans(groups) if layers_of(n) == layers), None)
