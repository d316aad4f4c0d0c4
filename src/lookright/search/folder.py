"""The out folder of a search: what it is about, its rows, its runs, its report, and the tagger that came of it.

search.json     what is searched: strategy, candidates, recipe, data; a search is only gone on with as it began
trials.jsonl    a row for each trial that ended
runs/           the training runs; those that are not needed any more are removed
report.json, report.md
and the saved tagger, once the search is done
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lookright.errors import OutputError, RecipeError
from lookright.training.checkpoints import write_whole
from lookright.training.run_folder import CHECKPOINTS, RUN_FILE, writing

SEARCH_FILE: Final = "search.json"
TRIALS_FILE: Final = "trials.jsonl"
REPORT_FILE: Final = "report.json"
REPORT_PAGE: Final = "report.md"
RUNS: Final = "runs"
_HALF_WRITTEN: Final = f".{SEARCH_FILE}.part"
_FREE: Final = ("versions",)


class SearchFolder:
    """The folder of one search.

    Args:
        path: of the folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / TRIALS_FILE

    def check(self, *, resume: bool) -> None:
        """Refuse a place that holds something else, before any work is done.

        Raises:
            OutputError: a file, a folder with other things in it, or (unless `resume`) an earlier search.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; expected a folder to write to")
        if not self.path.is_dir():
            return
        found = sorted(entry.name for entry in self.path.iterdir() if entry.name != _HALF_WRITTEN)
        if SEARCH_FILE in found:
            if not resume:
                raise OutputError(f"{self.path} holds an earlier search; go on with --resume, or give a new folder")
        elif RUN_FILE in found:
            raise OutputError(f"{self.path} holds a training run, and no search; give a new or an empty folder")
        elif found:
            raise OutputError(f"{self.path} holds something else ({found[0]}); give a new or an empty folder")

    @property
    def begun(self) -> bool:
        """Whether there is a search to go on with, or one that is done."""
        return (self.path / SEARCH_FILE).is_file()

    def about(self) -> dict[str, Any]:
        """What the search here is about.

        Raises:
            OutputError: that cannot be read.
        """
        return _read(self.path / SEARCH_FILE)

    def compare(self, about: Mapping[str, Any]) -> None:
        """Hold what is asked for, or a part of it, against what the search here is about.

        Raises:
            RecipeError: it is another search; what differs is named.
            OutputError: the folder cannot be read.
        """
        _compare(self.path, self.about(), json.loads(json.dumps(about)))

    def begin(self, about: Mapping[str, Any]) -> None:
        """Write what is searched; or hold it against what an earlier search here was about.

        Raises:
            RecipeError: the earlier search was another one; what differs is named.
            OutputError: the folder cannot be read or written.
        """
        if self.begun:
            self.compare(about)
            return
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / SEARCH_FILE, json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    def tidy(self) -> None:
        """After a failure: remove what was begun, where there is no trial and no checkpoint to go on from."""
        if self.trials.exists() or any((self.path / RUNS).glob(f"*/{CHECKPOINTS}/*")):
            return
        shutil.rmtree(self.path / RUNS, ignore_errors=True)
        for name in (SEARCH_FILE, _HALF_WRITTEN):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            self.path.rmdir()

    def report(self) -> dict[str, Any] | None:
        """The report of a search that is done; None before that."""
        file = self.path / REPORT_FILE
        return _read(file) if file.is_file() else None

    def finish(self, report: Mapping[str, Any], page: str) -> None:
        """Write the report, which says that the search is done, and remove its runs."""
        with writing(self.path):
            write_whole(self.path / REPORT_PAGE, page)
            write_whole(
                self.path / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            )
        shutil.rmtree(self.path / RUNS, ignore_errors=True)

    def run(self, stage: str, name: str) -> Path:
        """Where a training run is, or would be."""
        plain = name.replace("*", "open" if name != "*" else "all").replace(",", "_").replace(":", "_")
        return self.path / RUNS / f"{stage.replace(' ', '-')}-{plain}"

    def remove_run(self, stage: str, name: str) -> None:
        """Remove a training run with its checkpoints."""
        folder = self.run(stage, name)
        with contextlib.suppress(OSError):
            (folder / RUN_FILE).unlink(missing_ok=True)  # first: a kill from here on must not leave it to be resumed
        shutil.rmtree(folder, ignore_errors=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be read ({error}); give a new folder") from error
    return found


def _compare(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise where two searches are not about the same thing."""
    for key in now:
        if key in _FREE or before.get(key) == now[key]:
            continue
        old, new, name = before.get(key), now[key], key
        if isinstance(old, dict) and isinstance(new, dict):
            name = next(inner for inner in {**old, **new} if old.get(inner) != new.get(inner))
            old, new = old.get(name), new.get(name)
            name = name if key == "recipe" else f"{key}: {name}"
        raise RecipeError(
            f"the search in {folder} cannot go on as another one: {name} was {_short(old)} and is {_short(new)} now; "
            "give a new folder"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
