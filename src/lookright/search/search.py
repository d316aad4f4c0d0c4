"""`run_search`: a base, train and dev in; a plan, a model trained under it, and an account of what was tried out."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase

from lookright.errors import DataError, RecipeError
from lookright.models.base import default_plan
from lookright.models.headed import HeadedModel
from lookright.plan import MaskPlan
from lookright.search.candidates import Candidates
from lookright.search.folder import SearchFolder
from lookright.search.judging import LEVEL, MARGIN, Judge
from lookright.search.prices import FORWARD, FORWARD_OF_ADAPTERS, Prices
from lookright.search.progress import Table
from lookright.search.result import SearchResult
from lookright.search.strategies import Strategy, account_of
from lookright.search.tasks import SearchTask
from lookright.search.trials import Ledger
from lookright.search.workshop import Make, Workshop
from lookright.training.recipe import Recipe
from lookright.training.surroundings import machine_account
from lookright.training.trainer import RunPlan
from lookright.training.weights import as_model, facts_of

log = logging.getLogger("lookright")

FORMAT: Final = 1
LEAST_DEV: Final = 10
"""Sentences (or texts) of dev, and gold spans (or labels) in them, below which nothing can be said about plans."""
SMALL_DEV: Final = 100
"""Gold spans (or labels) of dev below which a search says beforehand that plans will hardly be told apart."""


def run_search(
    make: Make,
    tokenizer: PreTrainedTokenizerBase,
    task: SearchTask,
    recipe: Recipe,
    candidates: Candidates,
    strategy: Strategy,
    *,
    device: torch.device,
    budget: float | None = None,
    level: float = LEVEL,
    margin: float = MARGIN,
    out: Path | None = None,
    save: Callable[[SearchResult], None] | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search for a plan. Call `check_possible` first.

    Args:
        make: a new, untrained model under a plan, which is probed. `Shared` asks for one only.
        tokenizer: of the base.
        task: train, and the dev set that chooses plans and checkpoints.
        recipe: of one fine-tuning; its plan, files and out folder are not looked at, but `resume` is.
        candidates: the plans.
        strategy: how they are searched.
        device: where to.
        budget: in multiples of one fine-tuning; the strategy's own where none is given.
        level: of the intervals by which plans are told apart.
        margin: how far below the best a plan may be on dev to tie with it, see `Judge`.
        out: folder for the rows, the runs and the report; a temporary one where none is given.
        save: called with the result before the folder is told that the search is done.
        progress: whether to show a table on stderr.

    Raises:
        RecipeError: a budget that is not enough, a level or margin out of range; the folder is of another search.
        OutputError: the folder holds something else, or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_notes_once())
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookright-search-")))
        folder = SearchFolder(place)
        folder.check(resume=recipe.resume)
        if recipe.resume and not folder.begun:
            log.info("%s has no search to go on with: beginning at the beginning", place)
        budget = strategy.budget_for(len(candidates)) if budget is None else budget
        if not (math.isfinite(budget) and budget > 0):
            raise RecipeError(f"budget is {budget}, expected a positive number of fine-tunings")
        usual = default_plan(candidates.n_layers)
        judge = Judge(task.convention, level, margin, recipe.seed, task.words.unit, usual)
        most_open = candidates.extremes[1]
        first = make(most_open)
        resolved = resolve(recipe, first, len(task.train), device)
        train_size, sizes = task.sizes(tokenizer)
        prices = prices_of(resolved, task.n_examples(), train_size, sum(sizes))
        folder.begin(_about(resolved, first, task, candidates, strategy, judge, budget, device))
        ledger = Ledger(folder.trials)
        if ledger.trials:
            log.info("going on with a search: %d trials are done", len(ledger.trials))
        shop = Workshop(
            _FirstMade(make, first, most_open), tokenizer, task, sizes, resolved, candidates, prices, folder, ledger,
            judge, Table(judge.convention, budget, shown=progress), device, kept=out is not None,
        )  # fmt: skip
        del first
        try:
            found = strategy.run(shop, budget)
        except BaseException:
            folder.tidy()
            raise
        found.model.eval()
        result = SearchResult(
            plan=candidates.named(found.trial.name), name=found.trial.name, model=found.model, score=found.trial.score,
            score_name=judge.convention, verdict=found.verdict, trials=ledger.all(), budget=budget, prices=prices,
            strategy=account_of(strategy), n_plans=len(candidates), n_dev=len(task.dev), words=task.words,
            recipe=resolved, fit=found.fit,
        )  # fmt: skip
        if save is not None:
            save(result)
        if out is not None:
            folder.finish(result.to_dict(), result.to_markdown())
    return result


def check_possible(recipe: Recipe, task: SearchTask) -> None:
    """Refuse what cannot be searched before anything is loaded.

    Raises:
        DataError: a dev set of so few sentences or spans (texts or labels) that it says nothing about plans.
        RecipeError: several processes, layers to train that depend on the plan, or a regression.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("a search runs in one process, found WORLD_SIZE above 1; start it without torchrun")
    if recipe.train_layers == "unmasked":
        raise RecipeError(
            "train_layers is 'unmasked', which depends on the plan that is searched; take 'all', or 'top:N'"
        )
    n_gold, unit = task.gold()
    dev, what = task.dev, task.words.unit if len(task.dev) != 1 else task.words.unit.removesuffix("s")
    if len(dev) < LEAST_DEV or n_gold < LEAST_DEV:
        raise DataError(
            f"dev has {len(dev)} {what} with {n_gold} {unit}, which cannot "
            f"tell plans apart; expected at least {LEAST_DEV} of each, and better hundreds: give a larger --dev, or "
            "choose a plan yourself (--plan 0011)",
            path=dev.path,
        )
    if n_gold < SMALL_DEV:
        log.warning(
            "dev has only %d %s: plans will hardly be told apart by them; the report says which ones were", n_gold, unit
        )


