"""The grid of the small-scale study: variants of a base x plans x sets x seeds, one short fine-tuning each.

    python benchmarks/base/grid.py decoder=nano encoder=nano-mlm mntp-0011=nano-mntp-0011 mntp-1111=nano-mntp-1111 \\
        --data data --runs runs.jsonl
    python benchmarks/base/grid.py decoder=nano --data data --runs runs.jsonl --only 'decoder/00*/snips/*' --list

DATA holds one folder for each set with train.conll, test.conll and, where there is one, dev.conll (else a tenth of
train is held out by content). Each run that is finished is a row of runs.jsonl (benchmarks/base/rows.py has its form),
and is not run again; one that failed is run again at the next start. Stop it whenever you like: the order keeps the
table balanced. Several starts may work on the same runs.jsonl at once, on one machine. Files of several machines are
merged with `cat`, runs.counts.jsonl too; what another machine did is not done again where its rows are in runs.jsonl.

`python benchmarks/base/table.py runs.jsonl` makes tables and the plot.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import statistics
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base.cells import PLANS, SETS, Cell, Settings, Variant, make_cells
from benchmarks.base.rows import Book, Counts, Row, check_same_study, done_rows, recipe_difference
from benchmarks.base.run import Job, failure, fine_tune

from lookright.errors import LookRightError, RecipeError

RUNS_PER_PROCESS: Final = 12
"""A process that has done so many runs is replaced: what libraries keep between runs adds up."""
Runner = Callable[[Job], tuple[Row, Counts]]


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


# ------------------------------------------------------------------------------------------------- the process of runs


def serve(connection: Connection, runner: Runner) -> None:
    """Do jobs until there are none; what goes wrong in one is its answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and decides
    with suppress(EOFError, BrokenPipeError):  # the parent has no more jobs, or is gone
        while True:
            job = connection.recv()
            begin = time.perf_counter()
            try:
                answer: tuple[Row, Counts | None] = runner(job)
            except Exception as error:
                text = " ".join(str(error).split())
                trace = traceback.format_exc()[-3000:]
                row = failure(job, f"{type(error).__name__}: {text}", trace, seconds=time.perf_counter() - begin)
                answer = row, None
            connection.send(answer)


@dataclass
class Worker:
    """A process that does one run after the other, and its job."""

    runner: Runner
    job: Job | None = None
    n_runs: int = 0
    connection: Any = field(init=False)
    process: Any = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, self.runner), daemon=True)
        self.process.start()
        other.close()  # so that the end of the process is the end of the pipe

    def send(self, job: Job) -> None:
        """Give it a job."""
        self.job, self.n_runs = job, self.n_runs + 1
        with suppress(BrokenPipeError):  # it died while idle: `receive` finds that out
            self.connection.send(job)

    def receive(self) -> tuple[Row, Counts | None]:
        """The answer to the job; a failure where the process is gone."""
        job, self.job = self.job, None
        assert job is not None
        try:
            answer: tuple[Row, Counts | None] = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return failure(job, f"the process of the run died (exit code {self.process.exitcode})"), None
        return answer

    def fresh(self) -> Worker:
        """Itself, or a new one where it is dead or has done enough."""
        if self.process.is_alive() and self.n_runs < RUNS_PER_PROCESS:
            return self
        self.end()
        return Worker(self.runner)

    def end(self) -> None:
        """Let it go; what it is doing is lost."""
        busy = self.job is not None
        self.connection.close()
        if busy:
            self.process.terminate()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


# ------------------------------------------------------------------------------------------------------------ the grid


def run_grid(
    jobs: Sequence[Job],
    book: Book,
    *,
    workers: int = 1,
    deadline: float | None = None,
    runner: Runner = fine_tune,
    say: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Do the jobs that are left, in order.

    Args:
        jobs: to do; those whose cell is done, or taken by another process, are passed over.
        book: where the rows are.
        workers: runs at once.
        deadline: the moment (`time.monotonic()`) after which no run is begun.
        runner: what a job is done with; importable, since it runs in another process.
        say: where lines for people go.

    Returns:
        How many runs were done, and how many failed.
    """
    before = {row["run"] for row in book.rows()}
    pending, idle = deque(jobs), [Worker(runner) for _ in range(workers)]
    busy: list[Worker] = []
    tally = _Tally(len(jobs), workers, say)
    try:
        while True:
            while idle and pending and (deadline is None or time.monotonic() < deadline):
                job = pending.popleft()
                if not book.claim(job.cell):
                    tally.elsewhere += 1
                elif _settled(book, job.cell, before):
                    book.release(job.cell)
                    tally.passed += 1
                else:
                    busy.append(idle.pop().fresh())
                    busy[-1].send(job)
            if not busy:
                break
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                assert worker.job is not None
                cell = worker.job.cell
                row, counts = worker.receive()
                row, counts = _checked(row, counts, book)
                book.add(row, counts)
                book.release(cell)
                busy.remove(worker)
                idle.append(worker)
                tally.add(cell, row)
    finally:
        for worker in (*idle, *busy):
            worker.end()
    tally.close(len(pending))
    return tally.done, tally.failed


def _settled(book: Book, cell: Cell, before: set[str]) -> bool:
    """Whether a cell is done, or has failed since this start (in another process)."""
    rows = [row for row in book.rows() if Cell.of(row) == cell]
    return any(row["status"] == "done" or row["run"] not in before for row in rows)


def _checked(row: Row, counts: Counts | None, book: Book) -> tuple[Row, Counts | None]:
    """A row, or, where its recipe is not that of the rows there, the row of a failure."""
    first = next((other for other in book.rows() if other["status"] == "done"), None)
    if row["status"] != "done" or first is None or (difference := recipe_difference(first, row)) is None:
        return row, counts
    return {**row, "status": "failed", "error": f"RecipeError: {difference}", "traceback": ""}, None


class _Tally:
    """What was done in this start, said line by line."""

    def __init__(self, n_jobs: int, workers: int, say: Callable[[str], None]) -> None:
        self.n_jobs, self.workers, self.say = n_jobs, workers, say
        self.done = self.failed = self.passed = self.elsewhere = 0
        self.seconds: list[float] = []

    def add(self, cell: Cell, row: Row) -> None:
        """Count a run and say what came of it."""
        seconds = row["seconds"] or 0.0
        if row["status"] == "done":
            self.done += 1
            self.seconds.append(seconds)
            text = f"dev {100 * row['dev']:.2f} test {100 * row['test']:.2f}"
        else:
            self.failed += 1
            text = f"FAILED: {row['error']}"
        number = self.done + self.failed + self.passed + self.elsewhere
        left = ""
        if self.seconds and number < self.n_jobs:
            hours = statistics.mean(self.seconds) * (self.n_jobs - number) / self.workers / 3600
            left = f"; about {hours:.1f} h left" if hours >= 1 else f"; about {60 * hours:.0f} min left"
        self.say(f"[{number}/{self.n_jobs}] {cell.name}: {text} ({seconds:.0f} s{left})")

    def close(self, n_pending: int) -> None:
        """Say what is left."""
        parts = [f"{self.done} runs done", f"{self.failed} failed", f"{self.passed} were there"]
        if self.elsewhere:
            parts.append(f"{self.elsewhere} are being run by another process")
        if n_pending:
            parts.append(f"{n_pending} not begun")
        self.say(", ".join(parts))


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
