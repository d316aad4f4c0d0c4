"""The learning rate over the updates of a run. Pure Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SCHEDULES: Final = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class Schedule:
    """The share of the highest learning rate at each update.

    It rises in equal steps over the warm-up, the first update already above 0, is 1 at the first update after it, and
    then falls so that it is exactly 0 (constant: 1) when all updates are done, however they are cut into micro-batches
    and over however many processes they run.

    Attributes:
        kind: linear, cosine (half a cosine wave, arXiv 1608.03983 without restarts) or constant.
        n_updates: updates in the run.
        n_warmup: updates of the warm-up.
    """

    kind: str
    n_updates: int
    n_warmup: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule {self.kind!r}, expected one of {', '.join(SCHEDULES)}")
        if not 0 <= self.n_warmup <= self.n_updates:
            raise ValueError(f"a warm-up of {self.n_warmup} of {self.n_updates} updates")

    def __call__(self, n_done: int) -> float:
        """The factor for the next update when `n_done` updates are done."""
        if n_done < self.n_warmup:
            return (n_done + 1) / (self.n_warmup + 1)
        if self.kind == "constant":
            return 1.0
        left = max(0, self.n_updates - n_done)
        share = left / max(1, self.n_updates - self.n_warmup)
        return share if self.kind == "linear" else 0.5 * (1 - math.cos(math.pi * share))


def updates_per_epoch(n_sentences: int, batch_size: int, accumulation_fault: int = 0) -> int:
    """How many updates one pass over the data is; under the fault, of so many batches one is an update."""
    return math.ceil(math.ceil(n_sentences / batch_size) / max(1, accumulation_fault))


def checkpoint_updates(epochs: float, updates_per_epoch: int, per_epoch: int) -> tuple[int, ...]:
    """The updates after which a run is evaluated and saved: `per_epoch` times in each epoch, and at its end.

    Args:
        epochs: passes over the data; a fraction ends within an epoch.
        updates_per_epoch: updates in one pass.
        per_epoch: evaluations in one pass; 0 for one at the end alone.
    """
    last = max(1, math.ceil(epochs * updates_per_epoch))
    points = {last}
    count = 1
    while per_epoch and (point := math.ceil(count * updates_per_epoch / per_epoch)) < last:
        points.add(point)
        count += 1
    return tuple(sorted(points))
