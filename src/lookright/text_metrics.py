"""Scores of classified texts: labels, numbers, and how far probabilities can be trusted. NumPy.

Definitions are scikit-learn's (a share without cases counts as 0 in a mean), which the tests compare with; it is not
needed to run this. Means over labels are over those that gold or predictions have, also where a text may have several
(scikit-learn counts a label that is nowhere as 0 there, so that a small file scores worse for what it does not hold).

Gold labels that a classifier does not have stand in the label list as well, after its own: so they are missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookright.errors import DataError
from lookright.metrics import TypeScore

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ACCURACY: Final = "accuracy"
MICRO_F1: Final = "micro F1"
R2: Final = "R²"
BINS: Final = 15
"""Bins of equal width for the expected calibration error (Guo et al. 2017, arXiv 1706.04599, section 2)."""
_BLOCK: Final = 4_000_000
"""Numbers held at once, while resampling and of probabilities."""
LARGEST_TEMPERATURE: Final = 50.0
"""That is fitted; the smallest is its inverse."""
_TEMPERATURE_PRECISION: Final = 1e-9
_COMMON: Final = 1 / 64
"""From this share of texts on it is faster to multiply a label's whole column than to list the texts that have it."""


@dataclass(frozen=True)
class LabelScores:
    """The scores of labels against gold labels.

    Attributes:
        headline_name: `accuracy` (one label per text) or `micro F1` (any number).
        accuracy: the share of texts whose labels are all right, and no other.
        precision, recall, micro_f1: over all labels given; None where undefined.
        macro_precision, macro_recall, macro_f1: means over the labels that gold or predictions have.
        per_label: by label, those that gold or predictions have.
        counts: (n_texts, 3) gold, given and right labels of each text.
        gold, given: (n_texts, labels) which labels each text has, and got.
        labels: of the columns.
    """

    headline_name: str
    accuracy: float
    precision: float | None
    recall: float | None
    micro_f1: float | None
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_label: Mapping[str, TypeScore]
    counts: IntArray = field(repr=False)
    gold: BoolArray = field(repr=False)
    given: BoolArray = field(repr=False)
    labels: tuple[str, ...] = ()

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.counts)

    @property
    def headline(self) -> tuple[str, float | None]:
        """Name and value of the one figure to print."""
        return self.headline_name, self.accuracy if self.headline_name == ACCURACY else self.micro_f1

    def confusion(self) -> IntArray:
        """(labels, labels): texts by gold label (rows) and label given (columns); for one label per text."""
        size = len(self.labels)
        cells = self.gold.argmax(1) * size + self.given.argmax(1)
        return np.bincount(cells, minlength=size * size).reshape(size, size)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        names = ("accuracy", "precision", "recall", "micro_f1", "macro_precision", "macro_recall", "macro_f1")
        return {
            "headline": self.headline_name,
            "n_texts": self.n_texts,
            **{name: getattr(self, name) for name in names},
            "per_label": {
                label: {n: getattr(score, n) for n in ("precision", "recall", "f1", "gold", "predicted", "correct")}
                for label, score in self.per_label.items()
            },
        }


def label_scores(gold: BoolArray, given: BoolArray, labels: Sequence[str], *, single: bool) -> LabelScores:
    """Score labels.

    Args:
        gold: (n_texts, labels) the labels that each text has.
        given: (n_texts, labels) the labels that each text got.
        labels: names of the columns.
        single: one label per text, so that the figure to print is the accuracy.

    Raises:
        DataError: there is no text.
    """
    if not len(gold):
        raise DataError("there is no text to score")
    right = gold & given
    totals = np.stack([part.sum(0) for part in (gold, given, right)], 1)
    per_label = {
        label: TypeScore.of(*map(int, row)) for label, row in zip(labels, totals, strict=True) if row[0] or row[1]
    }
    micro = TypeScore.of(*map(int, totals.sum(0)))
    means = [
        float(np.mean([getattr(score, name) or 0.0 for score in per_label.values()])) if per_label else 0.0
        for name in ("precision", "recall", "f1")
    ]
    return LabelScores(
        headline_name=ACCURACY if single else MICRO_F1,
        accuracy=float((gold == given).all(1).mean()),
        precision=micro.precision,
        recall=micro.recall,
        micro_f1=micro.f1,
        macro_precision=means[0],
        macro_recall=means[1],
        macro_f1=means[2],
        per_label=per_label,
        counts=np.stack([part.sum(1) for part in (gold, given, right)], 1).astype(np.int64),
        gold=gold,
        given=given,
        labels=tuple(labels),
    )


