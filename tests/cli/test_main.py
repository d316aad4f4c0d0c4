from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

import lookright
from lookright.cli import main as entry
from lookright.cli.main import COMMANDS, main
from lookright.errors import DataError, LookRightWarning, PlanError

HEAVY = {"torch", "transformers", "peft", "accelerate", "tokenizers", "datasets", "rich", "numpy", "safetensors"}


def loaded_modules(*arguments: str) -> tuple[str, set[str]]:
    """What a command line prints, and the modules that its process had loaded at the end."""
    code = "import sys; from lookright.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    output, modules = loaded_modules(*arguments)
    assert output
    assert HEAVY & modules == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_opens_with_what_the_command_does_and_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(COMMANDS[name] + "\n\nExamples:\n  lookright " + name)
    assert text.index("Examples:") < text.index("Usage: ") < text.index("--help")


def test_top_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert text.index("Examples:") < text.index("Commands:")


def test_no_command_is_a_usage_error_that_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lookright {lookright.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["no command 'trian'", "did you mean 'train'?"]),
        (["xyzzy"], ["no command 'xyzzy'", "train, predict, evaluate"]),
        (["--debgu", "train"], ["put options after"]),
        (["check", "--modle", "m", "f"], ["unknown option '--modle'", "did you mean '--model'?"]),
        (["train", "--bach-size", "3"], ["unknown option '--bach-size'", "did you mean '--batch-size'?"]),
        (["train", "stray.conll"], ["unexpected argument 'stray.conll'"]),
        (["evaluate", "model"], ["required: FILE", "lookright evaluate --help"]),
        (["evaluate", "model", "file", "--convention", "loose"], ["'loose'", "strict"]),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lookright: error: ")
    assert captured.err.count("\n") == 1
    assert [word for word in words if word not in captured.err] == []


class Fails:
    """A stand-in for a command module whose run does what it is told."""

    EXAMPLES = "lookright check nothing"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: object) -> None:
        module = types.SimpleNamespace(EXAMPLES=self.EXAMPLES, add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(entry.importlib, "import_module", lambda name: module)


def raising(error: BaseException) -> object:
    def run(args: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("no tags", path="a.conll", line=3), 1, "a.conll:3: no tags"),
        (PlanError("a plan of two\nlines"), 2, "a plan of two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/out"), 1, "cannot write /x/out: the disk is full"),
        (OSError(errno.EFBIG, "File too large"), 1, "the file is too large for this disk"),
        (RuntimeError("Error while serializing: I/O error: No space left (os error 28)"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (MemoryError(), 1, "out of memory: lower --token-budget"),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops (run again with --debug"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (KeyboardInterrupt("stopped after update 7"), 130, "error: stopped after update 7"),
    ],
)
def test_what_goes_wrong_is_one_line(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Fails(monkeypatch, raising(error))
    assert main(["check"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Fails(monkeypatch, raising(ZeroDivisionError("oops")))
    assert main(["check", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "shown"), [([], True), (["--quiet"], False), (["-q"], False)])
def test_warnings_are_lines_on_stderr_unless_quiet(
    flags: list[str], shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        warnings.warn("three words were cut", LookRightWarning, stacklevel=1)
        warnings.warn("an API of others is old", DeprecationWarning, stacklevel=1)
        return 0

    Fails(monkeypatch, run)
    assert main(["check", *flags]) == 0
    assert capsys.readouterr().err == ("lookright: warning: three words were cut\n" if shown else "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys; from lookright.cli import main as m; import types\n"
        "def run(args):\n"
        "    while True: print('x' * 1000)\n"
        "module = types.SimpleNamespace(EXAMPLES='e', add_arguments=lambda parser: None, run=run)\n"
        "m.importlib.import_module = lambda name: module\n"
        "sys.exit(m.main(['check']))"
    )
    read_end, write_end = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    os.read(read_end, 100)
    os.close(read_end)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 141
    assert errors == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lookright.cli.main", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("lookright: error: cannot write: the disk is full")
    assert done.stderr.count("\n") == 1
