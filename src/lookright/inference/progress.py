"""What is shown on a terminal while something is predicted: how much of it is done, and how fast it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


def unseen(n: int) -> None:
    """What takes how many more items are done, and shows nothing."""


@contextlib.contextmanager
def progress_bar(total: int | None, what: str, unit: str, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, where that is a terminal.

    Args:
        total: items to be done; None where that is not known.
        what: is being done to them.
        unit: what an item is called, in the plural.
        shown: whether it is wanted at all.

    Yields:
        a function that takes how many more items are done.
    """
    if not shown:
        yield unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield unseen
        return
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeRemainingColumn()]
    n_done = 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, count="")

        def advance(n: int) -> None:
            nonlocal n_done
            n_done += n
            bar.update(task, advance=n)
            speed = bar.tasks[0].speed
            of_all = "" if total is None else f" of {total:,}"
            rate = "" if speed is None else f", {speed:,.0f} a second"
            bar.update(task, count=f"{n_done:,}{of_all} {unit}{rate}")

        yield advance
