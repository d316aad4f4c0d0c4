"""What the rows of this study have of their own: their cells, and the settings that all of them share.

Files, locks and counts are those of `lookright.study.rows`; the rows here are of its format 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from benchmarks.base.cells import Cell

from lookright.errors import RecipeError
from lookright.study import rows as general
from lookright.study.rows import Row

FORMAT: Final = 1


def done_rows(rows: Iterable[Row]) -> dict[Cell, Row]:
    """The row of each cell that is done, the first one where there are several."""
    return general.done_rows(rows, Cell.of)


def check_same_study(rows: Iterable[Row], settings: Mapping[str, Any], bases: Mapping[str, str]) -> None:
    """Refuse to add to rows of other settings, or of another base under the same name.

    Args:
        rows: that are there.
        settings: of the runs to come.
        bases: fingerprint of each variant to come.

    Raises:
        RecipeError: naming what differs.
    """
    for row in rows:
        if row["status"] != "done":
            continue
        other = {name: value for name, value in row["settings"].items() if settings.get(name) != value}
        if other:
            name, value = next(iter(other.items()))
            raise RecipeError(
                f"the rows there were made with {name}={value}, asked for is {settings.get(name)}: "
                "give the same, or another --runs"
            )
        base = bases.get(row["variant"], row["base"])
        if base != row["base"]:
            raise RecipeError(
                f"the rows there have a {row['variant']} with the weights {row['base'][:12]}, this one has "
                f"{base[:12]}: give it another name, or another --runs"
            )
