"""Files of a folder through Ray Data, on a cluster of this machine with two workers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import toys
from lookright.data import WordSplitter
from lookright.errors import DataError, ModelFolderError, RecipeError, WorkerError
from lookright.inference.folders import FileLabeler, Task, label_here, plan_folder
from lookright.inference.on_ray import MOST_TRIES, RayLabeler, _Tries, label_on_ray
from lookright.inference.predictor import Predictor


def load(folder: Path, marks: Path | None = None, deaths: int = 0) -> Any:
    """The predictor of test_predictor.py; one that kills its process so many times where the text says so."""
    from test_predictor import make_predictor

    predictor = make_predictor(folder, budget=256)
    if marks is None:
        return predictor, WordSplitter()
    score = predictor.score

    def mortal(pool: Any) -> Any:
        if any("DEATH" in sentence.words for sentence, _ in pool):
            marks.mkdir(exist_ok=True)
            n = len(list(marks.iterdir()))
            (marks / str(n)).touch()
            if n < deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        return score(pool)

    predictor.score = mortal  # type: ignore[method-assign]
    return predictor, WordSplitter()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(5):
        lines = [" ".join(words) for words, _ in toys.toy_dataset(40 + number, number)]
        (source / f"{number}.jsonl").write_text("".join(json.dumps({"n": number, "text": t}) + "\n" for t in lines))
    return source


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_worker_tells_errors_and_gives_up_after_some_tries(tiny_llama: Path, folder: Path, tmp_path: Path) -> None:
    """What a worker does, without Ray."""
    worker = RayLabeler(partial(load, tiny_llama), 1)
    out = tmp_path / "out"
    good = worker({"source": str(folder / "0.jsonl"), "target": str(out / "0.jsonl")})
    assert good == {"source": str(folder / "0.jsonl"), "kind": "", "error": ""}
    (folder / "bad.jsonl").write_text("{oops\n")
    bad = worker({"source": str(folder / "bad.jsonl"), "target": str(out / "bad.jsonl")})
    assert bad["kind"] == "DataError"
    assert "bad.jsonl:1: not JSON" in bad["error"]
    for _ in range(MOST_TRIES):
        assert _Tries(out / "1.jsonl").begin()  # as many workers began, and none came to the end
    dead = worker({"source": str(folder / "1.jsonl"), "target": str(out / "1.jsonl")})
    assert "workers died over it" in dead["error"]

    def fail(task: Task) -> None:
        raise RuntimeError("no route to disk")

    worker._files.label = fail  # type: ignore[method-assign]
    failed = worker({"source": str(folder / "2.jsonl"), "target": str(out / "2.jsonl")})
    assert (failed["kind"], "unexpected RuntimeError: no route to disk" in failed["error"]) == ("WorkerError", True)
    assert sorted(p.name for p in out.iterdir()) == ["0.jsonl"]  # nothing half-written, no count left


def no_model() -> Any:
    raise ModelFolderError("gone holds no weights")


def test_a_model_that_cannot_be_loaded_is_said(folder: Path, tmp_path: Path) -> None:
    told = RayLabeler(no_model, 1)({"source": str(folder / "0.jsonl"), "target": str(tmp_path / "out" / "0.jsonl")})
    assert (told["kind"], told["error"]) == ("WorkerError", "a worker could not load the model: gone holds no weights")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two processors' worth of Ray, and our tests on the workers' path."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_do_what_one_process_does(tiny_llama: Path, folder: Path, tmp_path: Path, cluster: Any) -> None:
    made_by = {"model": "toy"}
    with FileLabeler(*load(tiny_llama)) as labeler:
        label_here(plan_folder(folder, tmp_path / "one", made_by), labeler)
    plan = plan_folder(folder, tmp_path / "two", made_by)
    label_on_ray(plan, partial(load, tiny_llama), workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    # finished files are not done again
    again = plan_folder(folder, tmp_path / "two", made_by)
    assert (len(again.tasks), again.n_done) == (0, 5)
    (tmp_path / "two" / "3.jsonl").unlink()
    (folder / "bad.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:1: not JSON.*the rest is done"):
        label_on_ray(plan_folder(folder, tmp_path / "two", made_by), partial(load, tiny_llama), workers=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    (folder / "bad.jsonl").unlink()
    all_of_them = plan_folder(folder, tmp_path / "three", made_by)
    with pytest.raises(RecipeError, match="5 workers on 1 machines with 2 processors"):
        label_on_ray(all_of_them, partial(load, tiny_llama), workers=9)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_dies_is_replaced_and_its_file_done_again(
    tiny_llama: Path, folder: Path, tmp_path: Path, cluster: Any
) -> None:
    (folder / "x.jsonl").write_text('{"text": "sudden DEATH ."}\n')
    plan = plan_folder(folder, tmp_path / "out", {})
    label_on_ray(plan, partial(load, tiny_llama, tmp_path / "marks", 1), workers=2)
    assert len(contents(tmp_path / "out")) == 6
    assert len(list((tmp_path / "marks").iterdir())) == 2
    (tmp_path / "out" / "x.jsonl").unlink()
    plan = plan_folder(folder, tmp_path / "out", {})
    with pytest.raises(WorkerError, match=r"could not load the model: gone holds no weights \(1 of 1 files failed"):
        label_on_ray(plan, no_model, workers=2)
    with pytest.raises(WorkerError, match=r"x\.jsonl: 3 workers died over it"):
        label_on_ray(plan, partial(load, tiny_llama, tmp_path / "many marks", 99), workers=2)
    assert isinstance(load(tiny_llama)[0], Predictor)
