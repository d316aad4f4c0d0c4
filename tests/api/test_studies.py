"""What a run of a study does, and a study from its file to its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lookright
import toys
from lookright.api import studies
from lookright.api.studies import fine_tune, gpus_in_sight, report_study, run_study
from lookright.errors import OutputError, RecipeError
from lookright.study.definition import Study
from lookright.study.matrix import jobs_of
from lookright.study.rows import Counts, Row, read_rows

TEXT = """
name = "toy"
plans = ["0000", "0011"]
seeds = [0]
[model.llama]
base = "base"
[dataset.toy]
train = "train.conll"
test = "test.conll"
[recipe.short]
updates = 5
evals = 2
batch_size = 8
precision = "float32"
"""


@pytest.fixture
def place(tmp_path: Path, tiny_llama: Path) -> Path:
    """A folder with a study file, its data and its base."""
    (tmp_path / "base").symlink_to(tiny_llama)
    for name, n, seed in (("train", 60, 0), ("test", 30, 1)):
        toys.write_conll(tmp_path / f"{name}.conll", toys.toy_dataset(n, seed))
    (tmp_path / "toy.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_a_run_makes_just_so_many_updates_and_its_counts_give_its_figure(place: Path) -> None:
    job = jobs_of(Study.from_toml(place / "toy.toml"))[1]
    row, counts = fine_tune(job)
    assert (row["cell"], row["id"], row["status"]) == ("llama/0011/toy/short/0", job.id, "done")
    assert row["evals"][-1][0] == 5
    assert row["recipe"]["plan"] == "01"
    assert counts.shape == (row["n_test"], 3) == (30, 3)
    gold, predicted, correct = counts.sum(axis=0).tolist()
    assert row["test"] == pytest.approx(2 * correct / (gold + predicted))
    assert row["n_train"] + row["n_dev"] == 60
    again, _ = fine_tune(job)
    assert (again["dev"], again["test"], again["evals"]) == (row["dev"], row["test"], row["evals"])
    json.dumps(row, allow_nan=False)


def test_the_own_plan_of_a_decoder_without_one_is_refused_and_an_encoder_has_none(
    place: Path, tiny_encoder: Path
) -> None:
    path = place / "own.toml"
    path.write_text(TEXT.replace('["0000", "0011"]', '["own"]').replace('"base"', f'"{tiny_encoder}"'))
    row, _ = fine_tune(jobs_of(Study.from_toml(path))[0])
    assert row["status"] == "done"
    assert row["recipe"]["plan"] is None
    path.write_text(TEXT.replace('["0000", "0011"]', '["own"]'))
    with pytest.raises(RecipeError, match="is a decoder that carries none; list its plans"):
        fine_tune(jobs_of(Study.from_toml(path))[0])


def one_fails_once(job: Any) -> tuple[Row, Counts]:
    """As `fine_tune`, but the first try of one run fails."""
    mark = job.folder / "failed"
    if job.cell.plan == "0011" and not mark.exists():
        mark.touch()
        raise RuntimeError("no luck")
    return fine_tune(job)


def test_a_study_from_its_file_to_its_report(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "fine_tune", one_fails_once)
    lines: list[str] = []
    outcome = run_study(place / "toy.toml", place / "out", samples=100, plots=False, device="cpu", say=lines.append)
    assert (outcome.done, outcome.failed) == (2, 0)
    assert outcome.results is not None
    assert outcome.results.n_done == 2
    assert [(t.tries, t.done) for t in outcome.results.troubles] == [(1, True)]
    assert "it will be tried again" in lines[1]
    report = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "1 failed at first and were done when tried again" in report
    rows = read_rows(place / "out" / "runs.jsonl")
    again = lookright.run_study(place / "toy.toml", place / "out", samples=100, plots=False, device="cpu")
    assert (again.done, again.failed) == (0, 0)
    assert read_rows(place / "out" / "runs.jsonl") == rows
    (place / "toy.toml").write_text(TEXT.replace("updates = 5", "updates = 6"), encoding="utf-8")
    with pytest.raises(OutputError, match=r"\[recipe.short\] updates was 5 and is 6 now"):
        report_study(place / "toy.toml", place / "out", plots=False)


def test_data_that_is_not_there_is_found_before_anything_is_run(place: Path) -> None:
    (place / "test.conll").unlink()
    with pytest.raises(RecipeError, match=r"\[dataset.toy\] .*test.conll: no such file"):
        run_study(place / "toy.toml", place / "out", plots=False)
    assert not (place / "out").exists()


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert gpus_in_sight("auto") == ["2", "GPU-5"]
    assert gpus_in_sight("cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_in_sight("cuda") == []


def test_the_processes_of_runs_import_nothing_heavy_before_they_know_their_gpu() -> None:
    import subprocess
    import sys

    code = "import sys, lookright.api.studies, lookright.study.pool; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
