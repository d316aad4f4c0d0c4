"""The trunk of a backbone: the layers below the lowest one that is trained, whose output never changes in training.

Its output can be computed once and put in its place. That works at the layers alone, so that a family's own forward
method, with its masks, its rotary tables and its kinds of layers, runs as ever: the layers of the trunk hand on what
they get, and the first layer above is given the kept states. Each thread has its own: an update may be computed in two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lookright.attention import PLAN_KEY, decoder_layers

NOT_COMPUTED_WITH: Final = frozenset({"_name_or_path", "architectures", "id2label", "label2id", PLAN_KEY})
"""Keys of a configuration that change nothing in the layers, and the plan."""


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
    """A hash of what a trunk computes with: the configuration, and everything but the layers from `height` on.

    The plan is not in it.
    """
    above = {id(t) for layer in decoder_layers(backbone)[height:] for t in chain(layer.parameters(), layer.buffers())}
    config = {
        name: value
        for name, value in backbone.config.get_text_config().to_dict().items()
        if name not in NOT_COMPUTED_WITH
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in chain(backbone.named_parameters(), backbone.named_buffers()):
        if id(tensor) not in above:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
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
    """Within, and in this thread: a forward pass takes `states` for what the trunk would compute.

    Other threads may run the same backbone meanwhile, with states of their own or with none.

    Args:
        backbone: with a plan.
        height: layers of the trunk.
        states: (rows, length, hidden) of the same input, as `trunk_states` returns them.
    """
    with _patching:
        if (patch := _patches.get(backbone)) is None:
            patch = _patches[backbone] = _Patch(backbone)
        patch.users += 1
    patch.given.height, patch.given.states = height, states
    try:
        yield
    finally:
        patch.given.states = None
        with _patching:
            patch.users -= 1
            if not patch.users:
                del _patches[backbone]
                patch.undo()


class _Given(threading.local):
    """What a thread gives in the place of the trunk: how many layers, and their output."""

    height = 0
    states: Tensor | None = None


class _Patch:
    """Puts a look at what is given before the forward method of each layer."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        self.given = _Given()
        self.users = 0
        self._before = [(layer, layer.__dict__.get("forward")) for layer in decoder_layers(backbone)]
        for number, (layer, _) in enumerate(self._before):
            layer.__dict__["forward"] = partial(self._forward, number, layer.forward)

    def undo(self) -> None:
        """Give the layers back their own methods."""
        for layer, own in self._before:
            if own is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = own

    def _forward(self, number: int, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        states = self.given.states
        if states is None or number > self.given.height:
            return own(*args, **kwargs)
        if number < self.given.height:
            return args[0] if args else kwargs["hidden_states"]
        return own(states, *args[1:], **kwargs) if args else own(**{**kwargs, "hidden_states": states})


_patches: WeakKeyDictionary[PreTrainedModel, _Patch] = WeakKeyDictionary()
_patching = threading.Lock()
