from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import SchemeError
from lookright.inference.viterbi import decode
from lookright.tags import Scheme, Transitions, ill_formed, label_set, transitions

SCHEMES = list(Scheme)
fast = settings(deadline=None, max_examples=100)


def labels_of(scheme: Scheme, types: list[str]) -> tuple[str, ...]:
    return label_set(types, scheme)


def brute_force(scores: np.ndarray, steps: Transitions) -> tuple[float, list[int]]:
    """The best of all permitted paths; among equal ones the first when read from the end."""
    n_words, n_labels = scores.shape
    best = (-np.inf, [0] * n_words)
    for backwards in itertools.product(range(n_labels), repeat=n_words):
        path = backwards[::-1]
        if not (steps.start[path[0]] and steps.end[path[-1]]):
            continue
        if not all(steps.step[i][j] for i, j in itertools.pairwise(path)):
            continue
        score = sum(scores[word, label] for word, label in enumerate(path))
        if score > best[0]:
            best = (score, list(path))
    return best


@fast
@given(st.sampled_from(SCHEMES), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_equals_brute_force_ties_included(scheme: Scheme, lengths: list[int], seed: int) -> None:
    labels = labels_of(scheme, ["A"] if scheme in (Scheme.IOBES, Scheme.BILOU) else ["A", "B"])
    steps = transitions(labels, scheme)
    generator = np.random.default_rng(seed)
    # Small whole numbers: sums are exact and ties are frequent.
    batch = [generator.integers(-3, 1, (n, len(labels))).astype(np.float32) for n in lengths]
    for scores, path in zip(batch, decode(batch, steps), strict=True):
        assert path.dtype == np.int64
        assert path.tolist() == (brute_force(scores, steps)[1] if len(scores) else [])


@fast
@given(st.sampled_from(SCHEMES), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_equals_brute_force_where_much_is_impossible(scheme: Scheme, n_words: int, seed: int) -> None:
    labels = labels_of(scheme, ["A"])
    steps = transitions(labels, scheme)
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(n_words, len(labels)))
    scores[generator.random(scores.shape) < 0.4] = -np.inf
    best, path = brute_force(scores, steps)
    if best > -np.inf:
        assert decode([scores], steps)[0].tolist() == path


@fast
@given(st.sampled_from(SCHEMES), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 2**32 - 1))
def test_every_path_is_well_formed_even_without_finite_scores(scheme: Scheme, lengths: list[int], seed: int) -> None:
    labels = labels_of(scheme, ["A", "B-C", "D"])
    generator = np.random.default_rng(seed)
    batch = []
    for n in lengths:
        scores = generator.normal(size=(n, len(labels))) * 5
        scores[generator.random(scores.shape) < 0.5] = generator.choice([-np.inf, np.nan])
        batch.append(scores)
    for scores, path in zip(batch, decode(batch, transitions(labels, scheme)), strict=True):
        assert len(path) == len(scores)
        assert ill_formed([labels[i] for i in path], scheme) == []


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s is not Scheme.PLAIN])
def test_all_impossible_still_gives_a_permitted_path(scheme: Scheme) -> None:
    labels = labels_of(scheme, ["A", "B"])
    for value in (-np.inf, np.nan):
        (path,) = decode([np.full((5, len(labels)), value)], transitions(labels, scheme))
        assert ill_formed([labels[i] for i in path], scheme) == []


