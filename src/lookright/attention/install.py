"""Putting a plan into a decoder, and the arguments that its forward then takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lookright.attention.architecture import (
    attention_modules,
    bare_decoder,
    decoder_layers,
    longest_row,
    recurrent_modules,
    refuse_unsupported,
)
from lookright.attention.kernels import BACKENDS
from lookright.attention.masks import PLAN_KEY, channel_of, closure, plan_of
from lookright.attention.packing import borders_of
from lookright.errors import RecipeError, UnsupportedModelError
from lookright.plan import MaskPlan


def apply_plan(model: nn.Module, plan: MaskPlan, backend: str = "auto") -> str:
    """Install a plan in a decoder, in place; a second call replaces the first.

    The plan goes to the text config under `PLAN_KEY`, and the model's own cache is switched off: unmasked layers need
    the whole sequence at once.

    Args:
        model: a bare Hugging Face decoder (`AutoModel`), LoRA injected or not.
        plan: one right context per layer.
        backend: "sdpa", "eager", or "auto" for SDPA where the family has it.

    Returns:
        The backend in use, "sdpa" or "eager".

    Raises:
        UnsupportedModelError: the architecture cannot carry the plan; the reason is in the text.
        RecipeError: there is no such backend.
    """
    if backend not in ("auto", *BACKENDS):
        raise RecipeError(f"backend is {backend!r}; expected auto, {', '.join(BACKENDS)}")
    owner = bare_decoder(model)
    refuse_unsupported(owner, plan)
    layers = decoder_layers(owner)
    interface = _has_interface(owner)
    has_sdpa = interface and bool(getattr(owner, "_supports_sdpa", False)) and not _needs_eager(owner.config)
    if backend == "sdpa" and not has_sdpa:
        raise UnsupportedModelError(
            f"{owner.config.model_type} has no SDPA attention for a plan (soft-capped scores, attention sinks, or a "
            "family without the attention interface): use backend eager or auto"
        )
    chosen = "sdpa" if has_sdpa and backend != "eager" else "eager"
    setattr(owner.config, PLAN_KEY, plan.to_list())
    owner.config.use_cache = False
    if interface:
        owner.set_attn_implementation(BACKENDS[chosen])
    else:
        _install_hooks(owner, layers, plan)
    return chosen


def plan_switch(model: nn.Module) -> Callable[[MaskPlan], None]:
    """A function that gives a model another plan, at next to no cost; for training under many plans.

    Nothing is checked when it is called: `apply_plan` must have been called on the model once, and whoever keeps it
    under one of the plans probes it then.

    Args:
        model: a decoder that carries a plan.

    Raises:
        UnsupportedModelError: it carries none.
    """
    owner = bare_decoder(model)
    plan_of(owner.config)
    layers, has_triangles = decoder_layers(owner), not _has_interface(owner)

    def switch(plan: MaskPlan) -> None:
        setattr(owner.config, PLAN_KEY, plan.to_list())
        if has_triangles:
            for layer, right in zip(layers, plan.right_contexts, strict=True):
                _open_triangles(layer, right)

    return switch


def current_plan(model: nn.Module) -> MaskPlan | None:
    """The plan that a model carries, or None."""
    rights = getattr(bare_decoder(model).config, PLAN_KEY, None)
    return None if rights is None else MaskPlan(tuple(rights))


def can_pack(model: nn.Module) -> bool:
    """Whether several sequences can share one row without padding.

    Not where a recurrent layer would carry its state over a border, not where positions cannot restart, and not in
    families without transformers' attention interface.
    """
    owner = bare_decoder(model)
    if owner.config._attn_implementation not in BACKENDS.values() or not _has_interface(owner):
        return False
    if any(recurrent_modules(layer) or not attention_modules(layer) for layer in decoder_layers(owner)):
        return False
    return _takes_positions(owner)


def packed_kwargs(model: nn.Module, lengths: Sequence[int], device: torch.device | str) -> dict[str, Any]:
    """Forward arguments under which `input_ids` of shape (1, sum(lengths)) are independent sequences.

    Args:
        model: a decoder with a plan for which `can_pack` holds.
        lengths: sub-words of each sequence, in order. Equal lengths side by side are served together.
        device: of the input ids.

    Raises:
        UnsupportedModelError: the model cannot be packed, or not in so long a row.
    """
    if not can_pack(model):
        raise UnsupportedModelError(
            f"{bare_decoder(model).config.model_type} cannot take several sequences in one row: use padded batches"
        )
    _check_row(bare_decoder(model).config, sum(lengths))
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0).to(device)
    return {"attention_mask": borders_of(lengths), "position_ids": positions}


def padded_kwargs(model: nn.Module, attention_mask: Tensor | None) -> dict[str, Tensor]:
    """Forward arguments of a padded batch: the mask, and positions that start at 0 at each row's first token.

    Args:
        model: a decoder.
        attention_mask: (rows, length), 1 for tokens and 0 for padding, on either side; None where nothing is padded.

    Raises:
        UnsupportedModelError: the family cannot be padded in so long a row (Llama 4 above 8191 tokens).
    """
    if attention_mask is None:
        return {}
    if not _takes_positions(bare_decoder(model)):
        return {"attention_mask": attention_mask}
    _check_row(bare_decoder(model).config, attention_mask.shape[-1])
    positions = (attention_mask.long().cumsum(-1) - 1).clamp_(min=0)
    return {"attention_mask": attention_mask, "position_ids": positions}


def _check_row(config: PreTrainedConfig, length: int) -> None:
    limit = longest_row(config)
    if limit is not None and length > limit:
        raise UnsupportedModelError(
            f"{config.model_type} scales attention by the place in the row, so padded and packed rows must stay within "
            f"{limit} tokens; found {length}: take a smaller token budget"
        )


def _has_interface(owner: PreTrainedModel) -> bool:
    """Whether the family calls its attention through transformers' AttentionInterface, and layers know their index."""
    modules = [module for layer in decoder_layers(owner) for module in attention_modules(layer)]
    indexed = any(isinstance(getattr(module, "layer_idx", None), int) for module in modules)
    return indexed and bool(type(owner)._can_set_attn_implementation())


