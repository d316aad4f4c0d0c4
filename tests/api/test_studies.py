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
from lookright.errors import DataError, OutputError, RecipeError
from lookright.study.definition import Study, StudyModel
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


TEXTS = """
name = "texts"
plans = ["0000", "1111"]
seeds = [0]
[model.llama]
base = "base"
[dataset.several]
train = "train.csv"
test = "test.csv"
dev = 0.3
text_column = "body"
[recipe.last]
pooling = "last"
updates = 3
evals = 1
batch_size = 8
[recipe.usual]
updates = 3
evals = 1
batch_size = 8
"""


@pytest.fixture
def texts(tmp_path: Path, tiny_llama: Path) -> Path:
    """A folder with a study of texts, its data and its base."""
    (tmp_path / "base").symlink_to(tiny_llama)
    for name, n, seed in (("train", 40, 0), ("test", 20, 1)):
        rows = ((text, label + "|early" * ("early" in text)) for text, label in toys.toy_texts(n, seed))
        lines = "".join(f'"{text}",{labels}\n' for text, labels in rows)
        (tmp_path / f"{name}.csv").write_text("body,labels\n" + lines, encoding="utf-8")
    (tmp_path / "texts.toml").write_text(TEXTS, encoding="utf-8")
    return tmp_path


def test_a_run_over_texts_keeps_the_counts_of_its_figure(texts: Path) -> None:
    jobs = {job.name: job for job in jobs_of(Study.from_toml(texts / "texts.toml"))}
    row, counts = fine_tune(jobs["llama/0000/several/last/0"])
    assert (row["convention"], row["task"]) == ("micro F1, thresholds tuned on dev", "text")
    assert (row["recipe"]["pooling"], row["recipe"]["target"]) == ("last", None)
    gold = [1 + ("early" in text) for text, _ in toys.toy_texts(20, 1)]
    assert counts[:, 0].tolist() == gold
    assert row["test"] == pytest.approx(2 * counts[:, 2].sum() / counts[:, :2].sum())
    assert (row["n_train"] + row["n_dev"], row["n_test"], row["evals"][-1][0]) == (40, 20, 3)
    json.dumps(row, allow_nan=False)


def test_plans_poolings_and_seeds_are_one_study(texts: Path) -> None:
    """`usual` has another pooling under the causal plan, and is one recipe all the same."""
    outcome = run_study(texts / "texts.toml", texts / "out", samples=100, plots=False, device="cpu")
    assert (outcome.done, outcome.failed) == (4, 0)
    rows = read_rows(texts / "out" / "runs.jsonl")
    poolings = {(row["recipe_name"], row["plan"]): row["recipe"]["pooling"] for row in rows}
    assert poolings == {
        ("last", "0000"): "last", ("last", "1111"): "last", ("usual", "0000"): "last", ("usual", "1111"): "mean"
    }  # fmt: skip
    assert outcome.results is not None
    data = outcome.results.data[0]
    assert [(c.first, c.second) for c in data.comparisons] == [
        ("llama/last/1111", "llama/last/0000"),
        ("llama/usual/0000", "llama/last/0000"),
        ("llama/usual/1111", "llama/usual/0000"),
    ]
    assert data.comparisons[1].difference.difference == 0  # one and the same recipe, in other words
    assert "micro F1, thresholds tuned on dev, x 100; 20 test texts." in (texts / "out" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('pooling = "last"', 'subword = "mean"', r"\[recipe.last\] with \[dataset.several\]: subword is given, which"),
        ('pooling = "last"', 'target = "single-label"', r"target is not for a recipe of a study; it belongs to"),
        ("dev = 0.3", 'task = "tag"', "task"),
        ("dev = 0.3", 'task = "text"\ncolumns = "0,1"', r"\[dataset.several\] columns is given, which is for"),
        (
            'train.csv"\ntest = "test.csv',
            'numbers.csv"\ntest = "numbers.csv',
            r"\[dataset.several\] is a regression, and a study compares labels",
        ),
    ],
)
def test_what_is_not_for_texts_is_found_before_anything_is_run(texts: Path, before: str, after: str, told: str) -> None:
    (texts / "numbers.csv").write_text("body,label\nfine,1.5\nbad,0\n" + "so,2\n" * 10)
    (texts / "texts.toml").write_text(TEXTS.replace(before, after), encoding="utf-8")
    with pytest.raises(RecipeError, match=told):
        run_study(texts / "texts.toml", texts / "out", plots=False, device="cpu")
    assert not (texts / "out").exists()


