"""`fit_texts`: a text classifier, labeled texts and a recipe in; a trained classifier and an account of the run out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from lookright.data import hold_out_texts
from lookright.data.texts import Target, TextDataset
from lookright.encoding import TextEncoder
from lookright.errors import RecipeError
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import TextSettings
from lookright.text_metrics import LARGEST_TEMPERATURE, fit_temperature
from lookright.training.fit import Trained, account_of, begin, carry_out, prepare
from lookright.training.overlap import say_overlap
from lookright.training.recipe import Recipe
from lookright.training.run import TaggerRun
from lookright.training.text_evaluation import TextScorer, tuned_thresholds
from lookright.training.text_examples import TrainingTexts
from lookright.training.text_labels import check_text_labels, gold_table, text_settings_for
from lookright.training.weights import as_model, facts_of, merge_adapters

log = logging.getLogger("lookright")


@dataclass(frozen=True)
class TextFitResult(Trained):
    """The account of a text classifier's run.

    Attributes:
        settings: of the trained classifier, with the thresholds and the temperature that dev settled.
        n_texts: training texts.
        n_long: those of them of which only some windows, drawn anew, were shown in each epoch.
    """

    settings: TextSettings
    n_texts: int
    n_long: int


def fit_texts(
    model: LookRightForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    train: TextDataset,
    dev: TextDataset | None = None,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    progress: bool = True,
    make_run: Callable[..., TaggerRun] = TaggerRun,
) -> TextFitResult:
    """Train a text classifier in place, by a recipe; the twin of `lookright.training.fit.fit`.

    Afterwards the model has the weights of the checkpoint that is best on dev, or the last ones without dev. What dev
    settles besides, with those weights: the thresholds of a multi-label classifier, and, where the recipe asks for it,
    the temperature.

    Args:
        model: a text classifier, with its plan installed.
        tokenizer: the base's.
        train: labeled texts.
        dev: labeled texts that choose the checkpoint; None, and a share as `recipe.dev`: held out by content.
        recipe, out, progress, make_run: as for `fit`.

    Raises:
        RecipeError: options that cannot work, or a resumption with another recipe.
        LabelError: train has one label only, or shares none with dev.
        OutputError: `out` holds something else, or cannot be written.
        KeyboardInterrupt: with a text that says what is kept.
    """
    began = time.monotonic()
    recipe, device = begin(recipe, out, has_dev=dev is not None)
    if dev is None and isinstance(recipe.dev, float):
        train, dev = hold_out_texts(train, recipe.dev)
    elif dev is not None:
        say_overlap(train, dev)
    if recipe.calibrate and dev is None:
        raise RecipeError("calibrate is asked for, but there is no dev set to fit a temperature on; give dev")
    if recipe.calibrate and train.target is Target.REGRESSION:
        raise RecipeError("calibrate is asked for, but a regression has no probabilities; leave that out")
    recipe = as_model(recipe, model).resolved(facts_of(model, len(train), device))
    settings = text_settings_for(recipe, train, model.settings)
    unseen = None if dev is None else check_text_labels(dev, settings, "dev", strict=recipe.strict_labels)
    prepared = prepare(model, recipe, settings)
    examples = TrainingTexts(train, settings, TextEncoder(tokenizer), seed=recipe.seed)
    account = {
        **account_of(model, recipe, device),
        "train": _data_account(train),
        "dev": None if dev is None else _data_account(dev),
    }
    scorer = None if dev is None else TextScorer(model, tokenizer, dev, device, recipe.token_budget or 1)
    recipe, outcome = carry_out(
        model, recipe, examples, scorer, device, account, out, progress=progress, make_run=make_run
    )
    if prepared.merge:
        merge_adapters(model)
    model.eval()
    if scorer is not None and outcome.score_name is not None:  # a run for many plans is not scored on dev
        model.settings = settled_by_dev(scorer, recipe, device)
    return TextFitResult(
        recipe=recipe,
        settings=model.settings,
        outcome=outcome,
        new_labels=prepared.new_labels,
        unseen_types=unseen,
        n_texts=len(examples),
        n_long=examples.n_long,
        n_parameters=prepared.n_parameters,
        n_trained=prepared.n_trained,
        seconds=time.monotonic() - began,
        account=account,
    )


def settled_by_dev(scorer: TextScorer, recipe: Recipe, device: torch.device) -> TextSettings:
    """The settings with what dev settles about the trained weights: first the temperature, then the thresholds."""
    settings = scorer.predictor.settings
    multi = settings.target == Target.MULTI
    if not multi and not recipe.calibrate:
        return settings
    scorer.predictor.model.to(device)  # training gives it back where it was
    logits = scorer.logits()
    if recipe.calibrate:
        gold, _ = gold_table(scorer.dev, settings.labels)
        temperature = fit_temperature(logits, gold[:, : len(settings.labels)], single=not multi)
        settings = replace(settings, temperature=temperature or 1.0)
        _say_temperature(temperature, multi=multi)
    if multi:
        settings = replace(settings, thresholds=tuned_thresholds(scorer.dev, logits, settings))
    return settings


def _say_temperature(temperature: float | None, *, multi: bool) -> None:
    if temperature is None:
        what = "every label of dev's texts is told right" if multi else "every text of dev is classified right"
        log.warning(
            "--calibrate fitted no temperature, and probabilities stay as they were trained: %s, or all but, so that "
            "nothing there says how sure is too sure; give a larger dev set",
            what,
        )
    elif temperature == LARGEST_TEMPERATURE:
        log.warning(
            "--calibrate: logits are divided by the largest temperature that is tried, %g: on dev their probabilities "
            "say nothing about the gold",
            temperature,
        )
    else:
        log.info("--calibrate: logits are divided by a temperature of %.3f, fitted on dev", temperature)


def _data_account(dataset: TextDataset) -> dict[str, Any]:
    return {
        "path": dataset.path,
        "sha256": dataset.content_hash(),
        "texts": len(dataset),
        "target": None if dataset.target is None else dataset.target.value,
    }
