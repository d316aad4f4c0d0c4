"""LoRA adapters (arXiv 2106.09685) in a backbone, through PEFT's injection into a model in place."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lookright.attention import decoder_layers, is_encoder
from lookright.errors import ModelFolderError, RecipeError, UnsupportedModelError

log = logging.getLogger("lookright")

QUERY_NAMES: Final = frozenset({"q_proj", "query", "q_lin", "wq", "q", "q_b_proj"})
VALUE_NAMES: Final = frozenset({"v_proj", "value", "v_lin", "wv", "v", "kv_b_proj"})
FUSED_NAMES: Final = frozenset({"qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv", "att_proj", "in_proj"})
ROUTER_NAMES: Final = frozenset({"router", "gate", "shared_expert_gate"})
ATTENTION_WORDS: Final = ("attn", "attention")


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter.

    Attributes:
        r: rank.
        alpha: the update is scaled by alpha / r.
        dropout: on the adapter's input, in training.
        targets: full names of the adapted matrices in the backbone.
    """

    r: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.r < 1:
            raise RecipeError(f"the LoRA rank is {self.r}; expected 1 or more")
        if not self.targets:
            raise RecipeError("no matrix is left for LoRA to adapt; name others with lora_targets")

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LoraSettings:
        """From the JSON form."""
        return cls(**{**data, "targets": tuple(data["targets"])})


def adaptable(backbone: PreTrainedModel, among: Collection[int] | None = None) -> list[str]:
    """Full names of the matrices inside the layers that LoRA can adapt: linear ones, expert routers left out.

    Args:
        backbone: the model.
        among: numbers of the layers to look into; None: all.
    """
    layers = encoder_layers(backbone) if is_encoder(backbone.config) else decoder_layers(backbone)
    inside = {
        id(module)
        for number, layer in enumerate(layers)
        if among is None or number in among
        for module in layer.modules()
    }
    return [
        name
        for name, module in backbone.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D) and last_part(name) not in ROUTER_NAMES
    ]


def encoder_layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """The layers of an encoder: its first module list with one entry per layer."""
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == backbone.config.num_hidden_layers:
            return module
    raise UnsupportedModelError(f"{backbone.config.model_type}: no list of layers was found for LoRA to adapt")


def last_part(name: str) -> str:
    """The last part of a dotted name."""
    return name.rpartition(".")[2]


def lora_targets(
    backbone: PreTrainedModel, wanted: str | Sequence[str], among: Collection[int] | None = None
) -> tuple[str, ...]:
    """The full names of the matrices that a choice of targets means in this backbone.

    Args:
        backbone: the model that will be adapted.
        wanted: `paper` (query and value, as arXiv 2401.14556 does; the fused matrix where query, key and value are
            one), `attention` (all matrices of the attention), `all-linear` (all matrices of the layers), or the last
            parts of names, separated by commas or as a list.
        among: numbers of the layers to adapt; None: all.

    Raises:
        RecipeError: nothing in the backbone has such a name.
    """
    names = adaptable(backbone, among)
    if wanted == "paper":
        found = [n for n in names if last_part(n) in QUERY_NAMES | VALUE_NAMES]
        if not found:
            found = [n for n in names if last_part(n) in FUSED_NAMES]
            if found:
                log.info(
                    "query, key and value are one matrix here (%s): the paper preset adapts all of it",
                    last_part(found[0]),
                )
    elif wanted == "attention":
        found = [n for n in names if any(word in part for part in n.split(".")[:-1] for word in ATTENTION_WORDS)]
    elif wanted == "all-linear":
        found = names
    else:
        parts = [p.strip() for p in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
        unknown = [p for p in parts if not any(n == p or n.endswith("." + p) for n in names)]
        if unknown:
            there = ", ".join(sorted({last_part(n) for n in names}))
            raise RecipeError(f"no matrix is named {unknown[0]!r}; this model has {there}")
        found = [n for n in names if any(n == p or n.endswith("." + p) for p in parts)]
    if not found:
        there = ", ".join(sorted({last_part(n) for n in names})) or "none"
        raise RecipeError(f"the LoRA targets {wanted!r} match no matrix of this model; it has {there}")
    if any("expert" in name for name, _ in backbone.named_parameters()) and wanted == "all-linear":
        log.info("expert weights that are kept as one tensor per layer are not adapted")
    return tuple(found)


def add_lora(backbone: PreTrainedModel, settings: LoraSettings) -> None:
    """Put adapters into a backbone in place; its own weights are frozen, the adapters are float32 and trainable."""
    modules = dict(backbone.named_modules())
    missing = [name for name in settings.targets if name not in modules]
    if missing:
        raise ModelFolderError(f"the adapter is for a matrix {missing[0]!r} that this base does not have")
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        bias="none",
        fan_in_fan_out=isinstance(modules[settings.targets[0]], Conv1D),
    )
    backbone.requires_grad_(False)
    inject_adapter_in_model(config, backbone)
    for name, parameter in backbone.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    work_around_repacking(backbone)


def work_around_repacking(backbone: nn.Module) -> None:
    """Keep 4-bit layers trainable after an evaluation on processors with AVX512-BF16.

    bitsandbytes repacks such layers in the first forward pass without gradients, and then passes none back.
    """
    for module in backbone.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 (not declared by torch's Module)


def has_lora(backbone: nn.Module) -> bool:
    """Whether adapters are in the backbone."""
    return any(isinstance(module, BaseTunerLayer) for module in backbone.modules())


def lora_state(backbone: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors by name."""
    return {name: tensor for name, tensor in backbone.state_dict().items() if ".lora_" in name}


def load_lora_state(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """Put tensors back into adapters that `add_lora` made.

    Raises:
        ModelFolderError: the names do not match one for one.
    """
    expected = set(lora_state(backbone))
    if expected != set(state):
        odd = sorted(expected ^ set(state))[0]
        raise ModelFolderError(f"the adapter does not fit its settings: the tensor {odd!r} is only on one side")
    with torch.no_grad():
        own = dict(backbone.named_parameters())
        for name, tensor in state.items():
            own[name].copy_(tensor)


def merge_lora(backbone: nn.Module) -> None:
    """Add the adapters to the weights that they adapt, in float32, and take them out, in place."""
    for name, module in list(backbone.named_modules()):
        if not isinstance(module, BaseTunerLayer):
            continue
        base = module.get_base_layer()
        dtype = base.weight.dtype
        if dtype in (torch.bfloat16, torch.float16):
            base.to(torch.float32)
        module.merge(safe_merge=True)
        merged = module.get_base_layer().to(dtype) if dtype.is_floating_point else module.get_base_layer()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent) if parent else backbone, child, merged)
    backbone.__dict__.pop("peft_config", None)  # else PEFT takes the next adapter for a second one