def test_a_study_of_sentences_and_of_texts(texts: Path) -> None:
    toys.write_conll(texts / "train.conll", toys.toy_dataset(20))
    both = TEXTS + '[dataset.tags]\ntrain = "train.conll"\ntest = "train.conll"\n'
    (texts / "texts.toml").write_text(both, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"\[recipe.last\] with \[dataset.tags\]: pooling is given, which is for"):
        run_study(texts / "texts.toml", texts / "out", plots=False, device="cpu")
    (texts / "texts.toml").write_text(both.replace('pooling = "last"\n', "dropout = 0.2\n"), encoding="utf-8")
    study = Study.from_toml(texts / "texts.toml")
    tasks = [studies.recipe_on(texts, recipe, data).task for recipe in study.recipes for data in study.datasets]
    assert tasks == ["text", "tags"] * 2


def test_data_that_is_not_there_is_found_before_anything_is_run(place: Path) -> None:
    (place / "test.conll").unlink()
    with pytest.raises(RecipeError, match=r"toy.toml: \[dataset.toy\] .*test.conll: no such file"):
        run_study(place / "toy.toml", place / "out", plots=False)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("here\tB-LOC\n\nthere\n", "test.conll:3: one column"),
        ("", "test.conll"),
        ("here\nthere\n", "test.conll"),
        (None, "this is a directory"),
    ],
)
def test_data_that_cannot_be_read_is_found_before_anything_is_run(place: Path, text: str | None, told: str) -> None:
    (place / "test.conll").unlink()
    if text is None:
        (place / "test.conll").mkdir()
    else:
        (place / "test.conll").write_text(text)
    with pytest.raises(DataError, match=rf"toy.toml: \[dataset.toy\] .*{told}"):
        run_study(place / "toy.toml", place / "out", plots=False)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("./none", "none: no such folder; paths of a study are relative to the study file"),
        ("a/b/none", "a/b/none: no such folder"),
        ("toy.toml", "toy.toml is a file; expected a model folder"),
        ("hollow", "has no config.json"),
        ("lost", "holds no weights"),
        ("shallow", 'mask plan "0000" has 4 groups but the model has 2 layers'),
        ("encoder", "bert is an encoder"),
    ],
)
def test_a_base_that_is_not_there_is_found_before_anything_is_run(
    place: Path, tiny_encoder: Path, base: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    (place / "hollow").mkdir()
    (place / "lost").mkdir()
    (place / "lost" / "config.json").write_bytes((place / "base" / "config.json").read_bytes())
    (place / "encoder").symlink_to(tiny_encoder)
    if base == "shallow":
        toys.llama_folder(place / "shallow", layers=2)
    (place / "toy.toml").write_text(TEXT.replace('base = "base"', f'base = "{base}"'), encoding="utf-8")
    with pytest.raises(RecipeError, match=rf"^toy.toml: \[model.llama\] base: .*{told}"):
        run_study("toy.toml", "out", plots=False)
    assert not (place / "out").exists()


def test_what_a_hub_has_is_left_to_the_runs(place: Path) -> None:
    study = Study.from_toml(place / "toy.toml")
    for name in ("lookright-nano", "somebody/some-model", "some-model"):
        studies.check_base(study, StudyModel("llama", name))


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
