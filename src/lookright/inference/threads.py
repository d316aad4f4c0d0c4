"""Batches in threads: on a processor, several batches at once beat one batch on several cores.

The operations of a small model on a batch take a fraction of a millisecond each; dividing each of them among cores, and
waiting for the slowest core each time, gains little or nothing. A thread for each batch waits for nobody (figures:
docs/log.md, 2026-11-21). PyTorch lets go of Python's lock while it computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import torch

MOST_AT_ONCE: Final = 8
"""Batches that are in memory at a time; more cores share the work of a batch."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(compute: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Future[Result]]]:
    """Compute items on the processor, several at once, with no more threads in all than PyTorch has here.

    What is computed sees the caller's autocast, and no gradients.

    Args:
        compute: is called in threads.
        items: one call for each.

    Yields:
        Each item with its done future, in their order; later ones are not begun where the caller stops.
    """
    cores = torch.get_num_threads()
    at_once = min(cores, len(items), MOST_AT_ONCE)
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work(item: Item) -> Result:
        context = torch.autocast("cpu", dtype) if autocast else contextlib.nullcontext()
        with torch.inference_mode(), context:
            return compute(item)

    # A thread's own setting; but new threads begin with what was set last, anywhere: it is put back at the end.
    with ThreadPoolExecutor(at_once, "lookright-batch", torch.set_num_threads, (max(1, cores // at_once),)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for item, future in zip(items, futures, strict=True):
                future.exception()  # waits
                yield item, future
        finally:
            for future in futures:
                future.cancel()
            torch.set_num_threads(cores)
