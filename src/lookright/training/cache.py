"""Things that are made once and kept on disk: a whole one is found under its name, or it is made."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lookright.training.run_folder import writing

MARKER: Final = "complete"


def cache_folder(given: str | None) -> Path:
    """Where things are kept: the folder that was given, else `lookright` in the user's cache folder."""
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lookright"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it is there; a kill or an error leaves none behind that counts.

    Where several processes of one machine share a run, the first makes it and the others wait.

    Args:
        folder: named by what is in it.
        make: fills the folder that it is given.

    Raises:
        OutputError: it cannot be written.
    """
    if (folder / MARKER).is_file():
        return folder
    if os.environ.get("LOCAL_RANK", "0") != "0":
        while not (folder / MARKER).is_file():  # the launcher ends us when the first process fails
            time.sleep(0.2)
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    with writing(folder.parent):
        for left in folder.parent.glob(f".{folder.name}.*"):  # of a run that was killed
            if left == partial or not _lives(left.suffix[1:]):
                shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            make(partial)
            for path in partial.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            (partial / MARKER).touch()
            with contextlib.suppress(OSError):  # another run may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _lives(process: str) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True
