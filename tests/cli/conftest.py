"""What the tests of commands share: labeled files, a trained tagger, and how a command is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import toys
from lookright.cli.main import main


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A folder with `base`, `tagger`, and train, dev and test files. Shared: read only."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(tiny_llama, folder / "base")
    for seed, split in enumerate(("train", "dev", "test")):
        toys.write_conll(folder / f"{split}.conll", toys.toy_dataset(30 if split == "train" else 12, seed))
    flags = ["--base", f"{folder}/base", "--train", f"{folder}/train.conll", "--out", f"{folder}/tagger"]
    assert main(["train", *flags, "--epochs", "1", "--plan", "0011", "--quiet"]) == 0
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run_it(*arguments: str | Path) -> Done:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    return run_it


@pytest.fixture
def fails(run: Run) -> Run:
    """Run a command line that must fail with one clear line on stderr and nothing on stdout; return what it came to."""

    def run_it(*arguments: str | Path, code: int = 1) -> Done:
        done = run(*arguments, "--quiet")
        assert done.code == code, done
        assert done.out == ""
        assert done.err.startswith("lookright: error: "), done.err
        assert done.err.count("\n") == 1, done.err
        assert "unexpected" not in done.err
        assert "Traceback" not in done.err
        return done

    return run_it
