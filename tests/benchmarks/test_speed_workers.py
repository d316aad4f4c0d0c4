"""The benchmark of speed: the conversation with systems, and what becomes of those that fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmarks.speed import rounds, sentences, workers
from benchmarks.speed.cases import Case
from benchmarks.speed.environments import OURS, Environments
from benchmarks.speed.workers import Failed, Worker, environment

SYSTEM = """
import os
import time

import child


def prepare(case):
    if case.get("broken"):
        raise RuntimeError("no such model")
    calls = []

    def once():
        calls.append(None)
        if len(calls) == case.get("dies_at"):
            os._exit(3)
        if case.get("sleeps"):
            time.sleep(60)
        print("what a library prints is no answer")
        return child.result(case.get("seconds", 1.0), 0.0, [case.get("tokens", 30)])

    return once, {"weights": case.get("weights", 100.0)}


child.serve(prepare)
"""


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one system in it."""
    folder = tmp_path / "peers"
    folder.mkdir()
    shutil.copy(workers.PEERS / "child.py", folder)
    (folder / "fake.py").write_text(SYSTEM)
    monkeypatch.setattr(workers, "PEERS", folder)
    return folder


def a_worker(folder: Path, timeout: float = 60.0) -> Worker:
    python = Environments(folder, {}).python(OURS)
    return Worker(python, "fake", environment(1, "cpu"), folder / "log", timeout)


def test_a_system_answers_and_says_what_went_wrong(peers: Path) -> None:
    with a_worker(peers) as worker:
        with pytest.raises(Failed, match="before anything was prepared"):
            worker.ask({"do": "round"})
        with pytest.raises(Failed, match="RuntimeError: no such model"):
            worker.ask({"do": "prepare", "case": {"broken": True}})
        assert worker.ask({"do": "prepare", "case": {}})["about"] == {"weights": 100.0}
        answer = worker.ask({"do": "round"})
        assert (answer["tokens"], answer["seconds"]) == (30, 1.0)
        assert answer["peak_mb"] > 1
    assert worker.process.poll() == 0
    assert "no answer" in (peers / "log").read_text()


def test_a_system_that_does_not_answer_is_ended(peers: Path) -> None:
    with a_worker(peers, timeout=60.0) as worker:
        worker.ask({"do": "prepare", "case": {"sleeps": True}})
        worker.timeout = 0.3
        with pytest.raises(Failed, match="no answer within"):
            worker.ask({"do": "round"})
    assert worker.process.poll() is not None


def test_rounds_alternate_and_systems_that_fail_are_left_out_with_a_reason(peers: Path, tmp_path: Path) -> None:
    def case(name: str, **options: Any) -> Case:
        return Case(name, "train", "fake", OURS, "ours", options=options, has_roof=False)

    given = [
        case("fast"),
        case("slow", seconds=2.0, weights=100.01),  # rounded otherwise
        case("broken", broken=True),
        case("another model", weights=101.0),
        case("counts padding", tokens=64),
        case("dies", dies_at=2),
    ]
    bench = rounds.Bench(Environments(tmp_path, {}), tmp_path, 1, "cpu", tmp_path, "01", 1, seed=0)
    rows = [{"tokens": ["a"], "tags": ["O"], "n_subwords": 30}]
    kept: list[rounds.Round] = []
    missing = rounds.run(bench, given, sentences.write(rows, tmp_path / "x.jsonl"), 3, kept.append)
    assert {name: reason.split(";")[0] for name, reason in missing.items()} == {
        "broken": "RuntimeError: no such model",
        "another model": "it has other weights: their sum is 101.0, elsewhere 100.0",
        "counts padding": "it counted 64 real tokens in a round, of 30 that there are",
        "dies": "it ended with 3",
    }
    by_round = [sorted(row["case"] for row in kept if row["round"] == number) for number in range(3)]
    assert by_round == [["dies", "fast", "slow"], ["fast", "slow"], ["fast", "slow"]]
    assert rounds.summaries(kept, "train")["slow"].rate == 15.0
