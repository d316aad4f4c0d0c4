"""Two processes do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_support import run

import toys

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
import torch
from training_support import run
torch.manual_seed(0)
result, model = run(Path({folder!r}), Path({out!r}), **{options!r})
os.write(1, f"UPDATES {{result.outcome.n_updates}} {{result.outcome.update}}\\n".encode())  # in one piece
"""
OPTIONS: dict[str, Any] = {"dropout": 0.0, "token_budget": 20, "evals_per_epoch": 2, "device": "cpu", "batch_size": 3}
"""20 sentences in updates of 3: the last of each epoch has 2. With 3 processes one of them has none there."""


def launch(folder: Path, out: Path, tmp_path: Path, command: list[str], options: dict[str, Any]) -> str:
    own = Path(__file__).parent
    script = tmp_path / "job.py"
    script.write_text(
        SCRIPT.format(tests=str(own.parent), own=str(own), folder=str(folder), out=str(out), options=options)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, *command, str(script)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


LAUNCHERS = {
    "accelerate": ["-m", "accelerate.commands.launch", "--num_processes=2", "--multi_gpu", "--mixed_precision=no",
                   "--num_machines=1", "--dynamo_backend=no", "--main_process_port=0"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"],
}  # fmt: skip


@pytest.mark.parametrize("launcher", list(LAUNCHERS))
@pytest.mark.parametrize("method", ["full", "lora"])
def test_processes_equal_one(tiny_llama: Path, tmp_path: Path, launcher: str, method: str) -> None:
    options = {**OPTIONS, "method": method, "lora_dropout": 0.0} if method == "lora" else {**OPTIONS, "method": method}
    assert_equal_one(tiny_llama, tmp_path, launcher, options)


def test_processes_open_layers_alike(tiny_llama: Path, tmp_path: Path) -> None:
    assert_equal_one(tiny_llama, tmp_path, "accelerate", {**OPTIONS, "opening": "soft:0.9"})


def assert_equal_one(tiny_llama: Path, tmp_path: Path, launcher: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    result, _ = run(tiny_llama, tmp_path / "one", **options)
    said = launch(tiny_llama, tmp_path / "many", tmp_path, LAUNCHERS[launcher], options)
    n_processes = {"accelerate": 2, "torchrun": 3}[launcher]
    assert said.count(f"UPDATES {result.outcome.n_updates} {result.outcome.update}") == n_processes
    one, many = log_of(tmp_path / "one"), log_of(tmp_path / "many")
    assert [entry["update"] for entry in one] == [entry["update"] for entry in many]
    for left, right in zip(one, many, strict=True):
        for name in left.keys() | right.keys():
            close = right[name] if right[name] is None else pytest.approx(right[name], rel=1e-3, abs=1e-4)
            assert left[name] == close, (left, right)
    last = f"checkpoints/update-{result.outcome.n_updates}/model.safetensors"
    weights, others = load_file(tmp_path / "one" / last), load_file(tmp_path / "many" / last)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_command_in_two_processes_saves_once(tiny_llama: Path, tmp_path: Path) -> None:
    """One of them saves, scores and speaks; the tagger is that of one process."""
    train = tmp_path / "train.conll"
    sentences = toys.toy_dataset(20, 0)
    train.write_text("".join("".join(f"{w} {t}\n" for w, t in zip(*one, strict=True)) + "\n" for one in sentences))
    said = []
    for name, launcher in (("one", []), ("two", LAUNCHERS["accelerate"])):
        out = tmp_path / name
        given = ["--train", train, "--test", train, "--out", out, "--base", tiny_llama, "--epochs", "2"]
        given += ["--dropout", "0", "--batch-size", "4", "--device", "cpu", "--precision", "float32"]
        command = [sys.executable, *launcher, "-m", "lookright.cli.main", "train", *map(str, given)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done)
        assert done.stderr.count("saved to") == 1
        assert (out / "README.md").read_text().count("test") >= 1
    assert said[1].stdout.count("test: ") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_run_in_two_processes_can_be_resumed(tiny_llama: Path, tmp_path: Path) -> None:
    """By two processes again, after the first checkpoint was all that was left."""
    options = {**OPTIONS, "dropout": 0.1}
    launch(tiny_llama, tmp_path / "whole", tmp_path, LAUNCHERS["accelerate"], options)
    wanted = log_of(tmp_path / "whole")
    cut = "from lookright.training import trainer as t, run as r\nimport os\nstep = t.TaggerTrainer.training_step\n"
    cut += "def dying(self, *rest):\n    if self.state.global_step == 9: os._exit(7)\n    return step(self, *rest)\n"
    cut += "t.TaggerTrainer.training_step = dying\n"
    own = Path(__file__).parent
    text = SCRIPT.format(
        tests=str(own.parent), own=str(own), folder=str(tiny_llama), out=str(tmp_path / "cut"), options=options
    )
    script = tmp_path / "cut.py"
    script.write_text(text.replace("torch.manual_seed(0)", cut))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *LAUNCHERS["accelerate"], str(script)]
    assert subprocess.run(command, capture_output=True, env=environment, check=False).returncode != 0
    launch(tiny_llama, tmp_path / "cut", tmp_path, LAUNCHERS["accelerate"], {**options, "resume": True})
    assert log_of(tmp_path / "cut") == wanted
