from __future__ import annotations

import itertools
import json
import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES

from lookright.errors import DataError, SchemeError
from lookright.metrics import (
    Scores,
    approximate_randomization,
    bootstrap_interval,
    evaluate_tags,
    paired_bootstrap,
)
from lookright.tags import Scheme, label_set, to_spans

SPAN_SCHEMES = [Scheme.IO, Scheme.IOB1, Scheme.IOB2, Scheme.IOBES, Scheme.BILOU]
SEQEVAL = {Scheme.IOB1: IOB1, Scheme.IOB2: IOB2, Scheme.IOBES: IOBES, Scheme.BILOU: BILOU}
many = settings(deadline=None, max_examples=300)
Tags = list[list[str]]


@st.composite
def tagged(draw: st.DrawFn, schemes: list[Scheme]) -> tuple[Scheme, Tags, Tags]:
    """Random gold and predicted tags, ill-formed ones and empty sentences included, alike in about half the words."""
    scheme = draw(st.sampled_from(schemes))
    labels = label_set(["A", "B", "C-D"], scheme)
    gold, predicted = [], []
    for _ in range(draw(st.integers(0, 4))):
        sentence = draw(st.lists(st.sampled_from(labels), max_size=9))
        gold.append(sentence)
        predicted.append([draw(st.sampled_from([tag, draw(st.sampled_from(labels))])) for tag in sentence])
    return scheme, gold, predicted


def zero(value: float | None) -> float:
    """Where a ratio is undefined, seqeval says 0 (with a warning) and we say None."""
    return 0.0 if value is None else value


def assert_equals_seqeval(ours: Scores, theirs: dict[str, dict[str, float]]) -> None:
    averages = {name: theirs.pop(name) for name in ("micro avg", "macro avg", "weighted avg")}
    assert set(ours.per_type) == set(theirs)
    for name, row in theirs.items():
        score = ours.per_type[name]
        assert zero(score.precision) == pytest.approx(row["precision"])
        assert zero(score.recall) == pytest.approx(row["recall"])
        assert zero(score.f1) == pytest.approx(row["f1-score"])
        assert score.gold == row["support"]
    assert zero(ours.precision) == pytest.approx(averages["micro avg"]["precision"])
    assert zero(ours.recall) == pytest.approx(averages["micro avg"]["recall"])
    assert zero(ours.f1) == pytest.approx(averages["micro avg"]["f1-score"])
    assert zero(ours.macro_f1) == pytest.approx(averages["macro avg"]["f1-score"])


