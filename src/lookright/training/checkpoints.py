"""Checkpoints on disk that count only when they are whole.

The Trainer writes a checkpoint below `.partial/`. When everything is there, `seal` hashes its files, writes the marker
last, and renames the folder into place. Whatever a kill leaves behind has no marker, or hashes that do not fit, and is
not taken up again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

log = logging.getLogger("lookright")

MARKER: Final = "complete.json"
PARTIAL: Final = ".partial"
MODEL_FILE: Final = "model.safetensors"
STATE_FILE: Final = "trainer_state.json"
_NAME: Final = re.compile(r"update-(\d+)")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: their folder; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def partial(self) -> Path:
        """Where the Trainer writes, as `checkpoint-N`."""
        return self.folder / PARTIAL

    def path(self, update: int) -> Path:
        """Where the checkpoint after this update is, or would be."""
        return self.folder / f"update-{update}"

    def updates(self) -> list[int]:
        """The updates that have a folder, whole or not, ascending."""
        names = [entry.name for entry in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def seal(self, update: int) -> Path:
        """Make the checkpoint that was written below `partial` count."""
        source, target = self.partial / f"checkpoint-{update}", self.path(update)
        hashes = {path.relative_to(source).as_posix(): _hash(path) for path in _files(source)}
        marker = source / MARKER
        marker.write_text(json.dumps({"update": update, "sha256": hashes}, indent=1), encoding="utf-8")
        for path in _files(source):
            _sync(path)
        _sync(source)
        if target.exists():
            self._remove(target)
        source.rename(target)
        _sync(self.folder)
        return target

    def newest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are named and passed over."""
        for update in reversed(self.updates()):
            if (broken := self.broken(update)) is None:
                return self.path(update)
            log.warning("%s is not a whole checkpoint (%s); an older one is taken", self.path(update), broken)
        return None

    def broken(self, update: int) -> str | None:
        """What is wrong with a checkpoint; None when it is whole."""
        folder = self.path(update)
        try:
            expected = json.loads((folder / MARKER).read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"{MARKER} is missing or damaged"
        found = {path.relative_to(folder).as_posix(): path for path in _files(folder) if path.name != MARKER}
        if found.keys() != expected.keys():
            return f"{sorted(found.keys() ^ expected.keys())[0]} is missing or was added"
        return next((f"{name} was altered" for name, path in found.items() if _hash(path) != expected[name]), None)

    def state(self, update: int) -> dict[str, Any]:
        """The Trainer's state as saved with a checkpoint."""
        state: dict[str, Any] = json.loads((self.path(update) / STATE_FILE).read_text(encoding="utf-8"))
        return state

    def keep(self, wanted: Collection[int]) -> None:
        """Remove all other checkpoints."""
        for update in self.updates():
            if update not in wanted:
                self._remove(self.path(update))

    def clear_partial(self) -> None:
        """Remove what a kill or an error left half-written, and the folder when nothing else is in it."""
        shutil.rmtree(self.partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _remove(self, folder: Path) -> None:
        (folder / MARKER).unlink(missing_ok=True)  # first: a kill from here on must not leave it counting
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a kill leaves the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    _sync(part)
    part.replace(path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
