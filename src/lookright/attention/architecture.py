"""What the code of a Hugging Face decoder says about itself: its layers, their windows, and why it may be refused."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from lookright.errors import UnsupportedModelError
from lookright.plan import MaskPlan

# Whole class names: a looser pattern ("ssm") once took GptOssMLP for a state-space model.
RECURRENT = re.compile(
    r"Mixer$|Mamba|Rwkv|xLSTM|LSTM|Rglru|RgLru|RecurrentBlock|DeltaNet|DeltaAttention|LightningAttention|"
    r"LinearAttention|ShortConv"
)


class LayerLimit(NamedTuple):
    """What the architecture itself lets a layer see; None where it sets no limit.

    Attributes:
        window: a token sees itself and `window - 1` tokens before it.
        chunk: a token sees only its own chunk; chunks of this length are counted from the start of the sentence.
    """

    window: int | None = None
    chunk: int | None = None


def bare_decoder(model: nn.Module) -> PreTrainedModel:
    """The text decoder itself: out of a PEFT wrapper, a language-model head or a multimodal wrapper.

    Raises:
        UnsupportedModelError: `model` is no Hugging Face model.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise UnsupportedModelError(f"{type(model).__name__} is no Hugging Face model: it has no config")
    text = config.get_text_config()
    inside = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    owners = [module for module in inside if module.config is text]
    if not owners:
        raise UnsupportedModelError(f"{type(model).__name__}: no text decoder with the config {text.model_type} in it")
    # A model with a head shares its config with the decoder inside: the innermost one has the layers.
    return owners[-1]


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether this is an encoder (BERT, RoBERTa, ModernBERT kind), whose layers already see both sides."""
    # Imported here: with it transformers' auto classes come in, and with them whatever registers there, us included.
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    text = config.get_text_config()
    masked_lm = text.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return masked_lm and not getattr(text, "is_decoder", False) and not getattr(text, "is_encoder_decoder", False)


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks, lowest first.

    Raises:
        UnsupportedModelError: there is no list of as many blocks as the config says.
    """
    owner = bare_decoder(model)
    wanted = getattr(owner.config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in owner.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == wanted and len(module) > 0
    ]
    if not found:
        raise UnsupportedModelError(
            f"{owner.config.model_type}: found no list of {wanted} decoder layers in {type(owner).__name__}"
        )
    return min(found, key=lambda pair: len(pair[0]))[1]


def attention_modules(layer: nn.Module) -> list[nn.Module]:
    """The softmax attention modules of a decoder block, from the outside in; empty in recurrent layers."""
    return [
        module
        for module in layer.modules()
        if module is not layer
        and re.search(r"Attention(2)?$", type(module).__name__)
        and not RECURRENT.search(type(module).__name__)
    ]


def recurrent_modules(layer: nn.Module) -> list[str]:
    """Class names of the recurrent and convolutional parts of a decoder block."""
    names = {type(module).__name__ for module in layer.modules() if module is not layer}
    return sorted(name for name in names if RECURRENT.search(name))


def uses_alibi(config: PreTrainedConfig) -> bool:
    """Whether attention carries the ALiBi bias, which grows with the position of the key."""
    nested = getattr(config, "attn_config", None)
    return bool(
        config.model_type == "bloom"
        or getattr(config, "alibi", False)
        or getattr(nested, "alibi", False)
        or getattr(config, "position_embedding_type", None) == "alibi"
    )


def layer_limit(config: PreTrainedConfig, layer: int) -> LayerLimit:
    """The window or chunk that the config gives a layer.

    `layer_types` says which layers slide; a family without it (Mistral, Mixtral, Phi-3, StarCoder2, Qwen3-MoE) has one
    window for all. GPT-Neo names its sliding layers "local".
    """
    if config.model_type == "gpt_neo":
        return LayerLimit(config.window_size if config.attention_layers[layer] == "local" else None)
    if config.model_type == "recurrent_gemma":
        return LayerLimit(config.attention_window_size)
    window = getattr(config, "sliding_window", None) or None
    types = getattr(config, "layer_types", None)
    if types is None or types[layer] == "sliding_attention":
        return LayerLimit(window)
    if types[layer] == "chunked_attention":
        return LayerLimit(chunk=getattr(config, "attention_chunk_size", None))
    return LayerLimit()


def longest_row(config: PreTrainedConfig) -> int | None:
    """How long a row may be whose sentences do not all start at its first token; None where there is no limit.

    Llama 4 scales the queries of its layers without rotary positions by their place in the row, not by their
    `position_ids`, from `floor_scale` (8192) on.
    """
    if getattr(config, "attn_temperature_tuning", False) and 0 in getattr(config, "no_rope_layers", ()):
        return int(config.floor_scale) - 1
    return None


def refuse_unsupported(model: PreTrainedModel, plan: MaskPlan) -> None:
    """Raise where a plan cannot hold in this architecture, with the reason.

    Raises:
        UnsupportedModelError: always by the name of the model type.
    """
    config: Any = model.config
    name = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name} is an encoder-decoder: its encoder already sees both sides and its decoder reads another text; "
            "take a decoder-only model"
        )
    if is_encoder(config):
        raise UnsupportedModelError(
            f"{name} is an encoder: each of its layers already sees the whole sentence, so there is no causal mask for "
            "a plan to remove; load it without a plan"
        )
    if getattr(config, "is_causal", True) is False or getattr(config, "use_bidirectional_attention", None):
        raise UnsupportedModelError(
            f"{name}: its config already makes every layer bidirectional (is_causal: false or "
            "use_bidirectional_attention), so a right context of 0 would not be causal; take that out of config.json, "
            "or use the model as an encoder"
        )
    layers = decoder_layers(model)
    if len(layers) != plan.n_layers:
        raise UnsupportedModelError(f"{name} has {len(layers)} layers, but the plan has {plan.n_layers}")
    if not plan.is_causal and uses_alibi(config):
        raise UnsupportedModelError(
            f"{name} uses ALiBi, a bias that grows with the position of the key: to the right of a token it would "
            "favour what is furthest away; take a model with rotary or learned positions"
        )
    closed = [index for index in plan.unmasked_layers if not attention_modules(layers[index])]
    if closed:
        what = sorted({part for index in closed for part in recurrent_modules(layers[index])})
        raise UnsupportedModelError(
            f"{name}: layers {_join(closed)} are recurrent or convolutional ({', '.join(what) or 'no attention'}) and "
            "cannot look to the right; " + _open_instead(layers)
        )


def _open_instead(layers: nn.ModuleList) -> str:
    attending = [index for index, layer in enumerate(layers) if attention_modules(layer)]
    if not attending:
        return "this model has no attention layer that could"
    return f'only attention layers can: plan "layers:{_join(attending)}"'


def _join(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)
