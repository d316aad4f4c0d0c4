"""From the vectors of sub-words to one vector per text, in two steps that give what one step would give.

A text is one window or several. Each window's sub-words become one vector and the logarithm of a weight; a text is the
mean of its windows' vectors by these weights. So what long texts get is what all their sub-words together get:

    mean       the mean over all sub-words of the text     (a window weighs as many sub-words as it stands for)
    attention  the weighted mean over all sub-words        (a window weighs the sum of its sub-words' weights)
    max        the largest of each feature                 (over windows as over sub-words)
    last       the last token of each window, averaged     (a window weighs as many sub-words as it stands for)

`last` alone has no meaning that goes across windows: the last token of the last window has not seen the others.
Everything is a reduction over segments; nothing loops over texts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Which rows of a matrix belong to which of `n` segments.

    Attributes:
        of: int64 (rows,) the segment of each row, ascending.
        n: how many segments there are.
    """

    of: Tensor
    n: int

    def sums(self, rows: Tensor) -> Tensor:
        """(n, ...): the sum of each segment's rows."""
        return rows.new_zeros(self.n, *rows.shape[1:]).index_add_(0, self.of, rows)

    def largest(self, rows: Tensor) -> Tensor:
        """(n, ...): the largest of each column of each segment's rows; minus infinity for a segment without rows."""
        index = self.of if rows.ndim == 1 else self.of[:, None].expand_as(rows)
        empty = rows.new_full((self.n, *rows.shape[1:]), -torch.inf)
        return empty.scatter_reduce(0, index, rows, "amax", include_self=False)

    def counts(self, like: Tensor) -> Tensor:
        """(n,): rows of each segment, in the number format of `like`; at least 1, so that it can be divided by."""
        return self.sums(like.new_ones(len(self.of))).clamp_min(1)


def weighted_mean(rows: Tensor, scores: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """The mean of each segment's rows by the softmax of their scores, and the logarithm of the segment's weight.

    Args:
        rows: (rows, hidden).
        scores: (rows,).
        segments: of the rows.

    Returns:
        (n, hidden) and (n,), the logarithm of the sum of the exponentials of the scores.
    """
    top = segments.largest(scores.detach())
    weights = torch.exp(scores - top[segments.of])
    total = segments.sums(weights)
    means = segments.sums(rows * weights[:, None]) / total.clamp_min(torch.finfo(total.dtype).tiny)[:, None]
    return means, torch.log(total) + top


def pool_tokens(
    hidden: Tensor, tokens: Tensor, windows: Segments, last: Tensor, how: str, scores: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One vector for each window from the vectors of its sub-words.

    Args:
        hidden: (positions, hidden), the rows of a batch one after the other, in float32.
        tokens: int64 (n_tokens,) positions of the sub-words that count.
        windows: the window of each of them.
        last: int64 (n_windows,) position of each window's last token.
        how: `last`, `mean`, `max` or `attention`.
        scores: for `attention`: (n_tokens,) before the softmax.

    Returns:
        vectors (n_windows, hidden), and the logarithms of their weights (n_windows,).
    """
    counts = windows.counts(hidden)
    if how == "last":
        return hidden[last], counts.log()
    rows = hidden[tokens]
    if how == "max":
        return windows.largest(rows), counts.log()
    if how == "mean":
        return windows.sums(rows) / counts[:, None], counts.log()
    assert scores is not None
    return weighted_mean(rows, scores, windows)


def pool_windows(vectors: Tensor, log_weights: Tensor, texts: Segments, how: str) -> Tensor:
    """One vector for each text from those of its windows.

    Args:
        vectors: (n_windows, hidden).
        log_weights: (n_windows,).
        texts: the text of each window.
        how: as in `pool_tokens`.

    Returns:
        (n_texts, hidden).
    """
    if len(vectors) == texts.n:  # each text is one window
        return vectors
    if how == "max":
        return texts.largest(vectors)
    return weighted_mean(vectors, log_weights, texts)[0]
