"""Trials: what was tried, what came of it, and the file of rows that they are kept in."""

from __future__ import annotations

import base64
import binascii
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookright.metrics import TypeScore
from lookright.plan import MaskPlan
from lookright.search.prices import Cost

FORMAT: Final = 1
ALL_PLANS: Final = "*"
"""The name of a training run that is for all plans."""
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trial:
    """One thing that a search did: a training run, or the scoring of a plan under shared weights.

    Attributes:
        stage: of the strategy: "train", "round 2", "shared", "dev", "final".
        name: of the plan; `ALL_PLANS` for a run that is for all of them.
        plan: None for a run that is for all of them.
        updates: of the training run; 0 where nothing was trained.
        score: on the dev sentences (or texts) that were scored, from 0 to 1; None where none were.
        counts: (sentences, 3) gold, predicted and correct spans of each (plain tags: words, words, words tagged
            right; texts: labels), as `lookright.metrics.Scores.per_sentence`; None as for the score.
        sentences: (sentences,) which ones of dev they are.
        cost: of this trial.
    """

    stage: str
    name: str
    plan: MaskPlan | None
    updates: int
    cost: Cost
    score: float | None = None
    counts: IntArray | None = field(default=None, repr=False)
    sentences: IntArray | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other trials of the same search."""
        return self.stage, self.name

    def to_row(self, **more: Any) -> dict[str, Any]:
        """The row of `trials.jsonl`; `more` comes after the cost."""
        plan, counts = self.plan, self.counts
        row: dict[str, Any] = {"format": FORMAT, "stage": self.stage, "plan": self.name}
        if plan is not None:
            row |= {
                "right_contexts": plan.to_list(),
                "open_layers": len(plan.unmasked_layers),
                "look_ahead": plan.look_ahead,
            }
        row |= {"updates": self.updates, "dev": self.score, "cost": self.cost.to_dict(), **more}
        if counts is not None and self.sentences is not None:
            row |= {"n_sentences": len(counts), "counts": _pack(counts), "sentences": _pack(self.sentences)}
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Trial:
        """Read a row.

        Raises:
            KeyError, ValueError, TypeError: it is no row of ours.
        """
        counts = sentences = None
        if "counts" in row:
            counts = _unpack(row["counts"]).reshape(row["n_sentences"], 3)
            sentences = _unpack(row["sentences"])
        rights = row.get("right_contexts")
        return cls(
            stage=row["stage"],
            name=row["plan"],
            plan=None if rights is None else MaskPlan(tuple(rights)),
            updates=row["updates"],
            cost=Cost(**row["cost"]),
            score=row["dev"],
            counts=counts,
            sentences=sentences,
        )


def figure_of(counts: IntArray) -> float | None:
    """F1 of counts (units, 3), which is the accuracy where there is one for one; None where it is undefined."""
    return TypeScore.of(*(int(total) for total in counts.sum(axis=0))).f1


class Ledger:
    """The rows of a search, appended as trials end and written through to the disk.

    Args:
        path: the file; None keeps the rows in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.trials: dict[tuple[str, str], Trial] = {}
        for line in _lines(path):
            try:
                trial = Trial.from_row(json.loads(line))
            except (ValueError, KeyError, TypeError, binascii.Error, zlib.error):
                continue  # torn by a kill; what it was about is done again
            self.trials.setdefault(trial.key, trial)

    def get(self, stage: str, name: str) -> Trial | None:
        """A trial that is done."""
        return self.trials.get((stage, name))

    def add(self, trial: Trial, **more: Any) -> Trial:
        """Keep a trial; `more` goes into its row."""
        if self.path is not None:
            _append(self.path, json.dumps(trial.to_row(**more), ensure_ascii=False, allow_nan=False))
        self.trials[trial.key] = trial
        return trial

    def all(self) -> tuple[Trial, ...]:
        """The trials, in the order in which they ended."""
        return tuple(self.trials.values())


def total_cost(trials: Iterable[Trial]) -> Cost:
    """The cost of trials."""
    return Cost.total(trial.cost for trial in trials)


def _append(path: Path, line: str) -> None:
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the last line was torn: ours begins on a new one
                line = "\n" + line
        file.write((line + "\n").encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path | None) -> Iterator[str]:
    if path is None or not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        if line.strip():
            yield line.decode("utf-8", errors="replace")


def _pack(numbers: IntArray) -> str:
    return base64.b64encode(zlib.compress(np.asarray(numbers, dtype="<u4").tobytes(), 9)).decode("ascii")


def _unpack(text: str) -> IntArray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u4").astype(np.int64)
