"""Rows of the small-scale study: studies are not mixed."""

from __future__ import annotations

import pytest
from base_studies import row_of
from benchmarks.base.cells import Cell, Settings
from benchmarks.base.rows import check_same_study, done_rows

from lookright.errors import RecipeError
from made_up_runs import counts_of

CELL = Cell("decoder", "0011", "snips", 0)


def test_studies_are_not_mixed() -> None:
    row = row_of(CELL, counts_of(0.5, 0))
    settings_, bases = Settings().to_dict(), {"decoder": row["base"]}
    check_same_study([row], settings_, bases)
    check_same_study([row], settings_, {"another": "other weights"})
    with pytest.raises(RecipeError, match="updates=240, asked for is 100"):
        check_same_study([row], {**settings_, "updates": 100}, bases)
    with pytest.raises(RecipeError, match="decoder with the weights"):
        check_same_study([row], settings_, {"decoder": "other weights"})
    check_same_study([{**row, "status": "failed"}], {**settings_, "updates": 100}, bases)


def test_done_rows_are_found_by_their_cell() -> None:
    row = row_of(CELL, counts_of(0.5, 0))
    assert done_rows([{**row, "status": "failed"}, row]) == {CELL: row}
