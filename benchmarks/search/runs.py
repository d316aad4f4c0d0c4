"""One run of the benchmark: a search, or a fine-tuning under one plan as in the grid of `benchmarks/base`."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any, Final

from benchmarks.base.run import Job, data_of, fine_tune
from benchmarks.results import machine

from lookright.api.studies import PLACES
from lookright.errors import RecipeError
from lookright.study.matrix import now
from lookright.study.plans import plan_name
from lookright.study.rows import Counts, Row

SEARCH: Final = "search-"
"""What the variant of a cell begins with whose run is a search; a strategy as `strategy_from` reads it follows."""
ANY: Final = "auto"
"""The plan of the cell of a search."""


def strategy_from(text: str) -> tuple[Any, float | None]:
    """A strategy and its budget from `shared`, or `shared:budget=2,share=0.5`.

    Raises:
        RecipeError: no such strategy or option, or a value that it does not take.
    """
    from lookright.search.strategies import STRATEGIES, strategy_of

    name, _, rest = text.partition(":")
    kind = STRATEGIES.get(name) or strategy_of(name)
    types = {field.name: field.type for field in fields(kind)}
    options: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or (key != "budget" and key not in types):
            raise RecipeError(f"{text}: {part!r} is no option of {name}; expected {', '.join(['budget', *types])}")
        try:
            options[key] = {"int": int, "str": str}.get(str(types.get(key)), float)(value)
        except ValueError:
            raise RecipeError(f"{text}: {value!r} is no value of {key}") from None
    budget = options.pop("budget", None)
    return kind(**options), budget


def search_or_tune(job: Job) -> tuple[Row, Counts]:
    """Do what the cell of a job says; its row, and the counts of the test sentences."""
    return run_search(job) if job.cell.variant.startswith(SEARCH) else fine_tune(job)


def run_search(job: Job) -> tuple[Row, Counts]:
    """Search, and score the tagger that comes out on test.

    The row is that of a fine-tuning, with more in it: `found` (the plan), `search_seconds` (wall-clock time of all of
    the search, loading included and test left out), `cost`, `verdict`, and `trials` with the counts of each on dev.
    """
    from lookright.api.searching import search_plan

    row, settings = job.first_part(), job.settings
    begin = time.perf_counter()
    train, dev, test = data_of(job.data / job.cell.set)
    strategy, budget = strategy_from(job.cell.variant.removeprefix(SEARCH))
    per_epoch = -(-len(train) // settings.batch_size)
    searched = search_plan(
        job.folder, train, dev, strategy=strategy, budget=budget, progress=False, device=job.device,
        seed=job.cell.seed,
        subword=settings.subword,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        precision=settings.precision,
        epochs=(settings.updates - 0.5) / per_epoch,  # rounded up to whole updates: just so many
        evals_per_epoch=max(1, round(settings.evals * per_epoch / settings.updates)),
    )  # fmt: skip
    seconds, result = time.perf_counter() - begin, searched.result
    if result.prices.updates != settings.updates:
        raise RecipeError(f"one fine-tuning had {result.prices.updates} updates, expected {settings.updates}")
    report = searched.tagger.evaluate(test, samples=1)
    row |= {
        "status": "done",
        "dev": result.score,
        "test": report.headline[1],
        "convention": report.convention,
        "found": plan_name(result.plan.to_list()),
        "search_seconds": round(seconds, 2),
        "cost": result.cost.to_dict(),
        "budget": result.budget,
        "strategy": result.strategy,
        "verdict": result.verdict.to_dict(),
        "trials": [trial.to_row() for trial in result.trials],
        "n_train": len(train),
        "n_dev": len(dev),
        "n_test": len(test),
        "data": {"train": train.content_hash(), "dev": dev.content_hash(), "test": test.content_hash()},
        "recipe": {name: value for name, value in result.recipe.to_dict().items() if name not in PLACES},
        "device": searched.tagger.device.type,
        "machine": machine(),
        "ended": now(),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    return row, report.scores.per_sentence
