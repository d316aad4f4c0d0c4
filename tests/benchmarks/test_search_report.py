"""The benchmark of the search, on made-up rows whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest
from base_studies import row_of
from benchmarks.base.cells import PLANS, Cell
from benchmarks.search.report import (
    interval,
    judge,
    oracle_of,
    read_off,
    runs_of,
    searches_of,
    seed_noise,
    table,
    wanted_plans,
)
from benchmarks.search.runs import SEARCH, strategy_from

from lookright.errors import RecipeError
from lookright.search.strategies import Halving, Shared
from made_up_runs import counts_of


def quality(plan: str) -> float:
    """The more open the upper groups, the better; 0111 is best."""
    return 0.5 + 0.05 * plan[1:].count("1") - 0.02 * plan.count("1") * (plan[0] == "1")


def rows(variant: str, plans: tuple[str, ...], seeds: range, **changes: Any) -> tuple[dict[Cell, Any], dict[str, Any]]:
    found, counts = {}, {}
    for plan in plans:
        for seed in seeds:
            cell = Cell(variant, plan, "wnut17", seed)
            own = counts_of(quality(plan), seed)
            found[cell] = row_of(cell, own, fit_seconds=50.0, **changes)
            counts[found[cell]["run"]] = own
    return found, counts


GRID, _ = rows("decoder", PLANS, range(3))
FRESH, COUNTS = rows("decoder", ("0000", "0111"), range(100, 105))


def search_row(found: str, trials: list[tuple[str, str, float]]) -> dict[str, Any]:
    cell = Cell(SEARCH + "shared", "auto", "wnut17", 0)
    kept = [{"stage": stage, "plan": plan, "dev": dev, "n_sentences": 10} for stage, plan, dev in trials]
    more = {"found": found, "search_seconds": 75.0, "cost": {"fine_tunings": 1.4}, "trials": kept}
    return row_of(cell, counts_of(0.6, 7), **more)


def test_the_oracle_and_what_is_read_off_the_grid() -> None:
    oracle = oracle_of(GRID, "wnut17")
    assert oracle is not None
    assert oracle[0] == "0111"
    found = read_off(GRID, "exhaustive")
    assert [(search.plan, search.seed, search.fine_tunings, search.seconds) for search in found] == [
        ("0111", seed, 16.0, 800.0) for seed in range(3)
    ]
    assert {search.fine_tunings for search in read_off(GRID, "ladder")} == {5.0}


def test_regret_cost_and_rank_correlation() -> None:
    ranked = [("dev", plan, quality(plan)) for plan in PLANS]
    searches = searches_of([search_row("0000", [*ranked, ("final", "0000", 0.9)])])
    assert wanted_plans(GRID, searches, "wnut17") == ["0000", "0111"]
    fresh = runs_of(FRESH, COUNTS, "wnut17")
    result = judge("shared", "wnut17", GRID, searches, fresh, 50.0)
    assert result is not None
    expected = [fresh["0111"][seed].test - fresh["0000"][seed].test for seed in range(100, 105)]
    assert result.regret == pytest.approx(sum(expected) / 5)
    between = interval([result])
    assert between is not None
    assert 0 < between[0] < result.regret < between[1]
    assert (result.cost, result.fine_tunings) == (1.5, 1.4)
    assert result.spearman is not None
    assert result.spearman > 0.8
    noise = seed_noise(fresh)
    assert noise is not None
    assert 0 < noise < 0.05
    assert "| shared | wnut17 | 0000 | 0111 |" in table([result], {"wnut17": noise})


def test_what_is_missing_is_left_open() -> None:
    searches = searches_of([search_row("0011", [("dev", "0011", 0.5)])])
    result = judge("shared", "wnut17", GRID, searches, runs_of(FRESH, COUNTS, "wnut17"), None)
    assert result is not None
    assert (result.regret, result.cost, result.spearman) == (None, None, None)
    assert interval([result]) is None
    assert "| - |" in table([result], {"wnut17": None})
    assert judge("halving", "wnut17", GRID, searches, {}, None) is None


def test_strategies_with_options() -> None:
    assert strategy_from("halving") == (Halving(), None)
    assert strategy_from("shared:budget=2,finalists=2,share=0.4,uniform=open") == (
        Shared(finalists=2, share=0.4, uniform="open"),
        2.0,
    )
    for text in ("sharde", "shared:shares=1", "shared:share=x", "shared:share"):
        with pytest.raises(RecipeError):
            strategy_from(text)
