"""The score on dev, by which a checkpoint is chosen: over the full gold, through the predictor that users get."""

from __future__ import annotations

from typing import Final

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from lookright.data import Dataset
from lookright.inference.predictor import Predictor
from lookright.metrics import Scores, evaluate_tags
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.training.labels import tags_in

PARTS: Final = ("precision", "recall", "macro_f1", "accuracy")


class DevScorer:
    """Scores a model on dev.

    The documents are spread over the processes; each process gets the score of all of them, so that all decide alike.

    Attributes:
        best: the best scores that `figures` found so far, the first of equal ones; None before the first.

    Args:
        model: the tagger; tagged in evaluation mode, and given back as it was.
        tokenizer: its tokenizer.
        dev: labeled sentences; their gold is brought into the tagger's scheme, types that the tagger lacks stay in it.
        device: where the model is.
        token_budget: sub-words at once.
    """

    def __init__(
        self,
        model: LookRightForTokenClassification,
        tokenizer: PreTrainedTokenizerBase,
        dev: Dataset,
        device: torch.device,
        token_budget: int,
    ) -> None:
        self.dev = dev
        self.gold = tags_in(dev, model.settings.scheme)
        self.scheme = model.settings.scheme
        self.predictor = Predictor(model, tokenizer, device=device, token_budget=token_budget)
        self.name = evaluate_tags([], [], self.scheme).convention
        self.best: Scores | None = None

    def scores(self, *, rank: int = 0, world: int = 1) -> Scores:
        """The score over all of dev; `world` processes call this at once, each with its own rank."""
        starts = self.dev.document_starts or ()
        ends = (*starts[1:], len(self.dev))
        mine = list(zip(starts, ends, strict=True))[rank::world]
        sentences = [sentence for start, end in mine for sentence in self.dev.sentences[start:end]]
        borders = [sum(end - start for start, end in mine[:number]) for number in range(len(mine))]
        taggings = self.predictor.tag(sentences, document_starts=borders or None)
        numbers = [number for start, end in mine for number in range(start, end)]
        pairs = [(number, tagging.tags) for number, tagging in zip(numbers, taggings, strict=True)]
        if world > 1:
            pairs = sorted(gather_object(pairs))
        return evaluate_tags(self.gold, [tags for _, tags in pairs], self.scheme)

    def figures(self, *, rank: int = 0, world: int = 1) -> dict[str, float | None]:
        """What the log keeps: `score`, the figure that chooses, and its parts."""
        scores = self.scores(rank=rank, world=world)
        if self.best is None or (scores.headline[1] or 0.0) > (self.best.headline[1] or 0.0):
            self.best = scores
        # No span in gold and none predicted has no F1; for choosing, it is as bad as any.
        return {"score": scores.headline[1] or 0.0, **{name: getattr(scores, name) for name in PARTS}}
