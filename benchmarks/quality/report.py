"""From finished runs to figures: means over seeds, intervals over test sentences, the difference to the best peer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from benchmarks.quality.runs import BUSY, Runs
from benchmarks.quality.sets import SETS, Split

from lookright.metrics import (
    Scores,
    TypeScore,
    approximate_randomization,
    bootstrap_interval,
    p_words,
    paired_bootstrap,
)

NAMES: Final = {"ours": "LookRight", "crf": "CRF", "spacy": "spaCy"}
"""How systems are called in tables and plots."""

SAMPLES: Final = 10_000


@dataclass(frozen=True)
class Result:
    """A system on a set. Figures are 100 x the headline figure on test.

    Attributes:
        system, set: which.
        by_seed: the figure of each seed.
        low, high: the 95 % bootstrap interval over test sentences, each resampled with its answers of all seeds.
        unit: what the figure is.
        pooled: counts of all seeds together.
        rows: of the runs, in the order of the seeds.
    """

    system: str
    set: str
    by_seed: tuple[float, ...]
    low: float
    high: float
    unit: str
    pooled: Scores
    rows: tuple[Mapping[str, Any], ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.mean(self.by_seed)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.by_seed) if len(self.by_seed) > 1 else None

    @property
    def train_seconds(self) -> float:
        """The mean over seeds."""
        return statistics.mean(float(row["train_seconds"]) for row in self.rows)


@dataclass(frozen=True)
class Difference:
    """Ours minus the best peer on a set.

    Attributes:
        set: which.
        peer: the one with the highest mean on test, which is the hardest choice for ours.
        points: difference of the means over seeds.
        low, high: the 95 % paired bootstrap interval over test sentences.
        p: approximate randomization over test sentences, two-sided, for this set alone.
    """

    set: str
    peer: str
    points: float
    low: float
    high: float
    p: float


def pool(scores: Sequence[Scores], times: int = 1) -> Scores:
    """The scores of several seeds on the same gold as one: sentence by sentence, their counts are added.

    Args:
        scores: one for each seed.
        times: how often each is counted, so that systems with different numbers of seeds have the same gold.
    """
    per_sentence = times * np.sum([one.per_sentence for one in scores], axis=0)
    micro = TypeScore.of(*per_sentence.sum(axis=0).tolist())
    # Of plain tags, gold and predicted are both the number of words, so that F1 is the accuracy.
    return replace(scores[0], per_sentence=per_sentence, f1=micro.f1, accuracy=micro.f1)


def result_of(split: Split, rows: Sequence[Mapping[str, Any]], runs: Runs) -> Result:
    """Sum up the runs of one system on one set."""
    rows = sorted(rows, key=lambda row: row["seed"])
    scores = [split.score(runs.tags(row)) for row in rows]
    pooled = pool(scores)
    low, high = bootstrap_interval(pooled, samples=SAMPLES) or (math.nan, math.nan)
    figures = tuple(100 * (one.headline[1] or 0.0) for one in scores)
    name = pooled.headline[0]
    return Result(rows[0]["system"], split.name, figures, 100 * low, 100 * high, name, pooled, tuple(rows))


def difference(results: Sequence[Result]) -> Difference | None:
    """Ours minus the best peer, from the results on one set; None where either is missing."""
    ours = next((one for one in results if one.system == "ours"), None)
    peers = [one for one in results if one.system != "ours"]
    if ours is None or not peers:
        return None
    peer = max(peers, key=lambda one: one.mean)
    seeds = math.lcm(len(ours.by_seed), len(peer.by_seed))
    a, b = (pool([one.pooled], seeds // len(one.by_seed)) for one in (ours, peer))
    interval = paired_bootstrap(a, b, samples=SAMPLES)
    p = approximate_randomization(a, b, samples=SAMPLES).p_value
    low, high = (math.nan if end is None else 100 * end for end in (interval.low, interval.high))
    return Difference(ours.set, peer.system, ours.mean - peer.mean, low, high, p)


# ------------------------------------------------------------------------------------------------------------- tables


def _cell(result: Result | None) -> str:
    if result is None:
        return "-"
    spread = "" if result.deviation is None else f" ±{result.deviation:.1f}"
    return f"{result.mean:.1f}{spread} [{result.low:.1f}, {result.high:.1f}]"


def _difference_cell(found: Difference | None) -> str:
    if found is None:
        return "-"
    return f"{found.points:+.1f} [{found.low:+.1f}, {found.high:+.1f}] {NAMES[found.peer]}, p {p_words(found.p)}"


def table(by_set: Mapping[str, Sequence[Result]], systems: Sequence[str]) -> list[list[str]]:
    """The cells, the header first.

    Args:
        by_set: the results on each set.
        systems: in the order of the columns.
    """
    head = ["set", *(NAMES[system] for system in systems), "LookRight - best peer", "training, s"]
    rows = [head]
    for name, results in by_set.items():
        of = {one.system: one for one in results}
        held_out = "†" if any(one.rows[0]["dev_is_held_out"] for one in results) else ""
        times = " / ".join(f"{of[system].train_seconds:.0f}" if system in of else "-" for system in systems)
        cells = [_cell(of.get(system)) for system in systems]
        rows.append([name + held_out, *cells, _difference_cell(difference(results)), times])
    return rows


def notes(by_set: Mapping[str, Sequence[Result]]) -> list[str]:
    """What a reader of the table must know, a sentence or two each."""
    results = [one for found in by_set.values() for one in found]
    if not results:
        return []
    units: dict[str, list[str]] = {one.unit: [] for one in results}
    for one in results:
        if one.set not in units[one.unit]:
            units[one.unit].append(one.set)
    most = max(units, key=lambda unit: len(units[unit]))
    figures = [f"{unit} ({', '.join(sets)})" for unit, sets in units.items() if unit != most]
    lines = [
        "100 x " + "; ".join([most, *figures]) + "; test, full gold. Mean over seeds, ± their standard deviation, in "
        "brackets the 95 % bootstrap interval over test sentences.",
        f"Seeds: {_seeds(results)}.",
        f"Training (wall-clock, the mean over seeds, with the evaluations on dev) on: {', '.join(_machines(results))}.",
    ]
    if len({one.system for one in results}) > 1 and any(one.system == "ours" for one in results):
        lines.append(
            "The difference is to the better peer on test, with its paired bootstrap interval and the p of approximate "
            f"randomization ({SAMPLES:,} samples each, for each set alone; the seeds of a system are taken together)."
        )
    if any(one.rows[0]["dev_is_held_out"] for one in results):
        lines.append("† no dev file: a tenth of train, by content, is held out as dev, and no system trains on it.")
    lines += _about_ours(by_set)
    versions = {f"{NAMES[one.system]} {one.rows[0]['settings']['version']}" for one in results}
    return [*lines, f"Versions: {', '.join(sorted(versions))}."]


def _seeds(results: Sequence[Result]) -> str:
    counts: dict[str, set[int]] = {}
    for one in results:
        counts.setdefault(one.system, set()).add(len(one.by_seed))
    said = {system: " or ".join(map(str, sorted(numbers))) for system, numbers in counts.items()}
    return ", ".join(
        f"{NAMES[system]} {number}" + (" (deterministic)" if system == "crf" else "") for system, number in said.items()
    )


def _machines(results: Sequence[Result]) -> list[str]:
    return sorted({row["machine"] for one in results for row in one.rows})


def _about_ours(by_set: Mapping[str, Sequence[Result]]) -> list[str]:
    """The base, and how long was trained."""
    ours = [one for found in by_set.values() for one in found if one.system == "ours"]
    if not ours:
        return []
    settings, account = ours[0].rows[0]["settings"], ours[0].rows[0]["account"]
    epochs = ", ".join(f"{one.set} {one.rows[0]['account']['epochs']:g}" for one in ours)
    minutes = "" if settings["minutes"] is None else f", for {settings['minutes']:g} minutes at most"
    return [
        f"LookRight: base {settings['base'][:8]} under the plan {settings['plan']}, {account['parameters']:,} weights "
        f"with the head, the product's defaults{minutes}; epochs: {epochs}."
    ]


def warnings(by_set: Mapping[str, Sequence[Result]]) -> list[str]:
    """What whoever ran this should look at: peers far from their earlier figures, runs longer than their time, and
    times that were taken on a busy machine.
    """
    lines = []
    for one in (one for found in by_set.values() for one in found):
        given = SETS[one.set].given.get(one.system)
        if given is not None:
            off = " <- differs" if abs(one.mean - given) > 2 else ""
            lines.append(f"{one.set}: {NAMES[one.system]} {one.mean:.1f}, earlier untuned figure {given:.1f}{off}")
        minutes = one.rows[0]["settings"].get("minutes")
        longest = max(row["train_seconds"] for row in one.rows)
        if minutes is not None and longest > 60 * minutes:
            lines.append(f"{one.set}: {NAMES[one.system]} trained for {longest:.0f} s, more than {minutes:g} minutes")
        share = min(row["cpu_seconds"] / max(0.1, row["train_seconds"]) for row in one.rows)
        if share < BUSY and "NVIDIA" not in one.rows[0]["machine"]:
            lines.append(f"{one.set}: {NAMES[one.system]} got {share:.0%} of a core: its training time says little")
    return lines
