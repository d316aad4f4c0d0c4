"""Tiny random decoders of many families: four layers, width 32, windows and chunks of 4.

Each entry states what the family's own attention lets a layer see, so that a test can draw the expected mask without
asking the product.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedModel

N_LAYERS = 4
HIDDEN = 32
VOCAB = 96
WINDOW = 4


@dataclass(frozen=True)
class Family:
    """One kind of decoder.

    Attributes:
        name: what tests call it.
        model_type: of transformers.
        options: of its config, beyond the common ones.
        windows: per layer, how many tokens the causal mask shows, the token itself included; None: all.
        chunks: per layer, the length of the blocks that attention stays in; None: no blocks.
        backends: the backends that it must pass.
        packs: whether it must pass with packed rows.
        named: whether the default test run covers it (the others run with `-m slow`).
        aliases: common options that the family spells otherwise; None: it does not have them.
    """

    name: str
    model_type: str
    options: dict[str, Any] = field(default_factory=dict)
    windows: tuple[int | None, ...] = (None,) * N_LAYERS
    chunks: tuple[int | None, ...] = (None,) * N_LAYERS
    backends: tuple[str, ...] = ("eager", "sdpa")
    packs: bool = True
    named: bool = False
    aliases: dict[str, str | None] = field(default_factory=dict)

    def config(self, **changes: Any) -> Any:
        common = {
            "vocab_size": VOCAB,
            "hidden_size": HIDDEN,
            "intermediate_size": 48,
            "num_hidden_layers": N_LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        renamed = {self.aliases.get(key, key): value for key, value in common.items()}
        renamed.pop(None, None)
        return CONFIG_MAPPING[self.model_type](**{**renamed, **self.options, **changes})

    def model(self, seed: int = 0, **changes: Any) -> PreTrainedModel:
        """A random model in evaluation mode, with weights large enough that attention matters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModel.from_config(self.config(**changes), attn_implementation="eager")
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.dim() >= 2:
                        wide = HIDDEN**0.5 if "embed" in name or name.startswith(("wte", "wpe")) else 1.0
                        parameter.normal_(0, wide / HIDDEN**0.5)
                    else:
                        parameter.add_(torch.randn_like(parameter) * 0.1)
        return model.eval()


def _sliding(*layers: int) -> dict[str, Any]:
    """Options and windows of a family in which these layers slide."""
    types = ["sliding_attention" if layer in layers else "full_attention" for layer in range(N_LAYERS)]
    windows = tuple(WINDOW if layer in layers else None for layer in range(N_LAYERS))
    return {"options": {"sliding_window": WINDOW, "layer_types": types}, "windows": windows}


def _with(base: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {**base, "options": {**base.get("options", {}), **options}}


ALL_SLIDE = {"options": {"sliding_window": WINDOW}, "windows": (WINDOW,) * N_LAYERS}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LOCAL_MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
HEAD = {"head_dim": 8}
GPT = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "num_key_value_heads": None,
    "intermediate_size": "n_inner",
}
NO_GQA: dict[str, str | None] = {"num_key_value_heads": None}
HOOKED: dict[str, Any] = {"backends": ("eager",), "packs": False}

