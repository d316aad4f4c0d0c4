"""Made-up rows of a study whose answer is known, and a base that carries its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.base.cells import Cell, Settings
from benchmarks.base.rows import FORMAT

import toys
from lookright.study.rows import Counts
from made_up_runs import figure


def row_of(cell: Cell, counts: Counts, *, dev: float | None = None, **changes: Any) -> dict[str, Any]:
    """The row of a run that is done."""
    test = figure(counts)
    return {
        "format": FORMAT,
        "status": "done",
        "run": f"{cell.name}#{changes.get('machine', '')}",
        "variant": cell.variant,
        "plan": cell.plan,
        "set": cell.set,
        "seed": cell.seed,
        "base": f"weights of {cell.variant}",
        "settings": Settings().to_dict(),
        "dev": test if dev is None else dev,
        "test": test,
        "convention": "strict span F1, IOB2, micro",
        "data": {"test": f"test of {cell.set}"},
        "recipe": {"seed": cell.seed, "plan": cell.plan, "dropout": 0.1},
        "device": "cpu",
        "seconds": 60.0,
        **changes,
    }


def carrying(folder: Path, right_contexts: list[int]) -> Path:
    """A base that carries a plan."""
    from lookright.attention import PLAN_KEY
    from lookright.models.language_model import load_language_model, save_base

    loaded: Any = load_language_model(toys.llama_folder(folder.with_name("plain"), head=True))
    setattr(loaded.model.config, PLAN_KEY, right_contexts)
    return save_base(folder, loaded.model, loaded.tokenizer, carry=True, extra_files={})