@dataclass(frozen=True)
class NumberScores:
    """The scores of numbers against gold numbers.

    Attributes:
        r2: the share of the gold's variance that is explained; None where all gold is the same.
        mean_squared_error, mean_absolute_error: in the units of the numbers.
        pearson, spearman: correlations; None where one side is constant.
        gold, given: (n_texts,).
    """

    r2: float | None
    mean_squared_error: float
    mean_absolute_error: float
    pearson: float | None
    spearman: float | None
    gold: FloatArray = field(repr=False)
    given: FloatArray = field(repr=False)

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.gold)

    @property
    def headline(self) -> tuple[str, float | None]:
        """Name and value of the one figure to print."""
        return R2, self.r2

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        names = ("r2", "mean_squared_error", "mean_absolute_error", "pearson", "spearman")
        return {"headline": R2, "n_texts": self.n_texts, **{name: getattr(self, name) for name in names}}


def number_scores(gold: Sequence[float], given: Sequence[float]) -> NumberScores:
    """Score numbers.

    Raises:
        DataError: there is no text.
    """
    one, other = np.asarray(gold, np.float64), np.asarray(given, np.float64)
    if not len(one):
        raise DataError("there is no text to score")
    errors = one - other
    variance = float(one.var())
    return NumberScores(
        r2=1 - float(np.square(errors).mean()) / variance if variance else None,
        mean_squared_error=float(np.square(errors).mean()),
        mean_absolute_error=float(np.abs(errors).mean()),
        pearson=_correlation(one, other),
        spearman=_correlation(_ranks(one), _ranks(other)),
        gold=one,
        given=other,
    )


def _correlation(one: FloatArray, other: FloatArray) -> float | None:
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.mean((one - one.mean()) / one.std() * ((other - other.mean()) / other.std())))


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


# -------------------------------------------------------------------------------------------------------- intervals

Scores = LabelScores | NumberScores


