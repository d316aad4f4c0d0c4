"""Texts in, labels or numbers out: windows, batches by length, the model, and windows pooled to texts.

Texts run through in pools, so that the memory in use does not grow with their number.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lookright.data.texts import Target, Text
from lookright.encoding import TextEncoder, Window, collate_texts
from lookright.errors import LookRightError
from lookright.inference.progress import progress_bar, unseen
from lookright.inference.runner import Runner
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

log = logging.getLogger("lookright")


@dataclass(frozen=True, slots=True)
class Classification:
    """What a text classifier says about one text.

    Attributes:
        labels: the label (single-label), or the labels whose probability reaches their threshold, likeliest first.
        scores: their probabilities.
        probabilities: of every label, in the classifier's order, where they were asked for; else empty.
        value: the number, for a regression.
        n_windows: in how many windows the text was read; 1 unless it is longer than one.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    value: float | None
    n_windows: int = 1

    @property
    def label(self) -> str | None:
        """The likeliest of the labels given; None where there is none."""
        return self.labels[0] if self.labels else None

    @property
    def score(self) -> float | None:
        """Its probability."""
        return self.scores[0] if self.scores else None

    def by_label(self, labels: Sequence[str]) -> dict[str, float]:
        """Probability by label, likeliest first: of all `labels` where asked for, else of those given."""
        if not self.probabilities:
            return dict(zip(self.labels, self.scores, strict=True))
        pairs = zip(labels, self.probabilities, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))


def probabilities_of(logits: FloatArray, settings: TextSettings) -> FloatArray:
    """(n_texts, labels): the probability of each label, at the settings' temperature."""
    scaled = logits / settings.temperature
    return softmax(scaled) if settings.target == Target.SINGLE else sigmoid(scaled)


def decide(
    logits: FloatArray,
    settings: TextSettings,
    n_windows: Sequence[int],
    *,
    all_scores: bool = False,
    texts: Sequence[Text] = (),
) -> list[Classification]:
    """What logits (n_texts, labels) say; `all_scores`: with the probability of every label; `texts`: for messages.

    Raises:
        LookRightError: a logit that is not a number.
    """
    if not np.isfinite(logits).all():
        number = int((~np.isfinite(logits)).any(1).argmax())
        which = repr(texts[number].text[:40]) if texts else f"text {number + 1}"
        raise LookRightError(
            f"{which} got no probability: the model's output is not a number; were the weights damaged in training (a "
            "loss that was not a number), or is float16 too narrow for it?"
        )
    if settings.target == Target.REGRESSION:
        return [Classification((), (), (), float(row[0]), n) for row, n in zip(logits, n_windows, strict=True)]
    found = []
    given = probabilities_of(logits, settings)
    single = settings.target == Target.SINGLE
    enough = given == given.max(1, keepdims=True) if single else given >= np.array(settings.limits)
    for row, named, n in zip(given, enough, n_windows, strict=True):
        chosen = np.flatnonzero(named)
        chosen = chosen[:1] if single else chosen[np.argsort(-row[chosen], kind="stable")]
        names = tuple(settings.labels[index] for index in chosen)
        every = tuple(row.tolist()) if all_scores else ()
        found.append(Classification(names, tuple(row[chosen].tolist()), every, None, n))
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
        self._said_other_shapes = False

    @property
    def settings(self) -> TextSettings:
        """The model's."""
        return self.model.settings

    def classify(
        self, texts: Sequence[Text], *, all_scores: bool = False, progress: bool = False
    ) -> list[Classification]:
        """Classify texts; one result for each, in the same order.

        Args:
            texts: in order.
            all_scores: give the probability of every label, too.
            progress: show a bar on stderr, where that is a terminal.
        """
        found: list[Classification] = []
        with progress_bar(len(texts), "classifying", "texts", shown=progress) as advance:
            for pool in self.pools(texts):
                found += self.decide(pool, self.compute(pool, advance), all_scores=all_scores)
        return found

    def classify_iter(self, texts: Iterable[Text], *, all_scores: bool = False) -> Iterator[Classification]:
        """Classify a stream of texts in bounded memory; results come in the same order."""
        for pool in self.pools(texts):
            yield from self.decide(pool, self.compute(pool), all_scores=all_scores)

    def logits(self, texts: Sequence[Text], *, progress: bool = False) -> FloatArray:
        """(n_texts, labels): before temperature and thresholds; for a regression (n_texts, 1), the numbers."""
        found = np.empty((len(texts), len(self.settings.labels)))
        n_done = 0
        with progress_bar(len(texts), "classifying", "texts", shown=progress) as advance:
            for pool in self.pools(texts):
                found[n_done : n_done + len(pool)] = self.compute(pool, advance)
                n_done += len(pool)
        return found

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
        self._say_other_shapes(texts)
        return list(zip(texts, self.encoder.windows(texts, self.settings.window, first), strict=True))

    def _say_other_shapes(self, texts: Sequence[Text]) -> None:
        """Warn, once, of single texts for a classifier of pairs, and the other way round."""
        pairs = self.settings.pairs
        if pairs is None or self._said_other_shapes:
            return
        odd = next((text for text in texts if (text.text_pair is not None) != pairs), None)
        if odd is not None:
            self._said_other_shapes = True
            has, trained = ("no second text", "pairs of texts") if pairs else ("a second text", "single texts")
            log.warning(
                "%r has %s, and the classifier was trained on %s: what it says of such is a guess",
                odd.text[:40], has, trained,
            )  # fmt: skip

    def compute(self, pool: Pool, advance: Callable[[int], None] = unseen) -> FloatArray:
        """(n_texts, labels): run the model over the windows of a pool, and pool them to texts.

        Args:
            pool: the texts.
            advance: is told after each batch of how many more texts the last window is done.
        """
        windows = [window for _, own in pool for window in own]
        left = Counter(window.sentence for window in windows)
        number = {id(window): index for index, window in enumerate(windows)}
        order: list[int] = []
        vectors: list[Tensor] = []
        weights: list[Tensor] = []
        with self._running(), torch.inference_mode():
            for batch, (vector, weight) in self._batches(windows, self._represent):
                order += [number[id(window)] for window in batch]
                left.subtract(window.sentence for window in batch)
                advance(sum(left[text] == 0 for text in {window.sentence for window in batch}))
                vectors.append(vector)
                weights.append(weight)
            if not windows:
                return np.zeros((0, len(self.settings.labels)))
            back = torch.empty(len(order), dtype=torch.long)
            back[torch.tensor(order)] = torch.arange(len(order))
            back = back.to(vectors[0].device)
            text_of = torch.tensor([window.sentence for window in windows], device=back.device)
            logits = self.model.classify(torch.cat(vectors)[back], torch.cat(weights)[back], text_of, len(pool))
        found: FloatArray = logits.cpu().double().numpy()
        return self.settings.numbers(found) if self.settings.target == Target.REGRESSION else found

    def decide(self, pool: Pool, logits: FloatArray, *, all_scores: bool = False) -> list[Classification]:
        """What `compute` returned, in words; the model is not needed for that."""
        texts = [text for text, _ in pool]
        return decide(logits, self.settings, [len(windows) for _, windows in pool], all_scores=all_scores, texts=texts)

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
