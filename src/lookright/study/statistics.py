"""Statistics over seeds and sentences: intervals, paired tests, Holm's correction, and the paper's own test.

Two sources of chance are kept apart. *Sentences*: would these very models rank alike on other test sentences?
Approximate randomization over sentences, the answers of all seeds to a sentence changing places together. *Sentences
and seeds*: would the recipe rank alike with other seeds, too? A bootstrap that draws sentences and seeds, both systems
getting the same draws (Owen 2007, "The pigeonhole bootstrap"; on the safe side: chance that belongs to a sentence in a
seed is counted twice). The seeds' part is scaled by sqrt(S / (S - 1)), since S drawn out of S vary too little by just
that factor (Rao and Wu 1988, "Resampling Inference with Complex Survey Data"). It is rough for three seeds, and with
one seed there is no seeds' part. Neither covers the pretraining, of which there is one run.

Figures are from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lookright.errors import DataError
from lookright.metrics import Scores, approximate_randomization, holm, scores_of_counts
from lookright.study.plans import all_plans, openness
from lookright.study.rows import Counts

FloatArray = NDArray[np.float64]
LEVEL: Final = 0.95
SAMPLES: Final = 10_000


@dataclass(frozen=True, eq=False)
class Run:
    """What a finished run says.

    Attributes:
        dev, test: the figures.
        counts: (n_sentences, 3) gold, predicted and correct of the test sentences.
        drawn: (samples,) the test figure on resampled sentences; the same samples for all runs of a set.
    """

    dev: float
    test: float
    counts: Counts
    drawn: FloatArray


Runs = Mapping[int, Run]
"""The runs of one system on one set, by seed."""


def resampled(counts: Sequence[Counts], *, samples: int = SAMPLES, seed: int = 0) -> FloatArray:
    """The figures of runs on resampled test sentences, the same samples for all.

    Args:
        counts: of each run, (n_sentences, 3).

    Returns:
        (runs, samples): F1, or the accuracy of plain tags.

    Raises:
        DataError: runs over different gold.
    """
    gold = counts[0][:, 0]
    if not all(len(other) == len(gold) and np.array_equal(other[:, 0], gold) for other in counts):
        raise DataError("runs on different test sentences cannot be compared: the gold spans of a sentence differ")
    n_sentences = len(gold)
    stacked = np.stack(counts, axis=1).reshape(n_sentences, -1).astype(np.float64)
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // n_sentences)  # bounds the memory: about 32 MB of draws
    parts = []
    for at in range(0, samples, block):
        draws = generator.multinomial(n_sentences, np.full(n_sentences, 1 / n_sentences), size=min(block, samples - at))
        parts.append(_figure((draws.astype(np.float64) @ stacked).reshape(len(draws), len(counts), 3)))
    return np.concatenate(parts).T


def _figure(sums: FloatArray) -> FloatArray:
    """F1 of (..., 3) gold, predicted and correct."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * sums[..., 2] / (sums[..., 0] + sums[..., 1]), dtype=np.float64)


@dataclass(frozen=True)
class Summary:
    """The test figures of a system on a set: mean, standard deviation over seeds (None for one), interval of the mean.

    The interval is over sentences and seeds.
    """

    seeds: tuple[int, ...]
    dev: float
    mean: float
    sd: float | None
    low: float
    high: float


def summarise(runs: Runs) -> Summary:
    """Summarise the runs of a system on a set."""
    seeds = tuple(sorted(runs))
    tests = np.array([runs[seed].test for seed in seeds])
    drawn = draw_means(np.stack([runs[seed].drawn for seed in seeds]))
    low, high = _percentiles(drawn)
    low, high = max(0.0, low), min(1.0, high)  # the wider seeds' part may leave the range of figures
    sd = float(tests.std(ddof=1)) if len(seeds) > 1 else None
    dev = float(np.mean([runs[seed].dev for seed in seeds]))
    return Summary(seeds, dev, float(tests.mean()), sd, low, high)


def draw_means(figures: FloatArray, *, seed: int = 1) -> FloatArray:
    """Means over drawn seeds, (samples,), of figures (seeds, samples) on drawn sentences."""
    n_seeds, samples = figures.shape
    mean: FloatArray = figures.mean(axis=0)
    if n_seeds == 1:
        return mean
    shares = np.random.default_rng(seed).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=samples) / n_seeds
    moved = (shares * figures.T).sum(axis=1) - mean
    return np.asarray(mean + np.sqrt(n_seeds / (n_seeds - 1)) * moved)


