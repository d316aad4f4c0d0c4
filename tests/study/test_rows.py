"""Rows and counts on disk: what was written is read, whatever ended a write, and studies are not mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_rows import row_of

from lookright.errors import DataError, OutputError
from lookright.study.matrix import Cell
from lookright.study.rows import (
    Book,
    cell_name,
    counts_file,
    done_rows,
    pack,
    read_counts,
    read_rows,
    recipe_difference,
    unpack,
)
from made_up_runs import counts_of

CELL = Cell("decoder", "0011", "snips", "short", 0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.integers(0, 65_535)] * 3)))
def test_counts_come_back(values: list[tuple[int, int, int]]) -> None:
    counts = np.array(values, dtype=np.int64).reshape(len(values), 3)
    assert np.array_equal(unpack(pack("x", counts)), counts)


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="65,535"):
        pack("x", np.array([[70_000, 0, 0]]))


def test_a_row_and_its_counts_are_read_as_written(tmp_path: Path) -> None:
    book = Book(tmp_path / "new" / "runs.jsonl")
    counts = counts_of(0.5, 0)
    row = row_of(CELL, counts)
    book.add(row, counts)
    assert read_rows(book.runs) == [row]
    assert np.array_equal(read_counts(book.runs)[row["run"]], counts)


def test_a_torn_line_costs_itself_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = tmp_path / "runs.jsonl"
    counts = counts_of(0.5, 0)
    book = Book(runs)
    book.add(row_of(CELL, counts), counts)
    for path in (runs, counts_file(runs)):
        path.write_bytes(path.read_bytes() + path.read_bytes()[:40])  # killed while it wrote a second line
    other = Cell("decoder", "0011", "snips", "short", 1)
    book.add(row_of(other, counts), counts)
    assert set(done_rows(read_rows(runs), Cell.of)) == {CELL, other}
    assert len(read_counts(runs)) == 2
    assert "runs.jsonl:2: a torn line" in caplog.text


def test_files_of_two_machines_are_merged_by_concatenation(tmp_path: Path) -> None:
    counts = counts_of(0.5, 0)
    for name, seeds in (("a", (0, 1)), ("b", (1, 2))):
        book = Book(tmp_path / name / "runs.jsonl")
        for seed in seeds:
            book.add(row_of(Cell("decoder", "0011", "snips", "short", seed), counts, machine=name), counts)
    for name in ("runs.jsonl", "runs.counts.jsonl"):
        (tmp_path / name).write_bytes(b"".join((tmp_path / part / name).read_bytes() for part in "ab"))
    done = done_rows(read_rows(tmp_path / "runs.jsonl"), Cell.of)
    assert sorted((cell.seed, row["machine"]) for cell, row in done.items()) == [(0, "a"), (1, "a"), (2, "b")]
    assert {row["run"] for row in done.values()} <= read_counts(tmp_path / "runs.jsonl").keys()


def test_failed_rows_do_not_settle_a_cell() -> None:
    row = row_of(CELL, counts_of(0.5, 0))
    assert done_rows([{**row, "status": "failed"}], Cell.of) == {}
    assert done_rows([{**row, "status": "failed"}, row], Cell.of) == {CELL: row}


def test_rows_of_another_format_are_refused(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    runs.write_text('{"format": 99}\n')
    with pytest.raises(DataError, match="format 99"):
        read_rows(runs)


def test_a_changed_default_is_found_and_what_belongs_to_the_run_is_not() -> None:
    row = row_of(CELL, counts_of(0.5, 0))
    other = {**row, "recipe": {**row["recipe"], "seed": 7, "plan": "1"}}
    assert recipe_difference(row, other) is None
    changed = {**row, "run": "other", "recipe": {**row["recipe"], "dropout": 0.2}}
    assert recipe_difference(row, changed) == f"dropout is 0.1 in run {row['run']} and 0.2 in run other"


def test_an_option_that_is_newer_than_a_row_had_its_default_there() -> None:
    row = row_of(CELL, counts_of(0.5, 0))
    newer = {**row, "recipe": {**row["recipe"], "accumulation_fault": 0}}
    assert recipe_difference(row, newer) is None
    assert recipe_difference(newer, row) is None
    faulty = {**row, "recipe": {**row["recipe"], "accumulation_fault": 4}}
    assert recipe_difference(row, faulty) == f"accumulation_fault is 0 in run {row['run']} and 4 in run {row['run']}"


def test_rows_of_the_first_format_are_read(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    runs.write_text(
        '{"format": 1, "status": "done", "variant": "decoder", "plan": "0011", "set": "snips", "seed": 3}\n'
    )
    (row,) = read_rows(runs)
    assert cell_name(row) == "decoder/0011/snips/3"
    assert Cell.of(row) == Cell("decoder", "0011", "snips", "-", 3)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Book(tmp_path / "file" / "runs.jsonl")
