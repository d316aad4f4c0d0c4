"""Windows to tensors, and which windows go together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.encoding import Encoded, Window, collate, filling, token_budget, windows_of
from lookright.errors import RecipeError

property_test = settings(deadline=None, max_examples=150)
PAD = 999_999


@st.composite
def window_lists(draw: st.DrawFn) -> list[Window]:
    """Windows of some sentences; all token ids differ, so that a wrong index shows."""
    windows: list[Window] = []
    at = 0
    size = draw(st.integers(3, 12))
    for index, lengths in enumerate(
        draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=6))
    ):
        last = np.cumsum(lengths).astype(np.int32) - 1
        first = np.concatenate(([0], last[:-1] + 1)).astype(np.int32)
        encoded = Encoded(np.arange(at, at + last[-1] + 1, dtype=np.int32), first, last)
        at += len(encoded)
        windows += windows_of(encoded, index, size=size, prefix=(PAD - 1,), suffix=(PAD - 2,))
    return windows


@property_test
@given(window_lists())
def test_every_layout_points_at_the_same_tokens(windows: list[Window]) -> None:
    expected_first = [int(window.input_ids[at]) for window in windows for at in window.owned_first]
    expected_last = [int(window.input_ids[at]) for window in windows for at in window.owned_last]
    labels = [np.arange(window.n_owned) % 3 - 1 for window in windows]
    for layout, side in (("packed", "right"), ("padded", "right"), ("padded", "left")):
        batch = collate(windows, layout=layout, pad_id=PAD, labels=labels, pad_side=side)  # type: ignore[arg-type]
        flat = batch["input_ids"].flatten()
        assert flat[batch["word_first"]].tolist() == expected_first
        assert flat[batch["word_last"]].tolist() == expected_last
        assert batch["labels"].tolist() == np.concatenate(labels).tolist()
        assert {value.dtype for value in batch.values() if isinstance(value, torch.Tensor)} == {torch.int64}


@property_test
@given(window_lists())
def test_packed_row_is_the_sequences_one_after_the_other(windows: list[Window]) -> None:
    batch = collate(windows, layout="packed", pad_id=PAD)
    assert set(batch) == {"input_ids", "lengths", "word_first", "word_last"}
    tokens = [token for window in windows for token in window.input_ids.tolist()]
    lengths = tuple(len(window) for window in windows)
    assert batch["lengths"][: len(windows)] == lengths
    assert sum(batch["lengths"][len(windows) :]) == filling(len(tokens))
    assert max(batch["lengths"]) == max(lengths)
    assert batch["input_ids"].shape == (1, sum(batch["lengths"]))
    assert batch["input_ids"][0].tolist() == tokens + [PAD] * filling(len(tokens))


@property_test
@given(st.integers(1, 100_000))
def test_filling_is_little_and_leaves_few_lengths(total: int) -> None:
    assert 0 <= filling(total) <= total / 32
    assert filling(total + filling(total)) == 0
    lengths = {n + filling(n) for n in range(2048, 4097)}
    assert len(lengths) <= 34
    assert total + filling(total) <= max(total, 8191)  # what Llama 4 takes in a row


@property_test
@given(window_lists(), st.sampled_from(["right", "left"]))
def test_padded_rows_are_the_sequences_and_padding_is_masked(windows: list[Window], side: str) -> None:
    batch = collate(windows, layout="padded", pad_id=PAD, pad_side=side)  # type: ignore[arg-type]
    longest = max(len(window) for window in windows)
    assert batch["input_ids"].shape == (len(windows), longest)
    mask = batch.get("attention_mask")
    assert (mask is None) == all(len(window) == longest for window in windows)
    for row, window in enumerate(windows):
        padding = [PAD] * (longest - len(window))
        tokens = window.input_ids.tolist()
        assert batch["input_ids"][row].tolist() == (tokens + padding if side == "right" else padding + tokens)
        if mask is not None:
            ones, zeros = [1] * len(tokens), [0] * len(padding)
            assert mask[row].tolist() == (ones + zeros if side == "right" else zeros + ones)


def one_window(length: int = 3) -> Window:
    ids = np.arange(length, dtype=np.int32)
    return Window(0, ids, 0, length, ids, ids, 0, length)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no windows"):
        collate([], layout="packed", pad_id=0)
    with pytest.raises(ValueError, match="one per owned word"):
        collate([one_window()], layout="packed", pad_id=0, labels=[np.zeros(2, np.int64)])
    with pytest.raises(RecipeError, match="budget of 0"):
        token_budget([1], 0)


def test_tensors_do_not_share_memory_with_the_windows() -> None:
    window = one_window()
    collate([window], layout="packed", pad_id=0)["input_ids"][0, 0] = 77
    assert window.input_ids[0] == 0


@property_test
@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 120), st.sampled_from(["packed", "padded"]))
def test_token_budget(lengths: list[int], budget: int, layout: str) -> None:
    batches = token_budget(lengths, budget, layout=layout)  # type: ignore[arg-type]
    order = [index for batch in batches for index in batch]
    assert order == sorted(range(len(lengths)), key=lambda index: lengths[index])

    def cost(batch: list[int]) -> int:
        inside = [lengths[index] for index in batch]
        return sum(inside) if layout == "packed" else len(inside) * max(inside)

    for number, batch in enumerate(batches):
        assert batch
        assert cost(batch) <= budget or len(batch) == 1
        if number + 1 < len(batches):  # and none could have taken one more
            assert cost([*batch, batches[number + 1][0]]) > budget


def test_token_budget_is_fast() -> None:
    import time

    lengths = np.random.default_rng(0).integers(1, 100, 200_000).tolist()
    started = time.perf_counter()
    assert len(token_budget(lengths, 4096)) > 100
    assert len(token_budget(lengths, 4096, layout="padded")) > 100
    assert time.perf_counter() - started < 10


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(1, 200), st.integers(2, 4))
def test_at_least_so_many_batches_of_like_size(lengths: list[int], budget: int, least: int) -> None:
    batches = token_budget(lengths, budget, least=least)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    sizes = [sum(lengths[index] for index in batch) for batch in batches]
    assert all(size <= budget or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    if len(lengths) >= least:
        assert len(batches) % least == 0 or len(batches) == len(lengths)
        assert max(sizes) - min(sizes) <= 60
    for batch in batches:
        assert [lengths[index] for index in batch] == sorted(lengths[index] for index in batch)
