"""What an evaluation of a text classifier found: scores, how sure they are, how honest its probabilities are."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lookright.api.report import percent, score_row, table
from lookright.data.check import shortened
from lookright.data.texts import Target, TextDataset, one_line
from lookright.errors import MissingExtraError, OutputError
from lookright.inference.text_predictor import probabilities_of
from lookright.models.text_settings import TextSettings
from lookright.text_metrics import (
    BoolArray,
    Calibration,
    FloatArray,
    LabelScores,
    NumberScores,
    blocks,
    calibration,
    intervals,
)
from lookright.training.text_evaluation import score_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lookright.training.labels import UnseenTypes

log = logging.getLogger("lookright")

CONFUSION_FILE: Final = "confusion.png"
RELIABILITY_FILE: Final = "reliability.png"
SHOWN_CONFUSIONS: Final = 5
LONGEST_NAME: Final = 50
"""Characters of a label on the axes of a confusion matrix."""
SMALLEST_FONT: Final = 3.0
"""Labels that would be smaller, in points, are numbered by their places in the report."""
NAMED_CELLS: Final = 30
"""A confusion matrix with more labels shows no figures in its cells."""


@dataclass(frozen=True)
class TextReport:
    """The scores of a text classifier on labeled texts, over the full gold.

    Attributes:
        scores: the figures.
        intervals: (low, high) by the name of the figure, by bootstrap over texts.
        level: the level of the intervals.
        calibration: how probabilities compare with what came true; None for a regression.
        temperature: what logits were divided by; 1 where none was fitted.
        unknown_labels: labels of the gold that the classifier does not have, with their counts; scored as missed.
        data: the file, where there is one.
        data_hash: `TextDataset.content_hash()`.
    """

    scores: LabelScores | NumberScores
    intervals: Mapping[str, tuple[float, float]]
    level: float = 0.95
    calibration: Calibration | None = None
    temperature: float = 1.0
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    data: str | None = None
    data_hash: str = ""

    @property
    def headline(self) -> tuple[str, float | None]:
        """Name and value of the one figure to print."""
        return self.scores.headline

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the headline figure."""
        key = {"accuracy": "accuracy", "micro F1": "micro_f1"}.get(self.headline[0], "r2")
        return self.intervals.get(key)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **self.scores.to_dict(),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "level": self.level,
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "temperature": self.temperature,
            "unknown_labels": dict(self.unknown_labels),
            "data": self.data,
            "data_hash": self.data_hash,
        }

    def __str__(self) -> str:
        """For people: the headline, what else there is, a row for each label, and what is confused most."""
        name, value = self.headline
        if isinstance(self.scores, NumberScores):
            return "\n".join(self._number_lines(self.scores))
        low_high = self._words("accuracy" if name == "accuracy" else "micro_f1")
        lines = [f"{name}: {percent(value)}{low_high}", f"{self.scores.n_texts:,} texts"]
        lines.append(f"macro F1: {percent(self.scores.macro_f1)}{self._words('macro_f1')}")
        if name != "accuracy":
            lines.append(f"exact match: {percent(self.scores.accuracy)}{self._words('accuracy')}")
        if self.calibration is not None:
            fitted = "no temperature fitted" if self.temperature == 1 else f"temperature {self.temperature:.2f}"
            lines.append(f"expected calibration error: {percent(self.calibration.error)} ({fitted})")
        rows: list[tuple[str, ...]] = [("label", "precision", "recall", "F1", "gold", "given")]
        rows += [score_row(one_line(label), score) for label, score in self.scores.per_label.items()]
        lines += ["", *table(rows)]
        if name == "accuracy" and (confused := self.confusions()):
            lines += ["", "most confused:"]
            shown = confused[:SHOWN_CONFUSIONS]
            lines += [f"  {one_line(gold)} taken for {one_line(given)}: {n:,}" for gold, given, n in shown]
        if self.unknown_labels:
            listed = ", ".join(f"{one_line(label)} ({n:,})" for label, n in self.unknown_labels.items())
            lines += ["", f"unknown to the classifier, scored as missed: {listed}"]
        return "\n".join(lines)

    def _number_lines(self, scores: NumberScores) -> list[str]:
        def shown(value: float | None) -> str:
            return "-" if value is None else f"{value:.4f}"

        low_high = ""
        if self.interval is not None:
            low_high = f" ({self.level:.0%} interval {self.interval[0]:.4f} to {self.interval[1]:.4f})"
        return [
            f"R²: {shown(scores.r2)}{low_high}",
            f"{scores.n_texts:,} texts",
            f"mean squared error: {scores.mean_squared_error:.4f}",
            f"mean absolute error: {scores.mean_absolute_error:.4f}",
            f"Pearson: {shown(scores.pearson)}",
            f"Spearman: {shown(scores.spearman)}",
        ]

    def _words(self, figure: str) -> str:
        if figure not in self.intervals:
            return ""
        low, high = self.intervals[figure]
        return f" ({self.level:.0%} interval {percent(low)} to {percent(high)})"

    def confusions(self) -> list[tuple[str, str, int]]:
        """(gold label, label given, texts) of what is confused, most often first; for one label per text."""
        if not isinstance(self.scores, LabelScores) or self.scores.headline_name != "accuracy":
            return []
        cells = self.scores.confusion()
        labels = self.scores.labels
        wrong = [(i, j) for i, j in np.argwhere(cells).tolist() if i != j]
        wrong.sort(key=lambda cell: (-cells[cell], cell))
        return [(labels[i], labels[j], int(cells[i, j])) for i, j in wrong]

    def save_plots(self, folder: str | Path) -> list[Path]:
        """Draw what there is to draw: `confusion.png` (one label per text), `reliability.png` (probabilities).

        Raises:
            MissingExtraError: without matplotlib.
            OutputError: the folder cannot be written.
        """
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            raise MissingExtraError("matplotlib", "plots", "drawing") from None
        figures = {}
        if isinstance(self.scores, LabelScores) and self.scores.headline_name == "accuracy":
            figures[CONFUSION_FILE] = _confusion_figure(self.scores)
        if self.calibration is not None:
            figures[RELIABILITY_FILE] = _reliability_figure(self.calibration)
        made = []
        lacking = False
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, figure in figures.items():
                made.append(Path(folder) / name)
                part = made[-1].with_name(f".{name}.part")
                with warnings.catch_warnings(record=True) as found:
                    warnings.simplefilter("always")
                    figure.savefig(part, format="png", dpi=150)
                lacking |= any("missing from font" in str(warning.message) for warning in found)
                part.replace(made[-1])
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
        if lacking:
            log.warning("labels have characters that the font of the plots lacks; they are drawn as boxes")
        return made


