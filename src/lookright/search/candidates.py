"""The plans that a search chooses among, each under a name. Pure Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lookright.errors import PlanError
from lookright.plan import UNBOUNDED, MaskPlan, PlanSpec

MOST_CANDIDATES: Final = 256
"""Plans above which a search is refused: all of them are scored at least once."""
GROUPS: Final = 4
"""Groups of layers unless something else is asked for: those of the papers."""
CAUSAL_OR_OPEN: Final = (0, UNBOUNDED)
"""What a group may be, unless something else is asked for."""


@dataclass(frozen=True)
class Candidates:
    """Plans by name, those with fewer open layers first.

    Attributes:
        names: as they are shown: "0011", "0,0,2,2".
        plans: as many, all different, all for the same number of layers.

    Raises:
        PlanError: fewer than two, too many, or two that are the same.
    """

    names: tuple[str, ...]
    plans: tuple[MaskPlan, ...]

    def __post_init__(self) -> None:
        if len(self.plans) < 2:
            found = f"only {self.names[0]}" if self.plans else "none"
            raise PlanError(f"a search needs at least two plans to choose among, found {found}")
        if len(self.plans) > MOST_CANDIDATES:
            raise PlanError(
                f"{len(self.plans)} plans are too many to search, expected at most {MOST_CANDIDATES}: take fewer "
                "groups, or fewer right contexts for them"
            )
        seen: dict[MaskPlan, str] = {}
        for name, plan in zip(self.names, self.plans, strict=True):
            if plan in seen:
                raise PlanError(f"{seen[plan]} and {name} are the same plan in {plan.n_layers} layers; leave one out")
            seen[plan] = name
        order = sorted(range(len(self.plans)), key=lambda index: openness(self.plans[index]))
        object.__setattr__(self, "names", tuple(self.names[index] for index in order))
        object.__setattr__(self, "plans", tuple(self.plans[index] for index in order))

    @classmethod
    def of_groups(
        cls,
        n_layers: int,
        groups: int = GROUPS,
        contexts: Sequence[int] = CAUSAL_OR_OPEN,
        *,
        most_look_ahead: int | None = None,
    ) -> Candidates:
        """All plans in which each group of layers has one of some right contexts.

        Args:
            n_layers: of the model.
            groups: how many, as equal as possible, larger ones first.
            contexts: right contexts that a group may have.
            most_look_ahead: leave out plans that look further ahead than so many sub-words in all.

        Raises:
            PlanError: more groups than layers, or too few or too many plans.
        """
        check_groups(n_layers, groups)
        options = tuple(dict.fromkeys(contexts))
        if len(options) ** groups > 100 * MOST_CANDIDATES:
            raise PlanError(
                f"{len(options)} right contexts for each of {groups} groups are {len(options) ** groups:,} plans, "
                f"expected at most {MOST_CANDIDATES}: take fewer groups, or fewer right contexts"
            )
        specs = [group_name(rights) for rights in itertools.product(options, repeat=groups)]
        return cls.of_specs(specs, n_layers, most_look_ahead=most_look_ahead)

    @classmethod
    def of_specs(cls, specs: Iterable[PlanSpec], n_layers: int, *, most_look_ahead: int | None = None) -> Candidates:
        """Plans in any form that `MaskPlan.parse` reads; texts are their own names.

        Raises:
            PlanError: a plan that cannot be read, two that are the same, or too few or too many.
        """
        named = [(spec, MaskPlan.parse(spec, n_layers)) for spec in specs]
        if most_look_ahead is not None:
            within = [(spec, plan) for spec, plan in named if reach(plan) <= most_look_ahead]
            if len(within) < 2 <= len(named):
                raise PlanError(
                    f"{len(within)} of {len(named)} plans look ahead no further than {most_look_ahead} sub-words in "
                    "all, and a search needs at least two; allow more, or take smaller right contexts, such as 0 and 1"
                )
            named = within
        names = tuple(spec.strip() if isinstance(spec, str) else str(plan) for spec, plan in named)
        return cls(names, tuple(plan for _, plan in named))

    @property
    def n_layers(self) -> int:
        """Layers of each plan."""
        return self.plans[0].n_layers

    def __len__(self) -> int:
        return len(self.plans)

    def name_of(self, plan: MaskPlan) -> str:
        """The name of a plan that is among them."""
        return self._by_plan[plan]

    def named(self, name: str) -> MaskPlan:
        """The plan of this name."""
        return self.plans[self.names.index(name)]

    @property
    def extremes(self) -> tuple[MaskPlan, MaskPlan]:
        """The plan with the fewest open layers, and the one with the most."""
        return self.plans[0], self.plans[-1]

    @property
    def causal(self) -> str | None:
        """The name of the causal plan, where it is among them."""
        return self.names[0] if self.plans[0].is_causal else None

    @cached_property
    def _by_plan(self) -> dict[MaskPlan, str]:
        return dict(zip(self.plans, self.names, strict=True))


def ladder(n_layers: int, groups: int = GROUPS, contexts: Sequence[int] = CAUSAL_OR_OPEN) -> tuple[str, ...]:
    """The names of the plans that open one group after the other from the top: 0000, 0001, 0011, 0111, 1111.

    Args:
        n_layers: of the model.
        groups: of layers.
        contexts: right contexts; each one but 0 has a ladder of its own.

    Raises:
        PlanError: more groups than layers, or nothing to open groups with.
    """
    check_groups(n_layers, groups)
    rights = [right for right in dict.fromkeys(contexts) if right]
    if not rights:
        raise PlanError("a ladder needs a right context other than 0 to open groups with")
    steps = [(0,) * (groups - n_open) + (right,) * n_open for right in rights for n_open in range(groups + 1)]
    return tuple(dict.fromkeys(group_name(step) for step in steps))


def check_groups(n_layers: int, groups: int) -> None:
    """Refuse a number of groups that the layers cannot be cut into.

    Raises:
        PlanError: it is not from 1 to the number of layers.
    """
    if not 1 <= groups <= n_layers:
        found = f"the model has only {n_layers} layer{'' if n_layers == 1 else 's'}"
        raise PlanError(f"{groups} groups are asked for, but {found if groups > 0 else 'there must be at least one'}; "
                        f"take --groups {min(max(groups, 1), n_layers)}")  # fmt: skip


def group_name(rights: Sequence[int]) -> str:
    """The plan specification for a right context per group: digits where they say it all, else the comma form."""
    if all(right in CAUSAL_OR_OPEN for right in rights):
        return "".join("0" if right == 0 else "1" for right in rights)
    text = ",".join("*" if right == UNBOUNDED else str(right) for right in rights)
    return text if len(rights) > 1 else text + ","


def reach(plan: MaskPlan) -> float:
    """The total look-ahead in sub-words; infinite where there is no limit."""
    return math.inf if plan.look_ahead is None else plan.look_ahead


def openness(plan: MaskPlan) -> tuple[int, float, tuple[int, ...]]:
    """What plans are ordered by: the number of open layers, then the total look-ahead, then upper layers open first."""
    return len(plan.unmasked_layers), reach(plan), tuple(-layer for layer in plan.unmasked_layers)


def opposite(plan: MaskPlan, among: Sequence[MaskPlan]) -> MaskPlan:
    """The plan that differs from this one in the most layers, the first of several."""
    rights = plan.right_contexts
    return max(among, key=lambda other: sum(a != b for a, b in zip(rights, other.right_contexts, strict=True)))


def layers_computed(plans: Sequence[MaskPlan]) -> int:
    """How many layers are computed to run all plans on the same input, when what lower layers give is used again."""
    ordered = sorted(plan.right_contexts for plan in plans)
    n_layers = plans[0].n_layers
    return n_layers + sum(n_layers - common(a, b) for a, b in itertools.pairwise(ordered))


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many layers, from below, two plans have in common."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))
    return sum(1 for _ in same)
