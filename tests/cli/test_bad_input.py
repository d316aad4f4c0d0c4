"""Every bad input ends in one clear line on stderr and exit code 1 or 2, and leaves nothing half-written behind."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import toys

Fails = Callable[..., Any]

BAD_FILES: dict[str, tuple[bytes | None, list[str]]] = {
    "missing": (None, ["no such file"]),
    "empty": (b"", ["empty"]),
    "binary": (b"\x00\x01\x02\xff\xfe", ["binary"]),
    "one-column": (b"Zagreb\nis\nnice\n", [":1:", "column"]),
    "uneven": (b"Zagreb\tB-LOC\nis\n", [":2:", "column"]),
}


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.conll"
    content = BAD_FILES[kind][0]
    if content is not None:
        path.write_bytes(content)
    return path


def train_flags(files: Path, out: Path, **changes: str | Path) -> list[str]:
    options = {"base": files / "base", "train": files / "train.conll", "epochs": "1", "out": out, **changes}
    return ["train", *(text for name, value in options.items() for text in (f"--{name}", str(value)))]


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("role", ["train", "dev", "test"])
def test_train_on_a_bad_file(kind: str, role: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    path = bad_file(tmp_path, kind)
    done = fails(*train_flags(files, tmp_path / "out", **{role: path}))
    assert path.name in done.err
    assert [word for word in BAD_FILES[kind][1] if word not in done.err] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", BAD_FILES)
def test_evaluate_a_bad_file(kind: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    done = fails("evaluate", files / "tagger", bad_file(tmp_path, kind))
    assert [word for word in BAD_FILES[kind][1] if word not in done.err] == []


@pytest.mark.parametrize("kind", ["missing", "empty", "binary"])
def test_predict_a_bad_file(kind: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    done = fails("predict", files / "tagger", bad_file(tmp_path, kind), "--out", tmp_path / "result.jsonl")
    assert [word for word in BAD_FILES[kind][1] if word not in done.err] == []
    assert [path for path in tmp_path.iterdir() if "result" in path.name] == []


@pytest.mark.parametrize("kind", BAD_FILES)
def test_check_a_bad_file(kind: str, tmp_path: Path, run: Any) -> None:
    done = run("check", bad_file(tmp_path, kind), "--quiet")
    assert done.code == 1
    assert done.err.startswith("lookright: error: ")
    assert done.err.count("\n") == 1
    assert "fail  " in done.out


def test_a_folder_to_predict_needs_one_for_the_results(files: Path, tmp_path: Path, fails: Fails) -> None:
    done = fails("predict", files / "tagger", tmp_path, code=2)
    assert "a folder of files needs a folder for the results: --out DIR" in done.err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_directory_in_place_of_a_file(command: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    if command == "train":
        done = fails(*train_flags(files, tmp_path / "out", train=tmp_path))
    else:
        done = fails(command, files / "tagger", tmp_path)
    assert "this is a directory, expected a file" in done.err


@pytest.mark.parametrize("command", ["train", "evaluate", "check"])
def test_an_unknown_scheme(command: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    arguments = {
        "train": train_flags(files, tmp_path / "out"),
        "evaluate": ["evaluate", str(files / "tagger"), str(files / "test.conll")],
        "check": ["check", str(files / "test.conll")],
    }[command]
    done = fails(*arguments, "--scheme", "BIOX", code=2)
    assert "BIOX" in done.err


def test_train_and_dev_share_no_type(files: Path, tmp_path: Path, fails: Fails) -> None:
    other = toys.write_conll(tmp_path / "other.conll", [(["Zagreb", "."], ["B-city", "O"])])
    done = fails(*train_flags(files, tmp_path / "out", dev=other))
    assert "share no type" in done.err
    assert all(kind in done.err for kind in ("city", "LOC", "ORG", "PER"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("plan", "words"), [("000111", "6 groups"), ("00x1", '"x"'), ("layers:9", "no layer 9")])
@pytest.mark.parametrize("command", ["train", "info"])
def test_a_plan_that_does_not_fit(
    plan: str, words: str, command: str, files: Path, tmp_path: Path, fails: Fails
) -> None:
    arguments = train_flags(files, tmp_path / "out") if command == "train" else ["info", str(files / "base")]
    done = fails(*arguments, "--plan", plan, code=2)
    assert words in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("plan", "words"), [("causal", "give another --plan"), ("00000", "5 groups"), ("x", '"x"')])
def test_a_plan_that_the_demo_cannot_compare(plan: str, words: str, tmp_path: Path, fails: Fails) -> None:
    assert words in fails("demo", "--plan", plan, "--out", tmp_path / "out", code=2).err
    assert not (tmp_path / "out").exists()


@pytest.fixture(params=["base", "tagger"])
def broken(request: pytest.FixtureRequest, files: Path, tmp_path: Path) -> tuple[str, Path]:
    """A copy of a model folder, to break."""
    return request.param, Path(shutil.copytree(files / request.param, tmp_path / "model"))


def uses_of(kind: str, folder: Path, files: Path, tmp_path: Path) -> list[list[str | Path]]:
    if kind == "base":
        return [list(train_flags(files, tmp_path / "out", base=folder)), ["info", folder]]
    return [["predict", folder, files / "test.conll"], ["evaluate", folder, files / "test.conll"], ["info", folder]]


def test_a_model_folder_without_weights(broken: tuple[str, Path], files: Path, tmp_path: Path, fails: Fails) -> None:
    kind, folder = broken
    (folder / "model.safetensors").unlink()
    for arguments in uses_of(kind, folder, files, tmp_path):
        assert "safetensors" in fails(*arguments).err


def test_a_pickle_where_safetensors_is_expected(
    broken: tuple[str, Path], files: Path, tmp_path: Path, fails: Fails
) -> None:
    kind, folder = broken
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for arguments in uses_of(kind, folder, files, tmp_path):
        assert "pickle" in fails(*arguments).err


def test_a_pickle_that_calls_itself_safetensors(
    broken: tuple[str, Path], files: Path, tmp_path: Path, fails: Fails
) -> None:
    kind, folder = broken
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.")
    for arguments in uses_of(kind, folder, files, tmp_path):
        fails(*arguments)


@pytest.mark.parametrize("command", ["predict", "evaluate", "info", "train"])
def test_a_model_that_is_not_there(command: str, files: Path, tmp_path: Path, fails: Fails) -> None:
    model = "./nowhere"
    arguments = {
        "predict": ["predict", model, files / "test.conll"],
        "evaluate": ["evaluate", model, files / "test.conll"],
        "info": ["info", model],
        "train": train_flags(files, tmp_path / "out", base=model),
    }[command]
    assert "no such folder" in fails(*arguments).err


def test_predicting_with_a_base(files: Path, fails: Fails) -> None:
    assert "lookright train --base" in fails("predict", files / "base", files / "test.conll").err


def test_an_out_folder_that_holds_something_else(files: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = fails(*train_flags(files, tmp_path))
    assert "holds something else (thesis.txt)" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "holds something else" in fails("demo", "--quick", "--out", tmp_path).err
    assert "is a file" in fails(*train_flags(files, tmp_path / "thesis.txt")).err
    # It is said before anything is loaded, which can take minutes.
    assert "holds something else" in fails(*train_flags(files, tmp_path, base="./nowhere", train="nothing")).err


def test_an_out_folder_with_an_earlier_run(files: Path, fails: Fails) -> None:
    before = sorted(path.name for path in (files / "tagger").rglob("*"))
    assert "--resume" in fails(*train_flags(files, files / "tagger")).err
    assert sorted(path.name for path in (files / "tagger").rglob("*")) == before


@pytest.mark.parametrize(("missing", "kept"), [("train", ["base", "out"]), ("out", ["base", "train"])])
def test_what_must_be_given(missing: str, kept: list[str], files: Path, tmp_path: Path, fails: Fails) -> None:
    values = {"base": files / "base", "train": files / "train.conll", "out": tmp_path / "out"}
    flags = [text for name in kept for text in (f"--{name}", str(values[name]))]
    assert f"--{missing} must be given" in fails("train", *flags, code=2).err


@pytest.mark.parametrize(
    ("text", "words"),
    [("epoch = 3", ["'epoch'", "did you mean 'epochs'"]), ("epochs = ", ["not a TOML"]), ("epochs = -1", ["epochs"])],
)
def test_a_recipe_file_with_a_mistake(text: str, words: list[str], tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    done = fails("train", "--recipe", tmp_path / "recipe.toml", code=2)
    assert [word for word in [*words, "recipe.toml"] if word not in done.err] == []


@pytest.fixture
def no_room() -> Iterator[Callable[[int], None]]:
    """Forbid files beyond a size, as a full disk does; writing more fails with "File too large"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_train_on_a_full_disk(files: Path, tmp_path: Path, run: Any, no_room: Callable[[int], None]) -> None:
    no_room(50_000)  # room for the recipe and the log, not for the weights
    done = run(*train_flags(files, tmp_path / "out"), "--quiet")
    no_room(resource.RLIM_INFINITY)
    assert done.code == 1
    assert "the disk is full" in done.err
    assert done.err.count("\n") == 1
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []


