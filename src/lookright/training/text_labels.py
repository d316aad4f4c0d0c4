"""Labels of texts before training: what the classifier will know, and what the other files have that it will not."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookright.data.texts import Target, Text, TextDataset, one_line
from lookright.errors import DataError, LabelError
from lookright.models.text_settings import TextSettings
from lookright.training.labels import UnseenTypes
from lookright.training.recipe import Recipe

log = logging.getLogger("lookright")

NUMBER: str = "value"
"""What the output of a regression is called."""


def target_of(dataset: TextDataset, name: str) -> Target:
    """What the gold of a data set is.

    Raises:
        DataError: the data set is empty, or has no gold.
    """
    if not len(dataset):
        raise DataError(f"{name} has no text; expected labeled texts", path=dataset.path)
    if dataset.target is None:
        raise DataError(f"{name} has texts without gold; expected labels or a number for each", path=dataset.path)
    return dataset.target


def text_settings_for(recipe: Recipe, train: TextDataset, existing: TextSettings | None = None) -> TextSettings:
    """What a classifier trained on `train` must remember.

    Args:
        recipe: a resolved recipe.
        train: the texts to train on.
        existing: the settings of the classifier that is trained; its labels stay where they are, and new ones come
            after them. Thresholds and temperature are forgotten: they belong to the weights.

    Raises:
        DataError: `train` is empty, has no gold, one label only, or numbers that are all the same.
        LabelError: another target than the classifier's.
    """
    target = target_of(train, "train")
    given = {n: getattr(recipe, n) for n in ("pooling", "window", "dropout") if getattr(recipe, n) is not None}
    known = () if existing is None else existing.labels
    if existing is not None and existing.target != target:
        raise LabelError(
            f"the classifier's target is {existing.target} and train's is {target}: start from another base, or say "
            "what the gold is (--target)", path=train.path,
        )  # fmt: skip
    if target is Target.REGRESSION:
        given |= {"labels": known or (NUMBER,), **_spread(train)}
    else:
        labels = (*known, *(label for label in train.labels() if label not in known))
        if target is Target.SINGLE and len(labels) < 2:
            raise LabelError(
                f"every text of train has the label {labels[0]!r}: a classifier needs two labels at least",
                path=train.path,
            )
        if not labels:
            raise LabelError("no text of train has a label: nothing can be learned", path=train.path)
        given |= {"labels": labels}
        if new := [label for label in labels if known and label not in known]:
            log.info("the base knows %s; new in train: %s", ", ".join(known), ", ".join(new))
    shapes = {text.text_pair is not None for text in train}
    given |= {"pairs": shapes.pop() if len(shapes) == 1 else None}
    fresh: dict[str, Any] = {"target": target.value, "thresholds": (), "temperature": 1.0, **given}
    return TextSettings(**fresh) if existing is None else replace(existing, **fresh)


def _spread(train: TextDataset) -> dict[str, float]:
    """Mean and deviation of the numbers to train on."""
    numbers = np.array([text.value for text in train], np.float64)
    if (numbers == numbers[0]).all():
        raise DataError(f"every text of train has the number {numbers[0]:g}: nothing can be learned", path=train.path)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, deviation = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(mean) and 0 < deviation < np.inf):
        raise DataError(
            f"the numbers of train go from {numbers.min():g} to {numbers.max():g}, which is more or less than can be "
            "computed with; give them in another unit", path=train.path,
        )  # fmt: skip
    return {"mean": mean, "deviation": deviation}


def check_text_labels(
    dataset: TextDataset, settings: TextSettings, name: str, *, strict: bool = False
) -> UnseenTypes | None:
    """Find the labels of a data set that the classifier does not have, and say them.

    Args:
        dataset: dev or test.
        settings: of the classifier.
        name: how messages call the data set.
        strict: whether an unseen label is an error.

    Raises:
        LabelError: another target, or no label in common, or one is unseen and `strict` is asked.
    """
    target = target_of(dataset, name)
    if target != settings.target:
        raise LabelError(
            f"{name} has the target {target}, and the classifier {settings.target}; say what the gold is (--target)",
            path=dataset.path,
        )
    counts = dataset.label_counts()
    unseen = {label: n for label, n in sorted(counts.items()) if label not in settings.label_to_id}
    if not unseen:
        return None
    path = None if name == dataset.path else dataset.path  # said once
    both = f"the classifier has {_some(settings.labels)}; {name} has {_some(sorted(counts))}"
    if len(unseen) == len(counts):
        raise LabelError(f"{name} has none of the classifier's labels: {both}", path=path)
    if strict:
        raise LabelError(f"{name} has labels that train has not: {_some(unseen)}; {both}", path=path)
    found = UnseenTypes(name, unseen, what="labels")
    log.warning("%s", found)
    return found


def _some(labels: Iterable[str], most: int = 20) -> str:
    listed = [one_line(label) for label in labels]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def gold_array(texts: Iterable[Text], settings: TextSettings) -> NDArray[Any]:
    """The gold of texts as the model's forward takes it.

    Raises:
        LabelError: a label that is none of the classifier's.
    """
    if settings.target == Target.REGRESSION:
        # Standardised before it is rounded: of 100,000,001 and 100,000,002 float32 makes the same number.
        return settings.standard(np.array([text.value for text in texts], np.float64)).astype(np.float32)
    ids = settings.label_to_id
    rows = []
    for text in texts:
        odd = next((label for label in text.labels or () if label not in ids), None)
        if odd is not None:
            raise LabelError(
                f"{odd!r} is none of the classifier's labels ({_some(settings.labels)})", path=text.path, line=text.line
            )
        rows.append([ids[label] for label in text.labels or ()])
    if settings.target == Target.SINGLE:
        return np.array([row[0] for row in rows], np.int64)
    found = np.zeros((len(rows), len(ids)), np.float32)
    for number, row in enumerate(rows):
        found[number, row] = 1
    return found


def gold_table(dataset: TextDataset, labels: tuple[str, ...]) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which labels each text has: (n_texts, labels), and the columns: `labels`, then those that only the gold has."""
    columns = (*labels, *(label for label in dataset.labels() if label not in set(labels)))
    ids = {label: index for index, label in enumerate(columns)}
    table = np.zeros((len(dataset), len(columns)), bool)
    for number, text in enumerate(dataset):
        table[number, [ids[label] for label in text.labels or ()]] = True
    return table, columns