def intervals(
    scores: Scores, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals over texts (Efron and Tibshirani 1993, ch. 13), by the name of the figure.

    Returns:
        accuracy, micro_f1 and macro_f1 of labels; r2 and mean_squared_error of numbers. The same for the same seed;
        resamples in which a figure is undefined are left out.
    """
    if samples < 1 or not 0 < level < 1:
        raise DataError(f"cannot resample {samples} times at level {level}: samples >= 1 and 0 < level < 1 are needed")
    figures = _label_figures(scores) if isinstance(scores, LabelScores) else _number_figures(scores)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(1, figures.numbers))
    sizes = figures.sizes
    drawn = []
    for at in range(0, samples, block):
        taken = generator.multinomial(int(sizes.sum()), sizes / sizes.sum(), size=min(block, samples - at))
        drawn.append(figures.of(taken.astype(np.float64)))
    found = {}
    for name in drawn[0]:
        values = np.concatenate([part[name] for part in drawn])
        values = values[~np.isnan(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            found[name] = (float(low), float(high))
    return found


@dataclass(frozen=True)
class _Figures:
    """How figures follow from how often each text was drawn.

    Attributes:
        sizes: (kinds,) texts of each kind: those that are alike are drawn together.
        numbers: how many numbers a resample needs at once.
        of: from (resamples, kinds), how often each kind was drawn, each figure of each resample.
    """

    sizes: IntArray
    numbers: int
    of: Callable[[FloatArray], dict[str, FloatArray]]


def _label_figures(scores: LabelScores) -> _Figures:
    """What follows from how many texts have each label, got it, and got it rightly."""
    used = scores.gold.any(0) | scores.given.any(0)
    gold, given = scores.gold[:, used], scores.given[:, used]
    kinds, sizes = np.unique(np.packbits(np.concatenate([gold, given], 1), axis=1), axis=0, return_counts=True)
    n = int(used.sum())
    both = np.unpackbits(kinds, axis=1, count=2 * n).astype(bool)
    gold, given = both[:, :n], both[:, n:]
    whole = (gold == given).all(1)
    tables = [_Table.of(part) for part in (gold, given, gold & given)]

    def of(taken: FloatArray) -> dict[str, FloatArray]:
        drawn = np.ascontiguousarray(taken.T)
        n_gold, n_given, n_right = (table.sums(drawn) for table in tables)
        total = n_gold + n_given
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(total > 0, 2 * n_right / total, np.nan)
            micro = 2 * n_right.sum(1) / total.sum(1)
        counted = (total > 0).sum(1)
        macro = np.nansum(each, 1) / np.maximum(counted, 1)
        return {"accuracy": drawn[whole].sum(0) / taken.sum(1), "micro_f1": micro, "macro_f1": macro}

    return _Figures(sizes.astype(np.int64), max(len(sizes), *(len(table.kinds) for table in tables)), of)


@dataclass(frozen=True)
class _Table:
    """Which kinds of texts have which label, so that texts with each label are counted fast in many resamples.

    Attributes:
        common: labels that many kinds have.
        columns: (common labels, kinds) 1 where a kind has the label.
        rare: the other labels that any kind has.
        kinds: those that have the first of them, then those that have the second, and so on.
        starts: where in `kinds` each of them begins.
        n_labels: with those that no kind has.
    """

    common: IntArray
    columns: FloatArray
    rare: IntArray
    kinds: IntArray
    starts: IntArray
    n_labels: int

    @classmethod
    def of(cls, table: BoolArray) -> _Table:
        """Of (kinds, labels)."""
        counts = table.sum(0)
        common = np.flatnonzero(counts > len(table) * _COMMON)
        rare = np.flatnonzero((counts > 0) & (counts <= len(table) * _COMMON))
        kinds = np.nonzero(table[:, rare].T)[1]
        starts = np.cumsum(counts[rare]) - counts[rare]
        return cls(common, table[:, common].T.astype(np.float64), rare, kinds, starts, table.shape[1])

    def sums(self, drawn: FloatArray) -> FloatArray:
        """From (kinds, resamples), how often each was drawn, to (resamples, labels), texts that have each label."""
        found = np.zeros((drawn.shape[1], self.n_labels))
        found[:, self.common] = (self.columns @ drawn).T
        if len(self.rare):
            found[:, self.rare] = np.add.reduceat(drawn[self.kinds], self.starts, axis=0).T
        return found


def _number_figures(scores: NumberScores) -> _Figures:
    error = scores.gold - scores.given
    centred = scores.gold - scores.gold.mean()
    rows = np.stack([np.square(error), centred, np.square(centred), np.ones_like(error)], 1)

    def of(taken: FloatArray) -> dict[str, FloatArray]:
        sums = taken @ rows
        mean = sums / sums[:, 3:]
        variance = mean[:, 2] - np.square(mean[:, 1])
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = np.where(variance > 0, 1 - mean[:, 0] / variance, np.nan)
        return {"r2": r2, "mean_squared_error": mean[:, 0]}

    return _Figures(np.ones(len(rows), np.int64), len(rows), of)


# ------------------------------------------------------------------------------------------------------ calibration


@dataclass(frozen=True)
class Calibration:
    """How probabilities compare with what comes true.

    Attributes:
        error: the expected calibration error, from 0 to 1: the mean over what was predicted of the difference between
            probability and share that came true, bin by bin.
        edges: (bins + 1,) of the bins.
        counts: (bins,) predictions in each.
        confidence: (bins,) their mean probability; NaN in an empty bin.
        accuracy: (bins,) the share that came true; NaN in an empty bin.
    """

    error: float
    edges: FloatArray = field(repr=False)
    counts: IntArray = field(repr=False)
    confidence: FloatArray = field(repr=False)
    accuracy: FloatArray = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""

        def plain(values: FloatArray) -> list[float | None]:
            return [None if np.isnan(value) else float(value) for value in values]

        return {
            "expected_calibration_error": self.error,
            "bins": {
                "edges": plain(self.edges),
                "counts": self.counts.tolist(),
                "confidence": plain(self.confidence),
                "accuracy": plain(self.accuracy),
            },
        }


def blocks(table: NDArray[Any]) -> Iterator[slice]:
    """Rows of a table, in blocks of so many that what is computed from each fits into little memory."""
    rows = max(1, _BLOCK // max(1, table.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(table), rows))


def calibration(parts: Iterable[tuple[FloatArray, BoolArray]], bins: int = BINS) -> Calibration:
    """Compare probabilities with what came true.

    Args:
        parts: of all predictions, each part their probabilities (n,), of the label given or of a label being there, and
            whether they came true (n,).
        bins: of equal width.
    """
    edges = np.linspace(0, 1, bins + 1)
    sums = np.zeros((3, bins))
    for probabilities, came_true in parts:
        where = np.clip(np.searchsorted(edges, probabilities, side="left") - 1, 0, bins - 1)
        sums += [np.bincount(where, weights, bins) for weights in (None, probabilities, came_true)]
    counts = sums[0].astype(np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        confidence, accuracy = sums[1:] / counts
    gap = np.nan_to_num(np.abs(confidence - accuracy))
    return Calibration(float((gap * counts).sum() / max(1, counts.sum())), edges, counts, confidence, accuracy)


def softmax(logits: FloatArray) -> FloatArray:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def sigmoid(logits: FloatArray) -> FloatArray:
    """Of each number; 0 where its exponential is too large to be held."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


def fit_temperature(logits: FloatArray, gold: BoolArray, *, single: bool) -> float | None:
    """The temperature by which logits are divided so that gold is least surprising (Guo et al. 2017, section 4.2).

    The log-likelihood is concave in the inverse temperature, so that its slope is followed to 0 by bisection, between
    1/50 and 50, which is the largest temperature that is returned.

    Returns:
        None where nothing can be fitted: the sharper the probabilities, the better, as where every text is right.

    Args:
        logits: (n_texts, labels).
        gold: (n_texts, labels); texts with a gold label that is no column, and have none, are left out.
        single: one label per text.
    """
    if single:
        logits, gold = logits[gold.any(1)], gold[gold.any(1)]

    def slope(inverse: float) -> float:
        total = 0.0
        for rows in blocks(logits):
            scaled = logits[rows] * inverse
            given = softmax(scaled) if single else sigmoid(scaled)
            total += float(((gold[rows] - given) * logits[rows]).sum())
        return total

    if slope(LARGEST_TEMPERATURE) >= 0:
        return None
    if slope(1 / LARGEST_TEMPERATURE) <= 0:
        return LARGEST_TEMPERATURE
    low, high = -np.log(LARGEST_TEMPERATURE), np.log(LARGEST_TEMPERATURE)
    while high - low > _TEMPERATURE_PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) > 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def tune_thresholds(probabilities: FloatArray, gold: BoolArray) -> tuple[float, ...]:
    """For each label the least probability at which it is given, so that its F1 is best; 0.5 where it has no gold.

    A threshold lies halfway between the two probabilities that it parts; of equally good ones it is the one nearest to
    0.5.

    Args:
        probabilities: (n_texts, labels).
        gold: (n_texts, labels).
    """
    columns = zip(np.ascontiguousarray(probabilities.T), gold.T, strict=True)
    return tuple(_best_threshold(*column) for column in columns)


def _best_threshold(probabilities: FloatArray, gold: BoolArray) -> float:
    if not gold.any():
        return 0.5
    # The best F1 is where the last text taken has the label: any after it only add to what is given wrongly.
    last, counts = np.unique(probabilities[gold], return_counts=True)
    last, right = last[::-1], counts[::-1].cumsum()
    ordered = np.sort(probabilities)
    n_below = np.searchsorted(ordered, last)
    f1 = 2 * right / (len(ordered) - n_below + right[-1])
    cuts = (last + np.where(n_below > 0, ordered[n_below - 1], 0.0)) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])
