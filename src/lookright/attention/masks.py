"""The masks of a plan, drawn from the model's own visibility predicate.

transformers' mask builders hand a predicate f(q, k) (may position q see position k: causal, sliding, chunked, packed)
to the mask function that is registered for the attention implementation. A layer with right context r uses

    f_r(q, k) = f(q, k)  or  ( f(k, q)  and  k - q <= r )

so one tensor holds, as channels, the masks of the plan's distinct right contexts; each layer takes its own channel.
Padded keys are taken out after the closure. While layers are being opened (`lookright.attention.opening`), what they
see to their right has a weight below 1: its logarithm is added to the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import sdpa_mask

from lookright.errors import UnsupportedModelError
from lookright.plan import UNBOUNDED

PLAN_KEY = "lookright_right_contexts"
"""Where the plan lives: a JSON list on the model's text config."""
WEIGHT_KEY = "lookright_weight_ahead"
"""Where the weight of what lies ahead is, beside the plan, for as long as `partly_open` says."""


def distinct_contexts(rights: Sequence[int]) -> list[int]:
    """The right contexts of a plan, each once: the order of the channels of a mask."""
    return sorted(set(rights))


def closure(seen: Tensor, right: int) -> Tensor:
    """f_r from f.

    Args:
        seen: (..., length, length) boolean, `seen[q, k]` where q may see k.
        right: right context.

    Returns:
        The same shape.
    """
    if right == 0:
        return seen
    mirrored = seen.transpose(-1, -2)
    if right != UNBOUNDED:
        position = torch.arange(seen.shape[-1], device=seen.device)
        mirrored = mirrored & (position[None, :] - position[:, None] <= right)
    return seen | mirrored


def draws_nothing(rights: Sequence[int], length: int) -> bool:
    """Whether causal and full attention are all that a plan needs for rows of this length."""
    return all(right in (0, UNBOUNDED) or right >= length - 1 for right in rights)


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to scores: a boolean one as 0 and the smallest number of `dtype`; others in `dtype`."""
    if mask.dtype != torch.bool:
        return mask.to(dtype).clamp(min=torch.finfo(dtype).min)  # a wider type's smallest number became -inf
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def softened(seen: Tensor, ahead: Tensor, weight: float, dtype: torch.dtype) -> Tensor:
    """An additive mask in which some positions have less than their full weight.

    Args:
        seen: (..., queries, keys) boolean, what is seen.
        ahead: of a shape that broadcasts with it: what has the weight, where it is seen.
        weight: above 0: what the exponential of these scores is multiplied by, before the softmax sums them up.
        dtype: of the result.
    """
    return additive(seen, dtype).masked_fill(seen & ahead, math.log(weight))


def stacked_mask(*, boolean: bool) -> Callable[..., Tensor | None]:
    """The mask function of a backend.

    Args:
        boolean: boolean masks, or None where SDPA needs none; else additive ones, always drawn. Layers that are partly
            open have additive ones in any case.
    """

    def draw(
        *,
        config: Any,
        q_length: int,
        kv_length: int,
        attention_mask: Tensor | None = None,
        local_size: int | None = None,
        allow_is_causal_skip: bool = True,
        dtype: torch.dtype = torch.float32,
        **rest: Any,
    ) -> Tensor | None:
        """(rows, channels, q_length, kv_length); arguments unknown here go on to transformers' own function."""
        rights = plan_of(config)
        weight = weight_ahead(config) if any(rights) else 1.0
        if getattr(config, "is_causal", True) is False:
            raise UnsupportedModelError(f"{config.model_type}: is_causal=False cannot be combined with a mask plan")
        if any(rights) and (q_length != kv_length or _nonzero(rest.get("kv_offset"))):
            raise UnsupportedModelError(
                f"{config.model_type}: unmasked layers need the whole sequence at once, found {q_length} queries for "
                f"{kv_length} keys; switch the cache off (use_cache=False), and use no prefix tuning"
            )
        skip = boolean and allow_is_causal_skip and q_length == kv_length and weight == 1.0
        if skip and _unmarked(attention_mask, q_length, local_size) and draws_nothing(rights, q_length):
            return None
        rest = {**rest, "allow_is_bidirectional_skip": False, "allow_is_causal_skip": False, "local_size": local_size}
        seen = sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=None, config=config, **rest)
        rows = seen.shape[0]
        if seen.stride(0) == 0:  # the predicate is the same for all rows: draw it once
            seen = seen[:1]
        mask = torch.cat([closure(seen, right) for right in distinct_contexts(rights)], dim=1)
        if attention_mask is not None:
            mask = mask & attention_mask[:, None, None, :kv_length].to(torch.bool)
        if weight < 1.0:
            return softened(mask, ~seen, weight, dtype).expand(rows, -1, -1, -1)
        return (mask if boolean else additive(mask, dtype)).expand(rows, -1, -1, -1)

    return draw


def channel_of(mask: Tensor, rights: Sequence[int], layer: int) -> Tensor:
    """The mask of one layer out of the stack.

    Args:
        mask: (rows, channels, queries, keys).

    Returns:
        (rows, 1, queries, keys), a view.

    Raises:
        UnsupportedModelError: the mask does not come from our mask function.
    """
    contexts = distinct_contexts(rights)
    if mask.dim() != 4 or mask.shape[1] != len(contexts):
        raise UnsupportedModelError(
            f"found an attention mask of shape {tuple(mask.shape)} where the plan draws {len(contexts)} channels; "
            "a mask of your own cannot be combined with a plan: give a mask of shape (rows, length)"
        )
    channel = contexts.index(rights[layer])
    return mask[:, channel : channel + 1]


def plan_of(config: Any) -> list[int]:
    """The right contexts on a config.

    Raises:
        UnsupportedModelError: there are none; the attention implementation was set without a plan.
    """
    rights = getattr(config, PLAN_KEY, None)
    if rights is None:
        raise UnsupportedModelError(
            f"{type(config).__name__} has no {PLAN_KEY}: call lookright.attention.apply_plan on the model"
        )
    found: list[int] = rights
    return found


def weight_ahead(config: Any) -> float:
    """The weight, above 0, of what a layer sees to its right: 1, but within `lookright.attention.partly_open`."""
    weight: float = getattr(config, WEIGHT_KEY, 1.0)
    return weight


def _unmarked(attention_mask: Tensor | None, length: int, local_size: int | None) -> bool:
    """Whether neither padding nor a window has to be drawn."""
    if local_size is not None and length > local_size:
        return False
    if attention_mask is None:
        return True
    if torch.compiler.is_compiling():  # looking at values would break the graph
        return False
    return bool(attention_mask.all())


def _nonzero(offset: Any) -> bool:
    return isinstance(offset, int) and offset != 0
