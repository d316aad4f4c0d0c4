"""Windows to tensors: one packed row without padding, or padded rows; and which windows go together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lookright.encoding.windows import Window
from lookright.errors import RecipeError

Layout = Literal["packed", "padded"]

LONGEST_FILLED: Final = 7_900
"""Tokens of a packed row above which nothing is added to it."""
IGNORED: Final = -100
"""Label of a word that does not count in the loss."""


def collate(
    windows: Sequence[Window],
    *,
    layout: Layout,
    pad_id: int,
    labels: Sequence[NDArray[np.integer[Any]]] | None = None,
    pad_side: Literal["right", "left"] = "right",
) -> dict[str, Any]:
    """Return the arguments of the model's forward for some windows, in the order given.

    Args:
        windows: at least one.
        layout: "packed": one row of independent sequences, one after the other (sort by length first: kernels gain from
            equal neighbours). "padded": one row per window.
        pad_id: id that fills up padded rows.
        labels: per window, label ids (n_owned,) of its owned words, -100 where a word does not count.
        pad_side: where padded rows are filled up.

    Returns:
        input_ids: int64 (rows, length).
        attention_mask: int64 (rows, length), 1 on tokens; only where something is padded.
        lengths: tuple of ints, tokens per sequence; only when packed. The last ones may be filling, see `filling`.
        word_first, word_last: int64 (n_words,), flat positions in rows * length of the first and last sub-word of each
            owned word, window after window.
        labels: int64 (n_words,); only when given.

    Raises:
        ValueError: for no windows, or labels that do not fit them.
    """
    if not windows:
        raise ValueError("no windows to collate")
    lengths = np.array([len(window) for window in windows], np.int64)
    tokens = np.concatenate([window.input_ids for window in windows]).astype(np.int64)
    batch: dict[str, Any] = {}
    if layout == "packed":
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        fill = fill_lengths(len(tokens), int(lengths.max()))
        batch["input_ids"] = torch.from_numpy(np.concatenate((tokens, np.full(sum(fill), pad_id)))[None])
        batch["lengths"] = (*lengths.tolist(), *fill)
    else:
        longest = int(lengths.max())
        missing = longest - lengths if pad_side == "left" else np.zeros_like(lengths)
        starts = np.arange(len(windows)) * longest + missing
        columns = np.arange(longest) - missing[:, None]
        mask = (columns >= 0) & (columns < lengths[:, None])
        ids = np.full(mask.shape, pad_id, np.int64)
        ids[mask] = tokens
        batch["input_ids"] = torch.from_numpy(ids)
        if not mask.all():
            batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    n_owned = [window.n_owned for window in windows]
    shifts = np.repeat(starts, n_owned)
    batch["word_first"] = torch.from_numpy(np.concatenate([window.owned_first for window in windows]) + shifts)
    batch["word_last"] = torch.from_numpy(np.concatenate([window.owned_last for window in windows]) + shifts)
    if labels is not None:
        if [len(one) for one in labels] != n_owned:
            raise ValueError("labels do not fit the windows: expected one per owned word")
        batch["labels"] = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    return batch


def filling(total: int) -> int:
    """How many tokens to add to a packed row so that few different lengths occur: at most one in 32.

    On processors oneDNN makes code for every length that it meets, and keeps it: that takes time, and gigabytes. Long
    rows are for GPUs, which have no such need, and some families bound them.
    """
    if total > LONGEST_FILLED:
        return 0
    step = 1 << max(0, (total // 32).bit_length() - 1)
    return -total % step


def fill_lengths(total: int, longest: int) -> tuple[int, ...]:
    """The filling of a row of `total` tokens as sequences, none longer than the `longest` real one."""
    whole, rest = divmod(filling(total), longest)
    return (longest,) * whole + ((rest,) if rest else ())


def token_budget(lengths: Sequence[int], budget: int, *, layout: Layout = "packed", least: int = 1) -> list[list[int]]:
    """Group sequences into batches of at most `budget` tokens each, in ascending order of length.

    Args:
        lengths: tokens per sequence.
        budget: tokens per batch: their sum when packed, rows times the longest row when padded. A sequence longer
            than the budget is a batch of its own.
        layout: what the batches will be collated to.
        least: make so many packed batches, or a multiple of that, of about the same number of tokens each, as far as
            there are sequences.

    Returns:
        Per batch, indices into `lengths`, sorted by length (equal ones in the order given).

    Raises:
        RecipeError: for a budget below 1.
    """
    if budget < 1:
        raise RecipeError(f"a budget of {budget} tokens per batch, expected at least 1")
    order = np.argsort(np.asarray(lengths, np.int64), kind="stable")
    ascending = np.asarray(lengths, np.int64)[order]
    total = np.concatenate(([0], np.cumsum(ascending)))
    indices: list[int] = order.tolist()
    if layout == "packed" and least > 1 and len(indices) >= least:
        return _dealt(indices, ascending, budget, least)
    batches = []
    start = 0
    while start < len(indices):
        begin = start

        def cost(end: int, begin: int = begin) -> int:
            return int(total[end] - total[begin] if layout == "packed" else ascending[end - 1] * (end - begin))

        # Both costs grow with the end, so that the last end within the budget is found by bisection.
        start = max(begin + 1, bisect_right(range(len(indices) + 1), budget, lo=begin + 1, key=cost) - 1)
        batches.append(indices[begin:start])
    return batches


def _dealt(ascending: Sequence[int], lengths: NDArray[np.int64], budget: int, least: int) -> list[list[int]]:
    """Deal sequences, which are sorted, out to a multiple of `least` batches; those of their lengths in that order."""
    n = least * max(1, -(-int(lengths.sum()) // (least * budget)))
    while n < len(ascending) and max(int(lengths[first::n].sum()) for first in range(n)) > budget:
        n += least
    return [list(ascending[first::n]) for first in range(min(n, len(ascending)))]
