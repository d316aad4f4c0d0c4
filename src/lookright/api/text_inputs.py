"""What users hand to a text classifier, as values of the data room."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lookright.data.read_texts import TextColumns, read_texts
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError
from lookright.training.recipe import Recipe

LabeledTexts = TextDataset | str | os.PathLike[str] | Iterable[Text | tuple[str, Any]]
"""Labeled texts: a data set, the path of a file, or texts with gold (or pairs of a text and its gold)."""


def as_text_dataset(data: LabeledTexts, *, target: str | None = None, **options: Any) -> TextDataset:
    """Labeled texts as a data set.

    Args:
        data: a data set as it is, a path that `read_texts` reads, `Text`s, or pairs `(text, gold)`: the gold of each is
            a label, a list of labels, or a number.
        target: what the gold is; told from it where none is given.
        options: of `read_texts`.

    Raises:
        DataError: what is no labeled data.
    """
    if isinstance(data, TextDataset):
        return data
    if isinstance(data, str | os.PathLike):
        return read_texts(Path(data) if not str(data).startswith("hub:") else str(data), target=target, **options)
    texts = tuple(_labeled(item, index) for index, item in enumerate(data))
    return TextDataset(texts, Target(target) if target else _target_of(texts))


def reading_options(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says about reading files, as keywords of `as_text_dataset`."""
    return {"format": recipe.format, "columns": columns_of(recipe), "target": recipe.target}


def columns_of(recipe: Recipe) -> TextColumns:
    """Which keys or columns a recipe names."""
    default = TextColumns()
    return TextColumns(recipe.text_column or default.text, recipe.pair_column or default.pair, recipe.label_column)


def _labeled(item: Any, index: int) -> Text:
    if isinstance(item, Text):
        return item
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        raise DataError(f"labeled text {index} is a {type(item).__name__}; expected a Text or a pair (text, gold)")
    text, gold = item
    first, second = text if isinstance(text, tuple) else (text, None)
    if isinstance(gold, str):
        return Text(first, second, labels=(gold,))
    if isinstance(gold, list | tuple | set | frozenset):
        return Text(first, second, labels=tuple(sorted(gold) if isinstance(gold, set | frozenset) else gold))
    if isinstance(gold, int | float) and not isinstance(gold, bool):
        return Text(first, second, value=float(gold))
    raise DataError(f"labeled text {index} has the gold {gold!r}; expected a label, a list of labels, or a number")


def _target_of(texts: Sequence[Text]) -> Target | None:
    if not texts:
        return None
    if all(text.value is not None for text in texts):
        return Target.REGRESSION
    bare = next((index for index, text in enumerate(texts) if text.labels is None), None)
    if bare is not None:
        raise DataError(f"labeled text {bare} has no labels", path=texts[bare].path, line=texts[bare].line)
    return Target.SINGLE if all(len(text.labels or ()) == 1 for text in texts) else Target.MULTI


def as_texts(inputs: Any) -> tuple[list[Text], bool]:
    """What `TextClassifier.predict` was given.

    Returns:
        The texts, and whether one was given rather than a list.

    Raises:
        DataError: something else.
    """
    if isinstance(inputs, str | Text):
        return [as_text(inputs, 0)], True
    if isinstance(inputs, TextDataset):
        return list(inputs), False
    if not isinstance(inputs, Iterable) or isinstance(inputs, bytes | dict):
        raise DataError(f"got {type(inputs).__name__}; expected a text, a list of texts, or a list of pairs of texts")
    return [as_text(item, index) for index, item in enumerate(inputs)], False


def as_text(item: Any, index: int) -> Text:
    """One of the texts that `TextClassifier.predict` was given.

    Raises:
        DataError: something else.
    """
    if isinstance(item, Text):
        return item
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Text(*item)
    raise DataError(f"text {index} is a {type(item).__name__}; expected a text, or a pair of texts (text, text)")
