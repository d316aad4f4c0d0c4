"""Documents as sequences with targets, and sequences as micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lookright.encoding import IGNORED, fill_lengths, filling, token_budget
from lookright.training.examples import At
from lookright.training.pretraining.objectives import Objective, Targets
from lookright.training.pretraining.tokens import Tokens

HELD_OUT_EPOCH: Final = -1
"""The epoch of held-out text, whose masks are the same each time."""


class Sequences:
    """The documents of a part of a corpus, cut into sequences; indexed by `At`.

    A document is cut every `length` sub-words. The masks of a sequence depend on the seed, the epoch and its number
    only. What is too short to predict in is left out.

    Args:
        tokens: the documents.
        objective: what is predicted.
        length: most sub-words of a sequence, special ones included.
        prefix, suffix: ids that the model expects around a sequence.
        seed: of the masks.
        most: stop after so many sub-words; None takes all.
    """

    def __init__(
        self,
        tokens: Tokens,
        objective: Objective,
        length: int,
        *,
        prefix: Sequence[int] = (),
        suffix: Sequence[int] = (),
        seed: int = 0,
        most: int | None = None,
    ) -> None:
        self.tokens, self.objective, self.seed = tokens, objective, seed
        self.prefix, self.suffix = np.array(prefix, np.int64), np.array(suffix, np.int64)
        around = len(prefix) + len(suffix)
        cuts = [cut(ends, length - around) for ends in tokens.ends]
        self.file = np.concatenate([np.full(len(starts), i, np.int32) for i, (starts, _) in enumerate(cuts)])
        self.start = np.concatenate([starts for starts, _ in cuts])
        self.size = np.concatenate([sizes for _, sizes in cuts])
        kept = self.size + around >= 2
        if most is not None:
            kept &= np.cumsum(self.size * kept) - self.size < most
        self.file, self.start, self.size = self.file[kept], self.start[kept], self.size[kept]
        self.n_tokens = int(self.size.sum()) + around * len(self.size)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.size)

    def __getitem__(self, at: At) -> Targets:
        start = self.start[at.number]
        ids = self.tokens.ids[self.file[at.number]][start : start + self.size[at.number]]
        whole = np.concatenate([self.prefix, ids.astype(np.int64), self.suffix])
        return self.objective.targets(whole, np.random.default_rng([self.seed, at.epoch + 1, at.number]))

    def weightless(self) -> Targets:
        """A sequence of which no target counts."""
        first = self[At(0, 0)]
        return Targets(first.input_ids, np.zeros(1, np.int64), np.full(1, IGNORED, np.int64))


def cut(ends: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut documents every `length` tokens.

    Args:
        ends: (documents,), where each ends.
        length: most tokens of a piece.

    Returns:
        Start and size of each piece, in the order of the text.
    """
    begins = np.concatenate(([0], ends))[:-1].astype(np.int64)
    sizes = ends - begins
    pieces = -(-sizes // length)
    first = np.cumsum(pieces) - pieces
    number = np.arange(int(pieces.sum())) - np.repeat(first, pieces)
    starts = np.repeat(begins, pieces) + number * length
    return starts, np.minimum(length, np.repeat(ends, pieces) - starts)


@dataclass
class SequenceCollator:
    """Puts the sequences of an update together as micro-batches within a token budget.

    Attributes:
        weightless: a sequence for a process that has none.
        budget: sub-words per micro-batch.
        layout: packed rows, where the model takes them, or padded ones.
        pad_id: fills up padded rows.
        least: micro-batches of an update, at least.
    """

    weightless: Targets
    budget: int
    layout: Literal["packed", "padded"]
    pad_id: int
    least: int = 1

    def __call__(self, update: Sequence[Targets]) -> dict[str, Any]:
        """Return `micro_batches`, as `n_words` the targets that count, and `n_tokens`, the sub-words.

        `update` (of `n_examples` examples) and `budget` are what they were made of, so that they can be made anew with
        a smaller budget.
        """
        examples = list(update) or [self.weightless]
        lengths = [len(example.input_ids) for example in examples]
        groups = token_budget(lengths, self.budget, layout=self.layout, least=self.least)
        batches = [self.batch([examples[index] for index in group]) for group in groups]
        return {
            "micro_batches": batches,
            "n_words": sum(n_targets(batch) for batch in batches),
            "n_tokens": sum(len(example.input_ids) for example in update),
            "update": update,
            "n_examples": len(examples),
            "budget": self.budget,
        }

    def batch(self, examples: Sequence[Targets]) -> dict[str, Any]:
        """One micro-batch.

        Returns:
            input_ids: (rows, length). attention_mask: (rows, length), where something is padded. lengths: of packed
            sequences; the last ones may be filling, in which nothing is predicted. source: (targets,), flat places in
            the rows. target: (targets,), -100 at the end where that is filling.
        """
        if self.layout == "packed":
            sizes, nothing = [len(example.input_ids) for example in examples], np.zeros(0, np.int64)
            fill = fill_lengths(sum(sizes), max(sizes))
            examples = [*examples, *(Targets(np.full(n, self.pad_id, np.int64), nothing, nothing) for n in fill)]
        lengths = [len(example.input_ids) for example in examples]
        batch: dict[str, Any] = {}
        if self.layout == "packed":
            starts = np.cumsum([0, *lengths[:-1]])
            rows = np.concatenate([example.input_ids for example in examples])[None]
            batch["lengths"] = tuple(lengths)
        else:
            longest = max(lengths)
            starts = np.arange(len(examples)) * longest
            rows = np.full((len(examples), longest), self.pad_id, np.int64)
            for row, example in zip(rows, examples, strict=True):
                row[: len(example.input_ids)] = example.input_ids
            mask = np.arange(longest) < np.array(lengths)[:, None]
            if not mask.all():
                batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        batch["input_ids"] = torch.from_numpy(rows)
        source = np.concatenate([e.source + start for e, start in zip(examples, starts, strict=True)])
        target = np.concatenate([example.target for example in examples])
        none = filling(len(target))
        batch["source"] = torch.from_numpy(np.concatenate((source, np.zeros(none, np.int64))))
        batch["target"] = torch.from_numpy(np.concatenate((target, np.full(none, IGNORED))))
        return batch


def n_targets(batch: Mapping[str, Any]) -> int:
    """The targets of a micro-batch that count."""
    return int((batch["target"] != IGNORED).sum())
