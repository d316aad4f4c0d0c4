"""Runs in processes of their own: nothing is run twice, nothing that failed is lost, and a run that dies takes no other
with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Protocol, TypeVar

from lookright.study.rows import Book, Counts, Row, cell_name

RUNS_PER_PROCESS: Final = 12
"""A process that has done so many runs is replaced: what libraries keep between runs adds up."""


class Job(Protocol):
    """All that a process needs to know for a run; it can be pickled."""

    @property
    def name(self) -> str:
        """Of its cell, as `cell_name` gives it for its rows."""

    def failure(self, error: str, traceback: str = "", *, seconds: float | None = None) -> Row:
        """The row of a run that failed."""


J = TypeVar("J", bound=Job)
Runner = Callable[[J], tuple[Row, Counts]]
Check = Callable[[Row, Sequence[Row]], "str | None"]


# ------------------------------------------------------------------------------------------------- the process of runs


def serve(connection: Connection, runner: Runner[Any]) -> None:
    """Do jobs until there are none; what goes wrong in one is its answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError):  # the parent has no more jobs, or is gone
        while True:
            job = connection.recv()
            begin = time.perf_counter()
            try:
                answer: tuple[Row, Counts | None] = runner(job)
            except Exception as error:
                text = " ".join(str(error).split())
                trace = traceback.format_exc()[-3000:]
                row = job.failure(f"{type(error).__name__}: {text}", trace, seconds=time.perf_counter() - begin)
                answer = row, None
            connection.send(answer)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes: nobody waits for them, and they hold memory or a GPU."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Within: new processes ignore Ctrl-C from their first moment on, and not only once `serve` has been imported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class Worker:
    """A process that does one run after the other, and its job.

    Attributes:
        runner: what a job is done with.
        environment: variables that the process is given, such as the GPU that it sees.
    """

    runner: Runner[Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    job: Any = None
    n_runs: int = 0
    connection: Any = field(init=False)
    process: Any = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, self.runner), daemon=True)
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)  # a new process takes them from here, before it imports anything
        try:
            with _ignoring_interrupts():
                self.process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
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
            return job.failure(f"the process of the run died ({_how(self.process.exitcode)})"), None
        return answer

    def fresh(self) -> Worker:
        """Itself, or a new one where it is dead or has done enough."""
        if self.process.is_alive() and self.n_runs < RUNS_PER_PROCESS:
            return self
        self.end()
        return Worker(self.runner, self.environment)

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


def _how(exit_code: int | None) -> str:
    """How a process ended."""
    if exit_code == -9:
        return "exit code -9: killed, often because the machine was out of memory"
    return f"exit code {exit_code}"


