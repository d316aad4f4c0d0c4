"""One run of the grid: load the base under the plan, fine-tune, choose the checkpoint on dev, score it on test."""

from __future__ import annotations

import functools
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.base.cells import Cell, Settings, plan_name
from benchmarks.base.rows import FORMAT, Counts, Row
from benchmarks.results import machine

DEV_SHARE: Final = 0.1
"""How much of train is held out, by content, for sets without a dev file."""
PLACES: Final = frozenset({"base", "train", "dev", "test", "out", "resume", "report_to", "trust_remote_code"})
"""Options of a recipe that a row does not keep."""


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


def first_part(job: Job) -> Row:
    """What every row of a job has, whatever becomes of it."""
    cell = job.cell
    return {
        "format": FORMAT,
        "status": "failed",
        "run": uuid.uuid4().hex[:16],
        "variant": cell.variant,
        "plan": cell.plan,
        "set": cell.set,
        "seed": cell.seed,
        "base": job.base,
        "settings": job.settings.to_dict(),
        "began": _now(),
    }


def failure(job: Job, error: str, traceback: str = "", *, seconds: float | None = None) -> Row:
    """The row of a run that failed."""
    row = first_part(job)
    return {**row, "ended": _now(), "seconds": seconds, "error": error, "traceback": traceback}


def fine_tune(job: Job) -> tuple[Row, Counts]:
    """Run a job; its row, and the counts of the test sentences (n_sentences, 3) gold, predicted, correct.

    Raises:
        LookRightError: what cannot be run.
    """
    from lookright import Tagger
    from lookright.errors import RecipeError

    row, settings = first_part(job), job.settings
    begin = time.perf_counter()
    train, dev, test = data_of(job.data / job.cell.set)
    tagger = Tagger.from_pretrained(job.folder, plan=None if job.own_plan else job.cell.plan, device=job.device)
    if tagger.plan is None or plan_name(tagger.plan.to_list()) != job.cell.plan:
        raise RecipeError(f"the base was loaded with the plan {tagger.plan}, expected {job.cell.plan}")
    per_epoch = -(-len(train) // settings.batch_size)
    result = tagger.fit(
        train,
        dev,
        seed=job.cell.seed,
        subword=settings.subword,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        precision=settings.precision,
        epochs=(settings.updates - 0.5) / per_epoch,  # rounded up to whole updates: just so many
        evals_per_epoch=max(1, round(settings.evals * per_epoch / settings.updates)),
        progress=False,
    )
    if result.outcome.n_updates != settings.updates:
        raise RecipeError(f"{result.outcome.n_updates} updates were done, expected {settings.updates}")
    report = tagger.evaluate(test, samples=1)
    row |= {
        "status": "done",
        "dev": result.outcome.best_score,
        "test": report.headline[1],
        "convention": report.convention,
        "dev_update": result.outcome.update,
        "evals": [[e["step"], e["eval_score"]] for e in result.outcome.history if "eval_score" in e],
        "n_train": len(train),
        "n_dev": len(dev),
        "n_test": len(test),
        "data": {"train": train.content_hash(), "dev": dev.content_hash(), "test": test.content_hash()},
        "fit_seconds": round(result.seconds, 2),
        "recipe": {name: value for name, value in result.recipe.to_dict().items() if name not in PLACES},
        "device": tagger.device.type,
        "machine": machine(),
        "versions": result.account["versions"],
        "ended": _now(),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    return row, report.scores.per_sentence


@functools.lru_cache(maxsize=8)
def data_of(folder: Path) -> tuple[Any, Any, Any]:
    """Train, dev and test of a set; where there is no dev file, a tenth of train, held out by content."""
    from lookright import hold_out, read_dataset

    train, test = read_dataset(folder / "train.conll"), read_dataset(folder / "test.conll")
    file = folder / "dev.conll"
    if file.exists():
        return train, read_dataset(file), test
    return *hold_out(train, DEV_SHARE), test


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
