"""The model's side of a recipe: its facts, the settings that it has already, and which of its weights are trained."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from lookright.attention import current_plan, decoder_layers
from lookright.data.words import RULES
from lookright.errors import RecipeError
from lookright.inference.device import fast_bfloat16
from lookright.models.base import build_settings_window
from lookright.models.headed import BACKBONE, HeadedModel, draw_weights
from lookright.models.lora import LoraSettings, add_lora, has_lora, lora_targets, merge_lora
from lookright.models.settings import LONGEST_WINDOW, HeadSettings, TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification, extend_labels
from lookright.models.tasks import TAGS, TEXT
from lookright.models.text_model import LookRightForSequenceClassification, extend_text_labels
from lookright.models.text_settings import TextSettings
from lookright.plan import MaskPlan
from lookright.training.defaults import PRESETS, Facts
from lookright.training.opening import Opening
from lookright.training.pretraining.recipe import PretrainRecipe
from lookright.training.recipe import Recipe

log = logging.getLogger("lookright")

_OF_TAGGER = ("subword", "window", "context", "decode", "dropout")
_OF_CLASSIFIER = ("pooling", "window", "dropout")


def facts_of(model: HeadedModel, n_sentences: int, device: torch.device) -> Facts:
    """What the automatic values of a recipe depend on, for a model and a number of training sentences."""
    return Facts(
        n_parameters=sum(p.numel() for p in model.backbone.parameters()),
        n_sentences=n_sentences,
        device=device.type,
        max_window=build_settings_window(model.backbone.config, LONGEST_WINDOW),
        bfloat16=fast_bfloat16(device),
    )


def as_model(recipe: Recipe, model: HeadedModel) -> Recipe:
    """The recipe with what the model settles: its plan, and the settings that neither the user nor a preset chose.

    Raises:
        RecipeError: a window that the base does not take, a plan other than the model's, or a gradual opening of an
            encoder.
    """
    if model.is_encoder and Opening.parse(recipe.opening).share:
        raise RecipeError(
            f"opening is {recipe.opening!r}, which is for decoders; this base is an encoder: leave it out"
        )
    preset = PRESETS.get(recipe.preset or "", {})
    tags = isinstance(model.settings, TaggerSettings)
    changes = {
        name: getattr(model.settings, name)
        for name in (_OF_TAGGER if tags else _OF_CLASSIFIER)
        if getattr(recipe, name) is None and name not in preset
    }
    takes = build_settings_window(model.backbone.config, recipe.window or changes["window"])
    if recipe.window is not None and takes < recipe.window:
        raise RecipeError(f"window is {recipe.window}, but this base takes {takes} sub-words at most")
    plan = None if model.is_encoder else current_plan(model.backbone)
    if recipe.plan is not None and (plan is None or MaskPlan.parse(recipe.plan, plan.n_layers) != plan):
        raise RecipeError(f"plan is {recipe.plan!r}, but the model was loaded with {plan or 'no plan'}; load it anew")
    return recipe.replace(
        **{**changes, "window": takes},
        base=recipe.base or (model.config.base.get("name") if _untrained(model) else None),
        word_split=recipe.word_split or _word_rule(model),
        task=TAGS if tags else TEXT,
        plan=None if plan is None else str(plan),
    )


def _word_rule(model: HeadedModel) -> str | None:
    """The name of the word rule that somebody chose for a tagger."""
    if not isinstance(model.settings, TaggerSettings):
        return None
    rule = model.settings.word_rule.get("rule")
    new = rule == "default" and _untrained(model)  # then nobody chose the rule
    return rule if rule in RULES and not new else None


def set_labels(model: HeadedModel, settings: HeadSettings) -> tuple[str, ...]:
    """Give the model the labels and settings of a run; call it with the run's seed set.

    Returns:
        The labels that are new to the model.
    """
    # A head that was never trained has a bias of zeros. Its weights were drawn when the model was made, with whatever
    # seed there was then; they are drawn again, so that the run depends on its own seed alone.
    untrained = _untrained(model)
    new = _extended(model, settings) if settings != model.settings else ()
    if untrained:
        draw_weights(model.score, model.backbone)
    return new


def _extended(model: HeadedModel, settings: HeadSettings) -> tuple[str, ...]:
    if isinstance(model, LookRightForSequenceClassification):
        assert isinstance(settings, TextSettings)
        return extend_text_labels(model, settings)
    assert isinstance(model, LookRightForTokenClassification)
    assert isinstance(settings, TaggerSettings)
    return extend_labels(model, settings)


def _untrained(model: HeadedModel) -> bool:
    """Whether the head is as it was made."""
    return not bool(model.score.bias.any())


def prepare_weights(model: HeadedModel, recipe: Recipe) -> bool:
    """Make trainable what the method trains, and freeze the rest.

    Adapters that are there already are trained further; for full fine-tuning they are merged first.

    Args:
        model: changed in place.
        recipe: resolved.

    Returns:
        Whether new adapters must be merged after training: an adapter is saved apart from its base, and where the base
        is a tagger that was trained whole, there is no other copy of it.

    Raises:
        RecipeError: a method that does not fit the model as it was loaded.
    """
    backbone = model.backbone
    quantized = any(type(module).__name__ in ("Linear4bit", "Linear8bitLt") for module in backbone.modules())
    if recipe.method == "full":
        if quantized:
            raise RecipeError(
                "method is 'full', but the base is quantised, and such weights cannot be trained; use qlora"
            )
        if has_lora(backbone):
            merge_lora(backbone)
        model.config.adapter = None
        if any(p.dtype in (torch.bfloat16, torch.float16) for p in backbone.parameters()):
            log.info("the weights are trained in float32: small updates would be lost in 16 bits")
            backbone.float()
        model.requires_grad_(True)
        _freeze_layers(model, recipe)
        return False
    if recipe.method == "qlora" and not quantized:
        raise RecipeError("method is 'qlora', but the base was not loaded in 4 bits (quantization='4bit', CUDA only)")
    merge = False
    if not has_lora(backbone):
        merge = not _untrained(model)
        model.config.adapter = new_adapters(backbone, recipe, layers_to_train(model, recipe)).to_dict()
    backbone.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".lora_" in name or not name.startswith(BACKBONE):
            parameter.requires_grad_(True)
    _freeze_layers(model, recipe)
    return merge


def layers_to_train(model: HeadedModel, recipe: Recipe) -> frozenset[int] | None:
    """The numbers of the layers that a recipe trains; None for all, and what is around them.

    Raises:
        RecipeError: no layer looks right, or there are fewer layers than are to be trained.
    """
    if recipe.train_layers == "all":
        return None
    if model.is_encoder:
        raise RecipeError(f"train_layers is {recipe.train_layers!r}, which is for decoders; this base is an encoder")
    n_layers = len(decoder_layers(model.backbone))
    if recipe.train_layers == "unmasked":
        plan = current_plan(model.backbone)
        if plan is None or plan.is_causal:
            raise RecipeError("train_layers is 'unmasked', but no layer of the plan looks right; take 'top:N'")
        return frozenset(plan.unmasked_layers)
    count = int(recipe.train_layers.removeprefix("top:"))
    if count > n_layers:
        raise RecipeError(f"train_layers is {recipe.train_layers!r}, but this base has {n_layers} layers")
    return frozenset(range(n_layers - count, n_layers))


def _freeze_layers(model: HeadedModel, recipe: Recipe) -> None:
    """Freeze all of the backbone but the layers that the recipe trains; nothing where it trains all."""
    wanted = layers_to_train(model, recipe)
    if wanted is None:
        return
    layers = decoder_layers(model.backbone)
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    for parameter in model.backbone.parameters():
        if id(parameter) not in inside:
            parameter.requires_grad_(False)
    for number, layer in enumerate(layers):
        if number not in wanted:
            layer.requires_grad_(False)


def new_adapters(
    backbone: PreTrainedModel, recipe: Recipe | PretrainRecipe, among: Collection[int] | None = None
) -> LoraSettings:
    """Put a resolved recipe's adapters into a backbone, or into the layers `among` its own, and freeze the rest."""
    settings = LoraSettings(
        r=recipe.lora_r or 0,
        alpha=recipe.lora_alpha or 0.0,
        dropout=recipe.lora_dropout or 0.0,
        targets=lora_targets(backbone, recipe.lora_targets or "all-linear", among),
    )
    add_lora(backbone, settings)
    return settings


def merge_adapters(model: HeadedModel) -> None:
    """Add the adapters to the weights that they adapt, in place."""
    log.info("the base was a whole %s, so that its new adapters are merged into it", model.settings.KIND)
    merge_lora(model.backbone)
    model.config.adapter = None


@contextlib.contextmanager
def recomputed_activations(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Within: a backbone computes its activations again in the backward pass, instead of keeping them."""
    if not wanted:
        yield
        return
    # transformers renamed these methods in 5.23, and warns about the old names.
    backbone: Any = model
    name = (
        "activation_checkpointing" if hasattr(backbone, "activation_checkpointing_enable") else "gradient_checkpointing"
    )
    getattr(backbone, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})
    try:
        yield
    finally:
        getattr(backbone, f"{name}_disable")()
