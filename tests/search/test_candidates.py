"""Candidate sets: names, order, limits; and how much of the layers they share."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import PlanError
from lookright.plan import UNBOUNDED, MaskPlan
from lookright.search.candidates import Candidates, group_name, ladder, layers_computed, opposite


def test_all_plans_of_four_groups_from_causal_to_open() -> None:
    found = Candidates.of_groups(8)
    assert set(found.names) == {"".join(digits) for digits in itertools.product("01", repeat=4)}
    assert found.names[:3] == ("0000", "0001", "0010")
    assert found.names[-1] == "1111"
    assert [plan.is_causal or plan.is_bidirectional for plan in found.extremes] == [True, True]
    assert found.causal == "0000"
    assert found.named("0011").to_list() == [0, 0, 0, 0, -1, -1, -1, -1]
    assert found.name_of(found.named("0110")) == "0110"


def test_bounded_plans_say_their_look_ahead_and_can_be_limited() -> None:
    found = Candidates.of_groups(8, 4, (0, 2))
    assert "0,0,2,2" in found.names
    assert found.named("0,0,2,2").look_ahead == 8
    assert found.extremes[1].look_ahead == 16
    short = Candidates.of_groups(8, 4, (0, 2, UNBOUNDED), most_look_ahead=4)
    assert set(short.names) == {"0000", "0,0,0,2", "0,0,2,0", "0,2,0,0", "2,0,0,0"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: Candidates.of_groups(2, 4),
            "4 groups are asked for, but the model has only 2 layers; take --groups 2",
        ),
        (lambda: Candidates.of_groups(4, 0), "there must be at least one; take --groups 1"),
        (lambda: Candidates.of_groups(12, 9), "512 plans are too many"),
        (lambda: Candidates.of_groups(40, 40), "1,099,511,627,776 plans"),
        (lambda: Candidates.of_specs(["0011"], 4), "at least two plans to choose among, found only 0011"),
        (lambda: Candidates.of_specs(["0011", "01"], 4), "0011 and 01 are the same plan in 4 layers"),
        (lambda: Candidates.of_specs(["0011", "2"], 4), 'found "2"'),
        (lambda: Candidates.of_groups(4, 2, (0,)), "at least two plans"),
        (lambda: Candidates.of_groups(4, 2, (2, 3), most_look_ahead=1), "0 of 4 plans look ahead no further than 1"),
        (lambda: ladder(4, 4, (0,)), "a right context other than 0"),
        (lambda: ladder(3, 4), "only 3 layers"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_line(make: object, told: str) -> None:
    with pytest.raises(PlanError, match=r"\A[^\n]+\Z") as caught:
        make()  # type: ignore[operator]
    assert told in str(caught.value)


def test_ladders() -> None:
    assert ladder(8) == ("0000", "0001", "0011", "0111", "1111")
    assert ladder(6, 3, (0, 2)) == ("000", "0,0,2", "0,2,2", "2,2,2")


plans_of_six = st.lists(
    st.lists(st.sampled_from([0, 2, UNBOUNDED]), min_size=6, max_size=6).map(tuple),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(plans_of_six)
@settings(deadline=None, max_examples=60)
def test_layers_that_are_shared_are_counted_once(rights: list[tuple[int, ...]]) -> None:
    plans = [MaskPlan(one) for one in rights]
    prefixes = {one[:length] for one in rights for length in range(1, 7)}
    assert layers_computed(plans) == len(prefixes)


@given(st.lists(st.sampled_from([0, 1, 2, 7, UNBOUNDED]), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_the_name_of_groups_reads_back(rights: list[int]) -> None:
    assert MaskPlan.parse(group_name(rights), 2 * len(rights)).right_contexts[::2] == tuple(rights)


def test_the_opposite_of_a_plan_opens_what_it_closes() -> None:
    plans = Candidates.of_groups(4).plans
    for plan in plans:
        assert [right != 0 for right in opposite(plan, plans).right_contexts] == [r == 0 for r in plan.right_contexts]
