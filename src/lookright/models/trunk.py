"""The trunk of a backbone: the layers below the lowest one that is trained, whose output never changes in training.

Its output can be computed once and put in its place. That works through hooks alone, so that a family's own forward
method, with its masks, its rotary tables and its kinds of layers, runs as ever: the layers of the trunk hand on what
they get, and the first layer above is given the kept states.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lookright.attention import decoder_layers


class _Reached(Exception):
    """The first layer above the trunk was reached."""

    def __init__(self, states: Tensor) -> None:
        self.states = states


def trunk_height(backbone: PreTrainedModel) -> int:
    """How many layers, from below, are frozen; 0 where embeddings, or anything else outside the layers, are trained."""
    layers = decoder_layers(backbone)
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    if any(parameter.requires_grad and id(parameter) not in inside for parameter in backbone.parameters()):
        return 0
    trained = (number for number, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters()))
    return next(trained, 0)


def trunk_fingerprint(backbone: PreTrainedModel, height: int) -> str:
    """A hash of the weights below a layer: everything but the layers from `height` on."""
    above = {id(p) for layer in decoder_layers(backbone)[height:] for p in layer.parameters()}
    digest = hashlib.sha256()
    for name, parameter in backbone.named_parameters():
        if id(parameter) not in above:
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
            digest.update(parameter.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def trunk_states(backbone: PreTrainedModel, height: int, **inputs: Any) -> Tensor:
    """What comes out of the trunk: (rows, length, hidden), in the number format in which the layers hand it on.

    Args:
        backbone: with a plan.
        height: layers of the trunk.
        inputs: of its forward method.
    """

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Reached(args[0] if args else kwargs["hidden_states"])

    handle = decoder_layers(backbone)[height].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        backbone(**inputs)
    except _Reached as reached:
        return reached.states
    finally:
        handle.remove()
    raise AssertionError("a layer was not called")


@contextlib.contextmanager
def trunk_given(backbone: PreTrainedModel, height: int, states: Tensor) -> Iterator[None]:
    """Within: a forward pass takes `states` (rows, length, hidden) for what the trunk would compute.

    Args:
        backbone: with a plan.
        height: layers of the trunk.
        states: of the same input, as `trunk_states` returns them.
    """

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        return args[0] if args else kwargs["hidden_states"]

    def put(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    layers = decoder_layers(backbone)
    handle = layers[height].register_forward_pre_hook(put, with_kwargs=True)
    hidden = [(layer, layer.__dict__.get("forward")) for layer in layers[:height]]
    for layer, _ in hidden:
        layer.__dict__["forward"] = hand_on
    try:
        yield
    finally:
        handle.remove()
        for layer, own in hidden:
            if own is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = own