def test_a_finite_path_beats_a_nearly_impossible_one() -> None:
    labels = labels_of(Scheme.IOB2, ["A"])  # O, B-A, I-A
    with np.errstate(divide="ignore"):
        scores = np.log(np.array([[0.9, 0.1, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    (path,) = decode([scores], transitions(labels, Scheme.IOB2))
    assert path.tolist() == [1, 2, 0]
    (greedy,) = decode([scores], transitions(labels, Scheme.IOB2), method="argmax")
    assert greedy.tolist() == [0, 2, 0]


@fast
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 2**32 - 1))
def test_company_and_order_change_nothing(lengths: list[int], seed: int) -> None:
    labels = labels_of(Scheme.IOBES, ["A", "B"])
    steps = transitions(labels, Scheme.IOBES)
    generator = np.random.default_rng(seed)
    batch = [generator.integers(-2, 1, (n, len(labels))).astype(np.float32) for n in lengths]
    together = decode(batch, steps)
    for scores, path in zip(batch, together, strict=True):
        np.testing.assert_array_equal(decode([scores], steps)[0], path)
    for path, same in zip(together, decode(batch[::-1], steps)[::-1], strict=True):
        np.testing.assert_array_equal(path, same)


def test_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labels_of(Scheme.IOBES, ["A", "B"])
    steps = transitions(labels, Scheme.IOBES)
    generator = np.random.default_rng(0)
    batch = [generator.normal(size=(n, len(labels))) for n in generator.integers(0, 30, 50)]
    whole = decode(batch, steps)
    monkeypatch.setattr("lookright.inference.viterbi._GROUP_SIZE", 300)
    for path, same in zip(whole, decode(batch, steps), strict=True):
        np.testing.assert_array_equal(path, same)


def test_argmax_and_plain_tags_take_each_words_best_label_and_the_first_of_equals() -> None:
    scores = np.array([[0.0, 1.0, 1.0], [2.0, 2.0, 0.0], [np.nan, -np.inf, -5.0]])
    free = transitions(["X", "Y", "Z"], Scheme.PLAIN)
    tight = transitions(["O", "B-A", "I-A"], Scheme.IOB2)
    assert decode([scores], free)[0].tolist() == [1, 0, 2]
    assert decode([scores, scores[:0]], tight, method="argmax")[0].tolist() == [1, 0, 2]


def test_no_sentences_and_no_words() -> None:
    steps = transitions(["O", "B-A", "I-A"], Scheme.IOB2)
    assert decode([], steps) == []
    for method in ("viterbi", "argmax"):
        assert [p.tolist() for p in decode([np.zeros((0, 3))] * 2, steps, method=method)] == [[], []]  # type: ignore[arg-type]


def test_more_labels_than_a_byte_counts() -> None:
    labels = label_set([f"T{i}" for i in range(100)], Scheme.IOBES)  # 401
    generator = np.random.default_rng(0)
    (path,) = decode([generator.normal(size=(50, len(labels)))], transitions(labels, Scheme.IOBES))
    assert max(path) > 255
    assert ill_formed([labels[i] for i in path], Scheme.IOBES) == []


def test_a_sentence_of_a_hundred_thousand_words() -> None:
    labels = labels_of(Scheme.IOBES, ["A", "B", "C"])
    scores = np.random.default_rng(0).normal(size=(100_000, len(labels))).astype(np.float32)
    began = time.perf_counter()
    (path,) = decode([scores], transitions(labels, Scheme.IOBES))
    assert time.perf_counter() - began < 30  # under one second on one slow core
    assert ill_formed([labels[i] for i in path], Scheme.IOBES) == []


def test_memory_is_a_small_multiple_of_the_scores() -> None:
    labels = labels_of(Scheme.IOBES, ["A", "B", "C"])
    scores = np.zeros((10_000, len(labels)))
    tracemalloc.start()
    decode([scores], transitions(labels, Scheme.IOBES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * scores.nbytes


def test_wrong_shapes_methods_and_dead_ends_are_refused() -> None:
    steps = transitions(["O", "B-A", "I-A"], Scheme.IOB2)
    with pytest.raises(SchemeError, match=r"sentence 2: scores of shape \(2, 4\)"):
        decode([np.zeros((2, 3)), np.zeros((2, 4))], steps)
    with pytest.raises(SchemeError, match="unknown decoding"):
        decode([np.zeros((2, 3))], steps, method="beam")  # type: ignore[arg-type]
    dead = Transitions((True,), ((False,),), (True,))
    assert decode([np.zeros((1, 1))], dead)[0].tolist() == [0]
    with pytest.raises(SchemeError, match="permit no path"):
        decode([np.zeros((2, 1))], dead)
