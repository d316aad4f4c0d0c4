"""The out folder of a study: whose it is, the rows in it, and what is written for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lookright.errors import OutputError
from lookright.study.definition import Study
from lookright.study.page import html_page
from lookright.study.plots import draw_all
from lookright.study.results import StudyResults
from lookright.study.rows import Book, Counts, Row, read_counts, read_rows
from lookright.study.tables import comparisons_csv, document, results_csv, to_latex, to_markdown
from lookright.training.checkpoints import write_whole
from lookright.training.run_folder import writing

STUDY_FILE: Final = "study.json"
RUNS_FILE: Final = "runs.jsonl"
REPORT_FILE: Final = "report.html"
PLOTS: Final = "plots"


class StudyFolder:
    """The folder of one study.

    Args:
        path: of the folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / RUNS_FILE

    def check(self, study: Study) -> dict[str, Any]:
        """Refuse a place that holds something else or another study; what it knows of earlier starts.

        A study may grow: more seeds, plans, models, data sets, recipes. What a name stood for may not change.

        Raises:
            OutputError: naming what differs.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; expected a folder to write to")
        file = self.path / STUDY_FILE
        if not file.is_file():
            found = sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []
            odd = [name for name in found if not name.startswith(f".{STUDY_FILE}")]
            if odd:
                raise OutputError(f"{self.path} holds something else ({odd[0]}); give a new or an empty folder")
            return {}
        try:
            before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            name, definitions = before["name"], before["definitions"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{file} cannot be read ({error}); give a new folder") from error
        if name != study.name:
            raise OutputError(
                f"{self.path} holds the study {name!r}, and this one is {study.name!r}; give another --out"
            )
        for key, definition in study.definitions().items():
            if key in definitions and definitions[key] != definition:
                raise OutputError(
                    f"{self.path} holds another study: [{key}] {_change(definitions[key], definition)}; give another "
                    "--out, or what has changed another name"
                )
        return before

    def begin(self, study: Study) -> None:
        """Make the folder this study's.

        Raises:
            OutputError: it is another's, or cannot be written.
        """
        before = self.check(study)
        definitions = {**before.get("definitions", {}), **study.definitions()}
        account = {"format": 1, "name": study.name, "definitions": definitions}
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / STUDY_FILE, json.dumps(account, indent=1, ensure_ascii=False) + "\n")

    def book(self) -> Book:
        """The files of the rows, to be added to."""
        return Book(self.runs)

    def rows(self) -> list[Row]:
        """The rows that are there."""
        return read_rows(self.runs)

    def counts(self) -> dict[str, Counts]:
        """The counts of the test sentences by run id."""
        return read_counts(self.runs)

    def write(self, results: StudyResults, *, plots: bool) -> list[Path]:
        """Write the tables (Markdown, LaTeX, CSV), the plots (PNG, SVG) and the report; the files.

        Raises:
            OutputError: they cannot be written.
            MissingExtraError: plots without matplotlib.
        """
        blocks = document(results)
        texts = {
            "tables.md": to_markdown(blocks),
            "tables.tex": to_latex(blocks),
            "results.csv": results_csv(results),
            "comparisons.csv": comparisons_csv(results),
        }
        with writing(self.path):
            pictures = draw_all(results, self.path / PLOTS) if plots else []
            texts[REPORT_FILE] = html_page(results, blocks, pictures)
            for name, text in texts.items():
                write_whole(self.path / name, text)
        return [*(self.path / name for name in texts), *(file for picture in pictures for file in picture.files)]


def _change(before: Any, now: Any) -> str:
    """Where two definitions differ, in words."""
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            if isinstance(before.get(key), dict) and isinstance(now.get(key), dict):
                return _change(before[key], now[key])
            return f"{key} was {before.get(key)!r} and is {now.get(key)!r} now"
    return "differs"


def last_of(rows: Sequence[Row], cell: str) -> Row | None:
    """The row that tells how a cell stands: the one that is done, else the last that failed."""
    own = [row for row in rows if row.get("cell") == cell]
    return next((row for row in own if row["status"] == "done"), own[-1] if own else None)