FAMILIES = (
    Family("llama", "llama", named=True),
    Family("mistral", "mistral", **ALL_SLIDE, named=True),
    Family("mixtral", "mixtral", LOCAL_MOE, named=True),
    Family("qwen2", "qwen2", named=True),
    Family(
        "qwen2-window",
        "qwen2",
        **_with(_sliding(2, 3), use_sliding_window=True, max_window_layers=2),
    ),
    Family("qwen3", "qwen3", HEAD, named=True),
    Family("qwen3_moe", "qwen3_moe", {**MOE, **HEAD}, named=True),
    Family("gemma", "gemma", HEAD, named=True),
    Family(
        "gemma2",
        "gemma2",
        **_with(_sliding(0, 2), **HEAD, query_pre_attn_scalar=8, attn_logit_softcapping=5.0),
        backends=("eager",),
        named=True,
    ),
    Family("gemma3_text", "gemma3_text", **_with(_sliding(0, 1, 3), **HEAD, query_pre_attn_scalar=8), named=True),
    Family("phi", "phi"),
    Family("phi3", "phi3", named=True),
    Family("gpt2", "gpt2", {"resid_pdrop": 0.0}, aliases=GPT, named=True),
    Family(
        "gpt_neo",
        "gpt_neo",
        {"attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
        windows=(None, WINDOW, None, WINDOW),
        aliases={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads", "num_key_value_heads": None},
        named=True,
        **HOOKED,
    ),
    Family("gpt_neox", "gpt_neox", aliases=NO_GQA, named=True),
    Family("gptj", "gptj", {"rotary_dim": 4}, aliases=GPT, named=True, **HOOKED),
    Family(
        "opt",
        "opt",
        {"word_embed_proj_dim": HIDDEN},
        aliases={"intermediate_size": "ffn_dim", **NO_GQA},
        named=True,
    ),
    Family(
        "falcon",
        "falcon",
        {"alibi": False, "ffn_hidden_size": 48},
        aliases={"intermediate_size": None, **NO_GQA},
        named=True,
        **HOOKED,
    ),
    Family("olmo", "olmo"),
    Family("olmo2", "olmo2", named=True),
    Family("olmo3", "olmo3", **_sliding(0, 1, 2)),
    Family("olmoe", "olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    Family("smollm3", "smollm3", {"no_rope_layer_interval": 2}, named=True),
    Family("granite", "granite", {"attention_multiplier": 0.35, "residual_multiplier": 0.5}, named=True),
    Family("granitemoe", "granitemoe", {**LOCAL_MOE, "attention_multiplier": 0.35}),
    Family("starcoder2", "starcoder2", **ALL_SLIDE, named=True),
    Family("cohere", "cohere"),
    Family("cohere2", "cohere2", **_sliding(0, 1, 2), named=True),
    Family("stablelm", "stablelm", named=True),
    Family("gpt_oss", "gpt_oss", **_with(_sliding(0, 2), **LOCAL_MOE, **HEAD), backends=("eager",), named=True),
    Family(
        "llama4_text",
        "llama4_text",
        {
            **HEAD,
            "intermediate_size_mlp": 48,
            "num_local_experts": 4,
            "attention_chunk_size": WINDOW,
            "layer_types": ["chunked_attention", "chunked_attention", "full_attention", "chunked_attention"],
            "no_rope_layers": [1, 1, 0, 1],
        },
        chunks=(WINDOW, WINDOW, None, WINDOW),
        named=True,
    ),
    Family(
        "deepseek_v3",
        "deepseek_v3",
        {
            "num_key_value_heads": 4,
            "moe_intermediate_size": 24,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 12,
        },
    ),
    Family("glm4", "glm4", HEAD),
    Family("exaone4", "exaone4", **_sliding(0, 1, 2)),
    Family("nemotron", "nemotron", HEAD),
    Family("helium", "helium", HEAD),
    Family("arcee", "arcee"),
    Family("ernie4_5", "ernie4_5", HEAD),
    Family("seed_oss", "seed_oss", HEAD),
    Family("apertus", "apertus"),
    Family("hunyuan_v1_dense", "hunyuan_v1_dense", HEAD),
    Family("biogpt", "biogpt", aliases=NO_GQA),
    Family("gpt_bigcode", "gpt_bigcode", aliases=GPT),
    Family("codegen", "codegen", {"rotary_dim": 4}, aliases=GPT, **HOOKED),
    Family(
        "xglm",
        "xglm",
        aliases={
            "hidden_size": "d_model",
            "num_hidden_layers": "num_layers",
            "num_attention_heads": "attention_heads",
            "intermediate_size": "ffn_dim",
            "num_key_value_heads": None,
        },
        **HOOKED,
    ),
    Family(
        "modernbert-decoder",
        "modernbert-decoder",
        {
            "local_attention": 2 * WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        },
        windows=(None, WINDOW, WINDOW, None),
        aliases=NO_GQA,
    ),
)

BY_NAME = {family.name: family for family in FAMILIES}
NAMED = tuple(family for family in FAMILIES if family.named)
OTHERS = tuple(family for family in FAMILIES if not family.named)
