"""A run that is killed anywhere goes on as if nothing had been: same losses, same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_support import DEV, TRAIN, in_child, run, same, tagger, toy_data, weights

from lookright.errors import LookRightError, OutputError, RecipeError
from lookright.training import checkpoints as checkpoints_module
from lookright.training import run_folder as run_folder_module
from lookright.training.checkpoints import Checkpoints
from lookright.training.defaults import automatic_values
from lookright.training.fit import fit
from lookright.training.recipe import Recipe
from lookright.training.run_folder import RunFolder
from lookright.training.trainer import TaggerTrainer

OPTIONS: dict[str, Any] = {"evals_per_epoch": 2}
"""5 updates in each of 3 epochs; checkpoints after 3, 5, 8, 10, 13 and 15."""


def contents(out: Path) -> dict[str, bytes]:
    """Everything in a finished run's folder that is a function of the recipe and the data."""
    files = [p for p in out.rglob("*") if p.is_file() and p.name != "run.json"]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Any]:
    """The folder and the weights of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    _, model = run(tiny_llama, out, **OPTIONS)
    return contents(out), weights(model)


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_update(update: int) -> None:
    """Make this process die in the middle of an update."""
    step = TaggerTrainer.training_step

    def dying(self: TaggerTrainer, *rest: Any) -> Any:
        loss = step(self, *rest)
        if self.state.global_step == update:
            die()
        return loss

    TaggerTrainer.training_step = dying  # type: ignore[method-assign]


def kill_in_save(place: str) -> None:
    """Make this process die at a point of the save of its third checkpoint."""
    if place == "after the model":
        save = TaggerTrainer.save_model

        def saving(self: TaggerTrainer, *rest: Any, **more: Any) -> None:
            save(self, *rest, **more)
            if self.state.global_step == 8:
                die()

        TaggerTrainer.save_model = saving  # type: ignore[method-assign]
        return
    count = iter(range(100))
    name, target = {
        "before the seal": ("seal", Checkpoints),
        "before the marker is synced": ("_sync", checkpoints_module),
        "before the old ones go": ("keep", Checkpoints),
        "while the old ones go": ("_remove", Checkpoints),
    }[place]
    inner = getattr(target, name)

    def dying(*rest: Any) -> Any:
        number = next(count)
        if place == "before the marker is synced":
            if str(rest[0]).endswith(f"checkpoint-8/{checkpoints_module.MARKER}"):
                die()
        elif place == "while the old ones go":
            (rest[1] / checkpoints_module.MARKER).unlink()
            die()
        elif number == 2:
            die()
        return inner(*rest)

    setattr(target, name, dying)


def killed_and_resumed(folder: Path, out: Path, prepare: Callable[[], None]) -> tuple[dict[str, bytes], Any]:
    def work() -> None:
        prepare()
        run(folder, out, **OPTIONS)

    assert in_child(work) == -signal.SIGKILL
    _, model = run(folder, out, resume=True, **OPTIONS)
    return contents(out), weights(model)


@pytest.mark.parametrize("update", [7, 8, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 4, 14))])
def test_killed_in_an_update(tiny_llama: Path, tmp_path: Path, whole: Any, update: int) -> None:
    found, model = killed_and_resumed(tiny_llama, tmp_path / "out", lambda: kill_at_update(update))
    assert found == whole[0]
    assert same(model, whole[1])


@pytest.mark.parametrize(
    "place",
    [
        "after the model",
        "while the old ones go",
        pytest.param("before the seal", marks=pytest.mark.slow),
        pytest.param("before the marker is synced", marks=pytest.mark.slow),
        pytest.param("before the old ones go", marks=pytest.mark.slow),
    ],
)
def test_killed_in_a_save(tiny_llama: Path, tmp_path: Path, whole: Any, place: str) -> None:
    found, model = killed_and_resumed(tiny_llama, tmp_path / "out", lambda: kill_in_save(place))
    assert found == whole[0]
    assert same(model, whole[1])


def test_killed_twice_with_adapters(tiny_llama: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "method": "lora", "lora_dropout": 0.1, "patience": 3, "head_learning_rate": 3e-3}
    _, model = run(tiny_llama, tmp_path / "whole", **options)
    out = tmp_path / "out"
    for update, resume in ((6, False), (9, True)):

        def work(update: int = update, resume: bool = resume) -> None:
            kill_at_update(update)
            run(tiny_llama, out, resume=resume, **options)

        assert in_child(work) == -signal.SIGKILL
    _, resumed = run(tiny_llama, out, resume=True, **options)
    assert same(weights(model), weights(resumed))
    assert contents(out) == contents(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over(tiny_llama: Path, tmp_path: Path, whole: Any) -> None:
    out = tmp_path / "out"

    def work() -> None:
        kill_at_update(9)
        run(tiny_llama, out, **OPTIONS)

    assert in_child(work) == -signal.SIGKILL
    newest = Checkpoints(out / "checkpoints").newest()
    assert newest is not None
    model_file = newest / "model.safetensors"
    model_file.write_bytes(model_file.read_bytes()[:-1] + b"?")
    run(tiny_llama, out, resume=True, **OPTIONS)
    assert contents(out) == whole[0]


def test_a_finished_run_gives_its_result_again(tiny_llama: Path, tmp_path: Path, whole: Any) -> None:
    result, _ = run(tiny_llama, tmp_path / "out", **OPTIONS)
    again, model = run(tiny_llama, tmp_path / "out", resume=True, **OPTIONS)
    assert again.outcome == result.outcome
    assert same(weights(model), whole[1])
    assert contents(tmp_path / "out") == whole[0]


def test_resume_of_nothing_begins_at_the_beginning(tiny_llama: Path, tmp_path: Path, whole: Any) -> None:
    run(tiny_llama, tmp_path / "out", resume=True, **OPTIONS)
    assert contents(tmp_path / "out") == whole[0]


def test_killed_before_account_and_recipe_are_both_there(tiny_llama: Path, tmp_path: Path, whole: Any) -> None:
    def between() -> None:
        write, count = run_folder_module.write_whole, iter(range(2))
        run_folder_module.write_whole = lambda *rest: die() if next(count) else write(*rest)  # type: ignore[assignment]

    assert killed_and_resumed(tiny_llama, tmp_path / "out", between)[0] == whole[0]


def test_a_finished_run_whose_checkpoints_are_gone_is_not_begun_again(tiny_llama: Path, tmp_path: Path) -> None:
    run(tiny_llama, tmp_path / "out", epochs=1.0)
    shutil.rmtree(tmp_path / "out" / "checkpoints")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match="finished, and its checkpoints are gone"):
        run(tiny_llama, tmp_path / "out", epochs=1.0, resume=True)
    assert contents(tmp_path / "out") == before


def test_a_resumption_that_fails_leaves_the_record_of_the_run(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(RunFolder, "tidy", lambda self: None)  # as if it had been killed
    monkeypatch.setattr(TaggerTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, out, epochs=1.0)
    monkeypatch.undo()
    assert (out / "run.json").exists()
    monkeypatch.setattr(TaggerTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, out, epochs=1.0, resume=True)
    assert (out / "run.json").exists()
    assert (out / "recipe.toml").exists()


def test_a_disk_that_is_full_at_the_beginning_leaves_nothing(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_account", full)
        with pytest.raises(OutputError, match="the disk is full"):
            run(tiny_llama, out, epochs=1.0)
    assert not out.exists()
    out.mkdir()
    (out / ".run.json.part").write_text("{")  # a kill in the first write
    run(tiny_llama, out, epochs=1.0)


def test_weights_that_are_no_numbers_are_not_saved(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(LookRightError, match="training has diverged"):
        run(tiny_llama, tmp_path / "out", dev=None, epochs=1.0, batch_size=20, learning_rate=1e38)


def test_automatic_values_stay_as_the_run_settled_them(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first, _ = run(tiny_llama, out, epochs=1.0)
    monkeypatch.setattr("lookright.training.recipe.automatic_values", _other_defaults)
    again, _ = run(tiny_llama, out, epochs=1.0, resume=True)
    assert again.recipe.weight_decay == first.recipe.weight_decay != 0.5


def _other_defaults(chosen: Any, facts: Any) -> dict[str, Any]:
    return {**automatic_values({}, facts), "weight_decay": 0.5, **chosen}


def test_another_recipe_is_refused_by_name(tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(tiny_llama, out, epochs=1.0)
    before = contents(out)
    with pytest.raises(RecipeError, match=r"another recipe: learning_rate was 0.003 and is 0.001 now \(seed differ"):
        run(tiny_llama, out, epochs=1.0, resume=True, learning_rate=1e-3, seed=3)
    model, tokenizer = tagger(tiny_llama)
    recipe = Recipe(epochs=1.0, batch_size=4, learning_rate=3e-3, detokenize=0.5, resume=True, out=str(out))
    with pytest.raises(RecipeError, match="the training data changed since"):
        fit(model, tokenizer, toy_data(21, seed=0), DEV, recipe, progress=False)
    with pytest.raises(RecipeError, match="the dev data changed since"):
        fit(model, tokenizer, TRAIN, toy_data(3), recipe, progress=False)
    model, tokenizer = tagger(tiny_llama, plan="01")
    with pytest.raises(RecipeError, match="plan was '1' and is '01' now"):
        fit(model, tokenizer, TRAIN, DEV, recipe, progress=False)
    assert contents(out) == before
    (out / "checkpoints" / "update-5" / "model.safetensors").write_bytes(b"")
    (out / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run.json cannot be read"):
        run(tiny_llama, out, epochs=1.0, resume=True)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {own!r}]
from training_support import run
from lookright.training.run_folder import RunFolder
from lookright.training.trainer import TaggerTrainer
step = TaggerTrainer.training_step
def dying(self, *rest):
    if self.state.global_step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *rest)
TaggerTrainer.training_step = dying
run(Path({folder!r}), Path(sys.argv[1]), resume=sys.argv[3] == "resume", evals_per_epoch=2)
"""


@pytest.mark.slow
def test_killed_and_resumed_in_processes_of_their_own(tiny_llama: Path, tmp_path: Path, whole: Any) -> None:
    own = Path(__file__).parent
    script = SCRIPT.format(tests=str(own.parent), own=str(own), folder=str(tiny_llama))

    def start(update: int, mode: str) -> int:
        command = [sys.executable, "-c", script, str(tmp_path / "out"), str(update), mode]
        return subprocess.run(command, check=False).returncode

    assert start(7, "new") == -signal.SIGKILL
    assert start(12, "resume") == -signal.SIGKILL
    assert start(-1, "resume") == 0
    assert contents(tmp_path / "out") == whole[0]
