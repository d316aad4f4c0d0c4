"""One run of the grid: load the base under the plan, fine-tune, choose the checkpoint on dev, score it on test."""

from __future__ import annotations

import functools
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.base.cells import Cell, Settings
from benchmarks.base.rows import FORMAT
from benchmarks.results import machine

from lookright.study.matrix import now
from lookright.study.plans import plan_name
from lookright.study.rows import Counts, Row

DEV_SHARE: Final = 0.1
"""How much of train is held out, by content, for sets without a dev file."""


@dataclass(frozen=True)
class Job:
    """All that a process needs to know for a run.

    Attributes:
        cell: what to run.
        folder: of the base.
        base: fingerprint of its weights.
        own_plan: whether the plan is the one that the base carries.
        data: folder with a folder for each set.
        device: auto, cpu, cuda, mps.
        settings: of the study.
    """

    cell: Cell
    folder: Path
    base: str
    own_plan: bool
    data: Path
    device: str
    settings: Settings

    @property
    def name(self) -> str:
        """Of its cell."""
        return self.cell.name

    def first_part(self) -> Row:
        """What every row of it has, whatever becomes of it."""
        return {
            "format": FORMAT,
            "status": "failed",
            "run": uuid.uuid4().hex[:16],
            "variant": self.cell.variant,
            "plan": self.cell.plan,
            "set": self.cell.set,
            "seed": self.cell.seed,
            "base": self.base,
            "settings": self.settings.to_dict(),
            "began": now(),
        }

    def failure(self, error: str, traceback: str = "", *, seconds: float | None = None) -> Row:
        """The row of a run that failed."""
        row = self.first_part()
        return {**row, "ended": now(), "seconds": seconds, "error": error, "traceback": traceback}


def fine_tune(job: Job) -> tuple[Row, Counts]:
    """Run a job; its row, and the counts of the test sentences (n_sentences, 3) gold, predicted, correct.

    Raises:
        LookRightError: what cannot be run.
    """
    from lookright import Tagger
    from lookright.api.studies import Sets, train_and_score
    from lookright.errors import RecipeError
    from lookright.training.recipe import Recipe

    row, settings = job.first_part(), job.settings
    begin = time.perf_counter()
    sets = Sets(*data_of(job.data / job.cell.set))
    tagger = Tagger.from_pretrained(job.folder, plan=None if job.own_plan else job.cell.plan, device=job.device)
    if tagger.plan is None or plan_name(tagger.plan.to_list()) != job.cell.plan:
        raise RecipeError(f"the base was loaded with the plan {tagger.plan}, expected {job.cell.plan}")
    recipe = Recipe(
        seed=job.cell.seed, subword=settings.subword, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, precision=settings.precision,
    )  # fmt: skip
    part, counts = train_and_score(tagger, sets, recipe, updates=settings.updates, evals=settings.evals)
    row |= {**part, "machine": machine(), "ended": now(), "seconds": round(time.perf_counter() - begin, 2)}
    return row, counts


@functools.lru_cache(maxsize=8)
def data_of(folder: Path) -> tuple[Any, Any, Any]:
    """Train, dev and test of a set; where there is no dev file, a tenth of train, held out by content."""
    from lookright import hold_out, read_dataset

    train, test = read_dataset(folder / "train.conll"), read_dataset(folder / "test.conll")
    file = folder / "dev.conll"
    if file.exists():
        return train, read_dataset(file), test
    return *hold_out(train, DEV_SHARE), test
