"""Budgets: what a run costs, and how long one may be for a budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import RecipeError
from lookright.search.prices import Cost, Prices
from lookright.training.schedule import checkpoint_updates

prices = st.builds(
    Prices,
    updates=st.integers(2, 500),
    per_epoch=st.integers(1, 100),
    evals_per_epoch=st.integers(1, 3),
    train_words=st.integers(100, 10_000),
    dev_words=st.integers(1, 5_000),
    forward=st.sampled_from([1 / 3, 1 / 2]),
)


@given(prices)
@settings(deadline=None, max_examples=80)
def test_one_fine_tuning_costs_one(one: Prices) -> None:
    assert one.run(one.updates) == pytest.approx(1)
    scored = one.n_evals(one.updates) * one.dev_words
    assert one.cost(updates=one.updates, scored=scored).fine_tunings == pytest.approx(1)


@given(prices, st.floats(0.01, 3), st.booleans())
@settings(deadline=None, max_examples=120)
def test_the_longest_run_for_a_budget(one: Prices, budget: float, evals: bool) -> None:
    try:
        updates = one.updates_for(budget, evals=evals)
    except RecipeError:
        assert one.run(1, evals=evals) > budget
        return
    assert one.run(updates, evals=evals) <= budget + 1e-6
    assert one.run(updates + 1, evals=evals) > budget - 1e-6
    assert checkpoint_updates(one.epochs(updates), one.per_epoch, 1)[-1] == updates  # a recipe gives just so many


def test_costs_add_up() -> None:
    assert Cost.total([Cost(1, 2, 3.0, 0.5), Cost(10, 20, 30.0, 0.25)]) == Cost(11, 22, 33.0, 0.75)
    assert Cost.total([]) == Cost()


def test_a_scored_word_costs_a_third_of_a_trained_one() -> None:
    one = Prices(updates=10, per_epoch=10, evals_per_epoch=1, train_words=900, dev_words=300, forward=1 / 3)
    assert one.one == 1000
    assert one.cost(scored=300).fine_tunings == pytest.approx(0.1)
