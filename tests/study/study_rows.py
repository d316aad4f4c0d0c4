"""Made-up rows of a study."""

from __future__ import annotations

from typing import Any

from lookright.study.matrix import Cell
from lookright.study.rows import FORMAT, Counts
from made_up_runs import figure


def row_of(cell: Cell, counts: Counts, *, dev: float | None = None, **changes: Any) -> dict[str, Any]:
    """The row of a run that is done."""
    test = figure(counts)
    return {
        "format": FORMAT,
        "status": "done",
        "run": f"{cell.name}#{changes.get('machine', '')}",
        "cell": cell.name,
        "id": "0" * 12,
        "model": cell.model,
        "plan": cell.plan,
        "dataset": cell.dataset,
        "recipe_name": cell.recipe,
        "seed": cell.seed,
        "base": f"weights of {cell.model}",
        "dev": test if dev is None else dev,
        "test": test,
        "convention": "strict span F1, IOB2, micro",
        "evals": [[10, test / 2], [20, test]],
        "n_test": len(counts),
        "data": {"test": f"test of {cell.dataset}"},
        "recipe": {"seed": cell.seed, "plan": cell.plan, "dropout": 0.1},
        "device": "cpu",
        "machine": {"device": "cpu", "cores": 2, "system": "Linux"},
        "versions": {"lookright": "0.1.0"},
        "ended": "2026-11-21T08:10:33+00:00",
        "seconds": 60.0,
        **changes,
    }