def resolve(recipe: Recipe, model: HeadedModel, n_train: int, device: torch.device) -> Recipe:
    """The recipe of one fine-tuning, with a figure for every automatic value, and without files and folders."""
    resolved = as_model(recipe.replace(plan=None), model).resolved(facts_of(model, n_train, device))
    return resolved.replace(plan=None, train=None, dev=None, test=None, out=None, resume=False)


def prices_of(recipe: Recipe, n_examples: int, train_size: int, dev_size: int) -> Prices:
    """What one fine-tuning under a resolved recipe is, over so many examples, and sizes in words."""
    plan = RunPlan.of(recipe, n_examples)
    forward = FORWARD.get(str(recipe.method), FORWARD_OF_ADAPTERS)
    return Prices(plan.n_updates, plan.updates_per_epoch, recipe.evals_per_epoch, train_size, dev_size, forward)


class _FirstMade:
    """Makes models; the one that the recipe was resolved by is not made twice.

    Args:
        make: makes one.
        first: is there already.
        plan: of the first one.
    """

    def __init__(self, make: Make, first: HeadedModel, plan: MaskPlan) -> None:
        self.make, self.plan = make, plan
        self._first: HeadedModel | None = first

    def __call__(self, plan: MaskPlan) -> HeadedModel:
        first, self._first = self._first, None  # wanted now, or never: two models need the memory of two
        return first if first is not None and plan == self.plan else self.make(plan)


def _about(
    recipe: Recipe,
    model: HeadedModel,
    task: SearchTask,
    candidates: Candidates,
    strategy: Strategy,
    judge: Judge,
    budget: float,
    device: torch.device,
) -> dict[str, Any]:
    """What makes a search this search and no other."""
    free = (*Recipe.FREE, "device", "base", "revision")  # its weights are compared
    return {
        "format": FORMAT,
        "strategy": account_of(strategy),
        "plans": list(candidates.names),  # before the budget, which by default goes by their number
        "budget": budget,
        "level": judge.level,
        "margin": judge.margin,
        "layers": candidates.n_layers,
        "train data": task.train.content_hash(),
        "dev data": task.dev.content_hash(),
        "base": {"weights": model.config.base.get("fingerprint")},
        "recipe": {name: value for name, value in recipe.to_dict().items() if name not in free},
        "versions": machine_account(recipe.seed, device)["versions"],
    }


@contextlib.contextmanager
def _notes_once() -> Iterator[None]:
    """Within: what the trainings of a search say is said once, and not again by each of them."""
    seen: set[str] = set()

    def first_time(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text in seen or seen.add(text))  # type: ignore[func-returns-value]

    log.addFilter(first_time)
    try:
        yield
    finally:
        log.removeFilter(first_time)
