"""Several processes: the same order, errors and deaths said, nothing left running. Real processes, so mostly slow."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from lookright.data import Read, Sentence
from lookright.errors import DataError, LookRightError, RecipeError, WorkerError
from lookright.inference.formats import JsonLines
from lookright.inference.labeler import AsText, Labeler, tag_with_workers
from lookright.inference.workers import Workers


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


class Toy:
    """Squares numbers; "die" and "fail" do that, a text with a number waits so many seconds."""

    def __init__(self, folder: Path, *, settles: bool = True) -> None:
        self.folder = folder
        self.settles = settles

    def settle(self) -> None:
        if not self.settles:
            raise DataError("cannot settle", path="here")

    def __call__(self, item: Any) -> Any:
        if isinstance(item, int):
            return item * item
        if item == "fail":
            raise DataError("a bad item", path="a file", line=3)
        if item == "crash":
            raise KeyError("anything")
        if item == "warn":
            logging.getLogger("lookright").warning("%d words are long", 2)
        elif item == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif item == "die once":
            if not (self.folder / "died").exists():
                (self.folder / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        elif item == "threads":
            return torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]
        elif isinstance(item, float):
            time.sleep(item)
        return item


def test_order_errors_and_deaths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In one test, since processes take seconds to start."""
    with Workers(Toy(tmp_path), 2, threads=1) as workers:
        pids = {worker.process.pid for worker in workers._workers}
        items: list[Any] = [0.3, *range(40), "threads"]
        assert list(workers.map(items)) == [0.3, *(n * n for n in range(40)), (1, "1")]
        assert list(workers.map([])) == []
        with caplog.at_level(logging.WARNING, "lookright"):
            assert list(workers.map([1, "warn", 2])) == [1, "warn", 4]
        assert "2 words are long" in caplog.text
        # An error comes in its place, after all that stands before it, however long that takes.
        found: list[Any] = []
        with pytest.raises(DataError, match=r"^a file:3: a bad item$"):
            found.extend(workers.map([0.2, 5, "fail", 6]))
        assert found == [0.2, 25]
        assert {worker.process.pid for worker in workers._workers} == pids
    with Workers(Toy(tmp_path), 2, threads=1) as workers:
        with caplog.at_level(logging.WARNING, "lookright"):
            assert list(workers.map([1, 2, "die once", 3, 4])) == [1, 4, "die once", 9, 16]
        assert "was ended by signal 9 (out of memory?): a new one does its sentences again" in caplog.text
        with pytest.raises(WorkerError, match=r"signal 9.*as did another one over the same"):
            list(workers.map([1, "die", 2]))


@pytest.mark.slow
def test_other_errors_are_named_and_input_errors_come_last(tmp_path: Path) -> None:
    def broken() -> Iterator[Any]:
        yield from (1, 2, 3)
        raise DataError("line 4 is bad")

    with Workers(Toy(tmp_path), 2, threads=1) as workers:
        found: list[Any] = []
        with pytest.raises(DataError, match="line 4 is bad"):
            found.extend(workers.map(broken()))
        assert found == [1, 4, 9]
        with pytest.raises(WorkerError, match="unexpected KeyError"):
            list(workers.map(["crash"]))


@pytest.mark.slow
def test_what_waits_is_bounded(tmp_path: Path) -> None:
    read = 0

    def source() -> Iterator[Any]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield 0.0 if read > 1 else 1.5

    with Workers(Toy(tmp_path), 2, threads=1) as workers:
        stream = workers.map(source())
        next(stream)  # the first takes long; the other process did what it could meanwhile
        assert 2 < read < 15
        stream.close()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_is_killed_before_it_began_is_replaced_once(
    tmp_path: Path, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    killed = 0

    class Killing(Workers[Any, Any]):
        def _start(self, number: int) -> Any:
            nonlocal killed
            worker = super()._start(number)
            if killed < times:
                killed += 1
                assert worker.process.pid is not None
                os.kill(worker.process.pid, signal.SIGKILL)
            return worker

    with Killing(Toy(tmp_path), 1, threads=1) as workers:
        if times == 1:
            with caplog.at_level(logging.WARNING, "lookright"):
                assert list(workers.map([1, 2])) == [1, 4]
            assert "signal 9 (out of memory?): a new one takes its place" in caplog.text
        else:
            with pytest.raises(WorkerError, match="before it began, as did another one: run with fewer workers"):
                list(workers.map([1, 2]))


@pytest.mark.slow
def test_a_job_that_cannot_begin_is_said(tmp_path: Path) -> None:
    with Workers(Toy(tmp_path, settles=False), 2, threads=1) as workers, pytest.raises(DataError, match="here: cannot"):
        list(workers.map([1]))


def test_bad_numbers_and_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="0 workers"):
        Workers(Toy(tmp_path), 0)
    local: Any = Toy(tmp_path)
    local.function = lambda: None
    with pytest.raises(RecipeError, match="cannot be handed to other processes"), Workers(local, 1):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_several_processes_write_the_bytes_of_one(
    tiny_llama: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_predictor import make_predictor

    if not shared:
        monkeypatch.setattr("lookright.inference.workers._share", lambda model: False)
    predictor = make_predictor(tiny_llama, budget=64)
    sentences = [Sentence(tuple(words)) for words, _ in toys.toy_dataset(700, 0)]
    labeler = Labeler(predictor, AsText(JsonLines()))
    stream = [*labeler.chunks(Read(sentence) for sentence in sentences)]
    assert len(stream) > 4
    one = list(labeler.run(stream))
    with Workers(labeler, 3, model=predictor.model, threads=1) as workers:
        assert all(tensor.is_shared() is shared for tensor in predictor.model.parameters())
        assert list(labeler.run(stream, workers=workers)) == one
    assert "".join(one).count("\n") == 700


@pytest.mark.slow
def test_tag_with_workers_is_tag(tiny_llama: Path) -> None:
    from test_predictor import assert_same, make_predictor

    for context, starts in (("sentence", None), ("document", [0, 3, 40])):
        predictor = make_predictor(tiny_llama, budget=64, context=context)
        sentences = [Sentence(tuple(words)) for words, _ in toys.toy_dataset(100, 0)]
        assert_same(tag_with_workers(predictor, sentences, starts, 2), predictor.tag(sentences, document_starts=starts))


def test_a_plan_that_got_lost_on_the_way_is_noticed(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_predictor import make_predictor

    from lookright.attention import masks
    from lookright.errors import PlanNotHeldError

    labeler: Labeler[Any] = Labeler(make_predictor(tiny_llama, "0011"), AsText(JsonLines()))
    labeler.settle()
    monkeypatch.setattr(masks, "closure", lambda mask, right: mask)
    with pytest.raises(PlanNotHeldError):
        labeler.settle()
    assert issubclass(WorkerError, LookRightError)
