"""The grid: nothing is run twice, nothing that failed is lost, and a run that dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from base_studies import carrying, row_of
from benchmarks.base import grid
from benchmarks.base.cells import PLANS, Cell, Settings
from benchmarks.base.grid import run_grid
from benchmarks.base.run import Job, fine_tune

import toys
from lookright.errors import RecipeError
from lookright.study.rows import Book, Counts, Row, read_counts, read_rows
from made_up_runs import counts_of, figure


def jobs_of(*sets: str, seeds: int = 1, folder: Path = Path()) -> list[Job]:
    cells = [Cell("decoder", "0011", name, seed) for seed in range(seeds) for name in sets]
    return [Job(cell, folder, "weights of decoder", False, folder, "cpu", Settings()) for cell in cells]


def pretend(job: Job) -> tuple[Row, Counts]:
    """A run that does what the name of its set says."""
    kind = job.cell.set
    if kind == "raise":
        raise ValueError("two\nlines")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "slow":
        time.sleep(2)
    if kind == "mend" and not (job.data / "mended").exists():
        raise ValueError("not mended")
    counts = counts_of(0.5, job.cell.seed)
    changes = {"recipe": {"dropout": 0.2}} if kind == "changed" else {}
    return row_of(job.cell, counts, **changes), counts


def go(path: Path, jobs: list[Job], **options: object) -> list[str]:
    """Run jobs; what was said."""
    lines: list[str] = []
    book = Book(path)
    run_grid(jobs, book, runner=pretend, say=lines.append, **options)  # type: ignore[arg-type]
    book.close()
    return lines


def test_runs_are_kept_and_not_run_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    assert go(runs, jobs_of("a", "b"))[-1] == "2 runs done, 0 failed, 0 were there"
    assert go(runs, jobs_of("a", "b", "c"))[-1] == "1 runs done, 0 failed, 2 were there"
    assert [row["set"] for row in read_rows(runs)] == ["a", "b", "c"]
    assert read_counts(runs).keys() == {row["run"] for row in read_rows(runs)}


def test_a_failure_is_a_row_and_is_tried_again_at_the_next_start_only(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    jobs = jobs_of("raise", "die", "mend", "a", folder=tmp_path)
    assert go(runs, [*jobs, jobs[0]])[-1] == "1 runs done, 3 failed, 1 were there"
    failed = {row["set"]: row for row in read_rows(runs) if row["status"] == "failed"}
    assert failed["raise"]["error"] == "ValueError: two lines"
    assert "pretend" in failed["raise"]["traceback"]
    assert (
        failed["die"]["error"]
        == "the process of the run died (exit code -9: killed, often because the machine was out of memory)"
    )
    (tmp_path / "mended").touch()
    assert go(runs, jobs)[-1] == "1 runs done, 2 failed, 1 were there"
    assert [row["set"] for row in read_rows(runs) if row["status"] == "done"] == ["a", "mend"]


def test_a_recipe_that_changed_in_the_meantime_is_a_failure(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    go(runs, jobs_of("a", "changed"))
    last = read_rows(runs)[-1]
    assert last["status"] == "failed"
    assert "dropout is 0.1" in last["error"]
    assert last["run"] not in read_counts(runs)


def test_no_run_is_begun_after_the_deadline(tmp_path: Path) -> None:
    said = go(tmp_path / "runs.jsonl", jobs_of("a", "b"), deadline=time.monotonic())
    assert said == ["0 runs done, 0 failed, 0 were there, 2 not begun"]


def one_start(path: Path) -> None:
    go(path, jobs_of("slow", "a", "b", seeds=2), workers=2)


def test_two_starts_at_once_share_the_work(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("spawn")
    starts = [context.Process(target=one_start, args=(runs,)) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert [start.exitcode for start in starts] == [0, 0]
    assert Counter(Cell.of(row).name for row in read_rows(runs)) == Counter(
        job.cell.name for job in jobs_of("slow", "a", "b", seeds=2)
    )


def hold(path: Path, taken: str) -> None:
    assert Book(path).claim(jobs_of("a")[0].name)
    Path(taken).touch()
    time.sleep(60)


def test_a_claim_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    runs, taken = tmp_path / "runs.jsonl", tmp_path / "taken"
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(runs, str(taken)))
    holder.start()
    while not taken.exists():
        assert holder.is_alive()
        time.sleep(0.02)
    assert go(runs, jobs_of("a"))[-1] == "0 runs done, 0 failed, 0 were there, 1 are being run by another process"
    holder.kill()
    holder.join()
    assert go(runs, jobs_of("a"))[-1] == "1 runs done, 0 failed, 0 were there"


def sets_of(folder: Path) -> Path:
    (folder / "toy").mkdir(parents=True)
    for name, n, seed in (("train", 60, 0), ("test", 30, 1)):
        toys.write_conll(folder / "toy" / f"{name}.conll", toys.toy_dataset(n, seed))
    return folder


def test_a_run_trains_just_so_many_updates_and_its_counts_give_its_figure(tmp_path: Path, tiny_llama: Path) -> None:
    cell = Cell("decoder", "0011", "toy", 0)
    settings = Settings(updates=6, batch_size=8, learning_rate=1e-2, evals=2, precision="float32")
    job = Job(cell, tiny_llama, "weights", False, sets_of(tmp_path), "cpu", settings)
    row, counts = fine_tune(job)
    assert (row["status"], Cell.of(row), row["n_test"]) == ("done", cell, 30)
    assert row["n_train"] + row["n_dev"] == 60
    assert row["evals"][-1][0] == 6
    assert max(score for _, score in row["evals"]) == row["dev"]
    assert counts.shape == (30, 3)
    assert counts[:, 2].sum() == 0 or figure(counts) == pytest.approx(row["test"])
    assert not {"base", "train", "out"} & row["recipe"].keys()
    again, _ = fine_tune(job)
    assert (again["dev"], again["test"], again["evals"]) == (row["dev"], row["test"], row["evals"])


def test_a_base_that_carries_its_plan_is_run_under_it(tmp_path: Path) -> None:
    folder = carrying(tmp_path / "adapted", [0, -1, -1, 0])
    settings = Settings(updates=2, batch_size=8, evals=1, precision="float32")
    data = sets_of(tmp_path / "data")
    row, _ = fine_tune(Job(Cell("mntp-0110", "0110", "toy", 0), folder, "weights", True, data, "cpu", settings))
    assert row["recipe"]["plan"] == "0110"
    with pytest.raises(RecipeError, match="loaded with the plan 0110, expected 1111"):
        fine_tune(Job(Cell("encoder", "1111", "toy", 0), folder, "weights", True, data, "cpu", settings))


def test_the_command_lists_and_refuses(
    tmp_path: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's own process keeps its handlers
    arguments = [f"decoder={tiny_llama}", "--data", str(sets_of(tmp_path)), "--runs", str(tmp_path / "runs.jsonl")]
    assert grid.main([*arguments, "--sets", "toy", "--seeds", "0", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(PLANS)
    assert grid.main([*arguments, "--sets", "nowhere", "--list"]) == 2
    assert "has no train.conll" in capsys.readouterr().err
