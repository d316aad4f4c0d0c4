"""The runs of a study: a cell for each model, plan, data set, recipe and seed, and the job that does it."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lookright.study.definition import Study, StudyData, StudyModel, StudyRecipe
from lookright.study.rows import FORMAT, Row, recipe_difference


@dataclass(frozen=True, order=True)
class Cell:
    """One run of a study."""

    model: str
    plan: str
    dataset: str
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        """Its parts between slashes."""
        return f"{self.model}/{self.plan}/{self.dataset}/{self.recipe}/{self.seed}"

    @classmethod
    def of(cls, row: Row) -> Cell:
        """The cell of a row; rows of format 1 have no name for their recipe."""
        if row["format"] == 1:
            return cls(row["variant"], row["plan"], row["set"], "-", row["seed"])
        return cls(row["model"], row["plan"], row["dataset"], row["recipe_name"], row["seed"])


@dataclass(frozen=True)
class StudyJob:
    """All that a process needs to know for a run.

    Attributes:
        cell: what to run.
        model, dataset, recipe: what the study says of its parts.
        folder: that paths are relative to.
        device: auto, cpu, cuda, mps.
    """

    cell: Cell
    model: StudyModel
    dataset: StudyData
    recipe: StudyRecipe
    folder: Path
    device: str = "auto"

    @property
    def name(self) -> str:
        """Of its cell."""
        return self.cell.name

    @property
    def id(self) -> str:
        """The same for the same run, whatever else is in the study: a hash of what decides its numbers."""
        parts = [d.definition() for d in (self.model, self.dataset, self.recipe)]
        text = json.dumps([*parts, self.cell.plan, self.cell.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def first_part(self) -> Row:
        """What every row of it has, whatever becomes of it."""
        cell = self.cell
        return {
            "format": FORMAT,
            "status": "failed",
            "run": uuid.uuid4().hex[:16],
            "cell": cell.name,
            "id": self.id,
            "model": cell.model,
            "plan": cell.plan,
            "dataset": cell.dataset,
            "recipe_name": cell.recipe,
            "seed": cell.seed,
            "began": now(),
        }

    def failure(self, error: str, traceback: str = "", *, seconds: float | None = None) -> Row:
        """The row of a run that failed."""
        row = self.first_part()
        return {**row, "ended": now(), "seconds": seconds, "error": error, "traceback": traceback}


def jobs_of(study: Study, *, device: str = "auto") -> list[StudyJob]:
    """All runs, in the order in which they are done, such that stopping anywhere leaves a balanced table.

    Seed by seed; within a seed plan by plan as they are listed; each plan on all models, recipes and data sets.
    """
    columns = [(rank, plan, model) for model in study.models for rank, plan in enumerate(study.plans_of(model))]
    columns.sort(key=lambda column: column[0])  # stable: models keep their order
    return [
        StudyJob(Cell(model.name, plan, dataset.name, recipe.name, seed), model, dataset, recipe, study.folder, device)
        for seed in study.seeds
        for _, plan, model in columns
        for recipe in study.recipes
        for dataset in study.datasets
    ]


def now() -> str:
    """The time, for rows."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def difference(first: Row, second: Row) -> str | None:
    """What two rows of a study should have in common and have not, in words; None where they go together."""
    one, other = Cell.of(first), Cell.of(second)
    shared: list[tuple[bool, Any, Any, str]] = [
        (one.model == other.model, first["base"], second["base"], f"weights of {one.model}"),
        (one.dataset == other.dataset, first["data"], second["data"], f"data of {one.dataset}"),
        (one.dataset == other.dataset, first["convention"], second["convention"], f"convention of {one.dataset}"),
    ]
    for applies, here, there, what in shared:
        if applies and here != there:
            return f"the {what} changed between the runs {first['run']} and {second['run']}"
    if (one.model, one.dataset, one.recipe) == (other.model, other.dataset, other.recipe):
        return recipe_difference(first, second)
    return None