def _percentiles(values: FloatArray) -> tuple[float, float]:
    if np.isnan(values).all():  # nothing to find and nothing found: the figure is 0 then, in every sample
        return 0.0, 0.0
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Two systems on a set, over the seeds that both have.

    Attributes:
        seeds: those seeds.
        difference: mean of the first minus mean of the second.
        low, high: its interval, over sentences and seeds.
        p_sentences: two-sided, approximate randomization over sentences, all seeds together.
        p_both: two-sided, bootstrap over sentences and seeds.
    """

    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float
    p_sentences: float
    p_both: float


def compare_runs(first: Runs, second: Runs, *, samples: int = SAMPLES) -> Difference:
    """Compare two systems on a set.

    Raises:
        DataError: they have no seed in common.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        raise DataError("the two systems have no seed in common")
    difference = float(np.mean([first[seed].test - second[seed].test for seed in seeds]))
    drawn = draw_means(np.stack([first[seed].drawn - second[seed].drawn for seed in seeds]))
    # Shifted to the mean of the null hypothesis (Berg-Kirkpatrick, Burkett and Klein 2012, section 2), as in
    # lookright.metrics.paired_bootstrap.
    # Samples in which a figure is undefined speak for no difference.
    extreme = int((~(np.abs(drawn - difference) < abs(difference) - 1e-12)).sum())
    pooled = [_pooled(runs, seeds) for runs in (first, second)]
    defined = all(scores.headline[1] is not None for scores in pooled)
    p_sentences = approximate_randomization(*pooled, samples=samples).p_value if defined else 1.0
    low, high = _percentiles(drawn)
    return Difference(seeds, difference, low, high, p_sentences, (extreme + 1) / (len(drawn) + 1))


def _pooled(runs: Runs, seeds: Sequence[int]) -> Scores:
    """Scores whose counts of each sentence are summed over seeds."""
    return scores_of_counts(np.sum([runs[seed].counts for seed in seeds], axis=0), "pooled over seeds")


@dataclass(frozen=True)
class Compared:
    """One comparison of several: two systems, the difference, and its p-values after Holm's correction over all."""

    first: str
    second: str
    difference: Difference
    holm_sentences: float
    holm_both: float


def compare_pairs(
    systems: Mapping[str, Runs], pairs: Sequence[tuple[str, str]], *, samples: int = SAMPLES
) -> list[Compared]:
    """Compare pairs of systems, and correct over those that have runs with a seed in common.

    Args:
        systems: the runs of each system by its name.
        pairs: names.
        samples: of each test.
    """
    found = [
        (first, second, compare_runs(systems[first], systems[second], samples=samples))
        for first, second in pairs
        if first in systems and second in systems and systems[first].keys() & systems[second].keys()
    ]
    adjusted = [holm([getattr(d, p) for _, _, d in found]) for p in ("p_sentences", "p_both")]
    return [Compared(a, b, d, s, t) for (a, b, d), s, t in zip(found, *adjusted, strict=True)]


# ------------------------------------------------------------------------------------------------- choosing among plans


@dataclass(frozen=True)
class Choice:
    """The plan that dev chose.

    Attributes:
        plan: with the highest mean on dev; of equals the one with fewer open layers.
        seeds: those that every plan has: the mean is over them.
        n_plans: how many it was chosen from.
    """

    plan: str
    seeds: tuple[int, ...]
    n_plans: int


def choose_plan(by_plan: Mapping[str, Runs]) -> Choice | None:
    """Choose a plan by dev alone; None where the plans have no seed in common."""
    seeds = tuple(sorted(set.intersection(*(set(runs) for runs in by_plan.values())))) if by_plan else ()
    if not seeds:
        return None
    means = {plan: float(np.mean([runs[seed].dev for seed in seeds])) for plan, runs in by_plan.items()}
    best = min(means, key=lambda plan: (-means[plan], openness(plan), plan))
    return Choice(best, seeds, len(by_plan))


# ----------------------------------------------------------------------------------------------------- the paper's test


