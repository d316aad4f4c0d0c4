"""The grid of the small-scale study: variants of a base x plans x sets x seeds, one short fine-tuning each.

    python benchmarks/base/grid.py decoder=nano encoder=nano-mlm mntp-0011=nano-mntp-0011 mntp-1111=nano-mntp-1111 \\
        --data data --runs runs.jsonl
    python benchmarks/base/grid.py decoder=nano --data data --runs runs.jsonl --only 'decoder/00*/snips/*' --list

DATA holds one folder for each set with train.conll, test.conll and, where there is one, dev.conll (else a tenth of
train is held out by content). Each run that is finished is a row of runs.jsonl (`lookright.study.rows` has its form),
and is not run again; one that failed is run again at the next start. Stop it whenever you like: the order keeps the
table balanced. Several starts may work on the same runs.jsonl at once, on one machine. Files of several machines are
merged with `cat`, runs.counts.jsonl too; what another machine did is not done again where its rows are in runs.jsonl.

`python benchmarks/base/table.py runs.jsonl` makes tables and the plot.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base.cells import PLANS, SETS, Settings, Variant, make_cells
from benchmarks.base.rows import check_same_study, done_rows
from benchmarks.base.run import Job, fine_tune

from lookright.errors import LookRightError, RecipeError
from lookright.study.pool import Runner, run_all
from lookright.study.rows import Book, Row, recipe_difference


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    settings = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="NAME=FOLDER", help="bases; one that carries a plan keeps to it")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--plans", nargs="+", default=PLANS, help="of bases that carry none (default: all sixteen)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="of VARIANT/PLAN/SET/SEED")
    parser.add_argument("--updates", type=int, default=settings.updates, help="updates of a run")
    parser.add_argument("--batch-size", type=int, default=settings.batch_size)
    parser.add_argument("--learning-rate", type=float, default=settings.learning_rate)
    parser.add_argument("--subword", default=settings.subword)
    parser.add_argument("--evals", type=int, default=settings.evals, help="evaluations on dev in a run, about")
    parser.add_argument("--precision", default=settings.precision)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="runs at once (set OMP_NUM_THREADS to cores / workers)")
    parser.add_argument("--minutes", type=float, help="begin no further run after so long")
    parser.add_argument("--list", action="store_true", help="show what is done and what is left, and run nothing")
    return parser.parse_args(argv)


def run_grid(
    jobs: Sequence[Job],
    book: Book,
    *,
    workers: int = 1,
    deadline: float | None = None,
    runner: Runner[Job] = fine_tune,
    say: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Do the jobs that are left, in order: how many runs were done, and how many failed. See `lookright.study.pool`."""
    return run_all(jobs, book, runner=runner, say=say, workers=[{}] * workers, deadline=deadline, check=_differs)


def _differs(row: Row, rows: Sequence[Row]) -> str | None:
    """What a run's recipe has that those of the runs there have not."""
    first = next((other for other in rows if other["status"] == "done"), None)
    return None if first is None else recipe_difference(first, row)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes of runs end, too
    settings = Settings(
        args.updates, args.batch_size, args.learning_rate, args.subword, args.evals, args.precision
    )  # fmt: skip
    try:
        variants = {variant.name: variant for variant in map(Variant.parse, args.variants)}
        if len(variants) < len(args.variants):
            raise RecipeError("two variants have the same name")
        cells = make_cells(
            {name: variant.own_plan for name, variant in variants.items()},
            plans=args.plans, sets=args.sets, seeds=args.seeds, only=args.only,
        )  # fmt: skip
        for name in args.sets:
            if not (args.data / name / "train.conll").is_file():
                raise RecipeError(f"{args.data / name} has no train.conll; expected a folder for each set")
        book = Book(args.runs)
        check_same_study(book.rows(), settings.to_dict(), {name: v.base for name, v in variants.items()})
        if args.list:
            done = done_rows(book.rows())
            for cell in cells:
                print(f"{'done' if cell in done else 'left'}  {cell.name}")
            return 0
        jobs = [
            Job(
                cell, variants[cell.variant].folder, variants[cell.variant].base,
                variants[cell.variant].own_plan is not None, args.data, args.device, settings,
            )
            for cell in cells
        ]  # fmt: skip
        deadline = None if args.minutes is None else begin + 60 * args.minutes
        _, failed = run_grid(
            jobs, book, workers=args.workers, deadline=deadline, say=lambda line: print(line, flush=True)
        )
    except LookRightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, start again to go on", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
