"""From rows to what a study says: systems, comparisons, the plan that dev chose, the paper's test, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lookright.errors import DataError
from lookright.study.definition import Study
from lookright.study.matrix import Cell, difference, jobs_of
from lookright.study.plans import in_digits
from lookright.study.rows import Counts, Row, cell_name, done_rows
from lookright.study.statistics import (
    SAMPLES,
    Choice,
    Compared,
    PaperTest,
    Run,
    Runs,
    Summary,
    choose_plan,
    compare_pairs,
    paper_test,
    resampled,
    summarise,
)


@dataclass(frozen=True, order=True)
class Branch:
    """What plans are compared within: a model under a recipe."""

    model: str
    recipe: str


@dataclass(frozen=True)
class GroupEffect:
    """What opening one group of layers does.

    Attributes:
        group: counted from 0, the lowest.
        gain: mean over pairs of plans that differ in this group alone, open minus closed, of the mean over seeds.
        n_pairs: of such plans.
    """

    group: int
    gain: float
    n_pairs: int


@dataclass(frozen=True)
class Curve:
    """The dev figure over the updates, mean over seeds."""

    updates: tuple[int, ...]
    figures: tuple[float, ...]


@dataclass(frozen=True)
class BranchResult:
    """What is said of a model under a recipe on a data set.

    Attributes:
        by_plan: the summary of each plan, in the order of the study.
        choice: of the plan by dev; None where there is one plan, or no seed in common.
        paper: the paper's test on dev and on test; None while plans are missing.
        groups: the effect of each group; empty where no two plans differ in one group alone.
        n_groups: into how many the plans cut the layers.
        curves: of each plan.
    """

    by_plan: Mapping[str, Summary]
    choice: Choice | None
    paper: Mapping[str, PaperTest] | None
    groups: tuple[GroupEffect, ...]
    n_groups: int
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class DataResult:
    """What is said of a data set.

    Attributes:
        name: of the data set.
        convention: of the figures.
        n_test: test sentences, or texts.
        unit: what they are, in words.
        branches: each model under each recipe.
        comparisons: plans with the baseline, and others with the first system; Holm over all of them.
    """

    name: str
    convention: str
    n_test: int
    branches: Mapping[Branch, BranchResult]
    comparisons: Sequence[Compared]
    unit: str = "sentences"


@dataclass(frozen=True)
class Trouble:
    """A run that failed: how often, why the last time, and whether it was done in the end."""

    cell: str
    tries: int
    reason: str
    done: bool


@dataclass(frozen=True)
class StudyResults:
    """All that a study says.

    Attributes:
        study: its file.
        data: of each data set that has runs.
        n_done, n_runs: runs that are done, of how many.
        troubles: runs that failed.
        seconds: of all runs that are done, added up.
        machines, versions: they were done on, and with.
    """

    study: Study
    data: Sequence[DataResult]
    n_done: int
    n_runs: int
    troubles: Sequence[Trouble]
    seconds: float
    machines: Sequence[str]
    versions: Mapping[str, str]

    @property
    def branches(self) -> list[Branch]:
        """Those that have runs on any data set, in the order of the study."""
        found = {branch for result in self.data for branch in result.branches}
        order = [Branch(m.name, r.name) for m in self.study.models for r in self.study.recipes]
        return [branch for branch in order if branch in found]

    def label(self, branch: Branch, plan: str | None = None) -> str:
        """A short name: only what the study varies."""
        parts = []
        if len(self.study.models) > 1 or (plan is None and len(self.study.recipes) == 1):
            parts.append(branch.model)
        if len(self.study.recipes) > 1:
            parts.append(branch.recipe)
        return " ".join([*parts, *([] if plan is None else [plan])])


def results_of(
    study: Study, rows: Sequence[Row], counts: Mapping[str, Counts], *, samples: int = SAMPLES
) -> StudyResults | None:
    """What the rows of a study say; None where no run is done.

    Rows of cells that are no longer in the study are left out.

    Args:
        study: which cells there are.
        rows: of all runs.
        counts: of their test sentences, by run id.
        samples: of each test.

    Raises:
        DataError: rows without counts, or rows that do not belong together.
    """
    jobs = {job.name: job for job in jobs_of(study)}
    known = [row for row in rows if cell_name(row) in jobs]
    done = done_rows(known, Cell.of)
    _check(done, counts)
    if not done:
        return None
    names = [dataset.name for dataset in study.datasets]
    by_set = {name: {cell: row for cell, row in done.items() if cell.dataset == name} for name in names}
    last = max(done.values(), key=lambda row: str(row["ended"]))
    return StudyResults(
        study=study,
        data=[_data_result(study, name, found, counts, samples) for name, found in by_set.items() if found],
        n_done=len(done),
        n_runs=len(jobs),
        troubles=_troubles(known, done),
        seconds=sum(row["seconds"] for row in done.values()),
        machines=sorted({_machine(row["machine"]) for row in done.values()}),
        versions=last["versions"],
    )


def _check(done: Mapping[Cell, Row], counts: Mapping[str, Counts]) -> None:
    """Refuse rows that lack their counts, or that are of several studies."""
    first: dict[tuple[str, ...], Row] = {}
    for cell, row in done.items():
        if row["run"] not in counts:
            raise DataError(f"the counts of {cell.name} (run {row['run']}) are missing: merge the counts files, too")
        for key in ((cell.model,), ("", cell.dataset), (cell.model, cell.dataset, cell.recipe)):
            if (text := difference(first.setdefault(key, row), row)) is not None:
                raise DataError(f"the runs are not of one study: {text}")


def _troubles(rows: Sequence[Row], done: Mapping[Cell, Row]) -> list[Trouble]:
    failed: dict[Cell, list[Row]] = {}
    for row in rows:
        if row["status"] != "done":
            failed.setdefault(Cell.of(row), []).append(row)
    return [Trouble(cell.name, len(tries), tries[-1]["error"], cell in done) for cell, tries in failed.items()]


def _machine(account: Any) -> str:
    """A machine in words."""
    if not isinstance(account, dict):
        return str(account)
    return f"{account['device']}, {account['cores']} cores, {account['system']}"


def _data_result(
    study: Study, name: str, rows: Mapping[Cell, Row], counts: Mapping[str, Counts], samples: int
) -> DataResult:
    cells = sorted(rows)
    drawn = resampled([counts[rows[cell]["run"]] for cell in cells], samples=samples)
    runs: dict[Branch, dict[str, dict[int, Run]]] = {}
    for cell, figures in zip(cells, drawn, strict=True):
        row = rows[cell]
        run = Run(_figure(row, "dev"), _figure(row, "test"), counts[row["run"]], figures)
        runs.setdefault(Branch(cell.model, cell.recipe), {}).setdefault(cell.plan, {})[cell.seed] = run
    branches = {}
    for model in study.models:
        for recipe in study.recipes:
            branch = Branch(model.name, recipe.name)
            if branch in runs:
                by_plan = {plan: runs[branch][plan] for plan in study.plans_of(model) if plan in runs[branch]}
                own = {c: r for c, r in rows.items() if Branch(c.model, c.recipe) == branch}
                branches[branch] = _branch_result(by_plan, own, samples)
    first = next(iter(rows.values()))
    systems = {system_name(branch, plan): found for branch, plans in runs.items() for plan, found in plans.items()}
    return DataResult(
        name=name,
        convention=first["convention"],
        n_test=first["n_test"],
        branches=branches,
        comparisons=compare_pairs(systems, _pairs(study, branches), samples=samples),
        unit="texts" if first.get("task") == "text" else "sentences",
    )


def _figure(row: Row, split: str) -> float:
    """The figure of a row; 0 where nothing was predicted and it has none."""
    return 0.0 if row[split] is None else float(row[split])


def system_name(branch: Branch, plan: str) -> str:
    """Model, recipe and plan between slashes."""
    return f"{branch.model}/{branch.recipe}/{plan}"


def _pairs(study: Study, branches: Mapping[Branch, BranchResult]) -> list[tuple[str, str]]:
    """What is compared on a data set: plans with the baseline of their branch, the rest with the first system."""
    pairs: list[tuple[str, str]] = []
    reference: str | None = None
    for branch, result in branches.items():
        base = study.baseline if study.baseline in result.by_plan else None
        if reference is None:
            reference = system_name(branch, base or next(iter(result.by_plan)))
        for plan in result.by_plan:
            other = system_name(branch, base) if base not in (None, plan) else reference
            if other != system_name(branch, plan):
                pairs.append((system_name(branch, plan), other))
    return pairs


def _branch_result(by_plan: Mapping[str, Runs], rows: Mapping[Cell, Row], samples: int) -> BranchResult:
    digits = {name: runs for plan, runs in by_plan.items() if (name := in_digits(plan)) is not None}
    tests = {split: paper_test(digits, split, samples=samples) for split in ("dev", "test")}
    n_groups = _n_groups(by_plan)
    return BranchResult(
        by_plan={plan: summarise(runs) for plan, runs in by_plan.items()},
        choice=choose_plan(by_plan) if len(by_plan) > 1 else None,
        paper=None if None in tests.values() else {split: test for split, test in tests.items() if test is not None},
        groups=_group_effects(by_plan, n_groups),
        n_groups=n_groups,
        curves={plan: curve for plan in by_plan if (curve := _curve(plan, rows)) is not None},
    )


def _n_groups(plans: Mapping[str, Any]) -> int:
    """Into how many groups the plans that are written in digits cut the layers, 0 where they disagree."""
    lengths = {len(plan) for plan in plans if set(plan) <= {"0", "1"}}
    return lengths.pop() if len(lengths) == 1 else 0


def _group_effects(by_plan: Mapping[str, Runs], n_groups: int) -> tuple[GroupEffect, ...]:
    gains: dict[int, list[float]] = {}
    plans = [plan for plan in by_plan if n_groups and len(plan) == n_groups and set(plan) <= {"0", "1"}]
    for one, other in combinations(sorted(plans), 2):  # sorted: the second has the group open
        differing = [group for group in range(n_groups) if one[group] != other[group]]
        seeds = by_plan[one].keys() & by_plan[other].keys()
        if len(differing) == 1 and seeds:
            gain = np.mean([by_plan[other][seed].test - by_plan[one][seed].test for seed in seeds])
            gains.setdefault(differing[0], []).append(float(gain))
    return tuple(GroupEffect(group, float(np.mean(found)), len(found)) for group, found in sorted(gains.items()))


def _curve(plan: str, rows: Mapping[Cell, Row]) -> Curve | None:
    """The curve of a plan over the updates at which every seed was scored."""
    scored = [dict(row["evals"]) for cell, row in rows.items() if cell.plan == plan]
    updates = sorted(set.intersection(*map(set, scored))) if scored else []
    if len(updates) < 2:
        return None
    figures = [float(np.mean([one[update] or 0.0 for one in scored])) for update in updates]
    return Curve(tuple(updates), tuple(figures))
