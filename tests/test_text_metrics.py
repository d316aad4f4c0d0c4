"""Scores of texts against scikit-learn and SciPy; intervals, calibration, temperature and thresholds by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn import metrics as oracle

from lookright.errors import DataError
from lookright.text_metrics import (
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


def test_the_interval_of_numbers() -> None:
    draw = np.random.default_rng(1)
    gold = draw.normal(size=200)
    scores = number_scores(gold.tolist(), (gold + draw.normal(size=200) * 0.5).tolist())
    found = intervals(scores)
    assert found["r2"][0] < (scores.r2 or 0) < found["r2"][1]
    assert found["r2"][1] - found["r2"][0] < 0.2


def test_calibration_by_hand() -> None:
    probabilities = np.array([0.95, 0.9, 0.85, 0.2])
    found = calibration(probabilities, np.array([True, True, False, False]), bins=2)
    assert found.counts.tolist() == [1, 3]
    assert found.error == pytest.approx((1 * 0.2 + 3 * abs(0.9 - 2 / 3)) / 4)
    assert calibration(np.array([0.0, 1.0]), np.array([False, True])).error == 0
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
    assert fit_temperature(logits, unknown, single=True) == 1
    right = one_hot(logits.argmax(1))
    assert fit_temperature(logits, right, single=True) == 1


@given(n=st.integers(1, 25), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    probabilities = draw.integers(0, 11, (n, 1)) / 10
    gold = draw.random((n, 1)) < 0.5
    [found] = tune_thresholds(probabilities, gold)

    def f1(threshold: float) -> float:
        return float(oracle.f1_score(gold[:, 0], probabilities[:, 0] >= threshold, zero_division=0))

    if gold.any():
        assert f1(found) == pytest.approx(max(f1(t) for t in np.arange(0, 1.05, 0.05)))
    else:
        assert found == 0.5


def test_sigmoid_and_softmax_do_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]
