"""The statistics, on figures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ttest_rel

from lookright.errors import DataError
from lookright.metrics import Scores, holm, paired_bootstrap
from lookright.study.plans import SIXTEEN as PLANS
from lookright.study.statistics import (
    Run,
    choose_plan,
    compare_pairs,
    compare_runs,
    draw_means,
    opened_further,
    paper_test,
    resampled,
    summarise,
    t_tail,
)
from lookright.tags import Scheme
from made_up_runs import counts_of, figure, gold


def runs_of(*qualities: float, first: int = 0) -> dict[int, Run]:
    """One system; a quality for each seed."""
    counts = [counts_of(quality, first + seed) for seed, quality in enumerate(qualities)]
    drawn = resampled(counts, samples=2000)
    return {seed: Run(figure(c), figure(c), c, d) for seed, (c, d) in enumerate(zip(counts, drawn, strict=True))}


def test_holm_on_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_no_difference_has_a_large_p_and_a_clear_one_a_small_p() -> None:
    first, same, better = runs_of(0.7, 0.7, 0.7), runs_of(0.7, 0.7, 0.7, first=50), runs_of(0.8, 0.8, 0.8, first=80)
    none, clear = compare_runs(first, same), compare_runs(better, first)
    assert none.p_sentences > 0.1
    assert none.p_both > 0.1
    assert none.low < 0 < none.high
    assert clear.p_sentences < 0.001
    assert clear.p_both < 0.001
    assert 0.02 < clear.low < clear.difference < clear.high < 0.18
    itself = compare_runs(first, first)
    assert (itself.difference, itself.p_sentences, itself.p_both) == (0, 1, 1)


def test_the_order_of_the_two_turns_the_sign_only() -> None:
    first, second = runs_of(0.7, 0.72), runs_of(0.73, 0.76, first=50)
    there, back = compare_runs(first, second), compare_runs(second, first)
    assert there.difference == pytest.approx(-back.difference)
    assert there.p_both == back.p_both
    assert there.low == pytest.approx(-back.high)


def test_seeds_that_differ_make_a_difference_unsure_that_sentences_alone_would_make_sure() -> None:
    steady, unsteady = runs_of(0.70, 0.70, 0.70), runs_of(0.60, 0.75, 0.85, first=50)
    found = compare_runs(unsteady, steady)
    assert found.p_sentences < 0.02
    assert found.p_both > 0.2


def test_the_seeds_part_has_the_variance_of_a_mean_of_seeds() -> None:
    figures = np.array([0.70, 0.72, 0.77])  # no chance in sentences
    drawn = draw_means(np.repeat(figures[:, None], 100_000, axis=1))
    assert drawn.mean() == pytest.approx(figures.mean(), abs=1e-4)
    assert drawn.std() == pytest.approx(figures.std(ddof=1) / np.sqrt(3), rel=0.02)


def test_one_seed_is_the_paired_bootstrap_over_sentences() -> None:
    first, second = runs_of(0.72), runs_of(0.70, first=50)
    ours = compare_runs(first, second)
    theirs = paired_bootstrap(*(scores_of(runs[0]) for runs in (first, second)), samples=10_000)
    assert ours.difference == pytest.approx(theirs.difference)
    assert ours.p_both == pytest.approx(theirs.p_value, abs=0.03)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def scores_of(run: Run) -> Scores:
    return Scores("f1", Scheme.IOB2, None, None, run.test, None, {}, None, len(run.counts), 0, run.counts)


def test_only_seeds_that_both_have_are_compared() -> None:
    first, second = runs_of(0.7, 0.7), runs_of(0.7, 0.7, 0.7, first=50)
    assert compare_runs(first, second).seeds == (0, 1)
    with pytest.raises(DataError, match="no seed in common"):
        compare_runs({0: first[0]}, {1: second[1]})


def test_runs_on_other_gold_are_refused() -> None:
    with pytest.raises(DataError, match="different test sentences"):
        resampled([counts_of(0.7, 0), counts_of(0.7, 0, gold(seed=9))])


def test_a_summary_has_mean_deviation_and_interval() -> None:
    runs = runs_of(0.7, 0.72, 0.74)
    summary = summarise(runs)
    tests = [runs[seed].test for seed in range(3)]
    assert summary.mean == pytest.approx(np.mean(tests))
    assert summary.sd == pytest.approx(np.std(tests, ddof=1))
    assert summary.low < summary.mean < summary.high
    assert summarise({0: runs[0]}).sd is None


def plans_of(gains: dict[str, float], noise: float = 0.0) -> dict[str, dict[int, Run]]:
    """Sixteen plans, two seeds; `gains` are added to dev and test."""
    draw = np.random.default_rng(3)
    empty = np.zeros((1, 3), dtype=np.int64), np.zeros(1)
    return {
        plan: {seed: Run(*(0.5 + gains.get(plan, 0.0) + noise * draw.standard_normal(2)), *empty) for seed in range(2)}
        for plan in PLANS
    }


def test_the_plan_is_chosen_by_dev_over_common_seeds_and_ties_go_to_fewer_open_groups() -> None:
    plans = plans_of({"0110": 0.1, "0001": 0.05})
    choice = choose_plan(plans)
    assert choice is not None
    assert (choice.plan, choice.seeds, choice.n_plans) == ("0110", (0, 1), 16)
    tie = choose_plan(plans_of({}))
    assert tie is not None
    assert tie.plan == "0000"
    fewer = choose_plan({plan: runs for plan, runs in plans_of({}).items() if plan in ("0011", "0100")})
    assert fewer is not None
    assert fewer.plan == "0100"  # opens less, though it is the later name
    lucky = plans["0001"][1]
    plans["0001"] = {0: plans["0001"][0]}
    plans["0011"][1] = Run(0.99, lucky.test, lucky.counts, lucky.drawn)  # seed 1 is not common any more
    choice = choose_plan(plans)
    assert choice is not None
    assert (choice.plan, choice.seeds) == ("0110", (0,))
    del plans["0001"][0]
    assert choose_plan(plans) is None
    assert choose_plan({}) is None


def test_test_takes_no_part_in_the_choice() -> None:
    plans = plans_of({"0110": 0.1})
    best_on_test = plans["1000"][0]
    plans["1000"] = {seed: Run(0.5, 0.99, best_on_test.counts, best_on_test.drawn) for seed in (0, 1)}
    choice = choose_plan(plans)
    assert choice is not None
    assert choice.plan == "0110"


def test_the_pairs_are_the_papers() -> None:
    pairs = opened_further()
    sources = {plan: [b for a, b in pairs if a == plan] for plan in PLANS}
    assert {plan: len(others) for plan, others in sources.items() if others} == {
        "0010": 1, "0100": 3, "0110": 1, "1000": 7, "1010": 1, "1100": 3, "1110": 1,
    }  # fmt: skip
    assert len(pairs) == 17
    assert sources["0100"] == ["0101", "0110", "0111"]
    assert sources["1010"] == ["1011"]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_papers_test_rejects_where_opening_further_helps_and_only_there(split: str) -> None:
    helps = {plan: 0.02 * (plan.rfind("1") + 1) for plan in PLANS}
    found = paper_test(plans_of(helps, noise=0.002), split, samples=1000)
    harm = paper_test(plans_of({plan: -gain for plan, gain in helps.items()}, noise=0.002), split, samples=1000)
    assert found is not None
    assert harm is not None
    assert found.p_value < 1e-6
    assert found.p_permuted < 0.01
    assert found.gain > 0 < found.statistic
    assert harm.p_value > 0.999
    assert harm.p_permuted > 0.99


def test_the_papers_test_is_too_sure_and_its_permutation_is_not() -> None:
    # No plan differs from another: a level of 0.01 should reject in one case of a hundred.
    pairs = opened_further()
    plans = sorted({plan for pair in pairs for plan in pair})
    figures = np.random.default_rng(0).standard_normal((100_000, len(plans)))
    before, after = (figures[:, [plans.index(pair[side]) for pair in pairs]] for side in (0, 1))
    assert (ttest_rel(before, after, axis=1, alternative="less").pvalue < 0.01).mean() == pytest.approx(0.077, abs=3e-3)
    draw, rejected = np.random.default_rng(1), 0
    for _ in range(400):
        chance = {plan: float(draw.standard_normal()) for plan in PLANS}
        found = paper_test(plans_of(chance), "test", samples=200)
        assert found is not None
        rejected += found.p_permuted < 0.05
    assert 0.02 < rejected / 400 < 0.085


def test_the_papers_test_needs_all_sixteen_plans_on_a_seed() -> None:
    plans = plans_of({})
    assert paper_test({plan: runs for plan, runs in plans.items() if plan != "0110"}, "dev") is None
    plans["0110"] = {5: plans["0110"][0]}
    assert paper_test(plans, "dev") is None


def test_the_papers_test_is_the_t_test_by_hand() -> None:
    plans = plans_of({}, noise=0.01)
    found = paper_test(plans, "test")
    assert found is not None
    means = {plan: np.mean([run.test for run in runs.values()]) for plan, runs in plans.items()}
    gains = np.array([means[b] - means[a] for a, b in opened_further()])
    assert found.gain == pytest.approx(gains.mean())
    assert found.statistic == pytest.approx(gains.mean() / (gains.std(ddof=1) / np.sqrt(17)))


@settings(deadline=None, max_examples=200)
@given(st.floats(-60, 60), st.integers(1, 400))
def test_the_tail_of_students_t_is_scipys(statistic: float, degrees: int) -> None:
    assert t_tail(statistic, degrees) == pytest.approx(stats.t.sf(statistic, degrees), rel=1e-9, abs=1e-300)


def test_the_papers_p_value_is_scipys() -> None:
    plans = plans_of({}, noise=0.01)
    found = paper_test(plans, "test")
    assert found is not None
    means = {plan: np.mean([run.test for run in runs.values()]) for plan, runs in plans.items()}
    before, after = zip(*[(means[a], means[b]) for a, b in opened_further()], strict=True)
    assert found.p_value == pytest.approx(ttest_rel(before, after, alternative="less").pvalue, rel=1e-9)


def test_plans_that_are_exactly_alike_are_no_evidence() -> None:
    found = paper_test(plans_of({}), "test", samples=100)
    assert found is not None
    assert (found.gain, found.p_value, found.p_permuted) == (0, 1, 1)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_is_his_definition(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()  # step down: the smallest p against level / n, the next one against level / (n - 1), ...
        for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[index] * (len(p_values) - rank) > level:
                break
            rejected.add(index)
        assert rejected == {index for index, p in enumerate(adjusted) if p <= level}


def test_pairs_are_corrected_over_those_that_can_be_compared() -> None:
    systems = {"a": runs_of(0.7, 0.7), "b": runs_of(0.72, 0.72, first=50), "c": runs_of(0.8, 0.8, first=80)}
    systems["d"] = {9: systems["a"][0]}
    found = compare_pairs(systems, [("b", "a"), ("c", "a"), ("d", "a"), ("e", "a")], samples=500)
    assert [(item.first, item.second) for item in found] == [("b", "a"), ("c", "a")]
    assert [item.holm_both for item in found] == holm([item.difference.p_both for item in found])


def test_where_there_is_nothing_to_find_nothing_is_claimed(recwarn: pytest.WarningsRecorder) -> None:
    nothing = np.zeros((30, 3), dtype=np.int64)
    drawn = resampled([nothing, nothing], samples=200)
    runs = {seed: Run(0.0, 0.0, nothing, drawn[seed]) for seed in range(2)}
    summary, compared = summarise(runs), compare_runs(runs, runs, samples=200)
    assert (summary.low, summary.high) == (compared.low, compared.high) == (0, 0)
    assert (compared.p_both, compared.p_sentences) == (1, 1)
    assert not recwarn.list


def test_the_interval_of_a_figure_stays_within_its_range() -> None:
    for qualities in ((0.02, 0.3), (0.97, 0.6)):
        summary = summarise(runs_of(*qualities))
        assert 0 <= summary.low < summary.mean < summary.high <= 1
