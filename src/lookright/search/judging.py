"""Which plan a search takes, and how sure it is: paired bootstrap over dev sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from lookright.errors import RecipeError
from lookright.metrics import p_words, paired_bootstrap, scores_of_counts
from lookright.plan import MaskPlan
from lookright.search.candidates import openness
from lookright.search.trials import IntArray, Trial

LEVEL: Final = 0.95
MARGIN: Final = 0.003
SAMPLES: Final = 2_000
TAIL_SAMPLES: Final = 30
"""Bootstrap samples outside an interval, at least about."""
HIGHEST: Final = 0.999
"""Level of intervals: the samples that a higher one needs would take longer than a search."""


@dataclass(frozen=True)
class Versus:
    """The best plan on dev against another one, over the same sentences.

    Attributes:
        best, other: names of plans.
        difference: of the figures, best minus other, from 0 to 1.
        low, high: the paired bootstrap interval of the difference; None where it is undefined.
        p_value: two-sided.
        n_sentences: that both were scored on.
        told_apart: whether the interval lies above 0.
        unit: what is counted as sentences: these, or texts.
    """

    best: str
    other: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    n_sentences: int
    told_apart: bool
    unit: str = "sentences"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        between = "" if self.low is None or self.high is None else f", {100 * self.low:+.2f} to {100 * self.high:+.2f}"
        verdict = "told apart" if self.told_apart else "not told apart"
        return (
            f"{self.best} against {self.other}: {100 * self.difference:+.2f} points{between}, "
            f"p {p_words(self.p_value)} over {self.n_sentences:,} {self.unit}: {verdict}"
        )


@dataclass(frozen=True)
class Judge:
    """How plans are compared on dev.

    Two plans are told apart where the paired bootstrap interval of their difference does not contain 0. The default
    plan, where it is among them, is only left for one that is told apart from it; as that one is the best of many, the
    level is corrected for their number (Bonferroni). Otherwise a plan that is not told apart from the best, and less
    than a margin below it, ties with it.

    Attributes:
        convention: of the figures, in words.
        level: of the interval.
        margin: from 0 to 1. Without one a small dev set, on which hardly anything is told apart, would mean the
            causal plan whatever the figures say.
        seed: of the bootstrap.
        unit: what dev is counted in, in words.
        default: the plan of those who do not search. The best of many plans on a small dev set is mostly luck, and
            worse on average than the plan that was best elsewhere (measured: docs/log.md, 2026-11-21).

    Raises:
        RecipeError: a level or margin out of range.
    """

    convention: str
    level: float = LEVEL
    margin: float = MARGIN
    seed: int = 0
    unit: str = "sentences"
    default: MaskPlan | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level <= HIGHEST:  # nor nan
            raise RecipeError(
                f"level is {self.level}, expected a number above 0 and at most {HIGHEST}, such as {LEVEL}"
            )
        if not 0 <= self.margin <= 1:
            raise RecipeError(
                f"margin is {self.margin}, expected a number from 0 to 1, such as {MARGIN} for {100 * MARGIN:g} points"
            )

    def versus(self, best: Trial, other: Trial, level: float | None = None) -> Versus:
        """Compare two trials over the dev sentences that both were scored on, at the judge's level or another one."""
        a, b = _on_common(best, other)
        one, two = (scores_of_counts(counts, self.convention) for counts in (a, b))
        if one.headline[1] is None or two.headline[1] is None or not len(a):
            difference = (best.score or 0.0) - (other.score or 0.0)
            return Versus(best.name, other.name, difference, None, None, 1.0, len(a), told_apart=False, unit=self.unit)
        samples = max(SAMPLES, math.ceil(TAIL_SAMPLES / (1 - (level or self.level))))
        found = paired_bootstrap(one, two, level=level or self.level, samples=samples, seed=self.seed)
        apart = found.low is not None and found.low > 0
        return Versus(
            best.name, other.name, found.difference, found.low, found.high, found.p_value, len(a), told_apart=apart,
            unit=self.unit,
        )  # fmt: skip

    def verdict(self, trials: Sequence[Trial]) -> Verdict:
        """Rank trials and choose one of them.

        Args:
            trials: of one kind, each of another plan, at least one.
        """
        ranked = rank(trials)
        best = ranked[0]
        against = {trial.name: self.versus(best, trial) for trial in ranked[1:]}
        open_question = [trial for trial in ranked[1:] if not against[trial.name].told_apart]
        tied = [trial for trial in open_question if against[trial.name].difference <= self.margin]
        chosen = min((best, *tied), key=_openness)
        default = next((trial for trial in ranked if trial.plan is not None and trial.plan == self.default), None)
        left = None
        if default is not None and default is not best:
            left = self.versus(best, default, 1 - (1 - self.level) / (len(ranked) - 1))
        if default is not None and (left is None or not left.told_apart):
            chosen = default
        causal = next((t.name for t in ranked[1:] if t.plan is not None and t.plan.is_causal), None)
        return Verdict(
            level=self.level,
            margin=self.margin,
            ranking=tuple(trial.name for trial in ranked),
            chosen=chosen.name,
            tied=tuple(trial.name for trial in tied),
            not_told_apart=tuple(trial.name for trial in open_question),
            runner_up=against[ranked[1].name] if len(ranked) > 1 else None,
            causal=None if causal is None else against[causal],
            default=None if default is None else default.name,
            default_left=left,
        )


