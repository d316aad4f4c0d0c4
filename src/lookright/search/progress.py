"""What a search shows on stderr: a row of a table for each trial that ends."""

from __future__ import annotations

import sys
from typing import Final, TextIO

from rich.console import Console

from lookright.search.trials import ALL_PLANS, Trial

_WIDTHS: Final = (9, 12, 12, 10, 9, 9, 11)


class Table:
    """Shows trials on a stream.

    Args:
        shown: whether to show anything.
        score_name: of the figure on dev.
        budget: of the search, in fine-tunings.
        stream: where to; standard error when None.
    """

    def __init__(self, score_name: str, budget: float, *, shown: bool, stream: TextIO | None = None) -> None:
        self.console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self.score_name, self.budget, self.shown = score_name, budget, shown
        self._begun = False

    def row(self, trial: Trial, spent: float) -> None:
        """Show a trial, and what was spent so far."""
        if not self.shown:
            return
        if not self._begun:
            self._begun = True
            self.console.print(f"dev: {self.score_name}; cost in fine-tunings, budget {self.budget:g}", style="dim")
            self._line(("stage", "plan", "look-ahead", "updates", "dev", "cost", "seconds"), style="bold")
        self._line(
            (
                trial.stage,
                "all" if trial.name == ALL_PLANS else trial.name,
                look_ahead_text(trial),
                str(trial.updates) if trial.updates else "-",
                "-" if trial.score is None else f"{100 * trial.score:.2f}",
                f"{spent:.2f}",
                f"{trial.cost.seconds:.1f}",
            )
        )

    def _line(self, cells: tuple[str, ...], style: str | None = None) -> None:
        text = "".join(cell.ljust(width) for cell, width in zip(cells[:2], _WIDTHS, strict=False))
        text += "".join(cell.rjust(width) for cell, width in zip(cells[2:], _WIDTHS[2:], strict=True))
        self.console.print(text.rstrip(), style=style)


def look_ahead_text(trial: Trial) -> str:
    """The total look-ahead of a trial's plan, in words."""
    if trial.plan is None:
        return "-"
    return "no limit" if trial.plan.look_ahead is None else str(trial.plan.look_ahead)
