"""`lookright pretrain` as people run it: good input, bad input, a full disk, Ctrl-C, several processes."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pretraining_support import SHAPE, SHORT, write_corpus

import toys
from lookright.cli.main import main
from lookright.models.base import load_base
from lookright.training.checkpoints import Checkpoints
from lookright.training.pretraining.loop import LanguageModelTrainer


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run_it(*arguments: str | Path) -> Done:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    return run_it


def flags(corpus: Path, out: Path, **changes: Any) -> list[str]:
    options = {**SHORT, "text": corpus, "out": out, "cache": corpus.parent / "cache", **changes}
    if "base" in changes:
        options = {name: value for name, value in options.items() if name not in SHAPE}
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None)
    return ["pretrain", *(text for pair in pairs for text in pair)]


def test_from_text_to_a_tagger_on_the_carried_plan(corpus: Path, clm_base: Path, tmp_path: Path, command: Run) -> None:
    out = tmp_path / "mntp"
    done = command(*flags(corpus, out, base=clm_base, objective="mntp", plan="0,1,0,*", updates=2))
    assert done.code == 0, done.err
    assert done.out.startswith("held out: loss ")
    assert "tokens/s" in done.err
    assert "% of an update is model arithmetic" in done.err
    assert f"saved to {out}: a base that carries the plan 0,1,0,*" in done.err
    next_line = next(line for line in done.err.splitlines() if line.startswith("next: "))
    train = toys.write_conll(tmp_path / "train.conll", toys.toy_dataset(12))
    words = shlex.split(next_line.removeprefix("next: lookright "))[:-3]
    done = command(*words, "--train", train, "--epochs", "1", "--out", tmp_path / "tagger")
    assert done.code == 0, done.err
    assert "the base carries the plan 0,1,0,*, which is taken" in done.err
    assert json.loads((tmp_path / "tagger" / "run.json").read_text())["plan"] == [0, 1, 0, -1]
    assert "0,1,0,*" in command("info", out).out
    assert "not a tagger but a base that carries its plan" in command("predict", out, train).err


def test_json_and_dry_run(corpus: Path, tmp_path: Path, command: Run) -> None:
    done = command(*flags(corpus, tmp_path / "out", updates=1), "--json", "--quiet")
    found = json.loads(done.out)
    assert (found["objective"], found["plan"], done.err) == ("clm", "0", "")
    assert found["held_out_loss"] > 0
    more = write_corpus(tmp_path / "more.txt", 20, seed=1)
    done = command(*flags(corpus, tmp_path / "none"), "--text", more, "--dry-run")
    assert "learning_rate = 0.005" in done.out
    assert f'text = ["{corpus}", "{more}"]' in done.out  # a flag that is repeated adds to what stood before
    assert not (tmp_path / "none").exists()


def bad(kind: str, corpus: Path, tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    text = tmp_path / "text.txt"
    contents = {"empty": b"", "one line": b"One line of text.\n", "not UTF-8": b"caf\xe9\n"}
    if kind in contents:
        text.write_bytes(contents[kind])
        return flags(text, out)
    changes: dict[str, dict[str, Any]] = {
        "missing": {"text": text},
        "heads": {"heads": 5},
        "plan": {"plan": "0011"},
        "layers": {"plan": "00110101", "layers": 6, "objective": "mntp"},
        "base": {"base": tmp_path / "none"},
        "no text": {"text": None},
        "length": {"base": tmp_path / "llama", "length": 4096},
    }
    if kind == "length":
        toys.llama_folder(tmp_path / "llama", head=True)
    return flags(corpus, out, **changes[kind])


BAD = {
    "empty": (1, "text.txt: expected plain text"),
    "one line": (1, "sub-words to train on"),
    "not UTF-8": (1, "text.txt: not UTF-8 text: the byte 0xe9 at byte 3"),
    "missing": (1, "text.txt: no such file"),
    "heads": (2, "hidden is 32, which 5 heads do not divide"),
    "plan": (2, "a sub-word would see the next one"),
    "layers": (2, "8 groups"),
    "base": (1, "none: no such folder"),
    "no text": (2, "--text must be given"),
    "length": (2, "length is 4096, but this base takes 512"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_clear_line(kind: str, corpus: Path, tmp_path: Path, command: Run) -> None:
    done = command(*bad(kind, corpus, tmp_path), "--quiet")
    code, words = BAD[kind]
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("lookright: error: ")
    assert done.err.count("\n") == 1
    assert words.replace("text.txt: expected plain text", "text.txt") in done.err
    assert "unexpected" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_kind_of_run(corpus: Path, clm_base: Path, tmp_path: Path, command: Run) -> None:
    train = toys.write_conll(tmp_path / "train.conll", toys.toy_dataset(12))
    folder = tmp_path / "tagger"
    arguments = ["train", "--base", clm_base, "--train", train, "--epochs", "1", "--out", folder, "--quiet"]
    assert command(*arguments).code == 0
    done = command(*flags(corpus, folder), "--resume", "--quiet")
    assert done.code == 2
    assert "holds a run of `lookright train`" in done.err
    done = command("train", "--base", clm_base, "--train", train, "--out", clm_base, "--resume", "--quiet")
    assert "holds a run of `lookright pretrain`" in done.err


@pytest.mark.parametrize("where", ["cache", "out"])
def test_a_full_disk(where: str, tmp_path: Path, command: Run) -> None:
    """Nothing half-written stays; the run goes on when there is room again."""
    corpus = write_corpus(tmp_path / "toy.txt", 60)
    if where == "out":
        assert command(*flags(corpus, tmp_path / "first", updates=1, checkpoints=1), "--quiet").code == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = {"cache": 2_000, "out": 60_000}[where]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        done = command(*flags(corpus, tmp_path / "out", updates=2, checkpoints=1), "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert done.code == 1
    assert "disk" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert [p for p in tmp_path.rglob(".*") if "cache" in str(p)] == []
    assert command(*flags(corpus, tmp_path / "out", updates=2, checkpoints=1), "--quiet").code == 0


def test_ctrl_c_keeps_the_last_checkpoint(
    corpus: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = LanguageModelTrainer.training_step

    def pressed(self: Any, *rest: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelTrainer, "training_step", pressed)
        done = command(*flags(corpus, tmp_path / "out"), "--quiet")
    assert done.code == 130
    assert "update-2 is whole: go on with --resume" in done.err
    assert Checkpoints(tmp_path / "out" / "checkpoints").updates() == [2]
    assert command(*flags(corpus, tmp_path / "out"), "--resume", "--quiet").code == 0
    load_base(tmp_path / "out")


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path, command: Run) -> None:
    corpus = write_corpus(tmp_path / "toy.txt")
    assert command(*flags(corpus, tmp_path / "one", objective="mlm"), "--quiet").code == 0
    launcher = "-m accelerate.commands.launch --num_processes=2 --multi_gpu --mixed_precision=no --num_machines=1"
    more = "--dynamo_backend=no --main_process_port=0 -m lookright.cli.main"
    arguments = flags(corpus, tmp_path / "two", objective="mlm", cache=tmp_path / "other cache")
    line = [sys.executable, *launcher.split(), *more.split(), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("held out") == 1
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [sorted(entry) for entry in one] == [sorted(entry) for entry in two]
    for left, right in zip(one, two, strict=True):
        assert left == {name: pytest.approx(right[name], rel=1e-3, abs=1e-4) for name in right}
    load_base(tmp_path / "two")
