"""Batches in threads: on a processor, several batches at once beat one batch on several cores.

The operations of a small model on a batch take a fraction of a millisecond each; dividing each of them among cores, and
waiting for the slowest core each time, gains little or nothing. A thread for each batch waits for nobody (figures:
docs/log.md, 2026-11-21). PyTorch lets go of Python's lock while it computes.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

import torch

MOST_AT_ONCE: Final = 8
"""Batches that are in memory at a time; more cores share the work of a batch."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    compute: Callable[[Item], Result], items: Sequence[Item], *, training: bool = False
) -> Iterator[tuple[Item, Future[Result]]]:
    """Compute items on the processor, several at once, with no more threads in all than PyTorch has here.

    What is computed sees the caller's autocast and context variables, and so its settings of torch.compile.

    Args:
        compute: is called in threads.
        items: one call for each.
        training: whether gradients are wanted; else it is computed in inference mode.

    Yields:
        Each item with its done future, in their order; later ones are not begun where the caller stops.
    """
    cores = torch.get_num_threads()
    at_once = min(cores, len(items), MOST_AT_ONCE)
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work(item: Item) -> Result:
        context = torch.autocast("cpu", dtype) if autocast else contextlib.nullcontext()
        with torch.inference_mode(not training), context:
            return compute(item)

    pool = _pool(at_once, max(1, cores // at_once))
    futures = [(item, pool.submit(contextvars.copy_context().run, work, item)) for item in items]
    try:
        for item, future in futures:
            future.exception()  # waits
            yield item, future
    finally:
        begun = [future for _, future in futures if not future.cancel()]
        wait(begun)


@functools.cache
def _pool(at_once: int, cores: int) -> ThreadPoolExecutor:
    """Threads of so many cores each. They are kept: memory that a thread has freed serves that thread only."""
    pool = ThreadPoolExecutor(at_once, "batch-of-lookright")
    all_there = threading.Barrier(at_once)

    def begin() -> None:
        all_there.wait()
        torch.get_num_threads()  # the first time a thread asks, it is given what was set last
        torch.set_num_threads(cores)

    # A thread's own setting; but new threads begin with what was set last, anywhere: it is put back.
    before = torch.get_num_threads()
    wait([pool.submit(begin) for _ in range(at_once)])
    torch.set_num_threads(before)
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a copy of the process has no threads