@dataclass(frozen=True)
class PaperTest:
    """The paper's test on one set.

    Attributes:
        seeds: over which each plan's figure is averaged.
        gain: mean over the pairs of the plan with more open groups near the output minus the other.
        statistic, p_value: of the one-sided paired t-test that the gain is above 0.
        p_permuted: how often the statistic is as large when the figures are dealt to the plans at random.
    """

    seeds: tuple[int, ...]
    gain: float
    statistic: float
    p_value: float
    p_permuted: float


def opened_further(groups: int = 4) -> list[tuple[str, str]]:
    """The pairs of the paper: a plan, and the same plan with one or more groups opened above its highest open one.

    Dukić and Šnajder 2024, in their notebook of significance tests: 17 pairs for four groups, of 14 plans.
    """
    plans = all_plans(groups)
    pairs = []
    for plan in plans:
        top = plan.rfind("1") + 1
        if 0 < top < groups:
            pairs += [(plan, other) for other in plans if other[:top] == plan[:top] and "1" in other[top:]]
    return pairs


def paper_test(by_plan: Mapping[str, Runs], split: str, *, samples: int = SAMPLES, seed: int = 0) -> PaperTest | None:
    """The paper's test: does opening further groups towards the output raise the mean over seeds?

    A one-sided paired t-test over `opened_further()`; the paper rejects "it does not" at p < 0.01. The pairs share
    plans, so they are not independent, and the t-test, which takes them to be, rejects in 7.7 % of all cases at that
    level where no plan differs from another (simulated; tests/study/test_statistics.py). So the same statistic is held
    against its distribution under permutation of the plans, too, which has no such fault; its null hypothesis is that
    the plan makes no difference at all.

    Args:
        by_plan: the runs of the plans; None is returned where one of the 14 is missing, or they have no seed in common.
        split: `dev` or `test`.
        samples, seed: of the permutations.
    """
    pairs = opened_further()
    plans = sorted({plan for pair in pairs for plan in pair})
    if not set(plans) <= by_plan.keys():
        return None
    seeds = tuple(sorted(set.intersection(*(set(by_plan[plan]) for plan in plans))))
    if not seeds:
        return None
    means = np.array([np.mean([getattr(by_plan[plan][number], split) for number in seeds]) for plan in plans])
    before, after = ([plans.index(pair[side]) for pair in pairs] for side in (0, 1))
    paired = means[after] - means[before]
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = float(paired.mean() / (paired.std(ddof=1) / np.sqrt(len(pairs))))
    dealt = np.random.default_rng(seed).permuted(np.tile(means, (samples, 1)), axis=1)
    gains = dealt[:, after] - dealt[:, before]
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = gains.mean(axis=1) / (gains.std(axis=1, ddof=1) / np.sqrt(len(pairs)))
    extreme = samples if math.isnan(statistic) else int((drawn >= statistic - 1e-9).sum())
    p_value = t_tail(statistic, len(pairs) - 1)
    return PaperTest(seeds, float(paired.mean()), statistic, p_value, (extreme + 1) / (samples + 1))


def t_tail(statistic: float, degrees: int) -> float:
    """The chance that Student's t with so many degrees of freedom is above a value; 1 where there is none.

    It is half of the regularised incomplete beta function at degrees / (degrees + t^2), by its continued fraction
    (Abramowitz and Stegun 26.5.8, 26.7.1), evaluated from the end.
    """
    if math.isnan(statistic):  # all differences are 0
        return 1.0
    if statistic < 0:
        return 1 - t_tail(-statistic, degrees)
    a, b = degrees / 2, 0.5
    x = degrees / (degrees + statistic * statistic)
    if x <= 0:
        return 0.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly: the other tail of the same function
        return 0.5 * (1 - _beta_tail(statistic * statistic / (degrees + statistic * statistic), b, a))
    return 0.5 * _beta_tail(x, a, b)


def _beta_tail(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for x below (a + 1) / (a + b + 2)."""
    if x <= 0:
        return 0.0
    fraction = 1.0
    for m in range(200, 0, -1):
        half, odd = divmod(m, 2)
        if odd:
            step = -(a + half) * (a + b + half) / ((a + 2 * half) * (a + 2 * half + 1)) * x
        else:
            step = half * (b - half) / ((a + 2 * half - 1) * (a + 2 * half)) * x
        fraction = 1 + step / fraction
    logarithm = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(logarithm) / (a * fraction)
