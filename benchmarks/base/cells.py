"""The cells of the grid: which variant of a base is fine-tuned under which plan, on which set, with which seed.

A variant is a base under a name. A base that carries its plan (after `mlm` and `mntp`) is run under that plan alone; an
ordinary decoder under each plan that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from lookright.errors import RecipeError
from lookright.study.plans import SIXTEEN, plan_name

SETS: Final = ("wnut17", "ncbi-disease", "conll2000-chunk", "phee-events", "snips")
PLANS: Final = SIXTEEN

FIRST: Final = ("0000", "1111")
"""The plans of the decoder that are run before all others: the papers' question is the difference of the two."""
SECOND: Final = ("0011", "0001", "0111")
"""The other plans of the ladder from causal to open."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run of the grid; `name` is what filters match."""

    variant: str
    plan: str
    set: str
    seed: int

    @property
    def name(self) -> str:
        """Variant, plan, set and seed between slashes."""
        return f"{self.variant}/{self.plan}/{self.set}/{self.seed}"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """The cell of a row."""
        return cls(row["variant"], row["plan"], row["set"], row["seed"])


@dataclass(frozen=True)
class Settings:
    """What all runs of a study share; everything else is as in `lookright train`.

    Attributes:
        updates: of each run.
        batch_size: sentences per update.
        learning_rate: the highest one.
        subword: which sub-words of a word speak for it.
        evals: evaluations on dev in a run, about; the last update is always one.
        precision: number format, the same on every machine.
    """

    updates: int = 240
    batch_size: int = 16
    learning_rate: float = 5e-4
    subword: str = "mean"
    evals: int = 3
    precision: str = "bfloat16"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Variant:
    """A base under a name.

    Attributes:
        name: such as decoder, encoder, mntp-0011.
        folder: of the base.
        base: fingerprint of its weights.
        own_plan: the plan that it carries; None for an ordinary decoder.
    """

    name: str
    folder: Path
    base: str
    own_plan: str | None

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read `name=folder`.

        Raises:
            RecipeError: another form, a name that filters cannot match, or `mntp-PLAN` with another plan.
        """
        from lookright.models.base import carried_plan, fingerprint

        name, equals, place = text.partition("=")
        if not equals or not place or not re.fullmatch(r"[\w.-]+", name):
            raise RecipeError(
                f"variant {text!r}: expected NAME=FOLDER with letters, digits, dots and dashes in the name"
            )
        folder = Path(place)
        carried = carried_plan(folder)
        own = None if carried is None else plan_name(carried.to_list())
        named = re.fullmatch(r"mntp-([01]{4})", name)
        if named and named[1] != own:
            found = "carries no plan" if own is None else f"carries the plan {own}"
            raise RecipeError(f"variant {name}: {folder} {found}; expected a base adapted under {named[1]}")
        return cls(name, folder, fingerprint(folder), own)


def make_cells(
    own_plans: Mapping[str, str | None],
    *,
    plans: Sequence[str] = PLANS,
    sets: Sequence[str] = SETS,
    seeds: Sequence[int] = (0, 1, 2),
    only: Sequence[str] = (),
) -> list[Cell]:
    """The cells in the order in which they are run, such that stopping anywhere leaves a balanced table.

    Seed by seed; within a seed first the plans that matter most (the decoder causal and open, every base under its own
    plan), then the others; one plan on all sets before the next.

    Args:
        own_plans: the plan that each variant carries, or None.
        plans: of variants that carry none. A base that carries another plan than these is run all the same.
        sets, seeds: to cross.
        only: patterns of shells over `Cell.name`, any of which must match; none match everything.

    Raises:
        RecipeError: a pattern that matches no cell.
    """
    columns = [(name, own) for name, own in own_plans.items() if own is not None]
    columns += [(name, plan) for name, own in own_plans.items() if own is None for plan in plans]

    def rank(column: tuple[str, str]) -> tuple[int, int]:
        name, plan = column
        if own_plans[name] is not None:
            return 0, len(FIRST)
        place = (*FIRST, *SECOND).index(plan) if plan in (*FIRST, *SECOND) else len(PLANS)
        return (0 if plan in FIRST else 1), place

    ordered = sorted(columns, key=rank)  # stable: variants and plans keep the order in which they were given
    cells = [Cell(name, plan, where, seed) for seed in seeds for name, plan in ordered for where in sets]
    for pattern in only:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            raise RecipeError(f"--only {pattern!r} matches no run; runs are named {cells[0].name if cells else '-'}")
    return [cell for cell in cells if not only or any(fnmatchcase(cell.name, pattern) for pattern in only)]
