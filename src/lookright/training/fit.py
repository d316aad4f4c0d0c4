"""`fit`: a model, labeled sentences and a recipe in; a trained model and an account of the run out."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from lookright.attention import current_plan
from lookright.data import Dataset, hold_out
from lookright.encoding import SubwordEncoder
from lookright.errors import RecipeError
from lookright.inference.device import resolve_device
from lookright.models.compilation import check_compiler
from lookright.models.headed import HeadedModel
from lookright.models.settings import HeadSettings, TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.training.evaluation import DevScorer
from lookright.training.examples import TrainingSentences
from lookright.training.labels import UnseenTypes, check_labels, settings_for
from lookright.training.overlap import say_overlap
from lookright.training.recipe import Recipe
from lookright.training.run import HeadExamples, Outcome, Scorer, TaggerRun
from lookright.training.run_folder import RunFolder
from lookright.training.surroundings import check_tracker, machine_account, process_kept
from lookright.training.weights import as_model, facts_of, merge_adapters, prepare_weights, set_labels


@dataclass(frozen=True)
class Trained:
    """The account of a run, whatever it trained.

    Attributes:
        recipe: resolved: a figure for every automatic value.
        outcome: the history, the checkpoint that was chosen, and by what.
        new_labels: labels that the base did not have.
        unseen_types: types (of texts: labels) of dev that train has not.
        n_parameters: weights of the model.
        n_trained: those of them that were trained.
        seconds: wall-clock time of this call.
        account: what is written as run.json: seeds, versions, data hashes, and the outcome.
    """

    recipe: Recipe
    outcome: Outcome
    new_labels: tuple[str, ...]
    unseen_types: UnseenTypes | None
    n_parameters: int
    n_trained: int
    seconds: float
    account: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class FitResult(Trained):
    """The account of a tagger's run.

    Attributes:
        settings: of the trained tagger.
        n_sentences: training sentences with words.
        n_words: words whose loss is counted in each epoch.
    """

    settings: TaggerSettings
    n_sentences: int
    n_words: int


def fit(
    model: LookRightForTokenClassification,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    dev: Dataset | None = None,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    progress: bool = True,
    make_run: Callable[..., TaggerRun] = TaggerRun,
) -> FitResult:
    """Train a tagger in place, by a recipe.

    The model's labels are kept and those of new types in `train` are added; adapters are added where the recipe's
    method wants them. Afterwards the model has the weights of the checkpoint that is best on dev, or the last ones
    without dev. Test data is not asked for, so it cannot be looked at.

    Args:
        model: a tagger, with its plan installed.
        tokenizer: the base's.
        train: labeled sentences.
        dev: labeled sentences that choose the checkpoint. None, and a share as `recipe.dev`: so much of `train` is held
            out by content.
        recipe: what to do; automatic values are filled in.
        out: folder for recipe.toml, run.json, log.jsonl and the checkpoints from which a run can be resumed; new or
            empty, unless the recipe says `resume`. By default the recipe's; without one nothing is kept on disk.
        progress: whether to show a table on stderr.
        make_run: makes the run, from the arguments of `TaggerRun`.

    Raises:
        RecipeError: options that cannot work, or a resumption with another recipe.
        LabelError: train and dev share no type, or (`strict_labels`) dev has one that train has not.
        OutputError: `out` holds something else, or cannot be written.
        KeyboardInterrupt: with a text that says what is kept.
    """
    began = time.monotonic()
    recipe, device = begin(recipe, out, has_dev=dev is not None)
    if dev is None and isinstance(recipe.dev, float):
        train, dev = hold_out(train, recipe.dev)
    elif dev is not None:
        say_overlap(train, dev)
    recipe = as_model(recipe, model).resolved(facts_of(model, len(train), device))
    settings = settings_for(recipe, train, model.settings, dev=dev)
    unseen = None if dev is None else check_labels(dev, settings, "dev", strict=recipe.strict_labels)
    prepared = prepare(model, recipe, settings)
    examples = TrainingSentences(
        train, settings, SubwordEncoder(tokenizer), share_detokenized=recipe.detokenize or 0.0, seed=recipe.seed
    )
    account = {
        **account_of(model, recipe, device),
        "train": _data_account(train),
        "dev": None if dev is None else _data_account(dev),
    }
    scorer = None if dev is None else DevScorer(model, tokenizer, dev, device, recipe.token_budget or 1)
    recipe, outcome = carry_out(
        model, recipe, examples, scorer, device, account, out, progress=progress, make_run=make_run
    )
    if prepared.merge:
        merge_adapters(model)
    model.eval()
    return FitResult(
        recipe=recipe,
        settings=settings,
        outcome=outcome,
        new_labels=prepared.new_labels,
        unseen_types=unseen,
        n_sentences=len(examples),
        n_words=sum(len(ids) for ids in examples.label_ids),
        n_parameters=prepared.n_parameters,
        n_trained=prepared.n_trained,
        seconds=time.monotonic() - began,
        account=account,
    )


def begin(recipe: Recipe | None, out: str | Path | None, *, has_dev: bool) -> tuple[Recipe, torch.device]:
    """The recipe to follow, as an earlier run had it where it is a resumption, and the device.

    Raises:
        RecipeError, OutputError: what cannot work is refused before any work is done.
    """
    recipe = recipe or Recipe()
    out = out if out is not None else recipe.out
    _check_possible(recipe, out, has_dev=has_dev or recipe.dev is not None)
    if recipe.resume and out is not None:
        recipe = RunFolder(Path(out)).as_before(recipe)
    device = resolve_device(recipe.device)
    check_compiler(recipe.compile, device)
    return recipe, device


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be trained.

    Attributes:
        new_labels: labels that it did not have.
        merge: whether its new adapters must be merged after training.
        n_parameters: its weights.
        n_trained: those of them that are trained.
    """

    new_labels: tuple[str, ...]
    merge: bool
    n_parameters: int
    n_trained: int