def _needs_eager(config: PreTrainedConfig) -> bool:
    """Soft-capped attention scores: SDPA would drop the cap (silently before transformers 5.18)."""
    return getattr(config, "attn_logit_softcapping", None) is not None


def _takes_positions(owner: PreTrainedModel) -> bool:
    return "position_ids" in inspect.signature(type(owner).forward).parameters


def _install_hooks(owner: PreTrainedModel, layers: nn.ModuleList, plan: MaskPlan) -> None:
    """Families without the interface (Falcon, GPT-J, GPT-Neo, CodeGen, XGLM): each block picks its own mask."""
    if not any("attention_mask" in inspect.signature(type(layer).forward).parameters for layer in layers):
        raise UnsupportedModelError(
            f"{owner.config.model_type}: {type(layers[0]).__name__} takes no attention mask; it is no attention decoder"
        )
    # The attention classes were chosen when the model was made; from here on this name only selects our mask function.
    owner.config._attn_implementation = BACKENDS["eager"]
    for index, layer in enumerate(layers):
        _open_triangles(layer, plan.right_contexts[index])
        hooks = layer._forward_pre_hooks.values()
        if not any(isinstance(hook, partial) and hook.func is _pick_mask for hook in hooks):
            # partial, not a closure: a deep copy of the model takes its copied config along
            layer.register_forward_pre_hook(partial(_pick_mask, owner.config, index), with_kwargs=True)


def _pick_mask(
    config: PreTrainedConfig, index: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Forward pre-hook of a block: put its own channel in the place of the stacked mask."""
    rights = plan_of(config)
    if not any(rights):  # the family's own mask, which may carry more than visibility (Falcon adds ALiBi to it)
        return args, kwargs
    place = list(inspect.signature(type(layer).forward).parameters).index("attention_mask") - 1
    mask = kwargs.get("attention_mask", args[place] if len(args) > place else None)
    if mask is None:
        raise UnsupportedModelError(f"{type(layer).__name__} was given no mask: its family draws its own masks")
    own = channel_of(mask, rights, index)
    if "attention_mask" in kwargs:
        return args, {**kwargs, "attention_mask": own}
    return (*args[:place], own, *args[place + 1 :]), kwargs


def _open_triangles(layer: nn.Module, right: int) -> None:
    """Close the boolean triangles that attention modules keep as buffers (GPT-Neo), windows included."""
    for module in attention_modules(layer):
        triangle = getattr(module, "bias", None)
        if isinstance(triangle, Tensor) and triangle.dtype == torch.bool and triangle.dim() == 4:
            # What an earlier plan added lies above the diagonal, so tril() is the family's own triangle again.
            module.bias = closure(triangle.tril(), right)
