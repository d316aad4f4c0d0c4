"""Which plan is taken, and how sure that is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lookright.errors import RecipeError
from lookright.metrics import paired_bootstrap, scores_of_counts
from lookright.plan import MaskPlan
from lookright.search.judging import SAMPLES, Judge, rank
from lookright.search.prices import Cost
from lookright.search.trials import Trial, figure_of

CONVENTION = "strict span F1, IOB2, micro"
GOLD = np.random.default_rng(0).poisson(1.5, size=400)


def trial(name: str, quality: float, *, n: int = 400, seed: int = 0, **changes: Any) -> Trial:
    """A plan that finds each gold span with some chance; the luck of a sentence is the same for all plans."""
    luck = np.random.default_rng(1 + seed).random((400, 12))
    correct = np.array([(row[:k] < quality).sum() for row, k in zip(luck, GOLD, strict=True)])
    counts = np.stack([GOLD, GOLD, correct], axis=1)[:n]
    figure = figure_of(counts)
    given = {"score": figure, "counts": counts, "sentences": np.arange(n), **changes}
    return Trial("dev", name, MaskPlan.parse(name, 4), 0, Cost(), **given)


def judge(**options: Any) -> Judge:
    return Judge(CONVENTION, **options)


def test_the_best_is_taken_where_it_is_told_apart() -> None:
    verdict = judge().verdict([trial("0000", 0.5), trial("0011", 0.7), trial("1111", 0.6)])
    assert verdict.ranking == ("0011", "1111", "0000")
    assert (verdict.chosen, verdict.tied, verdict.not_told_apart) == ("0011", (), ())
    assert verdict.runner_up is not None
    assert verdict.causal is not None
    assert (verdict.runner_up.other, verdict.causal.other) == ("1111", "0000")
    assert verdict.causal.told_apart
    assert verdict.causal.low is not None
    assert 0 < verdict.causal.low < verdict.causal.difference


def test_ties_go_to_the_plan_with_fewer_open_layers() -> None:
    near = [trial("0000", 0.5), trial("0001", 0.7), trial("0111", 0.701), trial("1111", 0.6)]
    verdict = judge().verdict(near)
    assert (verdict.best, verdict.chosen, verdict.tied) == ("0111", "0001", ("0001",))
    assert "0001 ties with it" in verdict.lines()[0]
    assert judge(margin=0.0).verdict(near).chosen == "0111"


DEFAULT = MaskPlan.parse("0011", 4)


def test_the_default_plan_is_left_only_for_a_plan_that_is_surely_better() -> None:
    luck = [trial("0000", 0.5), trial("0011", 0.7), trial("1101", 0.73, seed=3)]
    assert luck[2].score is not None
    assert luck[1].score is not None
    assert luck[2].score > luck[1].score
    verdict = judge(default=DEFAULT).verdict(luck)
    assert (verdict.best, verdict.chosen, verdict.default) == ("1101", "0011", "0011")
    assert "0011, the default plan, which stays" in verdict.lines()[0]
    assert verdict.default_left is not None
    assert not verdict.default_left.told_apart
    sure = judge(default=DEFAULT).verdict([trial("0000", 0.5), trial("0011", 0.6), trial("1101", 0.8)])
    assert (sure.chosen, sure.lines()[0]) == ("1101", "1101 is the best on dev.")
    best = judge(default=DEFAULT).verdict([trial("0001", 0.699), trial("0011", 0.7)])
    assert (best.chosen, best.default_left) == ("0011", None)  # although 0001 ties with it and has fewer open layers
    assert "the default plan" in best.lines()[0]
    gone = judge(default=DEFAULT).verdict([trial("0001", 0.699), trial("0111", 0.7)])
    assert (gone.chosen, gone.default) == ("0001", None)


def test_the_best_of_many_must_be_surer_than_the_best_of_two() -> None:
    for step in range(1, 60):
        better = trial("1101", 0.6 + step / 1000)
        two = judge(default=DEFAULT).verdict([trial("0011", 0.6, seed=5), better])
        if two.chosen == "1101":
            break
    others = [trial(f"{number:04b}", 0.3) for number in range(16) if f"{number:04b}" not in ("0011", "1101")]
    many = judge(default=DEFAULT).verdict([trial("0011", 0.6, seed=5), better, *others])
    assert (two.chosen, many.best, many.chosen) == ("1101", "1101", "0011")


def test_what_is_not_told_apart_but_far_below_is_no_tie() -> None:
    """A dev set that tells nothing apart does not mean the causal plan."""
    few = [trial("0000", 0.5, n=12, seed=4), trial("0011", 0.62, n=12)]
    verdict = judge().verdict(few)
    assert verdict.not_told_apart == ("0000",)
    assert verdict.chosen == "0011"
    assert judge(margin=1.0).verdict(few).chosen == "0000"
    assert any("cannot tell plans apart" in line for line in verdict.lines())


def test_the_interval_is_that_of_the_paired_bootstrap() -> None:
    a, b = trial("0011", 0.65), trial("0000", 0.6)
    found = judge(seed=7).versus(a, b)
    assert a.counts is not None
    assert b.counts is not None
    both = [scores_of_counts(counts, CONVENTION) for counts in (a.counts, b.counts)]
    expected = paired_bootstrap(both[0], both[1], samples=SAMPLES, seed=7)
    assert (found.difference, found.low, found.high, found.p_value) == (
        expected.difference, expected.low, expected.high, expected.p_value
    )  # fmt: skip


def test_only_sentences_that_both_were_scored_on_are_compared() -> None:
    a = trial("0011", 0.65)
    counts = trial("0000", 0.6).counts
    assert counts is not None
    some = np.arange(50, 90)
    b = trial("0000", 0.6, counts=counts[some], sentences=some)
    found = judge().versus(a, b)
    assert found.n_sentences == 40
    assert a.counts is not None
    assert found.difference == pytest.approx((figure_of(a.counts[some]) or 0) - (figure_of(counts[some]) or 0))


def test_what_was_left_behind_on_fewer_sentences_ranks_behind() -> None:
    lucky = trial("1111", 0.9, n=20)
    assert [one.name for one in rank([lucky, trial("0000", 0.5), trial("0011", 0.6)])] == ["0011", "0000", "1111"]


@pytest.mark.parametrize(
    "options",
    [{"level": value} for value in (0.0, 1.0, 95, -0.1, math.nan, math.inf)]
    + [{"margin": value} for value in (-0.001, 1.5, math.nan, math.inf)],
)
def test_levels_and_margins_are_checked(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(RecipeError, match=f"{name} is .*, expected a number"):
        judge(**options)


def test_nothing_found_by_any_plan() -> None:
    verdict = judge().verdict([trial("0000", -1.0), trial("1111", -1.0)])
    assert verdict.chosen == "0000"
    assert verdict.runner_up is not None
    assert not verdict.runner_up.told_apart


def test_plain_tags_are_compared_by_accuracy() -> None:
    counts = np.array([[4, 4, 3], [6, 6, 6]])
    assert figure_of(counts) == 0.9
    assert scores_of_counts(counts, "accuracy, plain tags").headline == ("accuracy, plain tags", 0.9)
