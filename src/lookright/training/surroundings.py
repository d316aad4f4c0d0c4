"""What surrounds a run: the machine and the versions that it ran with, and the process that it must leave as it was."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

import torch
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import logging as hf_logging

from lookright.errors import RecipeError

SHARDED: Final = ("FSDP", "DEEPSPEED")
VERSIONED: Final = ("lookright", "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")


def machine_account(seed: int, device: torch.device) -> dict[str, Any]:
    """The part of run.json that is the same for all kinds of runs: when, with what seed, versions and machine."""
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    return {
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONED}},
        "machine": {"system": platform.platform(), "device": gpu or device.type, "cores": os.cpu_count()},
    }


def weights_are_sharded() -> bool:
    """Whether Accelerate was told to cut the weights into shards (FSDP, DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{kind}", "false").lower() in ("true", "1") for kind in SHARDED)


@contextlib.contextmanager
def process_kept() -> Iterator[None]:
    """Give environment variables and the loudness of transformers back as they were: the Trainer sets both."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("ACCELERATE_")}
    verbosity = hf_logging.get_verbosity()
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("ACCELERATE_") and name not in environment]:
            del os.environ[name]
        os.environ.update(environment)
        hf_logging.set_verbosity(verbosity)


def check_tracker(name: str) -> None:
    """Refuse an experiment tracker that is not installed.

    Raises:
        RecipeError: names those that are.
    """
    trackers = ("none", "all", *get_available_reporting_integrations())
    if name not in trackers:
        raise RecipeError(
            f"report_to is {name!r}, which is no tracker that is installed here; expected "
            + ", ".join(sorted(trackers))
        )
