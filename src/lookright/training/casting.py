"""Mixed precision without repeated casts.

Under autocast every linear layer casts its input for itself: the three projections of an attention cast the same
states three times. And rotary tables stay in float32, so that queries and keys are computed in float32 and cast back.
Here the states are cast once, on their way into each part of a layer, and the tables when they are made, as in a model
whose weights are in the low precision. All through hooks, which do nothing outside autocast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lookright.attention import decoder_layers


@contextlib.contextmanager
def cast_once(backbone: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Within: a decoder under autocast casts the input of an attention or a feed-forward part once.

    Args:
        backbone: a decoder.
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    parts = [
        part
        for layer in decoder_layers(backbone)
        for part in layer.children()
        if not isinstance(part, nn.Linear) and any(isinstance(module, nn.Linear) for module in part.modules())
    ]
    tables = [module for module in backbone.modules() if type(module).__name__.endswith("RotaryEmbedding")]
    handles = [
        *(part.register_forward_pre_hook(_cast_input, with_kwargs=True) for part in parts),
        *(table.register_forward_hook(_cast_tables) for table in tables),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _low(tensor: Any) -> Any:
    """A float32 tensor in autocast's number format; anything else, and everything outside autocast, as it is."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
        return tensor
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def _cast_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The states are the first argument, or `hidden_states`."""
    if args:
        return (_low(args[0]), *args[1:]), kwargs
    return args, {name: _low(value) if name == "hidden_states" else value for name, value in kwargs.items()}


def _cast_tables(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """Cosines and sines, for all layers or (some families) by kind of layer."""
    return tuple(map(_low, output)) if isinstance(output, tuple) else output
