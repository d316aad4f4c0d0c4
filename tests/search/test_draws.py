"""The plans of each update: spread evenly, the extremes among them, a function of seed and update alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import RecipeError
from lookright.search.candidates import Candidates
from lookright.search.draws import PlanDraw

ALL = Candidates.of_groups(4)


@given(st.integers(0, 5), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from(["plans", "open"]))
@settings(deadline=None, max_examples=30)
def test_each_block_has_each_plan_as_often_as_its_probability_says(seed: int, extremes: float, uniform: str) -> None:
    draw = PlanDraw(ALL, seed, extremes, uniform)
    assert sum(draw.probabilities) == pytest.approx(1)
    for block in range(3):
        draws = range(2 * block * draw.block, 2 * (block + 1) * draw.block, 2)
        counts = Counter(draw(update)[0] for update in draws)
        for plan, probability in zip(ALL.plans, draw.probabilities, strict=True):
            assert abs(counts[plan] - probability * draw.block) < 1 + 1e-9


def test_the_extremes_are_drawn_most_and_every_group_is_open_for_half_of_each_update() -> None:
    draw = PlanDraw(ALL, extremes=0.25, per_update=2)
    counts = Counter(ALL.name_of(plan) for update in range(640) for plan in draw(update))
    assert sorted(counts, key=lambda name: -counts[name])[:2] in (["0000", "1111"], ["1111", "0000"])
    assert counts["0000"] == pytest.approx(2 * 640 * (0.125 + 0.75 / 16), rel=0.05)
    assert len(counts) == 16
    for update in range(100):
        one, other = draw(update)
        assert all((a == 0) != (b == 0) for a, b in zip(one.right_contexts, other.right_contexts, strict=True))


def test_one_plan_an_update_is_two_an_update_one_after_the_other() -> None:
    pairs, singles = PlanDraw(ALL, per_update=2), PlanDraw(ALL, per_update=1)
    assert [pairs(number) for number in range(100)] == [
        (*singles(2 * number), *singles(2 * number + 1)) for number in range(100)
    ]


def test_uniform_over_the_number_of_open_layers() -> None:
    draw = PlanDraw(ALL, extremes=0.0, uniform="open")
    counts = Counter(len(plan.unmasked_layers) for update in range(320) for plan in draw(update))
    assert all(count == pytest.approx(64, abs=11) for count in counts.values())


def test_it_depends_on_the_seed_and_the_update_only() -> None:
    drawn = [PlanDraw(ALL, 3)(update) for update in range(200)]
    assert [PlanDraw(ALL, 3)(update) for update in reversed(range(200))] == drawn[::-1]
    assert [PlanDraw(ALL, 4)(update) for update in range(200)] != drawn


def test_any_candidates_can_be_drawn_from() -> None:
    some = Candidates.of_specs(["0000", "0011", "0,0,2,2"], 4)
    assert {plan for update in range(30) for plan in PlanDraw(some)(update)} == set(some.plans)


@pytest.mark.parametrize("options", [{"extremes": 1.1}, {"uniform": "layers"}, {"per_update": 3}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="expected"):
        PlanDraw(ALL, **options)
