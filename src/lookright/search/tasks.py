"""What a search is about, behind one protocol: labeled sentences for a tagger, or labeled texts for a classifier.

The rest of this room counts *units* of dev (sentences, texts), knows how large each one is, and compares plans by the
counts of gold, given and right of each unit, (units, 3), whose F1 is the figure: of plain tags and single labels, of
which there is one for one, that is the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from lookright.data import Dataset
from lookright.data.split import part_of
from lookright.data.texts import Target, TextDataset
from lookright.encoding import TextEncoder
from lookright.errors import RecipeError
from lookright.metrics import Scores, evaluate_tags
from lookright.models.headed import HeadedModel
from lookright.models.settings import HeadSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.search.scoring import Autocast, PlanScorer, SentencePlanScorer, TextPlanScorer
from lookright.search.trials import IntArray
from lookright.tags import Scheme, to_spans
from lookright.text_metrics import LabelScores
from lookright.training.fit import Trained, fit
from lookright.training.labels import scheme_of, settings_for
from lookright.training.recipe import Recipe
from lookright.training.run import TaggerRun
from lookright.training.text_evaluation import NAMES, TextScorer
from lookright.training.text_fit import fit_texts, settled_by_dev
from lookright.training.text_labels import target_of, text_settings_for

M = TypeVar("M", bound=HeadedModel)


@dataclass(frozen=True)
class TaskWords:
    """How a task is spoken of.

    Attributes:
        kind: what is trained.
        unit: what dev is counted in.
        cost: what cost is counted in.
    """

    kind: str
    unit: str
    cost: str


class SearchTask(Protocol):
    """Train and dev, and all that a search asks about them.

    Attributes:
        words: how it is spoken of.
    """

    words: ClassVar[TaskWords]

    @property
    def train(self) -> Dataset | TextDataset:
        """What is trained on."""

    @property
    def dev(self) -> Dataset | TextDataset:
        """What plans and checkpoints are chosen by."""

    @property
    def convention(self) -> str:
        """What the figure is, in words."""

    def gold(self) -> tuple[int, str]:
        """How many things are annotated in dev, and what they are.

        Raises:
            DataError: there is no gold. RecipeError: gold of a kind that plans cannot be compared by.
        """

    def n_examples(self) -> int:
        """Examples of train that updates are made of."""

    def sizes(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, tuple[int, ...]]:
        """What train costs in one pass, and each unit of dev, in what cost is counted in."""

    def blocks(self, context: str | None) -> list[range]:
        """The units of dev, in ranges that must stay together where the model sees them together.

        Args:
            context: what a tagger sees: a `sentence`, or the `document` around it.
        """

    def part(self, units: Sequence[int]) -> SearchTask:
        """The same with some units of dev, ascending, and no others."""

    def fit(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        out: Path | None,
        *,
        progress: bool,
        make_run: Callable[..., TaggerRun],
    ) -> Trained:
        """Train a model in place."""

    def counts(self, scores: Any) -> IntArray:
        """(units, 3) behind what the scorer of a run found."""

    def plan_scorer(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        budget: int,
        autocast: Autocast,
    ) -> PlanScorer:
        """What scores plans on dev with the weights of one model."""

    def settings(self, recipe: Recipe, existing: HeadSettings) -> HeadSettings:
        """Those of a model that is trained."""

    def settle(
        self, model: HeadedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, device: torch.device
    ) -> None:
        """Settle by dev what belongs to the weights that a model was given, as its training did."""


@dataclass(frozen=True, eq=False)
class TagTask:
    """Labeled sentences, for a tagger."""

    train: Dataset
    dev: Dataset

    words: ClassVar[TaskWords] = TaskWords("tagger", "sentences", "words")

    @property
    def convention(self) -> str:
        """Span F1 or accuracy."""
        return evaluate_tags([], [], scheme_of(self.train, "train")).convention

    def gold(self) -> tuple[int, str]:
        """Spans; of plain tags, words."""
        scheme = scheme_of(self.dev, "dev")
        if scheme is Scheme.PLAIN:
            return self.dev.n_words, "words"
        return sum(len(to_spans(sentence.tags or (), scheme)) for sentence in self.dev), "gold spans"

    def n_examples(self) -> int:
        """Sentences with words."""
        return sum(1 for sentence in self.train if sentence.words)

    def sizes(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, tuple[int, ...]]:
        """In words."""
        return self.train.n_words, tuple(len(sentence) for sentence in self.dev)

    def blocks(self, context: str | None) -> list[range]:
        """Documents, where the tagger sees them; else sentences."""
        starts = self.dev.document_starts if context == "document" else None
        return ranges(starts or range(len(self.dev)), len(self.dev))

    def part(self, units: Sequence[int]) -> TagTask:
        """The same with some sentences of dev."""
        kept = set(units)
        return replace(self, dev=part_of(self.dev, [number in kept for number in range(len(self.dev))]))

    def fit(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        out: Path | None,
        *,
        progress: bool,
        make_run: Callable[..., TaggerRun],
    ) -> Trained:
        """By `lookright.training.fit.fit`."""
        tagger = of_kind(model, LookRightForTokenClassification)
        return fit(tagger, tokenizer, self.train, self.dev, recipe, out, progress=progress, make_run=make_run)

    def counts(self, scores: Any) -> IntArray:
        """Of each sentence."""
        assert isinstance(scores, Scores)
        return scores.per_sentence

    def plan_scorer(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        budget: int,
        autocast: Autocast,
    ) -> PlanScorer:
        """By sentences, or documents."""
        tagger = of_kind(model, LookRightForTokenClassification)
        return SentencePlanScorer(tagger, tokenizer, self.dev, device, budget, autocast)

    def settings(self, recipe: Recipe, existing: HeadSettings) -> HeadSettings:
        """With the labels of train."""
        return settings_for(recipe, self.train, existing, dev=self.dev)  # type: ignore[arg-type]

    def settle(
        self, model: HeadedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, device: torch.device
    ) -> None:
        """Nothing: a tagger has no thresholds."""


@dataclass(frozen=True, eq=False)
class TextTask:
    """Labeled texts, for a text classifier.

    All plans have one pooling: that of the recipe, which the model under the most open plan settles.
    """

    train: TextDataset
    dev: TextDataset

    words: ClassVar[TaskWords] = TaskWords("text classifier", "texts", "sub-words")

    @property
    def convention(self) -> str:
        """Accuracy, or micro F1 with tuned thresholds."""
        return NAMES[target_of(self.train, "train")]

    def gold(self) -> tuple[int, str]:
        """Labels.

        Raises:
            RecipeError: a regression.
        """
        if target_of(self.dev, "dev") is Target.REGRESSION:
            raise RecipeError(
                "the target is a regression, and a search compares plans by labels that are right; train it under the "
                "plans that you have in mind (--plan 0011), and compare their R² on dev"
            )
        return sum(self.dev.label_counts().values()), "gold labels"

    def n_examples(self) -> int:
        """Texts."""
        return len(self.train)

    def sizes(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, tuple[int, ...]]:
        """In sub-words; an empty text is read as one."""
        encoder = TextEncoder(tokenizer)
        train, dev = ([len(ids) for ids in encoder.ids(data.texts)] for data in (self.train, self.dev))
        return sum(train), tuple(dev)

    def blocks(self, context: str | None) -> list[range]:
        """Each text alone."""
        return ranges(range(len(self.dev)), len(self.dev))

    def part(self, units: Sequence[int]) -> TextTask:
        """The same with some texts of dev."""
        return replace(self, dev=replace(self.dev, texts=tuple(self.dev[number] for number in units)))

    def fit(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        out: Path | None,
        *,
        progress: bool,
        make_run: Callable[..., TaggerRun],
    ) -> Trained:
        """By `lookright.training.text_fit.fit_texts`."""
        classifier = of_kind(model, LookRightForSequenceClassification)
        return fit_texts(classifier, tokenizer, self.train, self.dev, recipe, out, progress=progress, make_run=make_run)

    def counts(self, scores: Any) -> IntArray:
        """Of each text; one label for each: 1, 1, and whether it is right."""
        assert isinstance(scores, LabelScores)
        return scores.counts

    def plan_scorer(
        self,
        model: HeadedModel,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        budget: int,
        autocast: Autocast,
    ) -> PlanScorer:
        """By texts."""
        classifier = of_kind(model, LookRightForSequenceClassification)
        return TextPlanScorer(classifier, tokenizer, self.dev, device, budget, autocast)

    def settings(self, recipe: Recipe, existing: HeadSettings) -> HeadSettings:
        """With the labels of train."""
        return text_settings_for(recipe, self.train, existing)  # type: ignore[arg-type]

    def settle(
        self, model: HeadedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, device: torch.device
    ) -> None:
        """Thresholds and temperature."""
        classifier = of_kind(model, LookRightForSequenceClassification)
        scorer = TextScorer(classifier, tokenizer, self.dev, device, recipe.token_budget or 1)
        classifier.settings = settled_by_dev(scorer, recipe, device)


def task_for(train: Dataset | TextDataset, dev: Dataset | TextDataset) -> SearchTask:
    """The task that data is for."""
    if isinstance(train, TextDataset):
        assert isinstance(dev, TextDataset)
        return TextTask(train, dev)
    assert isinstance(dev, Dataset)
    return TagTask(train, dev)


def ranges(starts: Sequence[int], n: int) -> list[range]:
    """From each start to the next one, the last one to `n`."""
    return [range(start, end) for start, end in zip(starts, (*starts[1:], n), strict=True)]


def of_kind(model: HeadedModel, kind: type[M]) -> M:
    """A model of the class that its task has."""
    assert isinstance(model, kind)
    return model
