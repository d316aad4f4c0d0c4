"""What a run shows on stderr: one table row per evaluation, a bar between them on a terminal; and its log as JSONL."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lookright.text_metrics import R2
from lookright.training.checkpoints import write_whole

COLUMNS: Final = ("epoch", "update", "loss", "score", "precision", "recall")
_WIDTHS: Final = (6, 8, 9, 9, 10, 8)


class Reporter:
    """Shows a run on a stream.

    Args:
        n_updates: updates in the run.
        score_name: the name of the score that chooses the checkpoint; None without dev.
        stream: where to; standard error when None.
    """

    def __init__(self, n_updates: int, score_name: str | None, stream: TextIO | None = None) -> None:
        self.console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self.n_updates, self.score_name = n_updates, score_name
        self._bar: Progress | None = None
        self._header_shown = False

    def start(self, n_done: int) -> None:
        """Begin to show a run of which `n_done` updates are done already."""
        if self.console.is_terminal:
            columns = (
                TextColumn("updates"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("updates", total=self.n_updates, completed=n_done, loss="")
            self._bar.start()

    def update(self, n_done: int, loss: float | None) -> None:
        """Show that updates are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=n_done, loss=self.loss_text(loss))

    def loss_text(self, loss: float | None) -> str:
        """What stands behind the bar."""
        return "" if loss is None else f"loss {loss:.4f}"

    def row(self, values: Mapping[str, Any], *, best: bool) -> None:
        """Show one evaluation; `best` marks the best one so far."""
        names = COLUMNS if self.score_name else COLUMNS[:3]
        self.header(names, f"score: {self.score_name}, on dev" if self.score_name else None)
        cells = [f"{values['epoch']:.2f}", str(values["update"]), _number(values.get("loss"))]
        if self.score_name:
            cells += [_number(values.get(name), percent=self.score_name != R2) for name in COLUMNS[3:]]
        self.line(cells, best=best)

    def header(self, names: Sequence[str], note: str | None = None) -> None:
        """Show the names of the columns, once, under a note."""
        if self._header_shown:
            return
        self._header_shown = True
        if note:
            self.console.print(note, style="dim")
        self.console.print("".join(f"{n:>{w}}" for n, w in zip(names, _WIDTHS, strict=False)), style="bold")

    def line(self, cells: Sequence[str], *, best: bool = False) -> None:
        """Show one row under the header."""
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=False))
        self.console.print(line + ("  best" if best else ""), style="green" if best else None)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _number(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" if percent else f"{value:.4f}"


class RunLog:
    """The log of a run: a JSON object per line, for each logged loss and each evaluation.

    It holds no clock times, so that the log of a resumed run is the log of an uninterrupted one.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def restart(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Begin anew with the entries up to a checkpoint: what came after it will come again."""
        if self.path is not None:
            write_whole(self.path, "".join(_line(entry) for entry in history if is_entry(entry)))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one entry."""
        if self.path is not None and is_entry(entry):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(entry))


def is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of the Trainer's history is one of ours: a loss, or an evaluation."""
    return not entry.keys().isdisjoint(("loss", "eval_score", "eval_loss"))


def _line(entry: Mapping[str, Any]) -> str:
    first = {"update": entry["step"], "epoch": entry["epoch"]}
    # Sorted, because entries that were read back from a checkpoint come in another order.
    rest = {name.replace("eval_", "dev_"): entry[name] for name in sorted(entry.keys() - {"step", "epoch"})}
    return json.dumps({**first, **rest}) + "\n"
