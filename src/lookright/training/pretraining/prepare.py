"""What must be there before pretraining begins: tokenizer, model, plan, mask token, and which weights are trained."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lookright.attention import PLAN_KEY
from lookright.attention.architecture import bare_decoder
from lookright.errors import DataError, LookRightError, OutputError, RecipeError
from lookright.inference.device import fast_bfloat16
from lookright.models.base import build_settings_window, default_plan, load_tokenizer, resolve_folder
from lookright.models.language_model import LanguageModel, load_language_model, new_language_model
from lookright.models.new_tokenizer import train_tokenizer
from lookright.plan import MaskPlan
from lookright.training.cache import made_once
from lookright.training.compilation import why_not_compiled
from lookright.training.pretraining.corpus import file_hash, sample
from lookright.training.pretraining.mask_token import Mask, train_row
from lookright.training.pretraining.recipe import PretrainFacts, PretrainRecipe
from lookright.training.surroundings import weights_are_sharded
from lookright.training.weights import new_adapters

log = logging.getLogger("lookright")

VOCABULARY = 16_000
LONGEST = 512
"""The longest sequence where nothing else is asked for."""


def plan_for(recipe: PretrainRecipe, n_layers: int, carried: Sequence[int] | None = None) -> MaskPlan:
    """The plan to train under.

    Args:
        recipe: with or without a plan.
        n_layers: of the model.
        carried: the plan that the base carries.

    Raises:
        PlanError: a plan that does not fit the layers.
        RecipeError: clm under a plan that shows a sub-word what it is to predict, or mlm under any that hides a part.
    """
    plan = None if recipe.plan is None else MaskPlan.parse(recipe.plan, n_layers)
    if recipe.objective == "clm":
        if plan is not None and not plan.is_causal:
            raise RecipeError(
                f"objective is 'clm' under the plan {plan}, in which layers look to the right: a sub-word would see "
                "the next one, which it is to predict, and the loss would fall without anything being learned; take "
                "the objective mntp, which masks what it predicts, or leave the plan out"
            )
        return MaskPlan.causal(n_layers)
    if recipe.objective == "mlm":
        if plan is not None and not plan.is_bidirectional:
            raise RecipeError(
                f"objective is 'mlm' under the plan {plan}: mlm trains an encoder, in which every layer is open; take "
                "mntp for any other plan, or leave the plan out"
            )
        return MaskPlan.bidirectional(n_layers)
    if plan is None and carried is not None:
        plan = MaskPlan.parse(list(carried), n_layers)
        log.info("the base carries the plan %s, which is taken", plan)
    return plan or default_plan(n_layers)


def tokenizer_for(recipe: PretrainRecipe, files: Sequence[Path], cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a new model: the one that the recipe names, else one that is trained on the text, once.

    Raises:
        DataError: files without text, or that are no text.
        ModelFolderError: no such tokenizer.
    """
    if recipe.tokenizer is not None:
        return load_tokenizer(resolve_folder(recipe.tokenizer))
    wanted = recipe.vocab_size or VOCABULARY
    key = hashlib.sha256(" ".join(sorted(map(file_hash, files))).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        texts = sample(sorted(files, key=file_hash))
        first = next(texts, None)
        if first is None:
            raise DataError(f"no text in {', '.join(map(str, files))}: expected documents between blank lines")
        log.info("training a tokenizer of %d entries", wanted)
        train_tokenizer(itertools.chain([first], texts), wanted).save_pretrained(folder)

    folder = made_once(cache / "tokenizers" / f"{key}-{wanted}", make)
    try:
        tokenizer = load_tokenizer(folder)
    except LookRightError as error:
        raise OutputError(f"{folder}: the tokenizer that is kept there is damaged; delete that folder") from error
    if len(tokenizer) < wanted:
        log.info("the text has enough for %d of %d entries of the tokenizer", len(tokenizer), wanted)
    return tokenizer


def language_model(recipe: PretrainRecipe, files: Sequence[Path], cache: Path) -> LanguageModel:
    """The model to train: the base, or a new one; plans that cannot be are refused before any work is done.

    Raises:
        PlanError, RecipeError: see `plan_for`.
        ModelFolderError, UnsupportedModelError: see `load_language_model`.
    """
    if recipe.base is not None:
        found = load_language_model(recipe.base, revision=recipe.revision)
        bare_decoder(found.model).config.__dict__.pop(PLAN_KEY, None)
        return found
    shape = recipe.shape()
    plan_for(recipe, shape["layers"])
    tokenizer = tokenizer_for(recipe, files, cache)
    return new_language_model(tokenizer, **shape, length=recipe.length or LONGEST, seed=recipe.seed)


LONG_RUN = 2_000_000
"""Sub-words from which on a run gains more from compiled layers than making them takes."""


def facts_of(found: LanguageModel, device: torch.device, n_tokens: float) -> PretrainFacts:
    """What the automatic values depend on, for a model and the sub-words of all updates."""
    return PretrainFacts(
        n_parameters=sum(p.numel() for p in found.model.parameters()),
        fresh=found.source is None,
        takes=None if found.source is None else build_settings_window(found.model.config, LONGEST),
        device=device.type,
        bfloat16=fast_bfloat16(device),
        compiles=device.type == "cpu" and n_tokens >= LONG_RUN and why_not_compiled(device.type) is None,
        sharded=weights_are_sharded(),
    )


def check_length(recipe: PretrainRecipe, found: LanguageModel) -> None:
    """Refuse sequences that the base does not take.

    Raises:
        RecipeError: they are too long.
    """
    takes = build_settings_window(found.model.config, recipe.length or LONGEST)
    if found.source is not None and recipe.length is not None and takes < recipe.length:
        raise RecipeError(f"length is {recipe.length}, but this base takes {takes} sub-words at most")


def prepare_weights(model: PreTrainedModel, recipe: PretrainRecipe, mask: Mask | None) -> None:
    """Make trainable what the method trains: all weights; or adapters, and the embedding of a new mask token.

    Args:
        model: changed in place.
        recipe: resolved.
        mask: the mask token; None for clm.
    """
    if recipe.method == "full":
        model.requires_grad_(True)
        return
    model.requires_grad_(False)
    new_adapters(bare_decoder(model), recipe)
    if mask is not None and mask.new:
        train_row(model.get_input_embeddings(), mask.id)
