"""The score on dev texts, by which a checkpoint is chosen: over all of them, through the predictor that users get."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from lookright.data.texts import Target, TextDataset
from lookright.inference.text_predictor import TextPredictor, probabilities_of
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import TextSettings
from lookright.text_metrics import (
    R2,
    BoolArray,
    FloatArray,
    LabelScores,
    NumberScores,
    blocks,
    label_scores,
    number_scores,
    tune_thresholds,
)
from lookright.training.text_labels import gold_table

NAMES: Final = {
    Target.SINGLE: "accuracy",
    Target.MULTI: "micro F1, thresholds tuned on dev",
    Target.REGRESSION: R2,
}


def score_logits(dataset: TextDataset, logits: FloatArray, settings: TextSettings) -> LabelScores | NumberScores:
    """The scores of logits (n_texts, labels) against a data set's gold, decided as the settings say."""
    if settings.target == Target.REGRESSION:
        return number_scores([text.value or 0.0 for text in dataset], logits[:, 0].tolist())
    gold, columns = gold_table(dataset, settings.labels)
    given = np.zeros_like(gold)
    given[:, : logits.shape[1]] = decisions(logits, settings)
    return label_scores(gold, given, columns, single=settings.target == Target.SINGLE)


def decisions(logits: FloatArray, settings: TextSettings) -> BoolArray:
    """(n_texts, labels): which labels are given."""
    if settings.target == Target.SINGLE:
        chosen = logits.argmax(1)
        return np.asarray(np.arange(logits.shape[1]) == chosen[:, None])
    limits = np.array(settings.limits)
    given = np.empty(logits.shape, bool)
    for rows in blocks(logits):
        given[rows] = probabilities_of(logits[rows], settings) >= limits
    return given


def tuned_thresholds(dataset: TextDataset, logits: FloatArray, settings: TextSettings) -> tuple[float, ...]:
    """The thresholds of a multi-label classifier that suit a data set best, label by label."""
    gold, _ = gold_table(dataset, settings.labels)
    found: list[float] = []
    for some in blocks(logits.T):
        found += tune_thresholds(probabilities_of(logits[:, some], settings), gold[:, some])
    return tuple(found)


def tuned_scores(dataset: TextDataset, logits: FloatArray, settings: TextSettings) -> LabelScores | NumberScores:
    """As `score_logits`, a multi-label classifier with the thresholds that suit these very texts best."""
    if settings.target == Target.MULTI:
        settings = replace(settings, thresholds=tuned_thresholds(dataset, logits, settings))
    return score_logits(dataset, logits, settings)


class TextScorer:
    """Scores a text classifier on dev.

    The texts are spread over the processes; each process gets the score of all of them, so that all decide alike.

    Attributes:
        best: the best scores that `figures` found so far, the first of equal ones; None before the first.

    Args:
        model: the classifier; run in evaluation mode, and given back as it was.
        tokenizer: its tokenizer.
        dev: labeled texts; labels that the classifier lacks stay in it, and are missed.
        device: where the model is.
        token_budget: sub-words at once.
    """

    def __init__(
        self,
        model: LookRightForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        dev: TextDataset,
        device: torch.device,
        token_budget: int,
    ) -> None:
        self.dev = dev
        self.predictor = TextPredictor(model, tokenizer, device=device, token_budget=token_budget)
        self.name = NAMES[Target(model.settings.target)]
        self.best: LabelScores | NumberScores | None = None

    def logits(self, *, rank: int = 0, world: int = 1) -> FloatArray:
        """(n_texts, labels) of all of dev; `world` processes call this at once, each with its own rank."""
        mine = list(range(len(self.dev)))[rank::world]
        found = self.predictor.logits([self.dev[number] for number in mine])
        if world == 1:
            return found
        pairs = sorted(gather_object(list(zip(mine, found.tolist(), strict=True))))
        return np.array([row for _, row in pairs])

    def scores(self, *, rank: int = 0, world: int = 1) -> LabelScores | NumberScores:
        """The score over all of dev; `world` processes call this at once, each with its own rank."""
        return tuned_scores(self.dev, self.logits(rank=rank, world=world), self.predictor.settings)

    def figures(self, *, rank: int = 0, world: int = 1) -> dict[str, float | None]:
        """What the log keeps: `score`, the figure that chooses, and its parts."""
        scores = self.scores(rank=rank, world=world)
        if self.best is None or (scores.headline[1] or 0.0) > (self.best.headline[1] or 0.0):
            self.best = scores
        if isinstance(scores, NumberScores):
            # Dev of one number only has no R²; the least error is still the best.
            score = -scores.mean_squared_error if scores.r2 is None else scores.r2
            return {"score": score, "mean_squared_error": scores.mean_squared_error, "spearman": scores.spearman}
        return {
            "score": scores.headline[1] or 0.0,
            "precision": scores.macro_precision,
            "recall": scores.macro_recall,
            "macro_f1": scores.macro_f1,
            "accuracy": scores.accuracy,
        }
