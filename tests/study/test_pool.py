"""Processes of runs: retried once, the others go on, one GPU each in turn."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from study_rows import row_of

from lookright.study import pool
from lookright.study.matrix import Cell
from lookright.study.pool import duration, environments, run_all
from lookright.study.rows import Book, Counts, Row, read_counts, read_rows
from made_up_runs import counts_of


@dataclass(frozen=True)
class Pretended:
    """A job that does what the name of its data set says."""

    cell: Cell
    folder: Path = Path()

    @property
    def name(self) -> str:
        return self.cell.name

    def failure(self, error: str, traceback: str = "", *, seconds: float | None = None) -> Row:
        row = row_of(self.cell, counts_of(0.5, 0))
        return {**row, "status": "failed", "run": os.urandom(8).hex(), "error": error, "traceback": traceback}


def pretend(job: Pretended) -> tuple[Row, Counts]:
    kind = job.cell.dataset
    if kind == "linger":
        (job.folder / "lingers").write_text(str(os.getpid()))
        time.sleep(60)
    if kind == "raise":
        raise ValueError("two\nlines")
    if kind in ("die", "die-once") and not (kind == "die-once" and (job.folder / "died").exists()):
        (job.folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    counts = counts_of(0.5, job.cell.seed)
    return row_of(job.cell, counts, gpu=os.environ.get("CUDA_VISIBLE_DEVICES"), process=os.getpid()), counts


def jobs_of(*kinds: str, seeds: int = 1, folder: Path = Path()) -> list[Pretended]:
    return [Pretended(Cell("nano", "0011", kind, "short", seed), folder) for seed in range(seeds) for kind in kinds]


def go(folder: Path, jobs: list[Pretended], **options: Any) -> tuple[tuple[int, int], list[str], list[Row]]:
    lines: list[str] = []
    book = Book(folder / "runs.jsonl")
    came_to = run_all(jobs, book, runner=pretend, say=lines.append, **options)
    book.close()
    return came_to, lines, read_rows(book.runs)


def test_what_failed_is_tried_once_more_after_all_others(tmp_path: Path) -> None:
    jobs = jobs_of("raise", "die-once", "a", "b", folder=tmp_path)
    came_to, lines, rows = go(tmp_path, jobs, retries=1)
    assert came_to == (3, 1)
    assert [(row["dataset"], row["status"]) for row in rows] == [
        ("raise", "failed"), ("die-once", "failed"), ("a", "done"), ("b", "done"), ("raise", "failed"),
        ("die-once", "done"),
    ]  # fmt: skip
    assert rows[0]["error"] == "ValueError: two lines"
    assert rows[1]["error"].startswith("the process of the run died (exit code -9")
    assert "it will be tried again" in lines[0]
    assert "it will be tried again" not in lines[4]
    assert lines[-1] == "3 runs done, 1 failed, 0 were there"
    again, _, rows = go(tmp_path, jobs, retries=1)
    assert again == (0, 1)  # the next start tries what failed, twice, and nothing else
    assert [row["dataset"] for row in rows[6:]] == ["raise", "raise"]
    assert len(read_counts(tmp_path / "runs.jsonl")) == 3


def test_each_process_sees_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    given = environments(3, ["0", "GPU-7"], cores=4)
    assert given == [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "GPU-7", "0")]
    _, _, rows = go(tmp_path, jobs_of("a", "b", seeds=3), workers=given[:2])
    assert {row["gpu"] for row in rows} <= {"0", "GPU-7"}
    by_process = {row["process"]: {r["gpu"] for r in rows if r["process"] == row["process"]} for row in rows}
    assert all(len(gpus) == 1 for gpus in by_process.values())
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_without_gpus_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environments(2, [], cores=5) == [{"OMP_NUM_THREADS": "2"}] * 2
    assert environments(8, [], cores=2)[0] == {"OMP_NUM_THREADS": "1"}
    assert environments(1, [], cores=8) == [{}]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environments(2, [], cores=8) == [{}, {}]


def test_a_row_that_does_not_go_with_the_others_is_a_failure(tmp_path: Path) -> None:
    came_to, _, rows = go(tmp_path, jobs_of("a", "b"), check=lambda row, rows: "another base" if rows else None)
    assert came_to == (1, 1)
    assert (rows[1]["status"], rows[1]["error"]) == ("failed", "RecipeError: another base")
    assert len(read_counts(tmp_path / "runs.jsonl")) == 1


def test_a_process_is_replaced_after_some_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "RUNS_PER_PROCESS", 2)
    _, _, rows = go(tmp_path, jobs_of("a", seeds=5))
    processes = [row["process"] for row in rows]
    assert len(set(processes)) == 3
    assert processes[0] == processes[1] != processes[2]


def test_the_time_left_is_said_in_rounds_of_all_processes(tmp_path: Path) -> None:
    _, lines, _ = go(tmp_path, jobs_of("a", seeds=4), workers=[{}])
    assert "[1/4]" in lines[0]
    assert "about 3 min left" in lines[0]  # three more of a minute each
    assert "left" not in lines[3]


def test_the_time_of_runs_that_failed_says_nothing_of_the_others() -> None:
    lines: list[str] = []
    tally = pool._Tally(4, 1, lines.append)
    done = row_of(jobs_of("a")[0].cell, counts_of(0.5, 0))
    tally.add("a", {**done, "status": "failed", "error": "no luck", "seconds": 6000.0}, again=True)
    tally.add("b", {**done, "status": "failed", "error": "no luck", "seconds": 6000.0}, again=False)
    tally.add("c", done, again=False)
    assert ["left" in line for line in lines] == [False, False, True]
    assert "about 2 min left" in lines[2]  # c and what is tried again: a minute each


def test_durations_in_words() -> None:
    assert [duration(s) for s in (3.4, 89, 100, 5000, 6000)] == ["3 s", "89 s", "2 min", "83 min", "1.7 h"]


def waited_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def linger(folder: Path) -> None:
    run_all(jobs_of("linger", folder=folder), Book(folder / "runs.jsonl"), runner=pretend, say=print)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"  # ended, and nobody asked how


def test_runs_end_with_a_study_that_is_killed(tmp_path: Path) -> None:
    study = multiprocessing.get_context("spawn").Process(target=linger, args=(tmp_path,))
    study.start()
    file = tmp_path / "lingers"
    assert waited_for(lambda: file.exists() and file.read_text() != "")
    run = int(file.read_text())
    study.kill()
    study.join()
    ended = waited_for(lambda: gone(run), 5)
    if not ended:
        os.kill(run, signal.SIGKILL)
    assert ended


def test_an_interrupt_while_a_process_starts_is_the_parents_to_answer() -> None:
    before = signal.getsignal(signal.SIGINT)
    worker = pool.Worker(pretend)
    assert signal.getsignal(signal.SIGINT) is before
    try:
        os.kill(worker.process.pid, signal.SIGINT)  # before it has imported anything
        worker.send(jobs_of("fine")[0])
        row, _ = worker.receive()
    finally:
        worker.end()
    assert row["status"] == "done", row["error"]
