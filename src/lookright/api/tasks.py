"""Sentences or whole texts: which of the two labeled data is, how it is read, and what is trained on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lookright.api.inputs import as_dataset
from lookright.api.inputs import reading_options as tag_options
from lookright.api.report import Report
from lookright.api.tagger import Tagger
from lookright.api.text_classifier import TextClassifier
from lookright.api.text_inputs import as_text_dataset, columns_of
from lookright.api.text_inputs import reading_options as text_options
from lookright.api.text_report import TextReport
from lookright.data import Dataset, hold_out, hold_out_texts, task_in
from lookright.data.texts import Text, TextDataset
from lookright.errors import RecipeError
from lookright.metrics import Scores
from lookright.models.tasks import TAGS, TEXT
from lookright.study.rows import Counts
from lookright.text_metrics import NumberScores
from lookright.training.labels import scheme_of
from lookright.training.recipe import Recipe
from lookright.training.text_labels import target_of

LabeledData = Dataset | TextDataset
FineTunedModel = Tagger | TextClassifier


def task_of(recipe: Recipe, train: Any) -> str:
    """The task of a training: as the recipe says, by options that only texts have, or as the training data is.

    Args:
        recipe: of the training.
        train: a data set, the path of a file, or a list of labeled sentences or texts.

    Raises:
        DataError: the file cannot be read.
    """
    return task_said(recipe) or task_in_data(recipe, train)


def task_said(recipe: Recipe) -> str | None:
    """The task that a recipe names, or tells by options that only texts have; None where it does not."""
    told = recipe.target is not None or recipe.pooling is not None or recipe.format in ("csv", "tsv")
    return recipe.task or (TEXT if told else None)


def task_in_data(recipe: Recipe, train: Any) -> str:
    """The task that labeled data is for; see `task_of`."""
    if isinstance(train, Dataset | TextDataset):
        return TEXT if isinstance(train, TextDataset) else TAGS
    if isinstance(train, str | os.PathLike):
        return task_in(os.fspath(train), columns_of(recipe))
    first = next(iter(train), None)
    if isinstance(first, Text):
        return TEXT
    # A pair of a text (or of two) and its gold; a sentence is a list of words and one of tags.
    pair = first if isinstance(first, tuple | list) and len(first) == 2 else (None, [])
    return TEXT if isinstance(pair[0], str) or not isinstance(pair[1], list | tuple) else TAGS


class Reader:
    """Reads labeled data of one task; what comes later is read as what came first was.

    Args:
        task: whether it is sentences or texts.
        recipe: how files are read.
        more: options of `as_dataset` or `as_text_dataset`, on top of it.
    """

    def __init__(self, task: str, recipe: Recipe, more: Mapping[str, Any] | None = None) -> None:
        self.task = task
        self.options = {**(text_options(recipe) if task == TEXT else tag_options(recipe)), **(more or {})}

    def __call__(self, data: Any, role: str) -> LabeledData:
        """Labeled data as a data set.

        Args:
            data: a data set, the path of a file, or labeled sentences or texts.
            role: how messages call it: train, dev, test.

        Raises:
            DataError: what is no labeled data, or has no gold.
        """
        if self.task == TEXT:
            texts = as_text_dataset(data, **self.options)
            self.options["target"] = target_of(texts, role).value  # a small file must not be read in another way
            return texts
        sentences = as_dataset(data, **self.options)
        scheme_of(sentences, role)  # raises where there are no sentences or no tags
        return sentences


def held_out(train: LabeledData, share: float) -> tuple[LabeledData, LabeledData]:
    """Train without a share of it, and that share, as dev; by content."""
    return hold_out_texts(train, share) if isinstance(train, TextDataset) else hold_out(train, share)


def counts_of(report: Report | TextReport) -> Counts:
    """(sentences or texts, 3): gold, predicted and correct spans (or labels) of each, behind a report.

    Raises:
        RecipeError: of numbers, there are none.
    """
    scores = report.scores
    if isinstance(scores, NumberScores):
        raise RecipeError(
            "the target is a regression, and a study compares by labels that are right, text by text; train and "
            "evaluate regressions one by one"
        )
    return scores.per_sentence if isinstance(scores, Scores) else scores.counts


def class_of(task: str) -> type[Tagger] | type[TextClassifier]:
    """What is trained for a task."""
    return TextClassifier if task == TEXT else Tagger
