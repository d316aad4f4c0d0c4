"""The layers of a decoder as compiled code: torch.compile on everything in a layer but its attention.

Each layer is compiled for any number of sub-words at once, so that batches of different lengths share the code. The
attention function is left as it is, see `lookright.attention.kernels`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lookright.attention import can_pack
from lookright.attention.architecture import decoder_layers
from lookright.errors import RecipeError

log = logging.getLogger("lookright")


@functools.cache
def why_not_compiled(device_type: str) -> str | None:
    """Why this machine cannot compile for a kind of device; None where it can. The first call takes seconds.

    Asking torch for its parts does not tell: a compiler may be there without the headers of Python. So something small
    is compiled and run.
    """

    def small(tensor: Tensor) -> Tensor:
        return tensor.float().sin() + 1

    try:
        torch.compile(small, dynamic=True)(torch.ones(64, device=device_type))
    except Exception as error:  # whatever the compiler, its driver or its caches raise
        return str(error).strip().splitlines()[0][:200] or type(error).__name__
    return None


def check_compiler(wanted: bool | None, device: torch.device) -> None:
    """Refuse to compile where the machine cannot.

    Raises:
        RecipeError: with what the compiler said.
    """
    if wanted and (reason := why_not_compiled(device.type)) is not None:
        raise RecipeError(f"compile is asked for, but this machine cannot compile for {device.type}: {reason}")


@contextlib.contextmanager
def compiled_layers(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Within: the decoder layers of a model run as compiled code, made at their first use.

    Args:
        model: a decoder with a plan, or what wraps one.
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    if not can_pack(model):  # then each layer has a hook of its own, and would be compiled on its own
        log.info("%s has attention code of its own: it runs as it is, and is not compiled", type(model).__name__)
        yield
        return
    layers = list(decoder_layers(model))
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        with torch._dynamo.config.patch(suppress_errors=True):  # what cannot be compiled runs as it is
            yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


@functools.cache
def compiled_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as compiled code for any shapes."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True)
    return compiled
