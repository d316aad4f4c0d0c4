"""The processes of one run, as a launcher (`accelerate launch`, `torchrun`) started them. Loads nothing."""

from __future__ import annotations

import os
import sys


def is_first_process() -> bool:
    """Whether this process saves and speaks for all: the only one, or the first of those of a launcher."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Go on when all processes of the run have come here; at once where there is one."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
