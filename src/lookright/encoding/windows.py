"""Long sentences as overlapping windows, in which every word is predicted exactly once.

A sentence that fits is one window. A longer one runs through windows that are cut on word borders and overlap; a word
that several windows hold is *owned* (predicted, and its loss counted) by the one in which the smaller of its two
contexts, to the left and to the right, is largest. A border of the sentence counts as unlimited context: there is
nothing beyond it to miss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookright.encoding.subwords import Encoded, Ids
from lookright.errors import RecipeError

OVERLAP_SHARE: Final = 4
"""Windows overlap by one part in this many: a quarter costs a third more tokens, and leaves each word at least an
eighth of the window on either side."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One sequence for the model, with special tokens, and the words that it holds and owns.

    Word numbers count from the start of the sentence; ranges are half-open.

    Attributes:
        sentence: number of the sentence, as given.
        input_ids: int32 (length,), with the special tokens around.
        word_from, word_to: the words of the sentence inside the window.
        first, last: int32 (word_to - word_from,), positions in the window of each word's first and last sub-word.
        owned_from, owned_to: the words that are predicted from this window.
        n_cut: how many of the owned words were longer than the window, and stand here only with their first part.
    """

    sentence: int
    input_ids: Ids
    word_from: int
    word_to: int
    first: Ids
    last: Ids
    owned_from: int
    owned_to: int
    n_cut: int = 0

    def __post_init__(self) -> None:
        if not self.word_from <= self.owned_from < self.owned_to <= self.word_to:
            raise ValueError("a window owns at least one of the words that it holds")
        if not len(self.first) == len(self.last) == self.word_to - self.word_from:
            raise ValueError("a window needs a first and a last position for each of its words")

    def __len__(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.input_ids)

    @property
    def n_owned(self) -> int:
        """Number of words predicted from this window."""
        return self.owned_to - self.owned_from

    @property
    def owned_first(self) -> Ids:
        """int32 (n_owned,), position of the first sub-word of each owned word."""
        return self.first[self.owned_from - self.word_from : self.owned_to - self.word_from]

    @property
    def owned_last(self) -> Ids:
        """int32 (n_owned,), position of the last sub-word of each owned word."""
        return self.last[self.owned_from - self.word_from : self.owned_to - self.word_from]


def windows_of(
    encoded: Encoded,
    index: int,
    *,
    size: int,
    overlap: int | None = None,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
) -> list[Window]:
    """Return the windows of one sentence, in order; their owned ranges cover all words, each one once.

    Args:
        encoded: the sentence's sub-words.
        index: number of the sentence, kept in the windows.
        size: longest window in tokens, special tokens included.
        overlap: tokens shared by neighbouring windows, at most; by default a quarter of the window.
        prefix, suffix: special tokens around each window.

    Raises:
        RecipeError: when the window leaves no room for a sub-word, or the overlap does not fit into it.
    """
    body = _room(size, prefix, suffix)
    overlap = body // OVERLAP_SHARE if overlap is None else overlap
    if not 0 <= overlap < body:
        raise RecipeError(f"an overlap of {overlap} sub-words, expected 0 to {body - 1} for windows of {size}")
    if encoded.n_words == 0:
        return []
    if len(encoded) <= body:
        return [_whole(encoded, index, prefix, suffix)]
    fitted = _fit_words(encoded, body)
    ends = fitted.last.astype(np.int64) + 1
    starts = np.concatenate(([0], ends[:-1]))
    ranges = list(_word_ranges(starts, ends, body, overlap))
    owners = _owners(starts, ends, ranges)
    owned = np.searchsorted(owners, np.arange(len(ranges) + 1))
    windows = []
    for number, (word_from, word_to) in enumerate(ranges):
        owned_from, owned_to = int(owned[number]), int(owned[number + 1])
        if owned_from == owned_to:  # Another window serves all of its words better.
            continue
        at = int(starts[word_from])
        shift = len(prefix) - at
        windows.append(
            Window(
                sentence=index,
                input_ids=_with_ends(prefix, fitted.ids[at : int(ends[word_to - 1])], suffix),
                word_from=word_from,
                word_to=word_to,
                first=fitted.first[word_from:word_to] + np.int32(shift),
                last=fitted.last[word_from:word_to] + np.int32(shift),
                owned_from=owned_from,
                owned_to=owned_to,
                n_cut=int(fitted.cut[owned_from:owned_to].sum()),
            )
        )
    return windows


def _whole(encoded: Encoded, index: int, prefix: Sequence[int], suffix: Sequence[int]) -> Window:
    """A sentence that fits, as its only window."""
    shift = np.int32(len(prefix))
    n_words = encoded.n_words
    return Window(
        sentence=index,
        input_ids=_with_ends(prefix, encoded.input_ids[: int(encoded.word_last[-1]) + 1], suffix),
        word_from=0,
        word_to=n_words,
        first=encoded.word_first + shift,
        last=encoded.word_last + shift,
        owned_from=0,
        owned_to=n_words,
    )


def windows_of_document(
    encoded: Sequence[Encoded],
    indices: Sequence[int],
    *,
    size: int,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
) -> list[Window]:
    """Return windows for the sentences of one document, each filled up with the words around its sentence.

    A window holds one whole sentence, and as many whole words before and after it as fit, half of the room on either
    side, or more where the document ends on the other. Only the sentence's own words are listed and owned. A sentence
    that does not fit into one window goes through `windows_of` alone.

    Args:
        encoded: the sentences of the document, in order.
        indices: their numbers, kept in the windows.
        size, prefix, suffix: as for `windows_of`.
    """
    body = _room(size, prefix, suffix)
    ids = np.concatenate([np.zeros(0, np.int32), *(one.input_ids for one in encoded)])
    bounds = np.concatenate(([0], np.cumsum([len(one) for one in encoded], dtype=np.int64)))
    # Where a word (with the gap before it) may begin, and where the last one ends.
    borders = np.concatenate(
        ([0], *(one.word_last.astype(np.int64) + 1 + start for one, start in zip(encoded, bounds[:-1], strict=True)))
    )
    windows: list[Window] = []
    for one, index, start, end in zip(encoded, indices, bounds[:-1], bounds[1:], strict=True):
        room = body - len(one)
        if room < 0 or one.n_words == 0:
            windows += windows_of(one, index, size=size, prefix=prefix, suffix=suffix)
            continue
        after = min(len(ids) - end, max(room - room // 2, room - start))
        before = min(start, room - after)
        from_token = int(borders[np.searchsorted(borders, start - before, side="left")])
        to_token = int(borders[np.searchsorted(borders, end + after, side="right") - 1])
        shift = np.int32(len(prefix) + start - from_token)
        windows.append(
            Window(
                sentence=index,
                input_ids=_with_ends(prefix, ids[from_token:to_token], suffix),
                word_from=0,
                word_to=one.n_words,
                first=one.word_first + shift,
                last=one.word_last + shift,
                owned_from=0,
                owned_to=one.n_words,
            )
        )
    return windows


class _Fitted(NamedTuple):
    """Sub-words in which no word, with the gap before it, is longer than a window; `cut` says which words were."""

    ids: Ids
    first: Ids
    last: Ids
    cut: NDArray[np.bool_]


def _room(size: int, prefix: Sequence[int], suffix: Sequence[int]) -> int:
    body = size - len(prefix) - len(suffix)
    if body < 1:
        raise RecipeError(
            f"a window of {size} sub-words has no room beside the {len(prefix) + len(suffix)} special tokens of this "
            "tokenizer: ask for a larger window"
        )
    return body


def _with_ends(prefix: Sequence[int], ids: Ids, suffix: Sequence[int]) -> Ids:
    if not prefix and not suffix:
        return ids
    return np.concatenate((np.array(prefix, np.int32), ids, np.array(suffix, np.int32)))


def _fit_words(encoded: Encoded, body: int) -> _Fitted:
    first, last = encoded.word_first, encoded.word_last
    cut = last - first + 1 > body
    starts = np.concatenate(([0], last[:-1] + 1))
    too_long = np.flatnonzero(last + 1 - starts > body)
    if len(too_long) == 0:
        return _Fitted(encoded.input_ids, first, last, cut)
    keep = np.ones(len(encoded), bool)
    for word in too_long:
        keep[starts[word] : first[word]] = False  # the gap
        keep[first[word] + body : last[word] + 1] = False
    moved = np.cumsum(keep, dtype=np.int32) - np.int32(1)
    return _Fitted(encoded.input_ids[keep], moved[first], moved[np.minimum(last, first + body - 1)], cut)


def _word_ranges(
    starts: NDArray[np.int64], ends: NDArray[np.int64], body: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """The words `(from, to)` of each window; both borders ascend strictly.

    Each window takes all the words that fit; the last one is filled up to the left.
    """
    n_words = len(starts)
    word_from = 0
    while True:
        word_to = int(np.searchsorted(ends, starts[word_from] + body, side="right"))
        if word_to == n_words:
            yield int(np.searchsorted(starts, ends[-1] - body, side="left")), n_words
            return
        yield word_from, word_to
        back = int(np.searchsorted(starts, ends[word_to - 1] - overlap, side="left"))
        reach = int(np.searchsorted(starts, ends[word_to] - body, side="left"))  # from here the next word fits
        word_from = max(back, reach)  # beyond the old one: from there the next word did not fit


def _owners(starts: NDArray[np.int64], ends: NDArray[np.int64], ranges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """int64 (n_words,): per word the number of the window that owns it, ascending; the earlier one on a tie."""
    n_words = len(starts)
    best = np.full(n_words, -1, np.int64)
    owner = np.zeros(n_words, np.int64)
    for number, (word_from, word_to) in enumerate(ranges):
        words = slice(word_from, word_to)
        # At a border of the sentence the context is unlimited, but its true length decides the same: any other window
        # with the word ends nearer to it on that side, so that its smaller side is smaller still.
        context = np.minimum(starts[words] - starts[word_from], ends[word_to - 1] - ends[words])
        better = context > best[words]
        best[words][better] = context[better]
        owner[words][better] = number
    return owner
