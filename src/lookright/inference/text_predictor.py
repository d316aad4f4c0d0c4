"""Texts in, labels or numbers out: windows, batches by length, the model, and windows pooled to texts.

Texts run through in pools, so that the memory in use does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lookright.data.texts import Target, Text
from lookright.encoding import TextEncoder, Window, collate_texts
from lookright.errors import LookRightError
from lookright.inference.runner import Runner, progress_bar
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import TextSettings
from lookright.text_metrics import FloatArray, sigmoid, softmax

POOL_BUDGETS: Final = 16
"""Batches' worth of sub-words that are sorted by length together."""
POOL_TEXTS: Final = 10_000
"""Most texts of a pool."""
ENCODED_CHARACTERS: Final = 1_000_000
"""Characters that go to the tokenizer together, or those of one text."""
ENCODED_TEXTS: Final = 256
"""Texts that go to the tokenizer together."""

Pool = list[tuple[Text, list[Window]]]
"""Texts that are computed together, with their windows."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What a text classifier says about one text.

    Attributes:
        labels: the label (single-label), or the labels whose probability reaches their threshold, likeliest first.
        score: the probability of the first of them; None where there is none.
        probabilities: of every label, in the classifier's order; empty for a regression.
        value: the number, for a regression.
        n_windows: in how many windows the text was read; 1 unless it is longer than one.
    """

    labels: tuple[str, ...]
    score: float | None
    probabilities: tuple[float, ...]
    value: float | None
    n_windows: int = 1

    @property
    def label(self) -> str | None:
        """The likeliest of the labels given; None where there is none."""
        return self.labels[0] if self.labels else None


def probabilities_of(logits: FloatArray, settings: TextSettings) -> FloatArray:
    """(n_texts, labels): the probability of each label, at the settings' temperature."""
    scaled = logits / settings.temperature
    return softmax(scaled) if settings.target == Target.SINGLE else sigmoid(scaled)


def decide(logits: FloatArray, settings: TextSettings, n_windows: Sequence[int]) -> list[Classification]:
    """What logits (n_texts, labels) say.

    Raises:
        LookRightError: a logit that is not a number.
    """
    if not np.isfinite(logits).all():
        number = int((~np.isfinite(logits)).any(1).argmax())
        raise LookRightError(
            f"text {number + 1} got no probability: the model's output is not a number; were the weights damaged in "
            "training (a loss that was not a number), or is float16 too narrow for it?"
        )
    if settings.target == Target.REGRESSION:
        return [Classification((), None, (), float(row[0]), n) for row, n in zip(logits, n_windows, strict=True)]
    found = []
    given = probabilities_of(logits, settings)
    limits = np.array(settings.limits)
    for row, n in zip(given, n_windows, strict=True):
        order = np.argsort(-row, kind="stable")
        chosen = (
            order[:1] if settings.target == Target.SINGLE else [index for index in order if row[index] >= limits[index]]
        )
        names = tuple(settings.labels[index] for index in chosen)
        score = float(row[chosen[0]]) if names else None
        found.append(Classification(names, score, tuple(row.tolist()), None, n))
    return found


class TextPredictor(Runner[LookRightForSequenceClassification]):
    """Runs a text classifier's model over texts. Threads may share it while its model is in evaluation mode.

    Args:
        model, tokenizer: of the classifier.
        options: of `Runner`: device, token_budget, layout, compile.
    """

    def __init__(
        self, model: LookRightForSequenceClassification, tokenizer: PreTrainedTokenizerBase, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, **options)
        self.encoder = TextEncoder(tokenizer)

    @property
    def settings(self) -> TextSettings:
        """The model's."""
        return self.model.settings

    def classify(self, texts: Sequence[Text], *, progress: bool = False) -> list[Classification]:
        """Classify texts; one result for each, in the same order.

        Args:
            texts: in order.
            progress: show a bar on stderr, where that is a terminal.
        """
        found: list[Classification] = []
        with progress_bar(len(texts), "classifying", shown=progress) as advance:
            for pool in self.pools(texts):
                found += self.decide(pool, self.compute(pool))
                advance(len(found))
        return found

    def classify_iter(self, texts: Iterable[Text]) -> Iterator[Classification]:
        """Classify a stream of texts in bounded memory; results come in the same order."""
        for pool in self.pools(texts):
            yield from self.decide(pool, self.compute(pool))

    def logits(self, texts: Sequence[Text], *, progress: bool = False) -> FloatArray:
        """(n_texts, labels): before temperature and thresholds; for a regression (n_texts, 1), the numbers."""
        parts: list[FloatArray] = []
        with progress_bar(len(texts), "classifying", shown=progress) as advance:
            for pool in self.pools(texts):
                parts.append(self.compute(pool))
                advance(sum(map(len, parts)))
        return np.concatenate([np.zeros((0, len(self.settings.labels))), *parts])

    # ----------------------------------------------------------------------------------------------------- one pool

    def pools(self, texts: Iterable[Text]) -> Iterator[Pool]:
        """Texts with their windows, a pool at a time."""
        pool: Pool = []
        n_subwords = 0
        for group in _together(texts):
            new = self.pool_of(group, len(pool))
            pool += new
            n_subwords += sum(len(window) for _, windows in new for window in windows)
            if n_subwords >= POOL_BUDGETS * self.budget or len(pool) >= POOL_TEXTS:
                yield pool
                pool, n_subwords = [], 0
        if pool:
            yield pool

    def pool_of(self, texts: Sequence[Text], first: int = 0) -> Pool:
        """Texts that are to be computed together, with their windows; the model is not needed for that."""
        return list(zip(texts, self.encoder.windows(texts, self.settings.window, first), strict=True))

    def compute(self, pool: Pool) -> FloatArray:
        """(n_texts, labels): run the model over the windows of a pool, and pool them to texts."""
        windows = [window for _, own in pool for window in own]
        number = {id(window): index for index, window in enumerate(windows)}
        order: list[int] = []
        vectors: list[Tensor] = []
        weights: list[Tensor] = []
        with self._running(), torch.inference_mode():
            for batch, (vector, weight) in self._batches(windows, self._represent):
                order += [number[id(window)] for window in batch]
                vectors.append(vector)
                weights.append(weight)
            if not windows:
                return np.zeros((0, len(self.settings.labels)))
            back = torch.empty(len(order), dtype=torch.long)
            back[torch.tensor(order)] = torch.arange(len(order))
            back = back.to(vectors[0].device)
            text_of = torch.tensor([window.sentence for window in windows], device=back.device)
            logits = self.model.classify(torch.cat(vectors)[back], torch.cat(weights)[back], text_of, len(pool))
        return np.asarray(logits.double().cpu().numpy())

    def decide(self, pool: Pool, logits: FloatArray) -> list[Classification]:
        """What `compute` returned, in words; the model is not needed for that."""
        return decide(logits, self.settings, [len(windows) for _, windows in pool])

    def _represent(self, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
        batch = collate_texts(windows, layout=self.layout, pad_id=self.encoder.pad_id)
        with torch.inference_mode():
            return self.model.represent(**self._on_device(batch))


def _together(texts: Iterable[Text]) -> Iterator[list[Text]]:
    """Texts in groups to encode at once."""
    group: list[Text] = []
    n_characters = 0
    for text in texts:
        group.append(text)
        n_characters += sum(map(len, text.parts))
        if len(group) >= ENCODED_TEXTS or n_characters >= ENCODED_CHARACTERS:
            yield group
            group, n_characters = [], 0
    if group:
        yield group
