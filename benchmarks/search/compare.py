"""How good is the search for a plan? Every strategy against all plans trained, on five sets.

    python benchmarks/search/compare.py --base decoder=bases/nano --data DATA --grid runs.jsonl --runs searches.jsonl

`--grid` are the rows of `benchmarks/base/grid.py` for the same base and settings: 16 plans x sets x seeds, which are
the oracle, and what *exhaustive* and *ladder* find with one seed. To `--runs` come (1) a row for each search of each
strategy, set and seed; (2) rows of the plans that were found, and of the oracle's, trained anew on fresh seeds that
chose nothing. Both are begun again where they were stopped; a run that failed is done again. Then the table is printed:
regret with its interval, rank correlation, cost, and the noise of seeds. `--record` adds it to
benchmarks/results/search.jsonl.

A strategy may be given with options, to try them: `shared:budget=2,share=0.5,rate=0.5`.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base.cells import PLANS, SETS, Cell, Settings, Variant
from benchmarks.base.grid import run_grid
from benchmarks.base.rows import check_same_study, done_rows
from benchmarks.base.run import Job
from benchmarks.results import record
from benchmarks.search.report import (
    READ_OFF,
    Search,
    SetResult,
    interval,
    judge,
    mean_of,
    read_off,
    runs_of,
    searches_of,
    seed_noise,
    table,
    wanted_plans,
)
from benchmarks.search.runs import ANY, SEARCH, search_or_tune, strategy_from

from lookright.errors import LookRightError, RecipeError
from lookright.study.rows import Book, Row, counts_file, read_counts, read_rows


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, metavar="NAME=FOLDER", help="named as in the grid")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grid", type=Path, required=True, help="rows of the exhaustive grid")
    parser.add_argument("--runs", type=Path, required=True, help="rows of searches and of fresh runs")
    parser.add_argument(
        "--strategies", nargs="+", default=["shared", "halving"], help="besides those read off the grid"
    )
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the searches")
    parser.add_argument("--fresh-seeds", nargs="+", type=int, default=[100, 101, 102, 103, 104])
    parser.add_argument("--updates", type=int, default=settings.updates, help="updates of one fine-tuning")
    parser.add_argument("--batch-size", type=int, default=settings.batch_size)
    parser.add_argument("--learning-rate", type=float, default=settings.learning_rate)
    parser.add_argument("--subword", default=settings.subword)
    parser.add_argument("--evals", type=int, default=settings.evals, help="evaluations on dev in a run, about")
    parser.add_argument("--precision", default=settings.precision)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="runs at once; times are only fair with one")
    parser.add_argument("--minutes", type=float, help="begin no further run after so long")
    parser.add_argument("--report", action="store_true", help="run nothing, print the table of what is there")
    parser.add_argument("--record", action="store_true", help="add the figures to benchmarks/results/search.jsonl")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return Comparison(args, None if args.minutes is None else begin + 60 * args.minutes).go()
    except LookRightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, start again to go on", file=sys.stderr)
        return 130


class Comparison:
    """The benchmark on its rows.

    Args:
        args: of the command line.
        deadline: the moment after which no run is begun.
    """

    def __init__(self, args: argparse.Namespace, deadline: float | None) -> None:
        self.args, self.deadline = args, deadline
        self.settings = Settings(
            args.updates, args.batch_size, args.learning_rate, args.subword, args.evals, args.precision
        )
        self.variant = Variant.parse(args.base)
        if self.variant.own_plan is not None:
            raise RecipeError(f"{self.variant.name} carries the plan {self.variant.own_plan}: nothing to search")
        for strategy in args.strategies:
            strategy_from(strategy)
            if strategy in READ_OFF:
                raise RecipeError(f"{strategy} is read off the grid; leave it out of --strategies")
        bases = {self.variant.name: self.variant.base}
        rows = [row for row in read_rows(args.grid) if row["variant"] == self.variant.name]
        check_same_study(rows, self.settings.to_dict(), bases)
        self.grid = {cell: row for cell, row in done_rows(rows).items() if cell.set in args.sets and cell.plan in PLANS}
        if not self.grid:
            raise RecipeError(
                f"{args.grid} has no finished row of {self.variant.name} on these sets; run the grid first"
            )
        self.book = Book(args.runs)
        check_same_study(self.book.rows(), self.settings.to_dict(), bases)

    def go(self) -> int:
        """Run what is left, and print the table."""
        failed = 0
        if not self.args.report:
            searches = [
                Cell(SEARCH + strategy, ANY, where, seed)
                for seed in self.args.seeds for where in self.args.sets for strategy in self.args.strategies
            ]  # fmt: skip
            failed += self.run(searches)
            found = self.searches()
            fresh = [
                Cell(self.variant.name, plan, where, seed)
                for seed in self.args.fresh_seeds for where in self.args.sets
                for plan in wanted_plans(self.grid, found, where)
            ]  # fmt: skip
            failed += self.run(fresh)
        results, noise = self.results()
        print(table(results, noise))
        if self.args.record:
            self.record(results, noise)
        return 1 if failed else 0

    def run(self, cells: Sequence[Cell]) -> int:
        """Do the runs of cells that are left; how many failed."""
        jobs = [
            Job(cell, self.variant.folder, self.variant.base, False, self.args.data, self.args.device, self.settings)
            for cell in cells
        ]
        _, failed = run_grid(
            jobs, self.book, workers=self.args.workers, deadline=self.deadline, runner=search_or_tune,
            say=lambda line: print(line, flush=True),
        )  # fmt: skip
        return failed

    def done(self) -> dict[Cell, Row]:
        """The rows of searches and fresh runs."""
        return done_rows(self.book.rows())

    def searches(self) -> list[Search]:
        """All searches: those that were run, and those that are read off the grid."""
        own = [search for search in searches_of(self.done().values()) if search.set in self.args.sets]
        return [*own, *(search for name in READ_OFF for search in read_off(self.grid, name))]

    def results(self) -> tuple[list[SetResult], dict[str, float | None]]:
        """Each strategy on each set, and the noise of seeds on each set."""
        searches, counts = self.searches(), read_counts(self.args.runs) if counts_file(self.args.runs).exists() else {}
        fresh_rows = {
            cell: row for cell, row in self.done().items()
            if cell.variant == self.variant.name and cell.seed in self.args.fresh_seeds
        }  # fmt: skip
        results: list[SetResult] = []
        noise: dict[str, float | None] = {}
        for where in self.args.sets:
            fresh = runs_of(fresh_rows, counts, where)
            noise[where] = seed_noise(fresh)
            timed = [row["fit_seconds"] for cell, row in fresh_rows.items() if cell.set == where]
            in_grid = [row["fit_seconds"] for cell, row in self.grid.items() if cell.set == where]
            for strategy in dict.fromkeys(search.strategy for search in searches):
                own = in_grid if strategy in READ_OFF else timed  # on the machine of the searches
                one = statistics.mean(own) if own else None
                result = judge(strategy, where, self.grid, searches, fresh, one)
                results += [] if result is None else [result]
        order = list(dict.fromkeys(search.strategy for search in searches))
        results.sort(key=lambda result: order.index(result.strategy))
        return results, noise

    def record(self, results: Sequence[SetResult], noise: dict[str, float | None]) -> None:
        """Add the means over sets to the file of results."""
        sets = ", ".join(dict.fromkeys(result.set for result in results))
        for strategy in dict.fromkeys(result.strategy for result in results):
            own = [result for result in results if result.strategy == strategy]
            is_goal = strategy == "shared"
            regret, between = mean_of(own, "regret"), interval(own)
            fields = (
                ("regret", None if regret is None else 100 * regret, "points of test F1", 0.3 if is_goal else None),
                ("regret, low", None if between is None else 100 * between[0], "points of test F1", None),
                ("regret, high", None if between is None else 100 * between[1], "points of test F1", None),
                ("Spearman's rho with the grid", mean_of(own, "spearman"), "correlation", None),
                ("Kendall's tau with the grid", mean_of(own, "kendall"), "correlation", None),
                ("time", mean_of(own, "cost"), "fine-tunings, wall-clock", 1.5 if is_goal else None),
                ("computation", mean_of(own, "fine_tunings"), "fine-tunings, computed", 1.5 if is_goal else None),
            )
            for name, value, unit, goal in fields:
                rounded = None if value is None else round(value, 3)
                title = f"search, {strategy}, {name} ({sets})"
                record("search", title, rounded, unit, goal=goal, seeds=self.args.fresh_seeds)
        for where, sd in noise.items():
            value = None if sd is None else round(100 * sd, 3)
            record(
                "search", f"seed-to-seed standard deviation of one plan, {where}", value, "points of test F1",
                seeds=self.args.fresh_seeds,
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
