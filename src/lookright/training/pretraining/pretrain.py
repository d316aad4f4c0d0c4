"""`pretrain`: text and a recipe in; a base and an account of the run out."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from lookright.attention.architecture import bare_decoder
from lookright.encoding import SubwordEncoder
from lookright.errors import DataError, RecipeError
from lookright.inference.device import resolve_device
from lookright.models.base import DTYPES, install_plan
from lookright.models.compilation import check_compiler
from lookright.models.language_model import LanguageModel, save_base
from lookright.models.lora import has_lora, merge_lora
from lookright.plan import MaskPlan
from lookright.training.cache import cache_folder
from lookright.training.examples import At
from lookright.training.pretraining.card import base_card
from lookright.training.pretraining.corpus import text_files
from lookright.training.pretraining.loop import PretrainRun
from lookright.training.pretraining.mask_token import Mask, mask_for
from lookright.training.pretraining.objectives import Objective
from lookright.training.pretraining.plots import draw_losses
from lookright.training.pretraining.prepare import (
    check_length,
    facts_of,
    language_model,
    log,
    plan_for,
    prepare_weights,
)
from lookright.training.pretraining.recipe import BATCH_TOKENS, PretrainRecipe
from lookright.training.pretraining.sequences import Sequences
from lookright.training.pretraining.tokens import TokenisedCorpus, tokenise, tokenizer_hash
from lookright.training.processes import is_first_process
from lookright.training.run_folder import RunFolder
from lookright.training.surroundings import check_tracker, machine_account, process_kept
from lookright.training.trainer import LOGGED_LOSSES, RunPlan

FEWEST: Final = 1_000
"""Sub-words below which a text is taken for a mistake."""
TIMING: Final = ("tokens_per_second", "arithmetic", "seconds")
LOOKED_AT: Final = 1_000
"""Sequences that are looked at for something to predict."""
PICTURE: Final = "loss.png"


@dataclass(frozen=True)
class PretrainResult:
    """The account of a run.

    Attributes:
        folder: where the base is.
        recipe: resolved.
        plan: that it was trained under.
        loss: the last training loss, in nats per target.
        held_out_loss: the last held-out loss; None without held-out text.
        n_parameters: weights of the model.
        n_tokens: sub-words of the training text.
        tokens_per_second: of all processes; None where nothing was left to train.
        arithmetic: share of an update that is forward, backward and optimizer; None likewise.
        seconds: wall-clock time of this call.
        account: what is written as run.json.
    """

    folder: Path
    recipe: PretrainRecipe
    plan: MaskPlan
    loss: float | None
    held_out_loss: float | None
    n_parameters: int
    n_tokens: int
    tokens_per_second: float | None
    arithmetic: float | None
    seconds: float
    account: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Prepared:
    """All that a run needs: see `prepare`."""

    recipe: PretrainRecipe
    found: LanguageModel
    plan: MaskPlan
    corpus: TokenisedCorpus
    train: Sequences
    held_out: Sequences | None
    run_plan: RunPlan
    tokenizer_sha256: str
    pad_id: int


def pretrain(recipe: PretrainRecipe, *, progress: bool = True) -> PretrainResult:
    """Train a base on plain text, by a recipe, and save it in the recipe's out folder.

    After `clm` the folder is an ordinary one of transformers; after `mlm` and `mntp` it carries its plan under our own
    model type. It also holds recipe.toml, run.json, log.jsonl, loss.png and the checkpoints to resume from.

    Args:
        recipe: what to do; automatic values are filled in.
        progress: whether to show a table on stderr.

    Raises:
        RecipeError: options that cannot work, or a resumption with another recipe.
        DataError: text that cannot be read, or too little of it.
        OutputError: the out folder or the cache holds something else, or cannot be written.
        KeyboardInterrupt: with a text that says what is kept.
    """
    began = time.monotonic()
    if recipe.out is None:
        raise RecipeError("no out folder is given for the base; give out")
    folder = RunFolder(Path(recipe.out))
    folder.check(resume=recipe.resume)
    check_tracker(recipe.report_to)
    if recipe.resume:
        recipe = folder.as_before(recipe)
    device = resolve_device(recipe.device)
    timing = {name: value for name, value in folder.result().items() if name in TIMING}
    with process_kept():
        ready = prepare(recipe, device)
        model = ready.found.model
        run = PretrainRun(model, ready.recipe, ready.run_plan, ready.train, ready.held_out, ready.pad_id, folder)
        account = account_of(ready, device)
        outcome = run.go(device, account, progress=progress)
    if has_lora(model):
        merge_lora(bare_decoder(model))
    loss, held_out = (
        next((entry[name] for entry in reversed(outcome.history) if name in entry), None)
        for name in ("loss", "eval_loss")
    )
    speed = run.clock.tokens_per_second
    result = PretrainResult(
        folder=folder.path,
        recipe=ready.recipe,
        plan=ready.plan,
        loss=loss,
        held_out_loss=held_out,
        n_parameters=sum(p.numel() for p in model.parameters()),
        n_tokens=ready.train.n_tokens,
        tokens_per_second=None if speed is None else speed * run.world,
        arithmetic=run.clock.arithmetic,
        seconds=time.monotonic() - began,
        account=account,
    )
    if is_first_process():
        _save(result, ready, folder, timing)
    return result


def prepare(recipe: PretrainRecipe, device: torch.device) -> Prepared:
    """Read the text, make or load tokenizer and model, and resolve the recipe.

    Raises:
        RecipeError, PlanError: options that cannot work.
        DataError: text that cannot be read, or too little of it.
    """
    if recipe.text is None:
        raise RecipeError("no text is given to train on; give text")
    files = text_files(recipe.text)
    cache = cache_folder(recipe.cache)
    found = language_model(recipe, files, cache)
    check_length(recipe, found)
    model, tokenizer = found.model, found.tokenizer
    n_layers = int(model.config.get_text_config().num_hidden_layers)
    plan = plan_for(recipe, n_layers, found.carried)
    if found.carried is not None and plan.to_list() != list(found.carried):
        carried = MaskPlan.parse(found.carried, n_layers)
        log.info("the base carries the plan %s; it is trained under %s now", carried, plan)
    corpus = tokenise(files, tokenizer, cache, share=recipe.held_out)
    if len(corpus.train) < FEWEST:
        raise DataError(
            f"{', '.join(map(str, files))}: only {len(corpus.train)} sub-words to train on, in "
            f"{corpus.train.n_documents} documents; pretraining needs at least {FEWEST}: give more text"
        )
    digest = tokenizer_hash(tokenizer)
    set_seed(recipe.seed)
    mask = None
    if recipe.objective != "clm":
        mask = mask_for(model, tokenizer, recipe.objective, recipe.mask_token)
    check_compiler(recipe.compile, device)
    n_tokens = recipe.epochs * len(corpus.train)
    if recipe.updates is not None:
        n_tokens = recipe.updates * (recipe.batch_tokens or BATCH_TOKENS)
    resolved = recipe.resolved(facts_of(found, device, n_tokens)).replace(plan=str(plan))
    install_plan(bare_decoder(model), plan, recipe.backend)
    prepare_weights(model, resolved, mask)
    encoder = SubwordEncoder(tokenizer)
    options: dict[str, Any] = {"prefix": encoder.prefix_ids, "suffix": encoder.suffix_ids, "seed": recipe.seed}
    objective = _objective(resolved, tokenizer, mask, model.get_input_embeddings().num_embeddings)
    assert resolved.length is not None
    train = Sequences(corpus.train, objective, resolved.length, **options)
    if not any(len(train[At(0, number)].target) for number in range(min(len(train), LOOKED_AT))):
        raise DataError(
            f"{', '.join(map(str, files))}: nothing can be predicted in the first {LOOKED_AT:,} sequences, which are "
            "of one sub-word or less; expected running text, its documents apart by blank lines"
        )
    held_out = None
    if len(corpus.held_out):
        held_out = Sequences(corpus.held_out, objective, resolved.length, most=recipe.held_out_tokens, **options)
    elif recipe.held_out:
        n, share = corpus.train.n_documents, recipe.held_out
        log.info(
            "none of %d document%s (a blank line ends one) fell into the share of %g that is held out: there is no "
            "held-out loss", n, "" if n == 1 else "s", share,
        )  # fmt: skip
    return Prepared(
        resolved, found, plan, corpus, train, held_out, run_plan_of(resolved, train), digest, encoder.pad_id
    )


def _objective(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerBase, mask: Mask | None, n_rows: int) -> Objective:
    """What is predicted; random sub-words are drawn among those that tokenizer and embeddings both have."""
    n_known = min(len(tokenizer), n_rows)
    if mask is None:
        return Objective("clm")
    special = {*tokenizer.all_special_ids, mask.id}
    return Objective(
        recipe.objective, mask.id, recipe.mask_rate or 0.0, recipe.masking or "bert", n_known, tuple(special)
    )


def run_plan_of(recipe: PretrainRecipe, train: Sequences) -> RunPlan:
    """How many sequences make an update of `batch_tokens` on average, and when the run is scored and saved."""
    mean = train.n_tokens / len(train)
    batch_size = min(len(train), max(1, round((recipe.batch_tokens or 1) / mean)))
    per_epoch = math.ceil(len(train) / batch_size)
    n_updates = recipe.updates or max(1, math.ceil(recipe.epochs * per_epoch))
    points = {math.ceil(n_updates * k / recipe.checkpoints) for k in range(1, recipe.checkpoints + 1)}
    return RunPlan(batch_size, per_epoch, n_updates, tuple(sorted(points)), max(1, n_updates // LOGGED_LOSSES))


def account_of(ready: Prepared, device: torch.device) -> dict[str, Any]:
    """What is written beside a base so that it can be made again: seed, versions, text, tokenizer, plan, base."""
    train, held_out = ready.corpus.train, ready.corpus.held_out
    return {
        "command": PretrainRecipe.COMMAND,
        **machine_account(ready.recipe.seed, device),
        "train": {"sha256": ready.corpus.sha256, "documents": train.n_documents, "tokens": len(train)},
        "dev": {
            "documents": held_out.n_documents,
            "tokens": len(held_out),
            "scored": 0 if ready.held_out is None else ready.held_out.n_tokens,
        },
        "tokenizer": ready.tokenizer_sha256,
        "base": None if ready.found.source is None else ready.found.source.to_dict(),
        "plan": ready.plan.to_list(),
    }


def _save(result: PretrainResult, ready: Prepared, folder: RunFolder, timing: dict[str, Any]) -> None:
    """Write the base, its card, the picture and the account; `timing` is kept where nothing was left to train."""
    model = ready.found.model
    if ready.recipe.save_dtype != "float32":
        model = copy.deepcopy(model).to(DTYPES[ready.recipe.save_dtype])
    save_base(
        folder.path,
        model,
        ready.found.tokenizer,
        carry=ready.recipe.objective != "clm",
        extra_files={"README.md": base_card(result, ready.corpus)},
    )
    draw_losses(folder.log, folder.path / PICTURE)
    result.account["result"] = {
        "loss": result.loss,
        "held_out_loss": result.held_out_loss,
        **(timing if result.tokens_per_second is None and timing else _timing(result)),
    }
    folder.write_account(result.account)


def _timing(result: PretrainResult) -> dict[str, Any]:
    """How fast it went, since it began or was resumed."""
    return {
        "tokens_per_second": result.tokens_per_second,
        "arithmetic": result.arithmetic,
        "seconds": round(result.seconds, 1),
    }
