"""Where output goes: data on stdout, words for people on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import Any, TextIO

COLOURS = {"red": 31, "green": 32, "yellow": 33}


def data(text: str) -> None:
    """Write text to stdout, as data."""
    sys.stdout.write(text)


def as_json(result: dict[str, Any]) -> None:
    """Write one JSON object to stdout."""
    sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def say(message: str = "", *, quiet: bool = False) -> None:
    """Write a line for people to stderr, unless quiet is asked for."""
    if not quiet:
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour where `stream` is a terminal that shows one, and NO_COLOR is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def percent(value: float | None) -> str:
    """A score from 0 to 1 in percent with two digits, or `-` where it is undefined."""
    return "-" if value is None else f"{100 * value:.2f}"


def text_width() -> int:
    """The width of the terminal, between 80 and 160; 100 where stdout is none."""
    return min(160, max(80, shutil.get_terminal_size((100, 24)).columns)) if sys.stdout.isatty() else 100


def table(rows: list[list[str]], *, left: int = 1) -> str:
    """Rows as aligned text; the first `left` columns to the left, the others, being figures, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
