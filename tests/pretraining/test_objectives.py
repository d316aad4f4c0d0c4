"""Targets against naive loops, and sequences that lose nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.encoding import IGNORED
from lookright.training.examples import At
from lookright.training.pretraining.objectives import Objective
from lookright.training.pretraining.sequences import SequenceCollator, Sequences, cut
from lookright.training.pretraining.tokens import Tokens

MASK, SPECIAL = 3, (0, 1, 2, 3)
IDS = st.lists(st.integers(0, 49), min_size=1, max_size=60)


def draw(name: str, ids: list[int], seed: int = 0, **options: object) -> tuple[list[int], list[int], list[int]]:
    objective = Objective(name, MASK, vocab=50, special=SPECIAL, **options)  # type: ignore[arg-type]
    return tuple(part.tolist() for part in objective.targets(np.array(ids), np.random.default_rng(seed)))  # type: ignore[return-value]


@given(ids=IDS)
@settings(max_examples=30, deadline=None)
def test_clm_predicts_each_next_one(ids: list[int]) -> None:
    seen, source, target = draw("clm", ids)
    assert seen == ids
    assert [(i, ids[i + 1]) for i in range(len(ids) - 1)] == list(zip(source, target, strict=True))


@given(ids=IDS, seed=st.integers(0, 1000), name=st.sampled_from(["mlm", "mntp"]))
@settings(max_examples=100, deadline=None)
def test_masks_by_a_naive_loop(ids: list[int], seed: int, name: str) -> None:
    seen, source, target = draw(name, ids, seed, rate=0.3)
    shift = {"mlm": 0, "mntp": 1}[name]
    assert len(seen) == len(ids)
    for place, wanted in zip(source, target, strict=True):
        assert ids[place + shift] == wanted  # mntp: the output at i - 1 predicts i
        assert wanted not in SPECIAL
    predicted = {place + shift for place in source}
    assert all(seen[i] == ids[i] for i in range(len(ids)) if i not in predicted)
    possible = [i for i in range(shift, len(ids)) if ids[i] not in SPECIAL]
    assert bool(predicted) == bool(possible)
    always, _, _ = draw(name, ids, seed, rate=0.3, masking="always")
    assert all(always[i] == MASK for i in predicted)


def test_the_shares_are_berts() -> None:
    ids = (np.arange(200_000) % 40 + 10).tolist()
    seen, source, target = draw("mlm", ids)
    assert len(source) / len(ids) == pytest.approx(0.15, abs=0.005)
    found = np.array([seen[place] for place in source])
    wanted = np.array(target)
    assert (found == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert (found == wanted).mean() == pytest.approx(0.1 + 0.1 / 46, abs=0.01)
    assert not np.isin(found[found != MASK], SPECIAL).any()


@given(sizes=st.lists(st.integers(1, 30), max_size=20), length=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_documents_are_cut_without_loss(sizes: list[int], length: int) -> None:
    ends = np.cumsum(np.array(sizes, np.int64))
    starts, found = cut(ends, length)
    wanted = []
    begin = 0
    for size in sizes:
        wanted += [(begin + i, min(length, size - i)) for i in range(0, size, length)]
        begin += size
    assert list(zip(starts.tolist(), found.tolist(), strict=True)) == wanted


def toy_tokens() -> Tokens:
    ids = (np.arange(20, dtype=np.uint16) + 10, np.arange(7, dtype=np.uint16) + 40)
    return Tokens(ids, (np.array([9, 10, 20]), np.array([7])))


def test_sequences_have_their_ends_and_depend_on_seed_and_epoch_only() -> None:
    sequences = Sequences(toy_tokens(), Objective("clm"), 6, prefix=[1], suffix=[2])
    found = [sequences[At(0, n)].input_ids.tolist() for n in range(len(sequences))]
    assert found == [
        [1, 10, 11, 12, 13, 2], [1, 14, 15, 16, 17, 2], [1, 18, 2], [1, 19, 2], [1, 20, 21, 22, 23, 2],
        [1, 24, 25, 26, 27, 2], [1, 28, 29, 2], [1, 40, 41, 42, 43, 2], [1, 44, 45, 46, 2],
    ]  # fmt: skip
    assert sequences.n_tokens == sum(map(len, found))
    assert len(Sequences(toy_tokens(), Objective("clm"), 6)) == 5  # single sub-words predict nothing
    assert Sequences(toy_tokens(), Objective("clm"), 6, most=7).size.tolist() == [6, 3]
    masked = Sequences(toy_tokens(), Objective("mlm", MASK, vocab=50, special=SPECIAL), 6)
    first = [masked[At(0, n)] for n in range(len(masked))]
    again = [masked[At(0, n)] for n in reversed(range(len(masked)))][::-1]
    later = [masked[At(1, n)] for n in range(len(masked))]
    assert all(np.array_equal(a.source, b.source) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.source, b.source) for a, b in zip(first, later, strict=True))


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_places_point_to_the_same_sub_words_in_every_layout(layout: str) -> None:
    sequences = Sequences(toy_tokens(), Objective("clm"), 6)
    collator = SequenceCollator(sequences.weightless(), 12, layout, pad_id=0)  # type: ignore[arg-type]
    update = collator([sequences[At(0, n)] for n in range(len(sequences))])
    pairs = []
    for batch in update["micro_batches"]:
        flat = batch["input_ids"].flatten()
        pairs += list(zip(flat[batch["source"]].tolist(), batch["target"].tolist(), strict=True))
        assert batch["input_ids"].numel() <= 12
    within = [i for i in (*range(10, 18), *range(20, 29), *range(40, 46)) if i not in {15, 25, 45}]
    assert sorted(pairs) == [(i, i + 1) for i in within]
    assert update["n_words"] == len(pairs)
    empty = collator([])
    assert empty["n_words"] == 0
    assert set(empty["micro_batches"][0]["target"].tolist()) == {IGNORED}
