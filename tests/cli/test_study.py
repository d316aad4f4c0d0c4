"""`lookright study`: what is printed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Run
from lookright.study.definition import Study
from lookright.study.matrix import jobs_of
from lookright.study.rows import Book
from made_up_runs import counts_of
from study.study_rows import row_of

TEXT = """
name = "mine"
plans = ["0000", "0011"]
seeds = [0, 1]
models = ["lookright-nano"]
datasets = ["wnut17"]
[recipe.short]
updates = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_runs_are_listed_with_their_ids(run: Run, file: Path, tmp_path: Path) -> None:
    done = run("study", file, "--out", tmp_path / "out", "--list")
    lines = done.out.splitlines()
    assert (done.code, len(lines), done.err) == (0, 4, "")
    assert lines[0].startswith("left    ")
    assert lines[0].endswith("lookright-nano/0000/wnut17/short/0")
    assert not (tmp_path / "out").exists()


def test_a_report_of_what_is_there(run: Run, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("study", file, "--out", out, "--report-only", "--no-plots").code == 1
    jobs = jobs_of(Study.from_toml(file))
    from lookright.study.folder import StudyFolder

    StudyFolder(out).begin(Study.from_toml(file))
    book = Book(out / "runs.jsonl")
    for number, job in enumerate(jobs[:3]):
        counts = counts_of(0.6 + 0.1 * (job.cell.plan == "0011"), number)
        book.add(row_of(job.cell, counts), counts)
    book.add(jobs[3].failure("out of memory"))
    book.close()
    done = run("study", file, "--out", out, "--report-only", "--no-plots", "--samples", "100")
    assert done.code == 0
    assert "3 of 4 runs are done, 1 failed" in done.out
    assert "0011 - 0000" in done.out
    assert "report.html" in done.err
    assert (out / "tables.tex").exists()
    listed = run("study", file, "--out", out, "--list").out.splitlines()
    assert [line.split()[0] for line in listed] == ["done", "done", "done", "failed"]
    assert listed[3].endswith("(out of memory)")


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (("updates", "update"), [], "did you mean 'updates'?"),
        (('"wnut17"', '"wnut-17"'), [], "did you mean 'wnut17'?"),
        (('"0011"', '"0 11"'), [], "plans names '0 11'"),
        (("", ""), ["--workers", "0"], "--workers is 0"),
        (("", ""), ["--samples", "5"], "--samples is 5"),
    ],
)
def test_mistakes_are_one_line(
    fails: Run, file: Path, tmp_path: Path, change: tuple[str, str], flags: list[str], words: str
) -> None:
    file.write_text(TEXT.replace(*change), encoding="utf-8")
    assert words in fails("study", file, "--out", tmp_path / "out", *flags, code=2).err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(fails: Run, file: Path, tmp_path: Path) -> None:
    assert "holds something else (mine.toml)" in fails("study", file, "--out", tmp_path, "--no-plots").err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text(json.dumps({"name": "other", "definitions": {}}))
    assert "holds the study 'other'" in fails("study", file, "--out", tmp_path / "out", "--list").err
    assert "must be given" in fails("study", file, code=2).err or "required" in fails("study", file, code=2).err
