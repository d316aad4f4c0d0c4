"""Training examples: which sentences make up an update, and how they become micro-batches.

The sentences of each update are a function of the recipe and the seed only: not of the number of processes, of the
token budget, or of what ran before. So a run can be cut into micro-batches and spread over processes without becoming
another one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lookright.data import Dataset, Sentence
from lookright.encoding import (
    IGNORED,
    Encoded,
    SubwordEncoder,
    Window,
    collate,
    detokenize,
    splits_inner_marks,
    token_budget,
    windows_of,
    windows_of_document,
)
from lookright.errors import LabelError
from lookright.models.settings import TaggerSettings
from lookright.training.kept_trunk import KeptTrunk
from lookright.training.labels import tags_in
from lookright.training.schedule import updates_per_epoch

CACHED_SENTENCES: Final = 200_000
"""How many encoded sentences are kept, each in its spaced and its detokenised form."""


class Example(NamedTuple):
    """A window and the label ids (n_owned,) of the words that it owns; what the trunk makes of it, where it is kept."""

    window: Window
    labels: NDArray[np.int64]
    trunk: Tensor | None = None


class At(NamedTuple):
    """A sentence as it is seen in one epoch: how its words are joined differs from epoch to epoch."""

    epoch: int
    number: int


def order_of(n_sentences: int, seed: int, epoch: int) -> list[int]:
    """The order of all sentences in an epoch; the same on every machine."""
    order = list(range(n_sentences))
    random.Random(f"order {seed} {epoch}").shuffle(order)
    return order


def share_drawn(seed: int, at: At) -> float:
    """A number in [0, 1) that depends on the seed, the epoch and the sentence only."""
    digest = hashlib.blake2b(f"join {seed} {at.epoch} {at.number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class UpdateSampler:
    """The sentences of each update of an epoch, for one of the processes.

    An update is `batch_size` sentences (the last one of an epoch: what is left), of which each process takes every
    `world`-th. A process may get none: it then takes part with a batch that does not count.

    Args:
        n_sentences: in the training data.
        batch_size: sentences per update, over all processes.
        seed: of the order.
        epoch: asked when an epoch begins.
        rank: this process.
        world: number of processes.
        fault: `Recipe.accumulation_fault`: of so many batches the last one is an update, and the others are lost; the
            count begins anew in each epoch, whose last batch is always one.
    """

    def __init__(
        self,
        n_sentences: int,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        *,
        rank: int = 0,
        world: int = 1,
        fault: int = 0,
    ) -> None:
        self.n_sentences, self.batch_size, self.seed = n_sentences, batch_size, seed
        self.epoch, self.rank, self.world, self.every = epoch, rank, world, max(1, fault)

    def __len__(self) -> int:
        """Updates per epoch."""
        return updates_per_epoch(self.n_sentences, self.batch_size, self.every)

    def __iter__(self) -> Iterator[list[At]]:
        epoch = self.epoch()
        order = order_of(self.n_sentences, self.seed, epoch)
        starts = range(0, self.n_sentences, self.batch_size)
        for number, start in enumerate(starts, start=1):
            if number % self.every and number < len(starts):
                continue
            update = order[start : start + self.batch_size]
            yield [At(epoch, index) for index in update[self.rank :: self.world]]


class TrainingSentences:
    """The training data as windows with label ids; indexed by `At`.

    Words carry the index of their tag, matched by name. Every word is owned by exactly one window, so that its loss is
    counted once.

    Args:
        train: labeled sentences; those without words are left out.
        settings: of the tagger.
        encoder: of the tagger's tokenizer.
        share_detokenized: share of the sentences without a text of their own that are seen, in each epoch, with the
            joins of running text instead of single spaces.
        seed: of that choice.

    Raises:
        LabelError: a tag that is no label of the tagger.
    """

    def __init__(
        self, train: Dataset, settings: TaggerSettings, encoder: SubwordEncoder, *, share_detokenized: float, seed: int
    ) -> None:
        self.settings, self.encoder = settings, encoder
        self.share_detokenized, self.seed = share_detokenized, seed
        ids = settings.label_to_id
        self.sentences: list[Sentence] = []
        self.label_ids: list[NDArray[np.int64]] = []
        self.document_of: list[tuple[int, int]] = []
        document_starts = set(train.document_starts or ())
        begin = 0
        for number, (sentence, tags) in enumerate(zip(train, tags_in(train, settings.scheme), strict=True)):
            if number in document_starts:
                self._close_document(begin)
                begin = len(self.sentences)
            if not sentence.words:
                continue
            unknown = next((tag for tag in tags if tag not in ids), None)
            if unknown is not None:
                raise LabelError(
                    f"the tag {unknown!r} is none of the tagger's labels ({', '.join(settings.labels)})",
                    path=sentence.path,
                    line=sentence.line,
                )
            self.sentences.append(sentence)
            self.label_ids.append(np.array([ids[tag] for tag in tags], dtype=np.int64))
        self._close_document(begin)
        self._limits: dict[str, Any] = {
            "size": settings.window, "prefix": encoder.prefix_ids, "suffix": encoder.suffix_ids
        }  # fmt: skip
        self.inner_marks = splits_inner_marks(self.sentences)
        self._encoded = lru_cache(maxsize=2 * CACHED_SENTENCES)(self._encode)
        self.trunk: KeptTrunk | None = None

    def _close_document(self, begin: int) -> None:
        self.document_of += [(begin, len(self.sentences))] * (len(self.sentences) - begin)

    def __len__(self) -> int:
        """Number of sentences with words."""
        return len(self.sentences)

    def __getitem__(self, at: At) -> list[Example]:
        if self.settings.context == "document":
            near = self._neighbours(at, self.settings.window)
            encoded = [self._as_seen(At(at.epoch, index)) for index in near]
            windows = [w for w in windows_of_document(encoded, near, **self._limits) if w.sentence == at.number]
        else:
            windows = windows_of(self._as_seen(at), at.number, **self._limits)
        labels = self.label_ids[at.number]
        examples = [Example(window, labels[window.owned_from : window.owned_to]) for window in windows]
        if self.trunk is None:
            return examples
        states = self.trunk.of(at.number, self.is_detokenized(at), [len(window) for window in windows])
        return [example._replace(trunk=own) for example, own in zip(examples, states, strict=True)]

    def forms(self) -> Iterator[tuple[int, bool, list[Window]]]:
        """Number, whether detokenised, and windows of each sentence in each form in which it may be seen, alone."""
        for number, sentence in enumerate(self.sentences):
            share = self.share_detokenized if sentence.text is None else 0.0
            for detokenized in (*((False,) if share < 1 else ()), *((True,) if share > 0 else ())):
                yield number, detokenized, windows_of(self._encoded(number, detokenized), number, **self._limits)

    def weightless(self) -> Example:
        """A window of which no word counts."""
        example = self[At(0, 0)][0]
        return example._replace(labels=np.full(example.window.n_owned, IGNORED, dtype=np.int64))

    @property
    def pad_id(self) -> int:
        """Id that fills up rows."""
        return self.encoder.pad_id

    def collator(self, budget: int, layout: Literal["packed", "padded"]) -> Collator:
        """What puts the sentences of an update together."""
        return Collator(self, budget, layout)

    def is_detokenized(self, at: At) -> bool:
        """Whether a sentence is seen with the joins of running text in an epoch."""
        return self.sentences[at.number].text is None and share_drawn(self.seed, at) < self.share_detokenized

    def _as_seen(self, at: At) -> Encoded:
        return self._encoded(at.number, self.is_detokenized(at))

    def _encode(self, index: int, detokenized: bool) -> Encoded:
        sentence = self.sentences[index]
        continues = self.settings.context == "document" and index > self.document_of[index][0]
        glued = detokenize(sentence.words, inner_marks=self.inner_marks) if detokenized else None
        return self.encoder.encode(sentence, glued, continues=continues)

    def _neighbours(self, at: At, size: int) -> list[int]:
        """The sentences around one of them, in order, as many as could have a part in its window."""
        begin, end = self.document_of[at.number]
        first = last = at.number
        room = size
        while first > begin and room > 0:
            first -= 1
            room -= len(self._as_seen(At(at.epoch, first)))
        room = size
        while last + 1 < end and room > 0:
            last += 1
            room -= len(self._as_seen(At(at.epoch, last)))
        return list(range(first, last + 1))


@dataclass
class Collator:
    """Puts the sentences of an update together as micro-batches within a token budget.

    Attributes:
        sentences: where they come from.
        budget: sub-words per micro-batch.
        layout: packed rows, where the model takes them, or padded ones.
        least: micro-batches of an update, at least.
    """

    sentences: TrainingSentences
    budget: int
    layout: Literal["packed", "padded"]
    least: int = 1

    def __call__(self, update: Sequence[list[Example]]) -> dict[str, Any]:
        """Return `micro_batches` (keyword arguments of the model's forward) and `n_words`, the words that count.

        `update` (of `n_examples` examples) and `budget` are what they were made of, so that they can be made anew with
        a smaller budget.
        """
        examples = [example for sentence in update for example in sentence] or [self.sentences.weightless()]
        groups = token_budget(
            [len(example.window) for example in examples], self.budget, layout=self.layout, least=self.least
        )
        batches = [self.batch([examples[index] for index in group]) for group in groups]
        n_words = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
        made_of = {"update": update, "n_examples": len(examples), "budget": self.budget}
        return {"micro_batches": batches, "n_words": n_words, **made_of}

    def batch(self, examples: Sequence[Example]) -> dict[str, Any]:
        """One micro-batch."""
        batch = collate(
            [example.window for example in examples],
            layout=self.layout,
            pad_id=self.sentences.pad_id,
            labels=[example.labels for example in examples],
        )
        if self.sentences.trunk is not None:
            batch["trunk_height"] = self.sentences.trunk.height
            kept = [example.trunk for example in examples if example.trunk is not None]
            batch["trunk_states"] = kept_states(kept, *batch["input_ids"].shape, layout=self.layout)
        return batch


def kept_states(kept: Sequence[Tensor], rows: int, length: int, *, layout: Literal["packed", "padded"]) -> Tensor:
    """(rows, length, hidden): the kept states of windows in the places of their sub-words, zeros elsewhere."""
    states = kept[0].new_zeros(rows, length, kept[0].shape[-1])
    if layout == "packed":
        states[0, : sum(map(len, kept))] = torch.cat(list(kept))
    else:
        for row, own in zip(states, kept, strict=True):
            row[: len(own)] = own
    return states
