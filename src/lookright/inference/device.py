"""Where a model runs, and whether it ran out of memory there."""

from __future__ import annotations

from typing import Final

import torch

from lookright.errors import RecipeError

DEVICES: Final = ("auto", "cpu", "cuda", "mps")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name; `auto` is CUDA where there is one, else MPS, else the CPU. `cuda:1` works, too.

    Raises:
        RecipeError: an unknown name, or a device that this machine does not have.
    """
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise RecipeError(f"device is {device!r}; expected one of {', '.join(DEVICES)}, or cuda:N")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise RecipeError(f"device is {device!r}, but this machine has none that torch can use; try auto or cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise RecipeError(f"device is {device!r}; expected one of {', '.join(DEVICES)}, or cuda:N") from error


def fast_bfloat16(device: torch.device) -> bool:
    """Whether a device computes bfloat16 faster than float32: newer GPUs, and processors with AMX tiles."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and has_tiles is not None and bool(has_tiles())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the machine's, is used up."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
