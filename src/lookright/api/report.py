"""What an evaluation found: scores, how sure they are, and what they are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lookright.data import Dataset, Sentence, lost_spans
from lookright.errors import LabelError
from lookright.metrics import Convention, Scores, TypeScore, bootstrap_interval, evaluate_tags
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, to_spans
from lookright.training.labels import tags_in


@dataclass(frozen=True)
class Report:
    """The score of a tagger on labeled sentences, over the full gold.

    Attributes:
        scores: the figures, with their convention; see `lookright.metrics.Scores`.
        interval: (low, high) of the headline figure, by bootstrap over sentences; None where it has no value.
        level: the level of the interval.
        unknown_types: span types (plain tags: tags) of the gold that the tagger does not know, with their counts; they
            are scored as missed.
        unreachable: gold spans that no tags over the words can carry (they overlap, or cut a word), by type; they are
            scored as missed.
        data: the file, where there is one.
        data_hash: `Dataset.content_hash()`.
    """

    scores: Scores
    interval: tuple[float, float] | None
    level: float = 0.95
    unknown_types: Mapping[str, int] = field(default_factory=dict)
    unreachable: Mapping[str, int] = field(default_factory=dict)
    data: str | None = None
    data_hash: str = ""

    @property
    def convention(self) -> str:
        """What the headline figure is, in words."""
        return self.scores.convention

    @property
    def f1(self) -> float | None:
        """Micro F1, from 0 to 1 (plain tags: accuracy)."""
        return self.scores.f1

    @property
    def headline(self) -> tuple[str, float | None]:
        """Name and value of the one figure to print."""
        return self.scores.headline

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **self.scores.to_dict(),
            "interval": None if self.interval is None else list(self.interval),
            "level": self.level,
            "unknown_types": dict(self.unknown_types),
            "unreachable": dict(self.unreachable),
            "data": self.data,
            "data_hash": self.data_hash,
        }

    def __str__(self) -> str:
        """A table for people: the headline, a row for each type, and what else they should know."""
        name, value = self.headline
        lines = [f"{name}: {percent(value)}{self._interval_words()}"]
        lines.append(f"{self.scores.n_sentences:,} sentences, {self.scores.n_words:,} words")
        plain = self.scores.scheme is Scheme.PLAIN
        rows: list[tuple[str, ...]] = [("tag" if plain else "type", "precision", "recall", "F1", "gold", "predicted")]
        rows += [score_row(kind, score) for kind, score in self.scores.per_type.items()]
        if not plain:
            micro = TypeScore.of(*self.scores.counts)
            rows.append(score_row("micro", micro))
            rows.append(("macro", "", "", percent(self.scores.macro_f1), "", ""))
        lines += ["", *table(rows)]
        if self.unknown_types:
            lines += ["", f"unknown to the tagger, scored as missed: {_counts(self.unknown_types)}"]
        if self.unreachable:
            lines += ["", f"overlapping or not on word borders, scored as missed: {_counts(self.unreachable)}"]
        return "\n".join(lines)

    def _interval_words(self) -> str:
        if self.interval is None:
            return ""
        low, high = self.interval
        return f" ({self.level:.0%} interval {percent(low)} to {percent(high)})"


def make_report(
    data: Dataset,
    predicted: Sequence[Sequence[str]],
    settings: TaggerSettings,
    *,
    convention: Convention = "strict",
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Report:
    """Score predicted tags against a data set's gold.

    Args:
        data: the gold, in any scheme that the tagger's can express.
        predicted: the tags of each sentence, in the tagger's scheme.
        settings: the tagger's.
        convention: `strict` or `conlleval`; see `lookright.metrics`.
        level, samples, seed: of the bootstrap interval.

    Raises:
        LabelError: no gold, spans against plain tags, or not one type in common.
    """
    check_gold(data, settings)
    gold = tags_in(data, settings.scheme)
    unknown = unknown_types(data, settings)
    missed = [_unreachable(sentence, data.scheme) for sentence in data]
    scores = _with_missed(evaluate_tags(gold, predicted, settings.scheme, convention=convention), missed)
    return Report(
        scores=scores,
        interval=bootstrap_interval(scores, level=level, samples=samples, seed=seed),
        level=level,
        unknown_types=unknown,
        unreachable=dict(sorted(sum(missed, Counter[str]()).items())) if any(missed) else {},
        data=data.path,
        data_hash=data.content_hash(),
    )


def check_gold(data: Dataset, settings: TaggerSettings) -> None:
    """Refuse, before anything is computed, gold that the tagger cannot be scored against.

    Raises:
        LabelError: sentences without gold, spans against plain tags, or not one type in common.
    """
    if not data.tagged or data.scheme is None:
        raise LabelError("there are no gold tags to score against; expected one tag for each word", path=data.path)
    if (data.scheme is Scheme.PLAIN) != (settings.scheme is Scheme.PLAIN):
        raise LabelError(
            f"the gold is in the scheme {data.scheme} and the tagger in {settings.scheme}: spans and plain tags cannot "
            "be compared; give the scheme of the file if it was detected wrongly",
            path=data.path,
        )
    unknown_types(data, settings)


def unknown_types(data: Dataset, settings: TaggerSettings) -> dict[str, int]:
    """The types (plain tags: tags) of the gold that the tagger does not know, with the number of their spans (tags).

    Raises:
        LabelError: gold and tagger share no type; both sets are listed.
    """
    counts: Counter[str]
    if settings.scheme is Scheme.PLAIN:
        counts = data.tag_counts()
    else:
        scheme = data.scheme or settings.scheme
        counts = Counter(span.type for sentence in data for span in to_spans(sentence.tags or (), scheme))
    known = set(settings.types)
    if counts and not known & set(counts):
        raise LabelError(
            f"the gold has the types {', '.join(sorted(counts))} and the tagger has {', '.join(sorted(known))}: they "
            "share none; is it the file, or the column, of another task?",
            path=data.path,
        )
    return {kind: counts[kind] for kind in sorted(set(counts) - known)}


def _unreachable(sentence: Sentence, scheme: Scheme | None) -> Counter[str]:
    """The gold spans of a text that its tags do not carry, by type."""
    if scheme is None or scheme is Scheme.PLAIN:
        return Counter()
    return Counter(span.type for span in lost_spans(sentence, scheme))


def _with_missed(scores: Scores, missed: Sequence[Counter[str]]) -> Scores:
    """The scores with more gold that nothing predicted: the full gold counts, not only what tags can carry."""
    if not any(missed):
        return scores
    total = sum(missed, Counter[str]())
    per_type = dict(scores.per_type)
    for kind, count in total.items():
        old = per_type.get(kind, TypeScore.of(0, 0, 0))
        per_type[kind] = TypeScore.of(old.gold + count, old.predicted, old.correct)
    per_sentence = scores.per_sentence.copy()
    per_sentence[:, 0] += np.array([count.total() for count in missed], dtype=per_sentence.dtype)
    micro = TypeScore.of(*per_sentence.sum(axis=0).tolist())
    f1s = [score.f1 for score in per_type.values() if score.f1 is not None]
    return replace(
        scores,
        precision=micro.precision,
        recall=micro.recall,
        f1=micro.f1,
        macro_f1=sum(f1s) / len(f1s),
        per_type=dict(sorted(per_type.items())),
        per_sentence=per_sentence,
    )


def percent(value: float | None) -> str:
    """A figure from 0 to 1 in percent, or a dash."""
    return "-" if value is None else f"{100 * value:.2f}"


def score_row(name: str, score: TypeScore) -> tuple[str, ...]:
    """The cells of a type or a label: name, precision, recall, F1, gold, predicted."""
    ratios = (percent(score.precision), percent(score.recall), percent(score.f1))
    return (name, *ratios, f"{score.gold:,}", f"{score.predicted:,}")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns; the first to the left, the others, being figures, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())
