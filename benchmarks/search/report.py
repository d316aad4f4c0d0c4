"""What the searches came to: regret, rank correlation, cost, and the noise of seeds that they are held against.

The oracle of a set is the plan with the highest mean on dev over the seeds of the exhaustive grid. The regret of a
search is the mean test figure of the oracle's plan minus that of the plan found, both trained anew on fresh seeds that
chose nothing. A row of the grid is one seed's fine-tuning under one plan, so that *exhaustive* and *ladder* with one
seed are read off the grid: the plan that is best on dev among those of that seed, at the cost of all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from benchmarks.base.cells import Cell
from benchmarks.search.runs import SEARCH
from numpy.typing import NDArray

from lookright.study.rows import Counts, Row
from lookright.study.statistics import Run, Runs, choose_plan, draw_means, resampled

FloatArray = NDArray[np.float64]
READ_OFF: Final = {"exhaustive": None, "ladder": ("0000", "0001", "0011", "0111", "1111"), "default": ("0011",)}
"""Strategies that the grid answers, with their plans; None: all. *default* is the default plan, unsearched."""
SAMPLES: Final = 2_000


@dataclass(frozen=True)
class Search:
    """One search.

    Attributes:
        strategy: as it was asked for.
        set, seed: of the search.
        plan: that it found.
        ranking: what the plans were ranked by, the higher the better.
        seconds: of wall-clock time; None where it was not measured in one piece.
        fine_tunings: computation.
        test: the test figure of the tagger that came out; None where none did.
    """

    strategy: str
    set: str
    seed: int
    plan: str
    ranking: Mapping[str, float]
    seconds: float | None
    fine_tunings: float
    test: float | None


@dataclass(frozen=True)
class SetResult:
    """One strategy on one set.

    Attributes:
        plans: found by each of its searches.
        oracle: the plan that the exhaustive grid picks.
        regret: mean over searches; None where fresh runs are missing.
        drawn: (samples,) of the regret, on drawn sentences and seeds.
        spearman, kendall: of its ranking with that of the grid, means over searches; None where it ranked too few.
        cost: wall-clock time over that of one fine-tuning; None where that is not known.
        fine_tunings: computation, mean over searches.
        beside: mean test figure of the taggers that came out minus that of the same plans trained anew.
    """

    strategy: str
    set: str
    plans: tuple[str, ...]
    oracle: str
    regret: float | None
    drawn: FloatArray | None
    spearman: float | None
    kendall: float | None
    cost: float | None
    fine_tunings: float
    beside: float | None


def searches_of(rows: Iterable[Row]) -> list[Search]:
    """The searches among finished rows."""
    found = []
    for row in rows:
        if row["status"] != "done" or not row["variant"].startswith(SEARCH):
            continue
        trials = [trial for trial in row["trials"] if trial["dev"] is not None]
        if any(trial["stage"] == "dev" for trial in trials):
            trials = [trial for trial in trials if trial["stage"] == "dev"]
        # Of rounds the last one that a plan was in; what was scored on fewer sentences was left behind there.
        ranking = {trial["plan"]: trial["n_sentences"] + trial["dev"] for trial in trials}
        name, cost = row["variant"].removeprefix(SEARCH), row["cost"]["fine_tunings"]
        found.append(
            Search(name, row["set"], row["seed"], row["found"], ranking, row["search_seconds"], cost, row["test"])
        )
    return found


def read_off(grid: Mapping[Cell, Row], name: str) -> list[Search]:
    """What a strategy that trains plan by plan would have found with each seed of the grid."""
    by_seed: dict[tuple[str, int], dict[str, Row]] = {}
    for cell, row in grid.items():
        if (wanted := READ_OFF[name]) is None or cell.plan in wanted:
            by_seed.setdefault((cell.set, cell.seed), {})[cell.plan] = row
    most = max((len(rows) for rows in by_seed.values()), default=0)
    found = []
    for (where, seed), rows in sorted(by_seed.items()):
        if len(rows) < most:
            continue
        dev = {plan: row["dev"] or 0.0 for plan, row in rows.items()}
        best = min(dev, key=lambda plan: (-dev[plan], plan.count("1"), plan))
        seconds = sum(row["fit_seconds"] for row in rows.values())
        found.append(Search(name, where, seed, best, dev, seconds, float(len(rows)), rows[best]["test"]))
    return found


def runs_of(rows: Mapping[Cell, Row], counts: Mapping[str, Counts], where: str) -> dict[str, Runs]:
    """Runs of a set by plan and seed, with their figures on the same drawn sentences."""
    cells = [cell for cell in rows if cell.set == where]
    if not cells:
        return {}
    drawn = resampled([counts[rows[cell]["run"]] for cell in cells], samples=SAMPLES)
    found: dict[str, dict[int, Run]] = {}
    for cell, figures in zip(cells, drawn, strict=True):
        row = rows[cell]
        found.setdefault(cell.plan, {})[cell.seed] = Run(
            row["dev"] or 0.0, row["test"] or 0.0, counts[row["run"]], np.nan_to_num(figures)
        )
    return dict(found)


def oracle_of(grid: Mapping[Cell, Row], where: str) -> tuple[str, dict[str, float]] | None:
    """The plan that the grid picks on dev, and the mean of each plan on dev; None where plans or seeds are missing."""
    by_plan: dict[str, dict[int, Run]] = {}
    empty = np.zeros(0)
    for cell, row in grid.items():
        if cell.set == where:
            run = Run(row["dev"] or 0.0, row["test"] or 0.0, np.zeros((0, 3), np.int64), empty)
            by_plan.setdefault(cell.plan, {})[cell.seed] = run
    choice = choose_plan(by_plan)
    if choice is None:
        return None
    means = {plan: float(np.mean([runs[seed].dev for seed in choice.seeds])) for plan, runs in by_plan.items()}
    return choice.plan, means


def wanted_plans(grid: Mapping[Cell, Row], searches: Sequence[Search], where: str) -> list[str]:
    """The plans of a set that must be trained anew: the oracle's, and all that were found."""
    oracle = oracle_of(grid, where)
    found = [search.plan for search in searches if search.set == where]
    return sorted({*found, *([] if oracle is None else [oracle[0]])}) if oracle else []


