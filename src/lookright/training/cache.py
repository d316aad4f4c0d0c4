"""Things that are made once and kept on disk: a whole one is found under its name, or it is made."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lookright.training.run_folder import writing

MARKER: Final = "complete"
ABANDONED_AFTER: Final = 3600.0
"""Seconds; another process, maybe on another machine, may still be writing."""

log = logging.getLogger("lookright")


def cache_folder(given: str | None) -> Path:
    """Where things are kept: the folder that was given, else `lookright` in the user's cache folder."""
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lookright"


def made_once(folder: Path, make: Callable[[Path], None], whole: Callable[[Path], bool] | None = None) -> Path:
    """Make a folder unless it is there; a kill or an error leaves none behind that counts.

    Where several processes of one machine share a run, the first makes it and the others wait.

    Args:
        folder: named by what is in it.
        make: fills the folder that it is given.
        whole: whether a folder that is there can be used; another one is made in the place of one that cannot.

    Raises:
        OutputError: it cannot be written.
    """

    def there() -> bool:
        return (folder / MARKER).is_file() and (whole is None or whole(folder))

    if there():
        _clear_abandoned(folder)
        return folder
    if os.environ.get("LOCAL_RANK", "0") != "0":
        while not there():  # the launcher ends us when the first process fails
            time.sleep(0.2)
        return folder
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    _clear_abandoned(folder)
    with writing(folder.parent):
        try:
            partial.mkdir(parents=True)
            make(partial)
            for path in partial.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            (partial / MARKER).touch()
            if folder.is_dir() and not there():
                log.warning("%s was damaged, and is made anew", folder)
                shutil.rmtree(folder)
            with contextlib.suppress(OSError):  # another run may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _clear_abandoned(folder: Path) -> None:
    """Remove what kills left half-made of a folder."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)


def _abandoned(partial: Path) -> bool:
    """Whether nothing was written to a half-made folder for long: its process was killed."""
    with contextlib.suppress(OSError):
        newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        return time.time() - newest > ABANDONED_AFTER
    return False
