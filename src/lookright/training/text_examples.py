"""Labeled texts as training examples, and how those of an update become micro-batches in which no text is divided."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lookright.data.texts import Target, TextDataset
from lookright.encoding import IGNORED, TextEncoder, Window, collate_texts, token_budget
from lookright.models.text_settings import TextSettings
from lookright.training.examples import At, kept_states
from lookright.training.kept_trunk import KeptTrunk
from lookright.training.text_labels import gold_array

CACHED_TEXTS: Final = 200_000
"""How many encoded texts are kept."""
MOST_WINDOWS: Final = 8
"""A text with more windows is shown, in each epoch, so many of them, drawn anew: all of a book at once would take more
memory than there is. Prediction reads all of every text."""

log = logging.getLogger("lookright")


class TextExample(NamedTuple):
    """The windows of a text, its gold as a row of what the model takes, and what the trunk makes of each window."""

    windows: list[Window]
    gold: NDArray[Any]
    trunk: list[Tensor] | None = None


class TrainingTexts:
    """The training data as windows with gold; indexed by `At`.

    Args:
        train: labeled texts.
        settings: of the classifier.
        encoder: of its tokenizer.
        seed: of the windows that are drawn of long texts.

    Raises:
        LabelError: a label that the classifier does not have.
    """

    def __init__(self, train: TextDataset, settings: TextSettings, encoder: TextEncoder, *, seed: int) -> None:
        self.texts, self.settings, self.encoder, self.seed = train.texts, settings, encoder, seed
        self.gold = gold_array(train, settings)
        self.trunk: KeptTrunk | None = None
        self._windows = lru_cache(maxsize=CACHED_TEXTS)(self._encode)
        self.n_long = self._count_long()

    def _encode(self, number: int) -> list[Window]:
        return self.encoder.windows([self.texts[number]], self.settings.window, number)[0]

    def _count_long(self) -> int:
        """How many texts have more windows than are shown at a time; said, if there are any."""
        # No tokenizer makes more sub-words of a text than it has bytes, or so: short texts need no look.
        suspects = [n for n, text in enumerate(self.texts) if self._may_be_long("".join(text.parts))]
        counts = [len(self._windows(number)) for number in suspects]
        long = [count for count in counts if count > MOST_WINDOWS]
        if long:
            log.warning(
                "%d text%s longer than %d windows of %d sub-words (the longest has %d): so many of its "
                "windows, drawn anew in each epoch, are trained on; prediction reads all of it",
                len(long), " is" if len(long) == 1 else "s are", MOST_WINDOWS, self.settings.window, max(long),
            )  # fmt: skip
        return len(long)

    def _may_be_long(self, text: str) -> bool:
        return 2 * len(text.encode("utf-8", "replace")) > (self.settings.window - 4) * MOST_WINDOWS

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    @property
    def pad_id(self) -> int:
        """Id that fills up rows."""
        return self.encoder.pad_id

    def __getitem__(self, at: At) -> TextExample:
        windows = self._windows(at.number)
        gold = self.gold[at.number]
        chosen = range(len(windows))
        if len(windows) > MOST_WINDOWS:
            draw = random.Random(f"windows {self.seed} {at.epoch} {at.number}")
            chosen = sorted(draw.sample(chosen, MOST_WINDOWS))  # type: ignore[assignment]
        if self.trunk is None:
            return TextExample([windows[index] for index in chosen], gold)
        states = self.trunk.of(at.number, False, [len(window) for window in windows])
        return TextExample([windows[index] for index in chosen], gold, [states[index] for index in chosen])

    def forms(self) -> Iterator[tuple[int, bool, list[Window]]]:
        """Number and windows of each text; the second is for data that is seen in two forms, which texts are not."""
        for number in range(len(self)):
            yield number, False, self._windows(number)

    def weightless(self) -> TextExample:
        """A text that does not count."""
        example = self[At(0, 0)]
        odd = IGNORED if self.settings.target == Target.SINGLE else np.nan
        return example._replace(gold=np.full_like(example.gold, odd))

    def collator(self, budget: int, layout: Literal["packed", "padded"]) -> TextCollator:
        """What puts the texts of an update together."""
        return TextCollator(self, budget, layout)


@dataclass
class TextCollator:
    """Puts the texts of an update together as micro-batches within a token budget; a text is never divided.

    Attributes:
        texts: where they come from.
        budget: sub-words per micro-batch; a text that has more is one of its own.
        layout: packed rows, where the model takes them, or padded ones.
        least: micro-batches of an update, at least.
    """

    texts: TrainingTexts
    budget: int
    layout: Literal["packed", "padded"]
    least: int = 1

    def __call__(self, update: Sequence[TextExample]) -> dict[str, Any]:
        """As `Collator` does for sentences; `n_words` is the number of texts, whose losses are summed."""
        examples = list(update) or [self.texts.weightless()]
        lengths = [sum(len(window) for window in example.windows) for example in examples]
        groups = token_budget(lengths, self.budget, layout=self.layout, least=self.least)
        batches = [self.batch([examples[index] for index in group]) for group in groups]
        made_of = {"update": update, "n_examples": len(examples), "budget": self.budget}
        return {"micro_batches": batches, "n_words": len(update), **made_of}

    def batch(self, examples: Sequence[TextExample]) -> dict[str, Any]:
        """One micro-batch."""
        batch = collate_texts(
            [window for example in examples for window in example.windows],
            layout=self.layout,
            pad_id=self.texts.pad_id,
            text_of=[number for number, example in enumerate(examples) for _ in example.windows],
            labels=np.stack([example.gold for example in examples]),
        )
        if self.texts.trunk is not None:
            kept = [states for example in examples for states in example.trunk or ()]
            batch["trunk_height"] = self.texts.trunk.height
            batch["trunk_states"] = kept_states(kept, *batch["input_ids"].shape, layout=self.layout)
        return batch
