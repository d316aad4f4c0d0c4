"""The layers of a model as compiled code: torch.compile on everything in a layer but its attention.

Each layer is compiled for any number of sub-words at once, so that batches of different lengths share the code. The
attention function is left as it is, see `lookright.attention.kernels`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from lookright.attention import can_pack
from lookright.attention.architecture import bare_decoder, decoder_layers
from lookright.errors import RecipeError

log = logging.getLogger("lookright")

Model = TypeVar("Model", bound=nn.Module)

ON_A_PROCESSOR: Final = {"cpp.dynamic_threads": True, "cpp_wrapper": True}
"""Options of torch's compiler: code that takes as many threads as the thread that calls it has, and that lets go of
Python's lock, so that batches can run in threads of their own (`lookright.inference.threads`)."""


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
        _compile(layer)
    try:
        with uncompilable_runs_plainly():
            yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


def _compile(module: nn.Module) -> None:
    """Have a module's forward pass run as code that is made at its first use."""
    on_processor = all(tensor.device.type == "cpu" for tensor in chain(module.parameters(), module.buffers()))
    module.compile(dynamic=True, options=dict(ON_A_PROCESSOR) if on_processor else None)


def shared_copy(model: Model) -> Model:
    """A copy of a model's modules around the same weights and buffers."""
    kept = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, kept)


def compiled_copy(model: Model, backbone: str) -> Model:
    """A copy of a model around the same weights for prediction, compiled at its first use; the model stays as it is.

    Args:
        model: has a decoder with a plan.
        backbone: name of the decoder in it.

    Returns:
        The copy; the model itself, where its decoder has attention code of its own.
    """
    if not can_pack(getattr(model, backbone)):
        log.info("%s has attention code of its own: it runs as it is, and is not compiled", type(model).__name__)
        return model
    copied = shared_copy(model)
    owner = bare_decoder(getattr(copied, backbone))
    layers = decoder_layers(owner)
    around = [child for child in owner.children() if child is not layers and not isinstance(child, nn.Embedding)]
    for module in (*layers, *around):  # around: the last norm, the rotary tables
        _compile(module)
    return copied


def uncompilable_runs_plainly() -> contextlib.AbstractContextManager[None]:
    """Within: what torch cannot compile runs as it is."""
    patched: contextlib.AbstractContextManager[None] = torch._dynamo.config.patch(suppress_errors=True)
    return patched


@functools.cache
def compiled_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as compiled code for any shapes."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True)
    return compiled