def seqeval_report(gold: Tags, predicted: Tags, **options: Any) -> dict[str, dict[str, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classification_report(gold, predicted, output_dict=True, zero_division=0, **options)  # type: ignore[no-any-return]


@many
@given(tagged(list(SEQEVAL)))
def test_strict_equals_seqeval_strict_with_the_scheme_given(case: tuple[Scheme, Tags, Tags]) -> None:
    scheme, gold, predicted = case
    scores = evaluate_tags(gold, predicted, scheme)
    if not scores.per_type:  # seqeval fails without a single span
        assert scores.f1 is None
        assert scores.macro_f1 is None
        return
    assert_equals_seqeval(scores, seqeval_report(gold, predicted, mode="strict", scheme=SEQEVAL[scheme]))


@many
@given(tagged([Scheme.IOB1, Scheme.IOB2, Scheme.IOBES]))
def test_conlleval_equals_seqeval_default(case: tuple[Scheme, Tags, Tags]) -> None:
    scheme, gold, predicted = case
    scores = evaluate_tags(gold, predicted, scheme, convention="conlleval")
    if scores.per_type:
        assert_equals_seqeval(scores, seqeval_report(gold, predicted))


@many
@given(tagged(SPAN_SCHEMES), st.sampled_from(["strict", "conlleval"]))
def test_equals_counting_of_span_sets(case: tuple[Scheme, Tags, Tags], convention: Any) -> None:
    """Against the pure Python reading, for every scheme: IO too, and per sentence."""
    scheme, gold, predicted = case
    scores = evaluate_tags(gold, predicted, scheme, convention=convention)
    lenient = convention == "conlleval"
    rows = []
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        ours = set(to_spans(gold_tags, scheme, lenient=lenient))
        theirs = set(to_spans(predicted_tags, scheme, lenient=lenient))
        rows.append([len(ours), len(theirs), len(ours & theirs)])
    assert scores.per_sentence.tolist() == rows
    assert scores.counts == tuple(map(sum, zip(*rows, strict=True))) if rows else (0, 0, 0)
    flat = [g == p for gs, ps in zip(gold, predicted, strict=True) for g, p in zip(gs, ps, strict=True)]
    assert scores.accuracy == (pytest.approx(sum(flat) / len(flat)) if flat else None)
    assert (scores.n_sentences, scores.n_words) == (len(gold), len(flat))


# ------------------------------------------------------------------------------------------------------------ by hand


def test_the_convention_is_named_and_matters() -> None:
    gold, predicted = [["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]
    strict = evaluate_tags(gold, predicted, Scheme.IOB2)
    loose = evaluate_tags(gold, predicted, Scheme.IOB2, convention="conlleval")
    assert strict.headline == ("strict span F1, IOB2, micro", 0.0)
    assert loose.headline == ("conlleval span F1, IOB2, micro", 1.0)
    assert strict.to_dict()["convention"] == "strict span F1, IOB2, micro"


def test_a_wrong_border_in_bilou_is_wrong_in_both_conventions() -> None:
    # seqeval's default mode scores this 1.0.
    gold, predicted = [["B-A", "L-A", "U-A"]], [["B-A", "I-A", "L-A"]]
    assert evaluate_tags(gold, predicted, Scheme.BILOU).f1 == 0
    assert evaluate_tags(gold, predicted, Scheme.BILOU, convention="conlleval").f1 == 0


def test_micro_macro_and_types_found_on_one_side_only() -> None:
    gold = [["B-A", "O", "B-A", "O", "B-B"]]
    predicted = [["B-A", "O", "B-A", "B-C", "O"]]
    scores = evaluate_tags(gold, predicted, Scheme.IOB2)
    assert scores.counts == (3, 3, 2)
    assert scores.f1 == pytest.approx(2 / 3)
    assert scores.macro_f1 == pytest.approx(1 / 3)
    missed, invented = scores.per_type["B"], scores.per_type["C"]
    assert (missed.precision, missed.recall, missed.f1) == (None, 0.0, 0.0)
    assert (invented.precision, invented.recall, invented.f1) == (0.0, None, 0.0)


def test_nothing_annotated_and_nothing_predicted_is_none() -> None:
    scores = evaluate_tags([["O", "O"], []], [["O", "O"], []], Scheme.IOB2)
    assert (scores.precision, scores.recall, scores.f1, scores.macro_f1) == (None,) * 4
    assert scores.accuracy == 1.0
    assert bootstrap_interval(scores) is None
    empty = evaluate_tags([], [], Scheme.PLAIN)
    assert (empty.accuracy, empty.f1, empty.n_sentences) == (None, None, 0)
    assert evaluate_tags([["O"]], [["B-A"]], Scheme.IOB2).f1 == 0.0


def test_plain_tags() -> None:
    scores = evaluate_tags([["NN", "B-x", "O"], ["NN"]], [["NN", "NN", "O"], ["VB"]], Scheme.PLAIN)
    assert scores.headline == ("accuracy, plain tags", 0.5)
    assert scores.f1 == 0.5
    assert scores.per_sentence.tolist() == [[3, 3, 2], [1, 1, 0]]
    noun = scores.per_type["NN"]
    assert (noun.gold, noun.predicted, noun.correct) == (2, 2, 1)
    assert scores.macro_f1 == pytest.approx((0.5 + 0 + 1 + 0) / 4)


def test_spans_do_not_cross_sentences() -> None:
    scores = evaluate_tags([["B-A"], ["I-A"]], [["B-A"], ["O"]], Scheme.IOB2)
    assert scores.counts == (1, 1, 1)
    assert evaluate_tags([["I-A"], [], ["I-A"]], [["I-A"], [], ["I-A"]], Scheme.IO).counts == (2, 2, 2)


def test_to_dict_is_json() -> None:
    scores = evaluate_tags([["B-A", "O"]], [["B-A", "B-B"]], Scheme.IOB2)
    row = json.loads(json.dumps(scores.to_dict()))
    assert row["per_type"]["A"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "gold": 1, "predicted": 1, "correct": 1}
    assert (row["gold"], row["predicted"], row["correct"], row["scheme"]) == (1, 2, 1, "IOB2")


def test_types_with_hyphens_are_kept_whole() -> None:
    # seqeval strips the last hyphen in one of its modes.
    scores = evaluate_tags([["B-X-", "B-X", "B"]], [["B-X", "B-X-", "B"]], Scheme.IOB2)
    assert list(scores.per_type) == ["", "X", "X-"]
    assert scores.counts == (3, 3, 1)


@pytest.mark.parametrize(
    ("gold", "predicted", "error", "message"),
    [
        ([["O"]], [["O"], ["O"]], DataError, "1 sentences and predicted has 2"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], DataError, "sentence 2 has 2 gold and 1 predicted"),
        ([["O"], [], ["O", "PER"]], [["O"], [], ["O", "O"]], SchemeError, "gold sentence 3, word 2: tag 'PER'"),
        ([["O", "O"]], [["O", "S-A"]], SchemeError, "predicted sentence 1, word 2: tag 'S-A' does not belong to IOB2"),
        ([["O", ""]], [["O", "O"]], SchemeError, "gold sentence 1, word 2: empty tag"),
        ([["O", None]], [["O", "O"]], SchemeError, "gold sentence 1, word 2: empty tag"),
    ],
)
def test_bad_input(gold: Any, predicted: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate_tags(gold, predicted, Scheme.IOB2)


def test_unknown_convention() -> None:
    with pytest.raises(SchemeError, match="unknown convention 'lax'"):
        evaluate_tags([], [], Scheme.IOB2, convention="lax")  # type: ignore[arg-type]


def test_a_million_tokens() -> None:
    """Under half a second on a slow core: the margin is for a busy one. benchmarks/foundation/scoring.py times it."""
    labels = np.array(label_set(["PER", "LOC", "ORG"], Scheme.IOB2))
    generator = np.random.default_rng(0)
    gold, predicted = (
        [labels[row].tolist() for row in generator.integers(0, len(labels), (40_000, 25))] for _ in range(2)
    )
    began = time.perf_counter()
    scores = evaluate_tags(gold, predicted, Scheme.IOB2)
    assert time.perf_counter() - began < 5
    assert scores.n_words == 1_000_000


# ------------------------------------------------------------------------------------------------ intervals and tests


def scores_of(rng_seed: int, n: int, flip: float, gold: Tags | None = None) -> tuple[Scores, Tags]:
    generator = np.random.default_rng(rng_seed)
    labels = label_set(["A", "B"], Scheme.IOB2)
    if gold is None:
        gold = [[labels[i] for i in generator.integers(0, 5, generator.integers(1, 9))] for _ in range(n)]
    predicted = [[t if generator.random() > flip else labels[generator.integers(0, 5)] for t in tags] for tags in gold]
    return evaluate_tags(gold, predicted, Scheme.IOB2), gold


def f1_of(rows: np.ndarray) -> float:
    gold, predicted, correct = rows.sum(axis=0)
    return float(2 * correct / (gold + predicted))


def test_bootstrap_interval_equals_plain_resampling() -> None:
    scores, _ = scores_of(0, 150, 0.2)
    low, high = bootstrap_interval(scores, samples=20_000) or (0, 0)
    generator = np.random.default_rng(1)
    drawn = [f1_of(scores.per_sentence[generator.integers(0, 150, 150)]) for _ in range(20_000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.003)
    assert scores.f1 is not None
    assert low < scores.f1 < high
    narrow = bootstrap_interval(scores, level=0.5) or (0, 0)
    assert low < narrow[0] < narrow[1] < high


def test_bootstrap_interval_has_its_coverage() -> None:
    """The 90% interval of samples from a known population holds the population's F1 about nine times of ten."""
    population, _ = scores_of(3, 20_000, 0.3)
    truth = f1_of(population.per_sentence)
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        rows = population.per_sentence[generator.integers(0, 20_000, 200)]
        sample = Scores(**{**vars(population), "per_sentence": rows})
        low, high = bootstrap_interval(sample, level=0.9, samples=400) or (0, 0)
        held += low <= truth <= high
    assert 165 <= held <= 195


def test_intervals_depend_on_the_seed_alone() -> None:
    scores, gold = scores_of(0, 100, 0.2)
    other, _ = scores_of(1, 100, 0.3, gold)
    assert bootstrap_interval(scores, seed=5) == bootstrap_interval(scores, seed=5)
    assert bootstrap_interval(scores, seed=5) != bootstrap_interval(scores, seed=6)
    assert paired_bootstrap(scores, other, seed=5) == paired_bootstrap(scores, other, seed=5)
    assert approximate_randomization(scores, other, seed=5) == approximate_randomization(scores, other, seed=5)


def test_randomization_equals_all_shuffles() -> None:
    """With eight sentences all 256 arrangements can be counted."""
    a, gold = scores_of(0, 8, 0.2)
    b, _ = scores_of(1, 8, 0.5, gold)
    assert a.f1 is not None
    assert b.f1 is not None
    extreme = 0
    for coins in itertools.product([False, True], repeat=8):
        swap = np.array(coins)[:, None]
        first = np.where(swap, b.per_sentence, a.per_sentence)
        second = np.where(swap, a.per_sentence, b.per_sentence)
        extreme += abs(f1_of(first) - f1_of(second)) >= abs(a.f1 - b.f1) - 1e-12
    test = approximate_randomization(a, b, samples=50_000)
    assert test.p_value == pytest.approx(extreme / 256, abs=0.01)
    assert test.difference == pytest.approx(a.f1 - b.f1)
    assert test.low is None
    assert "randomization" in test.method


def test_paired_bootstrap_equals_plain_resampling() -> None:
    a, gold = scores_of(0, 120, 0.25)
    b, _ = scores_of(1, 120, 0.32, gold)
    test = paired_bootstrap(a, b, samples=20_000)
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(20_000):
        chosen = generator.integers(0, 120, 120)
        drawn.append(f1_of(a.per_sentence[chosen]) - f1_of(b.per_sentence[chosen]))
    assert (test.low, test.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.003)
    plain = np.mean(np.abs(np.array(drawn) - test.difference) >= abs(test.difference))
    assert test.p_value == pytest.approx(plain, abs=0.015)
    assert test.figure == a.convention


@pytest.mark.parametrize("compare", [paired_bootstrap, approximate_randomization])
def test_comparisons_tell_equal_from_different(compare: Any) -> None:
    a, gold = scores_of(0, 300, 0.1)
    b, _ = scores_of(1, 300, 0.4, gold)
    assert compare(a, a, samples=500).p_value == 1.0
    assert compare(a, b, samples=2000).p_value < 0.01
    assert compare(a, b, samples=2000).difference > 0
    assert compare(b, a, samples=2000).difference < 0


@pytest.mark.parametrize("compare", [paired_bootstrap, approximate_randomization])
def test_equally_good_systems_differ_significantly_one_time_in_twenty(compare: Any) -> None:
    found = 0
    for seed in range(100):
        a, gold = scores_of(3 * seed, 60, 0.2)
        b, _ = scores_of(3 * seed + 1, 60, 0.2, gold)
        found += compare(a, b, samples=400).p_value <= 0.05
    assert found <= 13


def test_comparisons_need_the_same_gold_and_convention() -> None:
    a, gold = scores_of(0, 20, 0.2)
    other, _ = scores_of(5, 20, 0.2)
    loose = evaluate_tags(gold, gold, Scheme.IOB2, convention="conlleval")
    nothing = evaluate_tags([["O"]], [["O"]], Scheme.IOB2)
    with pytest.raises(DataError, match="different gold"):
        paired_bootstrap(a, other)
    with pytest.raises(DataError, match="one convention"):
        approximate_randomization(a, loose)
    with pytest.raises(DataError, match="undefined"):
        paired_bootstrap(nothing, nothing)


@pytest.mark.parametrize("options", [{"samples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_impossible_resampling_is_refused(options: Any) -> None:
    scores, _ = scores_of(0, 5, 0.2)
    with pytest.raises(DataError, match="cannot resample"):
        bootstrap_interval(scores, **options)


def test_resampling_a_large_set_is_fast_and_small() -> None:
    generator = np.random.default_rng(0)
    base, _ = scores_of(0, 5, 0.2)
    gold = generator.integers(0, 6, 100_000)
    rows = np.stack([gold, generator.integers(0, 6, 100_000), generator.binomial(gold, 0.5)], axis=1)
    scores = Scores(**{**vars(base), "per_sentence": rows})
    began = time.perf_counter()
    low, high = bootstrap_interval(scores, samples=5000) or (0, 0)
    assert time.perf_counter() - began < 5
    assert 0 < high - low < 0.02


def test_resamples_without_a_figure_are_left_out() -> None:
    one_in_many = evaluate_tags([["B-A"], *[["O"]] * 30], [["B-A"], *[["O"]] * 30], Scheme.IOB2)
    assert bootstrap_interval(one_in_many) == (1.0, 1.0)
    drawn = {bootstrap_interval(one_in_many, samples=1, seed=seed) for seed in range(20)}
    assert drawn == {None, (1.0, 1.0)}
    test = paired_bootstrap(one_in_many, one_in_many)
    assert (test.low, test.high, test.p_value) == (0.0, 0.0, 1.0)
