"""The benchmark of speed: systems as processes, the shared model, and what LookRight's own worker answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from benchmarks.speed import cases, rounds, steady, workers
from benchmarks.speed.environments import Environments
from benchmarks.speed.material import Material
from benchmarks.speed.workers import Failed, Worker, environment

from lookright import Tagger
from toys import llama_folder

PEER = f"""
import sys, time
sys.path.insert(0, {str(workers.PEERS)!r})
import child

def prepare(case):
    print("a library that prints")
    if case["activity"] == "refuse":
        raise RuntimeError("not like this")
    def once(what="answer"):
        if what == "die":
            raise SystemExit(3)
        if what == "sleep":
            time.sleep(60)
        with child.timed() as timer:
            print("and prints again")
        return child.result(timer.seconds, timer.cpu_seconds, [3, 4])
    return once, {{"weights": case.get("weights", 1.0)}}

child.serve(prepare)
"""


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "peer.py").write_text(PEER)
    monkeypatch.setattr(workers, "PEERS", tmp_path)
    return "peer"


def start(tmp_path: Path) -> Worker:
    return Worker(Path(sys.executable), "peer", environment(1, "cpu"), tmp_path / "log")


def test_a_system_answers_whatever_its_libraries_print(tmp_path: Path, peer: str) -> None:
    with start(tmp_path) as worker:
        assert worker.ask({"do": "prepare", "case": {"activity": "train"}})["about"]["weights"] == 1.0
        for _ in range(2):
            answer = worker.ask({"do": "round"})
            assert (answer["tokens"], answer["batches"]) == (7, [3, 4])
            assert answer["peak_mb"] > 1
    assert worker.process.returncode == 0
    assert (tmp_path / "log").read_text().count("prints") == 3


def test_a_system_that_refuses_dies_or_sleeps_is_told_from_one_that_answers(tmp_path: Path, peer: str) -> None:
    with start(tmp_path) as worker:
        with pytest.raises(Failed, match="RuntimeError: not like this"):
            worker.ask({"do": "prepare", "case": {"activity": "refuse"}})
        worker.ask({"do": "prepare", "case": {"activity": "train"}})
        worker.timeout = 0.5
        with pytest.raises(Failed, match=r"no answer within 0\.5 s"):
            worker.ask({"do": "round", "with": {"what": "sleep"}})
    with start(tmp_path) as worker:
        worker.ask({"do": "prepare", "case": {"activity": "train"}})
        with pytest.raises(Failed, match="it ended with 3"):
            worker.ask({"do": "round", "with": {"what": "die"}})


def test_a_system_with_other_weights_is_left_out_and_the_others_go_on(tmp_path: Path, peer: str) -> None:
    bench = rounds.Bench(Environments(tmp_path, {}), tmp_path, 1, "cpu", tmp_path, "01", 1, 0)
    same, other, rounded = (
        cases.Case(name, "train", "peer", "ours", "transformers", options={"weights": weights}, has_roof=False)
        for name, weights in (("same", 1.0), ("other", 1.1), ("rounded", 1.0001))
    )
    kept: list[rounds.Round] = []
    missing = rounds.run(bench, [same, other, rounded], tmp_path / "none", 2, kept.append)
    assert list(missing) == ["other"]
    assert "other weights" in missing["other"]
    assert sorted(row["case"] for row in kept) == ["rounded", "rounded", "same", "same"]
    assert {row["round"] for row in kept} == {0, 1}


def test_layouts_are_what_was_asked_for(tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(llama_folder(tmp_path / "base"), labels=["PER"], device="cpu")
    texts = ["one text", "another text of several words"]

    def predict(packed: bool) -> object:
        tagger._predictor = None
        with steady.layout(packed=packed):
            return [[span.to_dict() for span in spans] for spans in tagger.predict(texts)]

    assert [len(spans) for spans in predict(True)] == [len(spans) for spans in predict(False)]  # type: ignore[union-attr]
    with pytest.raises(Failed, match="no model was called"), steady.layout(packed=True):
        pass
    tagger._predictor = None
    tagger.predict(texts)  # its predictor is packed, and stays so
    with pytest.raises(Failed, match="to be padded, and some were packed"), steady.layout(packed=False):
        tagger.predict(texts)


@pytest.mark.slow
def test_lookright_computes_the_sub_words_that_the_shared_tokenizer_counts(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    material = Material.make(tmp_path / "material", None, seed=0)
    file, rows = material.sentences(40, "sentences")
    environments = Environments(tmp_path, {"current": Path(sys.executable)})
    bench = rounds.Bench(environments, tmp_path, 1, "cpu", material.model("tiny"), "01", 1, 0)
    wanted = ["LookRight float32", "transformers pipeline, 8", "paper's loop, 16"]
    chosen = [case for case in cases.PREDICTION if case.name in wanted]
    kept: list[rounds.Round] = []
    assert rounds.run(bench, chosen, file, 1, kept.append) == {}
    assert {row["tokens"] for row in kept} == {sum(row["n_subwords"] for row in rows)}
    assert all(row["roof_seconds"] > 0 for row in kept)
    trained = [case for case in cases.TRAINING if case.name in ("LookRight float32, 16", "transformers Trainer, 8")]
    kept.clear()
    assert rounds.run(bench, trained, file, 1, kept.append) == {}
    assert {row["tokens"] for row in kept} == {sum(row["n_subwords"] for row in rows)}