def make_text_report(
    data: TextDataset,
    logits: FloatArray,
    settings: TextSettings,
    *,
    unknown: UnseenTypes | None = None,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> TextReport:
    """Score logits (n_texts, labels) against a data set's gold; `unknown` is what `check_text_labels` found in it."""
    scores = score_logits(data, logits, settings)
    return TextReport(
        scores=scores,
        intervals=intervals(scores, level=level, samples=samples, seed=seed),
        level=level,
        calibration=_calibration(scores, logits, settings),
        temperature=settings.temperature,
        unknown_labels={} if unknown is None else unknown.counts,
        data=data.path,
        data_hash=data.content_hash(),
    )


def _calibration(scores: LabelScores | NumberScores, logits: FloatArray, settings: TextSettings) -> Calibration | None:
    """One label per text: of the label given; any number: of each label's being there."""
    if isinstance(scores, NumberScores):
        return None

    def part(rows: slice) -> tuple[FloatArray, BoolArray]:
        given = probabilities_of(logits[rows], settings)
        if settings.target == Target.SINGLE:
            return given.max(1), np.asarray((scores.gold[rows] & scores.given[rows]).any(1))
        return given.ravel(), scores.gold[rows, : given.shape[1]].ravel()

    return calibration(map(part, blocks(logits)))


def _confusion_figure(scores: LabelScores) -> Figure:
    """Rows are gold labels, columns the labels given; colours are shares of the row."""
    from matplotlib.figure import Figure

    used = np.flatnonzero(scores.gold.any(0) | scores.given.any(0))
    cells = scores.confusion()[np.ix_(used, used)]
    shares = cells / np.maximum(1, cells.sum(1, keepdims=True))
    labels = [shortened(one_line(scores.labels[index]), LONGEST_NAME) for index in used]
    cells_wide = min(22.5, max(2.5, 0.28 * len(labels)))  # inches
    font = min(8.0, 0.85 * 72 * cells_wide / len(labels))  # points
    names: dict[str, Any] = {"fontsize": font, "parse_math": False}
    size = cells_wide + 1 + font / 72 * 0.65 * max(map(len, labels))
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if font >= SMALLEST_FONT:
        axes.set_xticks(range(len(labels)), labels, rotation=90, **names)
        axes.set_yticks(range(len(labels)), labels, **names)
    axes.set_xlabel("label given")
    axes.set_ylabel("gold label")
    if len(labels) <= NAMED_CELLS:
        for i, j in np.argwhere(cells).tolist():
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(cells[i, j]), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=axes, label="share of the gold label", shrink=0.8)
    return figure


def _reliability_figure(found: Calibration) -> Figure:
    """The share that came true against the probability, and how many predictions each bin has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    middles, width = (found.edges[1:] + found.edges[:-1]) / 2, found.edges[1] - found.edges[0]
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="perfectly calibrated")
    upper.bar(middles, np.nan_to_num(found.accuracy), 0.9 * width, color="tab:blue", alpha=0.5)
    upper.plot(found.confidence, found.accuracy, "o", color="tab:blue", markersize=4, label="this classifier")
    upper.set_ylabel("share that came true")
    upper.set_title(f"expected calibration error {100 * found.error:.2f} %")
    upper.legend(loc="upper left")
    lower.bar(middles, found.counts, 0.9 * width, color="tab:blue")
    lower.set_xlabel("probability")
    lower.set_ylabel("predictions")
    lower.set_xlim(0, 1)
    return figure
