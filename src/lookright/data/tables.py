"""Tables with named columns: CSV and TSV, as records by line.

CSV is that of RFC 4180 (quotes around a field double inside it, and may hold line ends), with a comma or, where the
first line says so, a semicolon. TSV is a line per row; a field is quoted only if it begins and ends with a quote and
all others in it are doubled, since most writers of TSV quote nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from lookright.data.lines import iter_lines, name_of
from lookright.data.records import Record
from lookright.errors import DataError

TABLE_SUFFIXES: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_LONGEST_FIELD: Final = 2**31 - 1


def iter_table(path: str | Path, *, tabs: bool) -> Iterator[tuple[int, Record]]:
    """Yield `(line number, {column: cell})` for each row below the first line, which names the columns.

    Args:
        path: the file, or "-" for standard input.
        tabs: TSV and not CSV.

    Raises:
        DataError: with file and line, for a row with more or fewer cells than there are columns, and for what is no
            table.
    """
    name = name_of(path)
    rows = _tab_rows(path) if tabs else _comma_rows(path, name)
    try:
        _, names = next(rows)
    except StopIteration:
        raise DataError("no line with the names of the columns", path=name) from None
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None or not all(names):
        raise DataError(
            f"the first line names the columns {', '.join(map(repr, names))}; expected different names, none empty",
            path=name, line=1,
        )  # fmt: skip
    found = False
    for line, cells in rows:
        if not cells or cells == [""]:
            continue
        found = True
        if len(cells) != len(names):
            raise DataError(
                f"{len(cells)} cells for the {len(names)} columns {', '.join(names)}; cells that hold the separator "
                "or a quote must be quoted" if not tabs else
                f"{len(cells)} cells for the {len(names)} columns {', '.join(names)}; expected one tab between cells",
                path=name, line=line,
            )  # fmt: skip
        yield line, dict(zip(names, cells, strict=True))
    if not found:
        raise DataError("no row below the names of the columns", path=name)


def column_names(path: str | Path, *, tabs: bool) -> list[str]:
    """The names of the columns: the cells of the first line."""
    rows = _tab_rows(path) if tabs else _comma_rows(path, name_of(path))
    return next(rows, (0, []))[1]


def _tab_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in iter_lines(path):
        yield number, [_unquoted(cell) for cell in line.split("\t")]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"' or inner.replace('""', "").count('"'):
        return cell
    return inner.replace('""', '"')


def _comma_rows(path: str | Path, name: str) -> Iterator[tuple[int, list[str]]]:
    lines = (line + "\n" for _, line in iter_lines(path))
    first = next(lines, "")
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(chain((first,), lines), delimiter=separator, strict=True)
    began = 1
    while True:
        # The limit belongs to the whole process; it is lifted only while a row is read.
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"not CSV: {error}; the row begins here", path=name, line=began) from None
        finally:
            csv.field_size_limit(before)
        yield began, row
        began = reader.line_num + 1
