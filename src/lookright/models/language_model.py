"""Language models: a backbone with the head that predicts sub-words; new, read from a folder, and saved as a base."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lookright.attention import PLAN_KEY, is_encoder, packed_kwargs, padded_kwargs
from lookright.errors import OutputError, UnsupportedModelError
from lookright.models.base import (
    BaseSource,
    bars_on_terminals_only,
    check_pad_token,
    check_vocabulary,
    load_config,
    load_tokenizer,
    loading_weights,
    refuse_lost,
    resolve_folder,
    source_of,
    weight_files,
)
from lookright.models.config import LookRightConfig
from lookright.models.store import READY, STAGING, finish_saving, portable, refuse_damaged, save_staged

log = logging.getLogger("lookright")


@dataclass(frozen=True)
class LanguageModel:
    """A language model without a plan in it yet.

    Attributes:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        source: where it came from; None for a new one.
        carried: the plan that its folder carries, as a list; None without one.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: BaseSource | None = None
    carried: tuple[int, ...] | None = None


def new_language_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    intermediate: int,
    tied: bool,
    length: int,
    seed: int,
) -> LanguageModel:
    """A Llama with random weights, which takes sequences of at most `length` sub-words."""
    config = LlamaConfig(
        vocab_size=1 + max(tokenizer.get_vocab().values()),  # ids may have gaps
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=length,
        tie_word_embeddings=tied,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(LlamaForCausalLM(config), tokenizer)


def load_language_model(name: str | Path, *, revision: str | None = None) -> LanguageModel:
    """Read a decoder with its language-model head, in float32, to train it further.

    A folder without a head (and not with one tied to the embeddings) gets one that is tied to them.

    Raises:
        ModelFolderError: no such folder, no weights, a pickle, or a tagger.
        UnsupportedModelError: an encoder, or a family without a causal language model.
    """
    folder = resolve_folder(name, revision=revision)
    if (folder / STAGING / READY).is_file():  # a kill in the last moment of a save
        finish_saving(folder)
    config = load_config(folder)
    weight_files(folder)
    if is_encoder(config):
        raise UnsupportedModelError(
            f"{folder}: {config.model_type} is an encoder, which sees both sides already; pretraining goes on from "
            "decoders"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise UnsupportedModelError(f"{folder}: transformers has no causal language model for {config.model_type!r}")
    carried = getattr(config.get_text_config(), PLAN_KEY, None)
    model, found = _read(folder, config)
    if found["missing_keys"] and not config.tie_word_embeddings:
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = True
        model, found = _read(folder, config)
        log.info("%s has no language-model head: a new one is tied to its embeddings", folder)
    refuse_lost(folder, found)
    tokenizer = load_tokenizer(folder)
    check_pad_token(tokenizer, model)
    check_vocabulary(folder, tokenizer, model)
    source = source_of(name, folder, config, revision)
    return LanguageModel(model, tokenizer, source, None if carried is None else tuple(carried))


def _read(folder: Path, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict[str, Any]]:
    with loading_weights(folder):
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    return model, info


def cross_entropies(logits: Tensor, target: Tensor) -> Tensor:
    """The SUM of the cross-entropies, in float32, of logits (targets, vocabulary) and ids (targets,)."""
    return functional.cross_entropy(logits.float(), target, ignore_index=-100, reduction="sum")


def summed_loss(
    model: PreTrainedModel,
    forward: Any,
    input_ids: Tensor,
    source: Tensor,
    target: Tensor,
    attention_mask: Tensor | None = None,
    lengths: Sequence[int] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropies,
) -> Tensor:
    """The SUM of the cross-entropies of targets; logits are computed where they are needed only.

    Args:
        model: the language model itself, its plan installed.
        forward: what is called: the model, or what wraps it for several processes.
        input_ids: (rows, length); with `lengths`, one row of sequences one after the other.
        source: (targets,), flat places in the rows whose outputs predict.
        target: (targets,), the ids that they are to predict; -100 is not counted.
        attention_mask: (rows, length), 1 for tokens and 0 for padding; none where nothing is padded.
        lengths: sub-words of each packed sequence.
        loss: `cross_entropies`, or the same as compiled code.
    """
    packed = lengths is not None
    extra = packed_kwargs(model, lengths, input_ids.device) if packed else padded_kwargs(model, attention_mask)  # type: ignore[arg-type]
    if packed and "logits_to_keep" in inspect.signature(type(model).forward).parameters:
        logits = forward(input_ids=input_ids, use_cache=False, logits_to_keep=source, **extra).logits.squeeze(0)
    else:
        logits = forward(input_ids=input_ids, use_cache=False, **extra).logits.flatten(0, 1)[source]
    return loss(logits, target)


def save_base(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    carry: bool,
    extra_files: Mapping[str, str],
) -> Path:
    """Save a language model as a base, read every tensor back, and only then replace what was in the folder.

    Args:
        folder: a new, an empty, or a pretraining run's folder.
        model: without adapters.
        tokenizer: its tokenizer.
        carry: True: the folder carries the model's plan, under our own `model_type`, so that stock transformers
            refuses it instead of loading it with a causal mask. False: an ordinary folder of transformers, no plan.
        extra_files: texts by file name, such as the model card `README.md`.

    Raises:
        OutputError: the folder holds something else, or the disk is full; what was there stays as it was.
    """

    def write(stage: Path) -> None:
        with bars_on_terminals_only():
            model.save_pretrained(stage)
        data = portable(model.config)
        data["architectures"] = [type(model).__name__]
        for part in (data, data.get("text_config")):
            if isinstance(part, dict):
                part["use_cache"] = True
                if not carry:
                    part.pop(PLAN_KEY, None)
        dtype = str(model.dtype).removeprefix("torch.")
        data["dtype"] = dtype
        if carry:
            LookRightConfig(base_config=data, architectures=[type(model).__name__], dtype=dtype).save_pretrained(stage)
        else:
            (stage / "config.json").write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        tokenizer.save_pretrained(stage)
        refuse_damaged(model)
        for name, text in extra_files.items():
            (stage / name).write_text(text, encoding="utf-8")
        _compare(stage, model)

    return save_staged(Path(folder), write)


def _compare(folder: Path, model: PreTrainedModel) -> None:
    """Read what was written as it will be read, and compare every weight.

    Raises:
        OutputError: a weight is missing or differs.
    """
    written, info = _read(folder, load_config(folder))
    found = dict(written.named_parameters())
    for name, parameter in model.named_parameters():
        same = name in found and torch.equal(found[name], parameter.detach().cpu().float())
        if name in info["missing_keys"] or not same:
            raise OutputError(f"{folder}: the tensor {name!r} was not written as it is in memory")
