"""Dropout whose draws do not depend on what other threads draw."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_thread = threading.local()


class ThreadDropout(nn.Dropout):
    """Dropout that draws from the thread's own generator within `draws_from`, and elsewhere as any other."""

    def forward(self, input: Tensor) -> Tensor:
        """Zero some of the numbers, and scale the others up."""
        generator: torch.Generator | None = getattr(_thread, "generator", None)
        if generator is None or not self.training or not 0 < self.p < 1:
            return super().forward(input)
        kept = torch.empty_like(input).bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)
        return input * kept


@contextlib.contextmanager
def draws_from(seed: int) -> Iterator[None]:
    """Within, and in this thread: `ThreadDropout` on the CPU draws from a new generator."""
    _thread.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _thread.generator = None
