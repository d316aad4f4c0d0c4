"""Where a model runs, and whether it ran out of memory there."""

from __future__ import annotations

import logging
from typing import Final

import torch

from lookright.errors import RecipeError
from lookright.models.int8 import why_no_int8

log = logging.getLogger("lookright")

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


def number_format(dtype: str, device: torch.device) -> tuple[str, bool]:
    """The dtype that a saved tagger is loaded in for prediction, and whether its weights then become 8-bit numbers.

    A processor without fast 8-bit products gets none: it is said, and the rest is as without them.

    Args:
        dtype: the name of a dtype, `auto`, or `int8`.
        device: where the tagger is to run.

    Raises:
        RecipeError: 8-bit weights on a GPU.
    """
    if dtype != "int8":
        return dtype, False
    if device.type != "cpu":
        raise RecipeError(f"8-bit weights (int8) are for processors, but the device is {device}; give device='cpu'")
    reason = why_no_int8()
    if reason is not None:
        log.warning("int8 is not fast here, and left out: %s", reason)
    return ("bfloat16" if fast_bfloat16(device) else "float32"), reason is None
