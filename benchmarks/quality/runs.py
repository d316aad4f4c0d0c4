"""Runs that are kept: a row of JSON Lines each, the predicted tags beside it, and nothing run twice."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.results import machine

SYSTEMS: Final = ("ours", "crf", "spacy")
"""In the order of the table. The last two are the peers."""

BUSY: Final = 0.9
"""A process that computes gets at least so much of one core, unless others are computing too."""


@dataclass(frozen=True)
class Job:
    """What makes a run the run that it is: two jobs that are equal give the same figure.

    Attributes:
        system: one of `SYSTEMS`.
        set: a key of `sets.SETS`.
        seed: of everything random in it.
        data: the fingerprint of the split.
        settings: all else that decides the result, in JSON types: versions, hyperparameters, the base's fingerprint.
    """

    system: str
    set: str
    seed: int
    data: str
    settings: Mapping[str, Any]

    @property
    def id(self) -> str:
        """A hash of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Answer:
    """What a system gives back.

    Attributes:
        tags: of each test sentence.
        train_seconds: from labeled sentences in memory to a model that was chosen on dev.
        predict_seconds: to tag all test sentences.
        dev_score: the figure that chose the model, 0 to 1; None where nothing was chosen.
        account: what else is worth keeping, in JSON types.
    """

    tags: Sequence[Sequence[str]]
    train_seconds: float
    predict_seconds: float
    dev_score: float | None
    account: Mapping[str, Any]


class Runs:
    """The file of rows, and the folder of predictions beside it.

    A row is appended when its run has ended and its predictions are on disk; several processes may append to one file.

    Args:
        path: of the rows; need not exist. `runs.jsonl` has its predictions in `runs-predictions/`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(f"{path.stem}-predictions")
        self._said: set[int] = set()

    def rows(self) -> dict[str, dict[str, Any]]:
        """All finished runs by the id of their job, the latest where there are two.

        A line that was cut off, when a process was killed while it wrote, is said once, and left out.
        """
        if not self.path.exists():
            return {}
        rows = {}
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                if number not in self._said:
                    print(f"{self.path}:{number}: cut off, and left out", file=sys.stderr)
                self._said.add(number)
                continue
            rows[row["id"]] = row
        return rows

    def add(
        self, job: Job, answer: Answer, figure: tuple[str, float | None], held_out: bool, cpu_seconds: float
    ) -> dict[str, Any]:
        """Keep a finished run: first its predictions, then its row.

        Args:
            job: what was run.
            answer: what came of it.
            figure: the name and the value, 0 to 1, of the score on test.
            held_out: whether dev was held out of train.
            cpu_seconds: processor time of the whole run, over all threads.
        """
        unit, score = figure
        name = f"{job.system}-{job.set}-{job.seed}-{job.id}.json.gz"
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{name}.partial"
        # mtime=0: the same predictions give the same bytes.
        partial.write_bytes(gzip.compress(json.dumps([list(tags) for tags in answer.tags]).encode(), mtime=0))
        partial.replace(self.folder / name)
        row = {
            "id": job.id,
            **asdict(job),
            "test": None if score is None else round(100 * score, 4),
            "unit": f"100 x {unit}",
            "dev": None if answer.dev_score is None else round(100 * answer.dev_score, 4),
            "train_seconds": round(answer.train_seconds, 1),
            "predict_seconds": round(answer.predict_seconds, 2),
            "cpu_seconds": round(cpu_seconds, 1),
            "account": dict(answer.account),
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "dev_is_held_out": held_out,
            "predictions": name,
        }
        self._append(json.dumps(row, ensure_ascii=False))
        return row

    def tags(self, row: Mapping[str, Any]) -> list[list[str]]:
        """The predicted tags of a finished run.

        Raises:
            SystemExit: they are not there any more.
        """
        file = self.folder / row["predictions"]
        if not file.exists():
            raise SystemExit(f"{file}: not there; remove the row {row['id']} from {self.path} to run it again")
        tags: list[list[str]] = json.loads(gzip.decompress(file.read_bytes()))
        return tags

    def _append(self, line: str) -> None:
        """Add a line in one write, behind the end of a line that was cut off."""
        cut_off = False
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                cut_off = file.read(1) != b"\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut_off else "") + line + "\n")
