"""Two text classifiers on one labeled file: as `lookright.api.comparison`, over texts and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lookright.api.comparison import (
    Answers,
    SentenceDifference,
    System,
    TaggerComparison,
    Unit,
    by_type,
    check_types,
    counts_of,
    label_notes,
    loaded,
)
from lookright.api.text_classifier import TextClassifier
from lookright.api.text_inputs import as_text_dataset
from lookright.data import TextColumns
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError, LabelError
from lookright.inference.render import Highlight
from lookright.metrics import approximate_randomization, paired_bootstrap, scores_of_counts
from lookright.tags import Scheme
from lookright.training.text_labels import target_of

EMPTY = "(empty)"


class TextDifference(SentenceDifference):
    """A text that the two classify differently; its labels stand over the whole of it."""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        labels = {side: [mark.type for mark in getattr(self, side)] for side in ("gold", "first", "second")}
        return {"index": self.index, "line": self.line, "text": self.text, **labels, "right": self.right}


def compare_texts(
    pair: tuple[System, System],
    test: Any,
    names: tuple[str, str],
    level: float,
    resampling: dict[str, Any],
    *,
    device: str,
    progress: bool,
    **options: Any,
) -> TaggerComparison:
    """Compare two text classifiers, or what was predicted by one, on labeled texts; see `compare`.

    Raises:
        LabelError: the two share no label, or not one with the gold, or their targets differ; a regression.
        DataError: no gold, or a file of predictions over other texts.
    """
    systems = [loaded(system, TextClassifier, device) for system in pair]
    targets = [system.settings.target for system in systems if isinstance(system, TextClassifier)]
    data = as_text_dataset(test, **{"target": next(iter(targets), None), **options})
    target_of(data, "the test set")  # raises where there is no gold
    for system, name in zip(systems, names, strict=True):
        if isinstance(system, TextClassifier) and system.settings.target != data.target:
            raise LabelError(f"the target of {name} is {system.settings.target}, and that of the gold {data.target}")
    if data.target is Target.REGRESSION:
        raise LabelError("the target is a regression: there are no labels to compare; evaluate each one (its R²)")
    answers = [_answers(system, data, options.get("columns"), progress=progress) for system in systems]
    check_types(set(data.labels()), data.path, answers, names, "labels")
    gold = [_units(text.labels) for text in data]
    said = [answer.spans for answer in answers]
    labels, counts = counts_of(gold, [], said)
    convention = "accuracy" if data.target is Target.SINGLE else "micro F1"
    one, other = (scores_of_counts(counts[side].sum(axis=1), convention) for side in (0, 1))
    return TaggerComparison(
        names=names,
        data=data.path,
        n_sentences=len(data),
        scores=(one, other),
        bootstrap=paired_bootstrap(one, other, level=level, **resampling),
        randomization=approximate_randomization(one, other, **resampling),
        types=by_type(labels, counts, answers, names, level, resampling),
        sentences=tuple(
            _difference(index, text, (gold[index], said[0][index], said[1][index]), names)
            for index, text in enumerate(data)
            if said[0][index] != said[1][index]
        ),
        notes=tuple(label_notes(set(data.labels()), answers, names)),
        unit="texts",
    )


def _units(labels: Sequence[str] | None) -> set[Unit]:
    return {(label, 0, 0) for label in labels or ()}


def _answers(
    system: TextClassifier | Path, data: TextDataset, columns: TextColumns | None, *, progress: bool
) -> Answers:
    if isinstance(system, TextClassifier):
        said = system.predictor.classify(data.texts, progress=progress)
        return Answers([_units(one.labels) for one in said], frozenset(system.labels), Scheme.PLAIN)
    columns = replace(columns or TextColumns(), label=None)  # what was predicted is under `label` or `labels`
    predicted = as_text_dataset(system, target=str(data.target), columns=columns)
    if len(predicted) != len(data):
        raise DataError(
            f"has {len(predicted)} texts, and the test set {len(data)}: expected the predictions for just those",
            path=str(system),
        )
    for number, (text, other) in enumerate(zip(data, predicted, strict=True), start=1):
        if text.parts != other.parts:
            raise DataError(
                f"text {number} is not that of the test set; expected the same texts in the same order",
                path=str(system), line=other.line,
            )  # fmt: skip
    return Answers([_units(text.labels) for text in predicted], None, Scheme.PLAIN)


def _difference(index: int, text: Text, sides: Sequence[set[Unit]], names: Sequence[str]) -> TextDifference:
    shown = "\n".join(text.parts) or EMPTY
    right = [name for name, said in zip(names, sides[1:], strict=True) if said == sides[0]]
    gold, one, other = (tuple(Highlight(label, 0, len(shown)) for label, _, _ in sorted(units)) for units in sides)
    return TextDifference(index, text.line, shown, gold, one, other, right[0] if right else None)
