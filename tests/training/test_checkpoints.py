"""Checkpoints count only when they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookright.training.checkpoints import MARKER, MODEL_FILE, Checkpoints, write_whole


def written(checkpoints: Checkpoints, update: int, content: str = "x") -> Path:
    folder = checkpoints.partial / f"checkpoint-{update}"
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_text(content)
    (folder / "optimizer.pt").write_text(content)
    return folder


def test_a_checkpoint_counts_once_sealed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.newest() is None
    written(checkpoints, 3)
    assert checkpoints.newest() is None
    assert checkpoints.seal(3) == checkpoints.path(3) == checkpoints.newest()
    written(checkpoints, 20)
    checkpoints.seal(20)
    assert checkpoints.updates() == [3, 20]
    assert checkpoints.newest() == checkpoints.path(20)


@pytest.mark.parametrize("damage", ["alter", "remove", "add", "marker", "cut marker"])
def test_a_broken_one_is_passed_over(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(tmp_path)
    for update in (1, 2):
        written(checkpoints, update)
        checkpoints.seal(update)
    newest = checkpoints.path(2)
    if damage == "alter":
        (newest / MODEL_FILE).write_text("y")
    elif damage == "remove":
        (newest / "optimizer.pt").unlink()
    elif damage == "add":
        (newest / "training_args.bin").write_text("pickle")
    elif damage == "marker":
        (newest / MARKER).unlink()
    else:
        (newest / MARKER).write_text("{")
    assert checkpoints.newest() == checkpoints.path(1)
    assert "not a whole checkpoint" in caplog.text


def test_sealing_again_replaces(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for content in ("old", "new"):
        written(checkpoints, 1, content)
        checkpoints.seal(1)
    assert (checkpoints.path(1) / MODEL_FILE).read_text() == "new"
    assert checkpoints.broken(1) is None


def test_keep_and_clear(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    for update in (1, 2, 3):
        written(checkpoints, update)
        checkpoints.seal(update)
    checkpoints.keep({1, 3})
    assert checkpoints.updates() == [1, 3]
    written(checkpoints, 4)
    checkpoints.clear_partial()
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["update-1", "update-3"]
    checkpoints.keep(())
    checkpoints.clear_partial()
    assert not checkpoints.folder.exists()


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", "one")
    write_whole(tmp_path / "f", "two")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "two"
