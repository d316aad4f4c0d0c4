"""The attention functions of the two backends, registered with transformers under our own names.

They learn the layer from `module.layer_idx` and the plan from `module.config`: state travels only in arguments and
config, so gradient checkpointing, deep copies, threads and PEFT need nothing more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

from lookright.attention.architecture import LayerLimit, layer_limit
from lookright.attention.masks import additive, channel_of, draws_nothing, plan_of, stacked_mask, weight_ahead
from lookright.attention.packing import (
    attend_packed,
    attend_varlen,
    computed_in,
    eager_group,
    is_packed,
    merges_short,
    sdpa_group,
    takes_varlen,
)
from lookright.errors import UnsupportedModelError

BACKENDS = {"sdpa": "lookright_sdpa", "eager": "lookright_eager"}
"""Our name of each backend -> the name that it is registered under."""


def attend_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer through SDPA.

    Args:
        module: the attention module, with `layer_idx` and `config`.
        query: (rows, heads, length, width).
        key: (rows, key heads, length, width).
        value: (rows, key heads, length, width).
        attention_mask: the stack of `stacked_mask`, None where nothing is drawn, or the borders of a packed row.
        scaling: of the scores.
        dropout: of the attention weights.
        is_causal: ignored; the plan decides.
        kwargs: what the family adds.

    Returns:
        (rows, length, heads, width) and None.
    """
    rights, layer = _place(module)
    weight = weight_ahead(module.config) if rights[layer] else 1.0
    if attention_mask is not None and is_packed(attention_mask):
        _refuse_extras(module, kwargs)
        limit = _limit(module, layer, kwargs)
        if weight == 1.0 and takes_varlen(query, value, limit, dropout):  # that kernel takes no bias
            return attend_varlen(query, key, value, attention_mask, rights[layer], limit, scaling), None
        group, merge = sdpa_group(scaling, dropout), merges_short(query)
        output = attend_packed(
            query, key, value, attention_mask, rights[layer], limit, group, weight=weight, merge=merge
        )
        return output, None
    if attention_mask is None:
        _require_nothing_drawn(module, rights[layer], query.shape[2], weight)
        causal = rights[layer] == 0
    else:
        attention_mask, causal = channel_of(attention_mask, rights, layer), False
        if attention_mask.dtype != torch.bool:
            attention_mask = additive(attention_mask, computed_in(query))
    attended: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=causal, **kwargs
    )
    return attended


def attend_eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer through the family's own eager function, soft-caps and sinks included.

    Arguments and result as `attend_sdpa`; the result also has the attention weights (None for a packed row).
    """
    rights, layer = _place(module)
    eager = eager_function(module)
    if attention_mask is None:
        raise UnsupportedModelError(f"{type(module).__name__} was given no mask: its family draws its own masks")
    if is_packed(attention_mask):
        limit = _limit(module, layer, kwargs)
        group = eager_group(eager, module, **kwargs)
        weight = weight_ahead(module.config)
        return attend_packed(query, key, value, attention_mask, rights[layer], limit, group, weight=weight), None
    mask = channel_of(attention_mask, rights, layer)
    output: tuple[Tensor, Tensor | None] = eager(module, query, key, value, mask, **kwargs)
    return output


def eager_function(module: nn.Module) -> Callable[..., Any]:
    """`eager_attention_forward` of the file that the attention module is written in.

    Raises:
        UnsupportedModelError: there is none.
    """
    for cls in type(module).__mro__:
        found: Callable[..., Any] | None = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise UnsupportedModelError(f"{type(module).__name__} has no eager attention function beside it")


def _place(module: nn.Module) -> tuple[list[int], int]:
    """The plan and the layer of an attention module."""
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int):
        raise UnsupportedModelError(f"{type(module).__name__} does not know which layer it is in (no layer_idx)")
    rights = plan_of(module.config)
    if layer >= len(rights):
        raise UnsupportedModelError(
            f"{type(module).__name__} says layer {layer}, but the plan has {len(rights)} layers"
        )
    return rights, layer


def _limit(module: nn.Module, layer: int, kwargs: dict[str, Any]) -> LayerLimit:
    """The layer's window from the config, held against the one that the layer passes, where it passes one."""
    limit = layer_limit(module.config, layer)
    passed = kwargs.get("sliding_window")
    if passed is not None and passed != limit.window:
        raise UnsupportedModelError(
            f"{type(module).__name__}, layer {layer}: the window is {passed}, but the config says {limit.window}; "
            "packed rows cannot be trusted here: use padded batches"
        )
    return limit


def _refuse_extras(module: nn.Module, kwargs: dict[str, Any]) -> None:
    for extra in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(extra) is not None:
            raise UnsupportedModelError(f"{type(module).__name__} uses {extra}, which SDPA does not: use backend eager")


def _require_nothing_drawn(module: nn.Module, right: int, length: int, weight: float) -> None:
    if weight < 1.0 or not draws_nothing([right], length):
        raise UnsupportedModelError(
            f"{type(module).__name__} was given no mask for a look-ahead of {right}: its family draws its own masks"
        )


# Attention stays as it is where the rest of a layer is compiled: it reads lengths, and its kernels are fused already.
AttentionInterface.register(BACKENDS["sdpa"], torch.compiler.disable(attend_sdpa))  # type: ignore[no-untyped-call]
AttentionInterface.register(BACKENDS["eager"], torch.compiler.disable(attend_eager))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(BACKENDS["sdpa"], stacked_mask(boolean=True))
AttentionMaskInterface.register(BACKENDS["eager"], stacked_mask(boolean=False))