def judge(
    strategy: str, where: str, grid: Mapping[Cell, Row], searches: Sequence[Search], fresh: Mapping[str, Runs],
    one: float | None,
) -> SetResult | None:  # fmt: skip
    """One strategy on one set; None where it was not run there, or the grid is not there.

    Args:
        strategy: its name.
        where: the set.
        grid: rows of the exhaustive grid.
        searches: of all strategies.
        fresh: the runs of plans on seeds that chose nothing.
        one: seconds of one fine-tuning, with its scoring of dev.
    """
    own = [search for search in searches if search.strategy == strategy and search.set == where]
    oracle = oracle_of(grid, where)
    if not own or oracle is None:
        return None
    best, means = oracle
    regret, drawn = _regret(best, [search.plan for search in own], fresh)
    pairs = [_correlation(search.ranking, means) for search in own]
    known = [pair for pair in pairs if pair is not None]
    seconds = [search.seconds for search in own if search.seconds is not None]
    anew = [
        search.test - statistics.mean(run.test for run in fresh[search.plan].values())
        for search in own
        if search.test is not None and search.plan in fresh
    ]
    return SetResult(
        strategy=strategy,
        set=where,
        plans=tuple(search.plan for search in own),
        oracle=best,
        regret=regret,
        drawn=drawn,
        spearman=statistics.mean(pair[0] for pair in known) if known else None,
        kendall=statistics.mean(pair[1] for pair in known) if known else None,
        cost=statistics.mean(seconds) / one if seconds and one else None,
        fine_tunings=statistics.mean(search.fine_tunings for search in own),
        beside=statistics.mean(anew) if anew else None,
    )


