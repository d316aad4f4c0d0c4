"""What users hand to a text classifier, as values of the data room."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lookright.data.read_texts import TextColumns, read_texts, texts_of_table, told_target, with_gold
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError
from lookright.training.recipe import Recipe

LabeledTexts = TextDataset | str | os.PathLike[str] | Iterable[Text | tuple[str, Any]]
"""Labeled texts: a data set, the path of a file, or texts with gold (or pairs of a text and its gold)."""


def as_text_dataset(data: LabeledTexts, *, target: str | None = None, **options: Any) -> TextDataset:
    """Labeled texts as a data set.

    Args:
        data: a data set as it is, a path that `read_texts` reads, a `datasets.Dataset` or a data frame of pandas,
            `Text`s, or pairs `(text, gold)`: the gold of each is a label, a list of labels, or a number, and told apart
            as in files. The text may be a pair of texts itself.
        target: what the gold is; told from it where none is given.
        options: of `read_texts`.

    Raises:
        DataError: what is no labeled data.
    """
    if isinstance(data, TextDataset):
        return data
    if isinstance(data, str | os.PathLike):
        return read_texts(Path(data) if not str(data).startswith("hub:") else str(data), target=target, **options)
    if _is_table(data):
        return texts_of_table(data, columns=options.get("columns"), target=target)
    items = list(data)
    texts = tuple(item for item in items if isinstance(item, Text))
    if items and not texts:
        return _from_pairs(items, target)
    if len(texts) < len(items):
        odd = next(index for index, item in enumerate(items) if not isinstance(item, Text))
        raise DataError(f"labeled text {odd} is a {type(items[odd]).__name__}, and others are Texts; expected one kind")
    return TextDataset(texts, Target(target) if target else _target_of(texts))


def _from_pairs(items: Sequence[Any], target: str | None) -> TextDataset:
    """Pairs of a text and its gold, which is read as that of a JSON Lines file is."""
    texts, golds = [], []
    for index, item in enumerate(items):
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
            raise DataError(f"labeled text {index} is a {type(item).__name__}; expected a Text or a pair (text, gold)")
        texts.append(as_text(item[0], index))
        golds.append(_plain(item[1]))
        if golds[-1] is None:
            raise DataError(f"labeled text {index} has no gold; expected a label, a list of labels, or a number")
    chosen, _ = told_target(list(zip(golds, texts, strict=True)), target)
    pairs = enumerate(zip(texts, golds, strict=True))
    return TextDataset(tuple(with_gold(text, gold, chosen, f"gold {index}") for index, (text, gold) in pairs), chosen)


def _plain(gold: Any) -> Any:
    """Gold without NumPy's scalars and arrays, sets and tuples."""
    if hasattr(gold, "tolist"):
        gold = gold.tolist()
    if isinstance(gold, set | frozenset):
        return sorted(gold, key=str)
    return list(gold) if isinstance(gold, tuple) else gold


def _is_table(data: Any) -> bool:
    """Whether this is a `datasets.Dataset` or a data frame of pandas; neither is imported for that."""
    return hasattr(data, "column_names") or hasattr(data, "columns")


def reading_options(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says about reading files, as keywords of `as_text_dataset`."""
    return {"format": recipe.format, "columns": columns_of(recipe), "target": recipe.target}


def columns_of(recipe: Recipe) -> TextColumns:
    """Which keys or columns a recipe names."""
    default = TextColumns()
    return TextColumns(recipe.text_column or default.text, recipe.pair_column or default.pair, recipe.label_column)


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
    if _is_table(inputs):
        raise DataError(
            f"got a {type(inputs).__name__} with several columns; give the one that has the texts, such as "
            "list(table['text'])"
        )
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
