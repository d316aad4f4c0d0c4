"""Holding out a share of a data set, by content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lookright.data.sentence import Dataset, Sentence, words_hash
from lookright.data.texts import TextDataset, text_hash
from lookright.errors import DataError

Data = TypeVar("Data", Dataset, TextDataset)


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Split into `(train, dev)`, with about `share` of the different sentences in dev.

    The side depends on the words of a sentence alone: the same sentence is always on the same side, on every machine,
    in every run, whatever stands around it, and copies of a sentence never lie on both sides. What a smaller share
    holds out, a larger one holds out too. A side that would be empty gets the one sentence nearest to it.

    Raises:
        DataError: for a share not between 0 and 1, and for fewer than two different sentences.
    """
    inside = held_out([words_hash(sentence) for sentence in dataset], share, "sentences", dataset.path)
    return part_of(dataset, [not held for held in inside]), part_of(dataset, inside)


def hold_out_texts(dataset: TextDataset, share: float) -> tuple[TextDataset, TextDataset]:
    """As `hold_out`, for texts: the side depends on the text alone, or on the two of a pair."""
    inside = held_out([text_hash(text) for text in dataset], share, "texts", dataset.path)
    train, dev = (
        TextDataset(tuple(t for t, held in zip(dataset, inside, strict=True) if held is side), dataset.target,
                    dataset.path, dataset.notes)
        for side in (False, True)
    )  # fmt: skip
    return train, dev


def trained_part(dataset: Data, dev: object) -> Data:
    """What is trained on: all of a data set, or, where `dev` is a share, what that does not hold out of it."""
    if not isinstance(dev, float):
        return dataset
    return hold_out_texts(dataset, dev)[0] if isinstance(dataset, TextDataset) else hold_out(dataset, dev)[0]


def held_out(hashes: Sequence[int], share: float, what: str, path: str | None) -> list[bool]:
    """Which items are held out, by the hashes of their contents; see `hold_out`."""
    if not 0.0 < share < 1.0:
        raise DataError(f"a share of {share} cannot be held out: expected a number between 0 and 1", path=path)
    different = sorted(set(hashes))
    if len(different) < 2:
        message = f"{len(different)} different {what}, expected at least 2 to hold some out: give a dev file"
        raise DataError(message, path=path)
    limit = min(max(share * 2**64, different[0] + 1), different[-1])
    return [value < limit for value in hashes]


def part_of(dataset: Dataset, keep: Sequence[bool]) -> Dataset:
    """The kept sentences in order; a document begins where the first of its kept sentences is."""
    borders = set(dataset.document_starts or ())
    sentences: list[Sentence] = []
    starts: list[int] = []
    pending = False
    for index, sentence in enumerate(dataset):
        pending = pending or index in borders
        if keep[index]:
            if pending:
                starts.append(len(sentences))
            pending = False
            sentences.append(sentence)
    return Dataset(tuple(sentences), tuple(starts), dataset.path, dataset.scheme, dataset.notes)
