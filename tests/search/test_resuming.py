"""A search that is killed anywhere goes on as if nothing had been, and runs nothing twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search_support import DEV, search, toy_data

from lookright import Tagger
from lookright.errors import OutputError, RecipeError
from lookright.search.runs import SharedTrainer
from lookright.search.trials import Ledger
from lookright.search.workshop import Workshop
from lookright.training.trainer import TaggerTrainer

Row = dict[str, Any]


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def rows(out: Path) -> list[Row]:
    """The rows of a search, without what the clock says."""
    found = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    return [{**row, "cost": {**row["cost"], "seconds": 0}} for row in found]


def dying_in(owner: type, name: str, when: Callable[..., bool]) -> None:
    """Make this process die after a method, at some call of it."""
    inner = getattr(owner, name)

    def method(self: Any, *rest: Any, **more: Any) -> Any:
        found = inner(self, *rest, **more)
        if when(self, *rest):
            die()
        return found

    setattr(owner, name, method)


KILLS: dict[str, Callable[[], None]] = {
    "in the shared run": lambda: dying_in(
        SharedTrainer, "training_step", lambda self, *_: self.state.global_step == 6
    ),
    "while rows of plans are written": lambda: dying_in(Ledger, "add", lambda self, *_: len(self.trials) == 9),
    "in the final training": lambda: dying_in(
        TaggerTrainer, "training_step",
        lambda self, *_: not isinstance(self, SharedTrainer) and self.state.global_step == 1,
    ),
    "after the last row": lambda: dying_in(Ledger, "add", lambda self, trial: trial.stage == "final"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nothing happened to. Shared: read only."""
    out = tmp_path_factory.mktemp("whole") / "out"
    search(tiny_llama, out)
    return out


def kill_and_resume(base: Path, out: Path, prepare: Callable[[], None], **options: Any) -> None:
    def work() -> None:
        prepare()
        search(base, out, **options)

    assert in_child(work) == -signal.SIGKILL
    assert not (out / "report.json").exists()
    with pytest.raises(OutputError, match="holds an earlier search; go on with --resume"):
        search(base, out, **options)
    search(base, out, resume=True, **options)


@pytest.mark.parametrize(
    "kill", ["in the final training", *(pytest.param(k, marks=pytest.mark.slow) for k in KILLS if "final" not in k)]
)
def test_a_killed_search_ends_as_an_unkilled_one(tiny_llama: Path, tmp_path: Path, whole: Path, kill: str) -> None:
    out = tmp_path / "out"
    kill_and_resume(tiny_llama, out, KILLS[kill])
    assert rows(out) == rows(whole)
    for name in ("model.safetensors", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("n_rows", [2, 3], ids=["before the final training", "after the last row"])
def test_halving_goes_on_from_its_last_round(tiny_llama: Path, tmp_path: Path, n_rows: int) -> None:
    options = {"strategy": "halving", "plans": ["0000", "0011"]}
    search(tiny_llama, tmp_path / "whole", **options)
    kill_and_resume(
        tiny_llama, tmp_path / "out",
        lambda: dying_in(Ledger, "add", lambda self, *_: len(self.trials) == n_rows), **options,
    )  # fmt: skip
    assert [row["stage"] for row in rows(tmp_path / "out")] == ["round 1", "round 1", "final"]
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole"))
    assert one == other


def test_trainings_that_are_done_are_not_done_again(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "out", {"strategy": "exhaustive", "plans": ["0000", "0011", "1111"]}

    def prepare() -> None:
        dying_in(Ledger, "add", lambda self, *_: len(self.trials) == 2)

    trained: list[str] = []
    inner = Workshop.fit

    def fit(self: Workshop, model: Any, stage: str, name: str, *rest: Any, **more: Any) -> Any:
        trained.append(name)
        return inner(self, model, stage, name, *rest, **more)

    monkeypatch.setattr(Workshop, "fit", fit)
    kill_and_resume(tiny_llama, out, prepare, **options)
    assert trained == ["1111"]
    assert [row["plan"] for row in rows(out)] == ["0000", "0011", "1111"]
    score = json.loads((out / "report.json").read_text())["dev"]["value"]
    assert Tagger.from_pretrained(out).evaluate(DEV).f1 == pytest.approx(score)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategy": "ladder"}, 'strategy: name was "shared" and is "ladder" now'),
        ({"budget": 2.0}, "budget was 1.5 and is 2.0 now"),
        ({"plans": ["0000", "0011"]}, "plans was .* and is .* now"),
        ({"epochs": 2.0}, "epochs was 1.0 and is 2.0 now"),
        ({"dev": toy_data(60, 9)}, "dev data was"),
    ],
)
def test_another_search_is_named_by_what_differs(
    tiny_llama: Path, tmp_path: Path, whole: Path, options: dict[str, Any], told: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "search.json").write_bytes((whole / "search.json").read_bytes())
    with pytest.raises(RecipeError, match=told):
        search(tiny_llama, out, resume=True, **options)


def test_a_search_that_is_done_is_not_begun_again(tiny_llama: Path, whole: Path) -> None:
    with pytest.raises(OutputError, match="is done, and its model is there"):
        search(tiny_llama, whole, resume=True)


def test_a_resumption_of_nothing_is_said(tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, told = tmp_path / "out", "has no search to go on with: beginning at the beginning"
    options: dict[str, Any] = {"strategy": "exhaustive", "plans": ["0000", "0011"], "resume": True}
    with caplog.at_level("INFO", "lookright"):
        search(tiny_llama, out, **options)
        assert f"{out} {told}" in caplog.messages
        (out / "report.json").unlink()  # stopped just before its end
        caplog.clear()
        with pytest.raises(RecipeError, match=r"budget was 2\.0 and is 1\.0 now"):
            search(tiny_llama, out, budget=1.0, **options)
    assert not any(told in message for message in caplog.messages)


def test_a_search_that_came_to_nothing_leaves_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="too little for one update"):
        search(tiny_llama, out, budget=0.05)
    assert not out.exists()


def test_other_folders_are_left_alone(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds something else \(notes.txt\)"):
        search(tiny_llama, tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        search(tiny_llama, tmp_path / "notes.txt")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="holds a training run, and no search"):
        search(tiny_llama, tmp_path / "run", resume=True)