def environments(workers: int, gpus: Sequence[str], *, cores: int) -> list[dict[str, str]]:
    """What each of several processes is given: one GPU each by round robin, or its share of the cores.

    Args:
        workers: processes.
        gpus: as CUDA_VISIBLE_DEVICES names them; none for a processor.
        cores: that this process may use.
    """
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} for index in range(workers)]
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(workers)]
    return [{"OMP_NUM_THREADS": str(max(1, cores // workers))} for _ in range(workers)]


# ------------------------------------------------------------------------------------------------------------ the runs


def run_all(
    jobs: Sequence[J],
    book: Book,
    *,
    runner: Runner[J],
    say: Callable[[str], None],
    workers: Sequence[Mapping[str, str]] = ({},),
    retries: int = 0,
    deadline: float | None = None,
    check: Check = lambda row, rows: None,
) -> tuple[int, int]:
    """Do the jobs that are left, in order; what failed is tried again after all others.

    Args:
        jobs: to do; those whose cell is done, or taken by another process, are passed over.
        book: where the rows are.
        runner: what a job is done with; importable, since it runs in another process.
        say: where lines for people go.
        workers: the environment of each process; as many runs are done at once.
        retries: how often a run that failed is tried again.
        deadline: the moment (`time.monotonic()`) after which no run is begun.
        check: says what is wrong with a row that is done, given those that are there; it is a failure then.

    Returns:
        How many runs were done, and how many failed for good.
    """
    before = {row["run"] for row in book.rows()}
    pending, idle = deque(jobs), [Worker(runner, environment) for environment in workers]
    busy: list[Worker] = []
    tally = _Tally(len(jobs), len(workers), say)
    try:
        while True:
            while idle and pending and (deadline is None or time.monotonic() < deadline):
                job = pending.popleft()
                if not book.claim(job.name):
                    tally.elsewhere += 1
                elif _settled(book, job.name, before, retries):
                    book.release(job.name)
                    tally.passed += 1
                else:
                    busy.append(idle.pop().fresh())
                    busy[-1].send(job)
            if not busy:
                break
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                job = worker.job
                row, counts = worker.receive()
                rows = book.rows()
                row, counts = _checked(row, counts, check, rows)
                book.add(row, counts)
                book.release(job.name)
                busy.remove(worker)
                idle.append(worker)
                again = row["status"] != "done" and _failures([*rows, row], job.name, before) <= retries
                tally.add(job.name, row, again=again)
                if again:
                    pending.append(job)
    finally:
        for worker in (*idle, *busy):
            worker.end()
    tally.close(len(pending))
    return tally.done, tally.failed


def _failures(rows: Sequence[Row], name: str, before: set[str]) -> int:
    """How often a cell has failed since this start, here or in another process."""
    return sum(row["status"] != "done" and row["run"] not in before and cell_name(row) == name for row in rows)


def _settled(book: Book, name: str, before: set[str], retries: int) -> bool:
    """Whether a cell is done, or has failed often enough since this start."""
    rows = book.rows()
    done = any(row["status"] == "done" and cell_name(row) == name for row in rows)
    return done or _failures(rows, name, before) > retries


def _checked(row: Row, counts: Counts | None, check: Check, rows: Sequence[Row]) -> tuple[Row, Counts | None]:
    """A row, or, where it does not go with those that are there, the row of a failure."""
    if row["status"] != "done" or (wrong := check(row, rows)) is None:
        return row, counts
    return {**row, "status": "failed", "error": f"RecipeError: {wrong}", "traceback": ""}, None


class _Tally:
    """What was done in this start, said line by line."""

    def __init__(self, n_jobs: int, workers: int, say: Callable[[str], None]) -> None:
        self.n_jobs, self.workers, self.say = n_jobs, workers, say
        self.done = self.failed = self.passed = self.elsewhere = 0
        self.seconds: list[float] = []

    def add(self, name: str, row: Row, *, again: bool) -> None:
        """Count a run and say what came of it."""
        seconds = row["seconds"] or 0.0
        if row["status"] == "done":
            self.done += 1
            self.seconds.append(seconds)
            text = f"dev {points(row['dev'])} test {points(row['test'])}"
        else:
            text = f"FAILED: {row['error']}"
            if again:
                text += "; it will be tried again"
            else:
                self.failed += 1
        number = self.done + self.failed + self.passed + self.elsewhere
        left = ""
        if self.seconds and number < self.n_jobs:
            rounds = -(-(self.n_jobs - number) // self.workers)
            left = f"; about {duration(statistics.mean(self.seconds) * rounds)} left"
        self.say(f"[{number}/{self.n_jobs}] {name}: {text} ({seconds:.0f} s{left})")

    def close(self, n_pending: int) -> None:
        """Say what is left."""
        parts = [f"{self.done} runs done", f"{self.failed} failed", f"{self.passed} were there"]
        if self.elsewhere:
            parts.append(f"{self.elsewhere} are being run by another process")
        if n_pending:
            parts.append(f"{n_pending} not begun")
        self.say(", ".join(parts))


def points(value: float | None) -> str:
    """A figure from 0 to 1 times 100; `-` where it is undefined."""
    return "-" if value is None else f"{100 * value:.2f}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it: 40 s, 5 min, 1.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