@dataclass(frozen=True)
class Verdict:
    """What was chosen, and how sure that is.

    Attributes:
        level: of the intervals.
        margin: within which plans that are not told apart from the best tie with it.
        ranking: names of plans, the best on dev first.
        chosen: the default plan, unless the best is told apart from it; else, of the best and those that tie with it,
            the plan with the fewest open layers.
        tied: the plans that tie with the best.
        not_told_apart: the plans that are not told apart from the best, near or not.
        runner_up: the best against the second; None where there is one plan.
        causal: the best against the causal plan; None where that is the best, or was not tried.
        default: the default plan; None where it was not tried.
        default_left: the best against the default plan, at the level that is corrected for the number of plans; None
            where that is the best, or was not tried.
    """

    level: float
    margin: float
    ranking: tuple[str, ...]
    chosen: str
    tied: tuple[str, ...]
    not_told_apart: tuple[str, ...]
    runner_up: Versus | None
    causal: Versus | None
    default: str | None = None
    default_left: Versus | None = None

    @property
    def best(self) -> str:
        """The plan with the highest figure on dev."""
        return self.ranking[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """What people should know about it, a sentence each."""
        stays = self.default_left is not None and self.chosen == self.default
        if stays:
            found = [
                f"{self.best} is the best on dev, but not surely better than {self.chosen}, the default plan, which "
                f"stays (the level is corrected for {len(self.ranking)} plans). {self.default_left}."
            ]
        elif self.chosen == self.best:
            found = [f"{self.chosen} is the best on dev."]
            if self.default == self.chosen:
                found = [f"{self.chosen} is the best on dev, and the default plan."]
            elif self.tied:
                found = [f"{self.chosen} is the best on dev, and no plan that ties with it has fewer open layers."]
        else:
            found = [
                f"{self.best} is the best on dev; {self.chosen} ties with it (not told apart, and within "
                f"{100 * self.margin:.1f} points) and has fewer open layers."
            ]
        n_others = len(self.ranking) - 1
        if n_others and len(self.not_told_apart) == n_others:
            found.append(
                f"This dev set cannot tell plans apart: none of the other {n_others} is surely worse than {self.best} "
                f"({self.level:.0%} paired bootstrap). A larger one could."
            )
        elif self.not_told_apart:
            found.append(
                f"Not told apart from {self.best} ({self.level:.0%} paired bootstrap): "
                f"{', '.join(self.not_told_apart)}."
            )
        pairs = [self.runner_up, self.causal if self.causal != self.runner_up else None]
        return found + [f"{pair}." for pair in pairs if pair is not None]


def rank(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, the best on dev first; of equal ones that with fewer open layers.

    What was scored on fewer sentences comes after: it was left behind there.
    """

    def key(trial: Trial) -> Any:
        assert trial.counts is not None
        return -len(trial.counts), -(trial.score or 0.0), _openness(trial)

    return sorted(trials, key=key)


def _openness(trial: Trial) -> Any:
    assert trial.plan is not None
    return openness(trial.plan)


def _on_common(a: Trial, b: Trial) -> tuple[IntArray, IntArray]:
    """Counts of both over the sentences that both were scored on, in the same order."""
    if a.counts is None or a.sentences is None or b.counts is None or b.sentences is None:
        raise ValueError(f"the trials {a.key} and {b.key} were not both scored on dev")
    if np.array_equal(a.sentences, b.sentences):
        return a.counts, b.counts
    _, first, second = np.intersect1d(a.sentences, b.sentences, assume_unique=True, return_indices=True)
    return a.counts[first], b.counts[second]
