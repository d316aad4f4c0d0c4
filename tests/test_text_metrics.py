"""Scores of texts against scikit-learn and SciPy; intervals, calibration, temperature and thresholds by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn import metrics as oracle

from lookright.errors import DataError
from lookright.text_metrics import (
    LARGEST_TEMPERATURE,
    _Table,
    blocks,
    calibration,
    fit_temperature,
    intervals,
    label_scores,
    number_scores,
    sigmoid,
    softmax,
    tune_thresholds,
)

LABELS = ("a", "b", "c", "d")


def one_hot(ids: np.ndarray) -> np.ndarray:
    return np.arange(len(LABELS)) == ids[:, None]


@given(n=st.integers(1, 40), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_one_label_per_text_as_scikit_learn(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    gold, given_ = draw.integers(0, 4, n), draw.integers(0, 3, n)
    found = label_scores(one_hot(gold), one_hot(given_), LABELS, single=True)
    assert found.headline == ("accuracy", pytest.approx(oracle.accuracy_score(gold, given_)))
    assert found.micro_f1 == pytest.approx(oracle.f1_score(gold, given_, average="micro"))
    means = oracle.precision_recall_fscore_support(gold, given_, average="macro", zero_division=0)
    assert [found.macro_precision, found.macro_recall, found.macro_f1] == pytest.approx(means[:3])
    assert found.confusion().tolist() == oracle.confusion_matrix(gold, given_, labels=range(4)).tolist()


@given(n=st.integers(1, 40), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_any_number_of_labels_as_scikit_learn(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    gold, given_ = draw.random((n, 4)) < 0.4, draw.random((n, 4)) < 0.4
    found = label_scores(gold, given_, LABELS, single=False)
    assert found.accuracy == pytest.approx(oracle.accuracy_score(gold, given_))
    if gold.any() or given_.any():
        assert found.micro_f1 == pytest.approx(oracle.f1_score(gold, given_, average="micro", zero_division=0))
    used = gold.any(0) | given_.any(0)
    each = oracle.f1_score(gold, given_, average=None, zero_division=0)[used]
    assert found.macro_f1 == pytest.approx(each.mean() if len(each) else 0.0)
    assert list(found.per_label) == [label for label, there in zip(LABELS, used, strict=True) if there]


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_numbers_as_scikit_learn_and_scipy(pairs: list[tuple[int, int]]) -> None:
    gold, given_ = (np.array(side, float) for side in zip(*pairs, strict=True))
    found = number_scores(gold.tolist(), given_.tolist())
    assert found.mean_squared_error == pytest.approx(oracle.mean_squared_error(gold, given_))
    assert found.mean_absolute_error == pytest.approx(oracle.mean_absolute_error(gold, given_))
    if gold.std() == 0:
        assert (found.r2, found.pearson) == (None, None)
    else:
        assert found.r2 == pytest.approx(oracle.r2_score(gold, given_))
        if given_.std():
            assert found.pearson == pytest.approx(stats.pearsonr(gold, given_).statistic)
            assert found.spearman == pytest.approx(stats.spearmanr(gold, given_).statistic)


def test_no_text_has_no_score() -> None:
    with pytest.raises(DataError, match="no text to score"):
        label_scores(np.zeros((0, 2), bool), np.zeros((0, 2), bool), ("a", "b"), single=True)
    with pytest.raises(DataError, match="no text to score"):
        number_scores([], [])


def test_intervals_are_those_of_drawn_texts() -> None:
    draw = np.random.default_rng(0)
    gold = draw.integers(0, 3, 120)
    given_ = np.where(draw.random(120) < 0.7, gold, draw.integers(0, 3, 120))
    found = intervals(label_scores(one_hot(gold), one_hot(given_), LABELS, single=True), samples=4000)
    drawn: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
    for _ in range(800):
        at = draw.integers(0, 120, 120)
        drawn["accuracy"].append(oracle.accuracy_score(gold[at], given_[at]))
        drawn["macro_f1"].append(oracle.f1_score(gold[at], given_[at], average="macro"))
    for name, values in drawn.items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.02)
    assert found["accuracy"] == pytest.approx(found["micro_f1"])
    again = intervals(label_scores(one_hot(gold), one_hot(given_), LABELS, single=True), samples=4000)
    assert again == found
    with pytest.raises(DataError, match="cannot resample 0 times"):
        intervals(label_scores(one_hot(gold), one_hot(given_), LABELS, single=True), samples=0)


def test_intervals_of_labels_of_which_some_are_rare() -> None:
    draw = np.random.default_rng(4)
    frequency = np.array([0.5, 0.3, *[0.01] * 2, *[0.06] * 6])
    gold = draw.random((150, 10)) < frequency
    given_ = np.where(draw.random((150, 10)) < 0.8, gold, draw.random((150, 10)) < frequency)
    found = intervals(label_scores(gold, given_, tuple("abcdefghij"), single=False), samples=2000)
    drawn: dict[str, list[float]] = {"accuracy": [], "micro_f1": [], "macro_f1": []}
    for _ in range(600):
        at = draw.integers(0, 150, 150)
        drawn["accuracy"].append(oracle.accuracy_score(gold[at], given_[at]))
        drawn["micro_f1"].append(oracle.f1_score(gold[at], given_[at], average="micro"))
        each = oracle.f1_score(gold[at], given_[at], average=None, zero_division=0)
        drawn["macro_f1"].append(each[gold[at].any(0) | given_[at].any(0)].mean())
    for name, values in drawn.items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.03)


@given(n=st.integers(1, 200), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_texts_with_each_label_are_counted_as_by_multiplication(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = draw.random((n, 6)) < draw.random(6) ** 4
    drawn = draw.integers(0, 3, (n, 5)).astype(float)
    assert _Table.of(table).sums(drawn).tolist() == (drawn.T @ table).tolist()


def test_intervals_of_many_labels_take_little_memory() -> None:
    draw = np.random.default_rng(5)
    gold, given_ = draw.random((2, 2000, 1500)) < 2 / 1500
    scores = label_scores(gold, given_, tuple(map(str, range(1500))), single=False)
    tracemalloc.start()
    try:
        intervals(scores, samples=20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6  # all columns as floats would be 72 MB


def test_intervals_where_no_label_is_given_nor_gold() -> None:
    nothing = np.zeros((5, 3), bool)
    found = intervals(label_scores(nothing, nothing, ("a", "b", "c"), single=False), samples=10)
    assert found == {"accuracy": (1.0, 1.0), "macro_f1": (0.0, 0.0)}


def test_the_interval_of_numbers() -> None:
    draw = np.random.default_rng(1)
    gold = draw.normal(size=200)
    scores = number_scores(gold.tolist(), (gold + draw.normal(size=200) * 0.5).tolist())
    found = intervals(scores)
    assert found["r2"][0] < (scores.r2 or 0) < found["r2"][1]
    assert found["r2"][1] - found["r2"][0] < 0.2


def test_calibration_by_hand() -> None:
    probabilities = np.array([0.95, 0.9, 0.85, 0.2])
    came_true = np.array([True, True, False, False])
    found = calibration([(probabilities, came_true)], bins=2)
    assert found.counts.tolist() == [1, 3]
    assert found.error == pytest.approx((1 * 0.2 + 3 * abs(0.9 - 2 / 3)) / 4)
    parts = [(probabilities[:1], came_true[:1]), (probabilities[1:], came_true[1:])]
    assert calibration(parts, bins=2).to_dict() == found.to_dict()
    assert calibration([(np.array([0.0, 1.0]), np.array([False, True]))]).error == 0
    assert found.to_dict()["bins"]["counts"] == [1, 3]


def test_the_temperature_is_the_best_one() -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(size=(400, 4)) * 4
    gold = one_hot(np.array([draw.choice(4, p=row) for row in softmax(logits / 2.5)]))
    found = fit_temperature(logits, gold, single=True)

    def surprise(temperature: float) -> float:
        return float(-special.log_softmax(logits / temperature, axis=1)[gold].mean())

    best = optimize.minimize_scalar(surprise, bounds=(0.1, 20), method="bounded").x
    assert found == pytest.approx(best, rel=1e-3)
    assert found == pytest.approx(2.5, rel=0.2)


def test_the_temperature_of_many_labels_and_of_none() -> None:
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(500, 4)) * 4
    gold = draw.random((500, 4)) < sigmoid(logits / 2)
    assert fit_temperature(logits, gold, single=False) == pytest.approx(2, rel=0.2)
    unknown = np.zeros((500, 4), bool)  # gold that is no label of the classifier
    assert fit_temperature(logits, unknown, single=True) is None
    right = one_hot(logits.argmax(1))
    assert fit_temperature(logits, right, single=True) is None
    wrong = one_hot(logits.argmin(1))
    assert fit_temperature(logits, wrong, single=True) == LARGEST_TEMPERATURE


def test_a_large_table_is_worked_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(50, 4)) * 4
    gold = draw.random((50, 4)) < sigmoid(logits / 2)
    whole = fit_temperature(logits, gold, single=False)
    monkeypatch.setattr("lookright.text_metrics._BLOCK", 12)
    assert [len(logits[rows]) for rows in blocks(logits)] == [3] * 16 + [2]
    assert fit_temperature(logits, gold, single=False) == pytest.approx(whole, rel=1e-6)


@given(n=st.integers(1, 25), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    probabilities = draw.integers(0, 11, (n, 1)) / 10
    gold = draw.random((n, 1)) < 0.5
    [found] = tune_thresholds(probabilities, gold)

    def f1(threshold: float) -> float:
        return float(oracle.f1_score(gold[:, 0], probabilities[:, 0] >= threshold, zero_division=0))

    values = np.unique(probabilities)
    cuts = (values + np.concatenate([[0.0], values[:-1]])) / 2
    best = max(map(f1, cuts))
    if gold.any():
        assert found == min((cut for cut in cuts[::-1] if f1(cut) >= best - 1e-12), key=lambda cut: abs(cut - 0.5))
        assert f1(found) == pytest.approx(max(f1(t) for t in np.arange(0, 1.05, 0.05)))
    else:
        assert found == 0.5


def test_sigmoid_and_softmax_do_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]
