"""Windows: every word predicted exactly once, where its smaller-side context is largest."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.encoding import Encoded, Window, windows_of, windows_of_document
from lookright.encoding.windows import _word_ranges
from lookright.errors import RecipeError

property_test = settings(deadline=None, max_examples=150)
PREFIX, SUFFIX = (-1, -2), (-3,)


def encoded_of(words: list[tuple[int, int]], start: int = 0) -> Encoded:
    """A sentence from (gap sub-words, word sub-words) per word; its token ids just count up."""
    first, last, at = [], [], 0
    for gap, length in words:
        first.append(at + gap)
        at += gap + length
        last.append(at - 1)
    return Encoded(np.arange(start, start + at, dtype=np.int32), np.array(first, np.int32), np.array(last, np.int32))


short_words = st.tuples(st.integers(0, 1), st.integers(1, 4))
any_words = st.tuples(st.integers(0, 2), st.integers(1, 4) | st.integers(1, 40))


def inner(window: Window) -> np.ndarray:
    return window.input_ids[len(PREFIX) : -len(SUFFIX)]


@property_test
@given(words=st.lists(any_words, max_size=60), body=st.integers(1, 20), data=st.data())
def test_each_word_is_owned_exactly_once_with_its_own_tokens(
    words: list[tuple[int, int]], body: int, data: st.DataObject
) -> None:
    encoded = encoded_of(words)
    overlap = data.draw(st.none() | st.integers(0, body - 1))
    windows = windows_of(encoded, 7, size=body + 3, overlap=overlap, prefix=PREFIX, suffix=SUFFIX)
    owned = [word for window in windows for word in range(window.owned_from, window.owned_to)]
    assert owned == list(range(len(words)))
    n_cut = 0
    for window in windows:
        assert window.sentence == 7
        assert len(window) <= body + 3
        assert tuple(window.input_ids[:2]) == PREFIX
        assert tuple(window.input_ids[-1:]) == SUFFIX
        assert (np.diff(inner(window)) > 0).all()
        for word in range(window.word_from, window.word_to):
            first, last = (int(positions[word - window.word_from]) for positions in (window.first, window.last))
            whole = encoded.input_ids[encoded.word_first[word] : encoded.word_last[word] + 1]
            kept = window.input_ids[first : last + 1]
            assert kept.tolist() == whole[:body].tolist()
            n_cut += window.owned_from <= word < window.owned_to and len(whole) > body
        assert window.owned_first.tolist() == [
            window.first[word - window.word_from] for word in range(window.owned_from, window.owned_to)
        ]
        assert window.owned_last.tolist() == [
            window.last[word - window.word_from] for word in range(window.owned_from, window.owned_to)
        ]
    assert sum(window.n_cut for window in windows) == n_cut


@property_test
@given(words=st.lists(short_words, min_size=1, max_size=80), body=st.integers(6, 30), data=st.data())
def test_each_word_is_owned_where_its_smaller_context_is_largest(
    words: list[tuple[int, int]], body: int, data: st.DataObject
) -> None:
    encoded = encoded_of(words)
    windows = windows_of(encoded, 0, size=body, overlap=data.draw(st.integers(0, body - 1)))

    def context(window: Window, word: int) -> float:
        """Tokens beside the word (and its gap) on the poorer side, counted one by one."""
        last_before = encoded.word_last[word - 1] if word else -1
        left = float(sum(token <= last_before for token in window.input_ids)) if window.word_from else np.inf
        right = float(sum(token > encoded.word_last[word] for token in window.input_ids))
        return min(left, right if window.word_to < len(words) else np.inf)

    for window in windows:
        for word in range(window.owned_from, window.owned_to):
            rivals = [context(other, word) for other in windows if other.word_from <= word < other.word_to]
            assert context(window, word) == max(rivals)


@property_test
@given(words=st.lists(any_words, min_size=1, max_size=30), more=st.integers(0, 500))
def test_a_sentence_that_fits_is_one_window_whatever_the_size(words: list[tuple[int, int]], more: int) -> None:
    encoded = encoded_of(words)
    (window,) = windows_of(encoded, 0, size=len(encoded) + 3 + more, prefix=PREFIX, suffix=SUFFIX)
    assert window.input_ids.tolist() == [*PREFIX, *encoded.input_ids.tolist(), *SUFFIX]
    assert (window.word_from, window.word_to) == (window.owned_from, window.owned_to) == (0, len(words))
    assert window.first.tolist() == (encoded.word_first + 2).tolist()
    assert window.last.tolist() == (encoded.word_last + 2).tolist()
    assert window.n_cut == 0


@property_test
@given(words=st.lists(short_words, min_size=1, max_size=60), body=st.integers(5, 20), data=st.data())
def test_every_window_begins_and_ends_beyond_the_one_before(
    words: list[tuple[int, int]], body: int, data: st.DataObject
) -> None:
    ends = encoded_of(words).word_last.astype(np.int64) + 1
    starts = np.concatenate(([0], ends[:-1]))
    ranges = list(_word_ranges(starts, ends, body, data.draw(st.integers(0, body - 1))))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(words)
    for (old_from, old_to), (new_from, new_to) in pairwise(ranges):
        assert old_from < new_from <= old_to < new_to


def test_windows_overlap_by_a_quarter_and_the_last_one_is_filled_up() -> None:
    windows = windows_of(encoded_of([(0, 1)] * 250), 0, size=100)
    assert [(window.word_from, window.word_to) for window in windows] == [(0, 100), (75, 175), (150, 250)]
    # In the overlap 75..100 the middle is the border: on a tie the earlier window.
    assert [(window.owned_from, window.owned_to) for window in windows] == [(0, 88), (88, 163), (163, 250)]
    windows = windows_of(encoded_of([(0, 1)] * 110), 0, size=100)
    assert [(window.word_from, window.word_to) for window in windows] == [(0, 100), (10, 110)]


def test_border_words_have_unlimited_context_at_the_border() -> None:
    first, _ = windows_of(encoded_of([(0, 1)] * 12), 0, size=10, overlap=8)
    assert first.owned_from == 0
    assert first.owned_to == 6


def test_a_word_longer_than_a_window_is_cut_to_its_first_part() -> None:
    encoded = encoded_of([(0, 2), (1, 300_000), (1, 2)])
    windows = windows_of(encoded, 0, size=50)
    assert [(window.owned_from, window.owned_to, window.n_cut) for window in windows] == [
        (0, 1, 0),
        (1, 2, 1),
        (2, 3, 0),
    ]
    assert windows[1].input_ids.tolist() == list(range(3, 53))


def test_hundred_thousand_words() -> None:
    encoded = encoded_of([(0, 1), (1, 2), (0, 3)] * 33_334)
    started = time.perf_counter()
    windows = windows_of(encoded, 0, size=512)
    assert time.perf_counter() - started < 10
    assert sum(window.n_owned for window in windows) == 100_002
    assert sum(len(window) for window in windows) < 1.4 * len(encoded)


def test_sizes_that_cannot_work() -> None:
    encoded = encoded_of([(0, 1)])
    with pytest.raises(RecipeError, match="window of 3 sub-words has no room"):
        windows_of(encoded, 0, size=3, prefix=PREFIX, suffix=SUFFIX)
    for overlap in (-1, 4):
        with pytest.raises(RecipeError, match=f"overlap of {overlap} .* expected 0 to 3"):
            windows_of(encoded, 0, size=4, overlap=overlap)
    assert windows_of(encoded_of([]), 0, size=4) == []


def test_a_window_checks_itself() -> None:
    ids = np.arange(3, dtype=np.int32)
    with pytest.raises(ValueError, match="at least one"):
        Window(0, ids, 0, 1, ids[:1], ids[:1], 1, 1)
    with pytest.raises(ValueError, match="each of its words"):
        Window(0, ids, 0, 2, ids[:1], ids[:1], 0, 1)


@property_test
@given(
    lengths=st.lists(st.lists(short_words, max_size=8), min_size=1, max_size=8),
    body=st.integers(1, 40),
)
def test_document_windows_own_each_sentence_and_hold_only_whole_neighbours(
    lengths: list[list[tuple[int, int]]], body: int
) -> None:
    start, document = 0, []
    for words in lengths:
        document.append(encoded_of(words, start))
        start += len(document[-1])
    ends = [int(one.input_ids[last]) for one in document for last in one.word_last]
    begins = [0, *(end + 1 for end in ends)]
    numbers = [10 + index for index in range(len(document))]
    windows = windows_of_document(document, numbers, size=body + 3, prefix=PREFIX, suffix=SUFFIX)
    for one, number in zip(document, numbers, strict=True):
        own = [window for window in windows if window.sentence == number]
        assert [w for window in own for w in range(window.owned_from, window.owned_to)] == list(range(one.n_words))
        if len(one) > body or not one.n_words:
            continue
        (window,) = own
        ids = inner(window)
        assert len(ids) <= body
        assert ids.tolist() == list(range(ids[0], ids[-1] + 1))
        assert ids[0] in begins
        assert ids[-1] in ends
        assert window.input_ids[window.owned_first].tolist() == one.input_ids[one.word_first].tolist()
        assert window.input_ids[window.owned_last].tolist() == one.input_ids[one.word_last].tolist()
        # No neighbour that would still have fitted is left out on both sides, and the sides are fair.
        left, right = int(one.input_ids[0] - ids[0]), int(ids[-1] - one.input_ids[-1])
        spare = body - len(ids)
        longest_word = 5
        if ids[0] > 0 and ids[-1] < start - 1:
            assert spare < 2 * longest_word
            assert abs(left - right) <= longest_word + 1
        elif ids[0] > 0 or ids[-1] < start - 1:
            assert spare < longest_word + 1
        else:
            assert len(ids) == start


def test_document_context_goes_where_there_is_some() -> None:
    document = [encoded_of([(0, 1)] * 10, start) for start in (0, 10, 20)]
    windows = windows_of_document(document, [0, 1, 2], size=20)
    assert [(window.input_ids[0], window.input_ids[-1]) for window in windows] == [(0, 19), (5, 24), (10, 29)]