def test_predict_on_a_full_disk(files: Path, tmp_path: Path, run: Any, no_room: Callable[[int], None]) -> None:
    old = tmp_path / "result.html"
    old.write_text("what was there")
    no_room(2000)  # less than the page, more than the line on stderr, which is a file here
    done = run("predict", files / "tagger", files / "test.conll", "--format", "html", "--out", old, "--quiet")
    no_room(resource.RLIM_INFINITY)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "result.html" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["result.html"]
    assert old.read_text() == "what was there"


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Press Ctrl-C during the given training step."""
    from lookright.training.trainer import TaggerTrainer

    original = TaggerTrainer.training_step

    def press(at: int) -> None:
        steps = 0

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at:
                signal.raise_signal(signal.SIGINT)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(TaggerTrainer, "training_step", step)

    # What a shell starts in the background (as tests may be) ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield press
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(
    files: Path, tmp_path: Path, run: Any, ctrl_c: Callable[[int], None]
) -> None:
    ctrl_c(2)
    done = run(*train_flags(files, tmp_path / "out"), "--quiet")
    assert done.code == 130
    assert done.err.startswith("lookright: error: stopped after update 1")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_ctrl_c_later_keeps_the_last_checkpoint_whole(
    files: Path, tmp_path: Path, run: Any, ctrl_c: Callable[[int], None]
) -> None:
    from lookright.training.checkpoints import Checkpoints

    out = tmp_path / "out"
    flags = [*train_flags(files, out, epochs="3", dev=files / "dev.conll"), "--quiet"]
    ctrl_c(7)  # four updates an epoch: in the middle of the second one
    done = run(*flags)
    assert done.code == 130
    assert "--resume" in done.err
    assert done.err.count("\n") == 1
    checkpoints = Checkpoints(out / "checkpoints")
    assert [checkpoints.broken(update) for update in checkpoints.updates()] == [None]
    assert not checkpoints.partial.exists()
    assert not (out / "model.safetensors").exists()
    ctrl_c(0)
    assert run(*flags, "--resume").code == 0
    assert (out / "model.safetensors").is_file()