def prepare(model: HeadedModel, recipe: Recipe, settings: HeadSettings) -> Prepared:
    """Give a model the labels and settings of a run, and make trainable what the recipe trains."""
    set_seed(recipe.seed)
    new_labels = set_labels(model, settings)
    merge = prepare_weights(model, recipe)
    n_parameters = sum(p.numel() for p in model.parameters())
    return Prepared(new_labels, merge, n_parameters, sum(p.numel() for p in model.parameters() if p.requires_grad))


def carry_out(
    model: HeadedModel,
    recipe: Recipe,
    examples: HeadExamples,
    scorer: Scorer | None,
    device: torch.device,
    account: dict[str, Any],
    out: str | Path | None,
    *,
    progress: bool,
    make_run: Callable[..., TaggerRun] = TaggerRun,
) -> tuple[Recipe, Outcome]:
    """Train a prepared model; the recipe, with the token budget that memory was enough for, and what came of it."""
    out = out if out is not None else recipe.out
    with contextlib.ExitStack() as stack:
        stack.enter_context(process_kept())
        place = Path(out or stack.enter_context(tempfile.TemporaryDirectory(prefix="lookright-")))
        run = make_run(model, recipe, examples, scorer, RunFolder(place), kept=out is not None)
        outcome = run.go(device, account, progress=progress)
    return recipe.replace(token_budget=run.recipe.token_budget), outcome


def _check_possible(recipe: Recipe, out: str | Path | None, *, has_dev: bool) -> None:
    """Refuse what cannot work before any work is done."""
    if out is not None:
        RunFolder(Path(out)).check(resume=recipe.resume)
    elif recipe.resume:
        raise RecipeError("resume is asked for, but there is no out folder to resume from; give out")
    check_tracker(recipe.report_to)
    if recipe.patience and not has_dev:
        raise RecipeError(
            f"patience is {recipe.patience}, but there is no dev set to stop by; give dev, or a share such as dev=0.1"
        )


def account_of(model: HeadedModel, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What is written beside a result so that it can be made again, but for the data: seed, versions, labels, plan,
    base.
    """
    plan = None if model.is_encoder else current_plan(model.backbone)
    return {
        **machine_account(recipe.seed, device),
        "base": dict(model.config.base),
        "plan": None if plan is None else plan.to_list(),
        "labels": list(model.settings.labels),
    }


def _data_account(dataset: Dataset) -> dict[str, Any]:
    return {
        "path": dataset.path,
        "sha256": dataset.content_hash(),
        "sentences": len(dataset),
        "words": dataset.n_words,
        "scheme": None if dataset.scheme is None else dataset.scheme.value,
    }