def _regret(best: str, plans: Sequence[str], fresh: Mapping[str, Runs]) -> tuple[float | None, FloatArray | None]:
    """Mean regret of the plans found, and its draws; None where fresh runs are missing."""
    if any(plan not in fresh for plan in (best, *plans)):
        return None, None
    seeds = sorted(set.intersection(*(set(fresh[plan]) for plan in (best, *plans))))
    if not seeds:
        return None, None
    values = [np.mean([fresh[best][seed].test - fresh[plan][seed].test for seed in seeds]) for plan in plans]
    drawn = [
        draw_means(np.stack([fresh[best][seed].drawn - fresh[plan][seed].drawn for seed in seeds])) for plan in plans
    ]
    return float(np.mean(values)), np.mean(drawn, axis=0)


def _correlation(ranking: Mapping[str, float], means: Mapping[str, float]) -> tuple[float, float] | None:
    """Spearman's and Kendall's (tau-b) correlation of two rankings, over the plans in both; None below three."""
    from scipy.stats import kendalltau, spearmanr

    plans = sorted(ranking.keys() & means.keys())
    one, other = [ranking[plan] for plan in plans], [means[plan] for plan in plans]
    if len(plans) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    return float(spearmanr(one, other).statistic), float(kendalltau(one, other).statistic)


def seed_noise(fresh: Mapping[str, Runs]) -> float | None:
    """Standard deviation of the test figure over seeds, pooled over the plans that have several; None without any."""
    found = [statistics.variance([run.test for run in runs.values()]) for runs in fresh.values() if len(runs) > 1]
    return statistics.mean(found) ** 0.5 if found else None


def interval(results: Sequence[SetResult]) -> tuple[float, float] | None:
    """The 95 % interval of the mean regret over sets; None where a set has no regret."""
    if not results or any(result.drawn is None for result in results):
        return None
    means = np.mean([result.drawn for result in results], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mean_of(results: Sequence[SetResult], name: str) -> float | None:
    """The mean of a figure over the sets that have it."""
    values: list[Any] = [value for result in results if (value := getattr(result, name)) is not None]
    return statistics.mean(values) if values else None


def table(results: Sequence[SetResult], noise: Mapping[str, float | None]) -> str:
    """All strategies on all sets, as Markdown."""
    lines = [
        "| strategy | set | found | oracle | regret | rho | tau | time | computation | its tagger |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for strategy in dict.fromkeys(result.strategy for result in results):
        own = [result for result in results if result.strategy == strategy]
        for result in own:
            cells = [strategy, result.set, " ".join(result.plans), result.oracle, _points(result.regret)]
            lines.append(_line([*cells, *_rest([result])]))
        between = interval(own)
        shown = "" if between is None else f" ({100 * between[0]:+.2f} to {100 * between[1]:+.2f})"
        lines.append(_line([f"**{strategy}**", "mean", "", "", _points(mean_of(own, "regret")) + shown, *_rest(own)]))
    seeds = ", ".join(f"{where} {_points(sd).lstrip('+')}" for where, sd in noise.items())
    lines += [
        "",
        "Regret and `its tagger` in points of test F1. Regret: the oracle's plan minus the plan found, both trained "
        "anew on fresh seeds; 95 % interval over test sentences and seeds. rho, tau: of its figures on dev with the "
        "grid's. Time and computation: multiples of one fine-tuning. Its tagger: what comes out of the search minus "
        "the same plan trained anew.",
        f"Standard deviation of one plan over seeds: {seeds or '-'}.",
    ]
    return "\n".join(lines)


def _rest(results: Sequence[SetResult]) -> list[str]:
    plain = [_plain(mean_of(results, name)) for name in ("spearman", "kendall", "cost", "fine_tunings")]
    return [*plain, _points(mean_of(results, "beside"))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
