"""Studies: what a run does, and how all of them are done.

Importing this module loads nothing heavy: the processes of runs import it before they know which GPU is theirs.
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lookright.errors import DataError, LookRightError, RecipeError
from lookright.models.bundled import BUNDLED
from lookright.plan import MaskPlan
from lookright.study.definition import Study, StudyData, StudyModel, StudyRecipe, base_of, file_of
from lookright.study.matrix import StudyJob, difference, jobs_of, now
from lookright.study.plans import OWN
from lookright.training.defaults import Facts
from lookright.training.recipe import Recipe
from lookright.training.schedule import updates_per_epoch

if TYPE_CHECKING:
    from lookright.api.tasks import FineTunedModel, LabeledData
    from lookright.study.results import StudyResults
    from lookright.study.rows import Counts, Row

log = logging.getLogger("lookright")

PLACES: Final = frozenset({"base", "train", "dev", "test", "out", "resume", "report_to", "trust_remote_code"})
"""Options of a recipe that a row does not keep."""


# ------------------------------------------------------------------------------------------------------------- one run


class Sets(NamedTuple):
    """The labeled sets of a run."""

    train: LabeledData
    dev: LabeledData
    test: LabeledData


def fine_tune(job: StudyJob) -> tuple[Row, Counts]:
    """Do a run: load the base under the plan, fine-tune, take the checkpoint that dev chooses, score it on test.

    Returns:
        Its row, and the counts of the test sentences (or texts), (n_sentences, 3) gold, predicted, correct.

    Raises:
        LookRightError: what cannot be run.
    """
    from lookright.api.tasks import class_of
    from lookright.models.base import fingerprint, resolve_folder

    begin = time.perf_counter()
    row, plan = job.first_part(), job.cell.plan
    recipe = recipe_on(job.folder, job.recipe, job.dataset).replace(seed=job.cell.seed, device=job.device)
    sets = sets_of(job.folder, job.dataset, recipe)
    base = base_of(job.folder, job.model.base)
    folder = resolve_folder(base, revision=job.model.revision)
    if plan == OWN:
        _check_own_plan(base, folder)
    model = class_of(str(recipe.task)).from_pretrained(
        base,
        plan=None if plan == OWN else plan,
        revision=job.model.revision,
        device=job.device,
        backend=recipe.backend,
        quantization="4bit" if recipe.method == "qlora" else None,
        token_budget=recipe.token_budget,
    )
    part, counts = train_and_score(model, sets, recipe, updates=job.recipe.updates, evals=job.recipe.evals)
    row |= {**part, "base": fingerprint(folder), "ended": now(), "seconds": round(time.perf_counter() - begin, 2)}
    del model
    _free_memory()
    return row, counts


def train_and_score(
    model: FineTunedModel, sets: Sets, recipe: Recipe, *, updates: int | None = None, evals: int = 3
) -> tuple[Row, Counts]:
    """Fine-tune a model and score it on test: what the row of a run that is done has of its own.

    Args:
        model: a new tagger or text classifier.
        sets: what it is trained, chosen and scored on.
        recipe: how.
        updates: so many in place of the recipe's epochs.
        evals: evaluations on dev in the run, about, where `updates` is given.

    Returns:
        The part of the row, and the counts of the test sentences (or texts), (n_sentences, 3) gold, predicted, correct.

    Raises:
        RecipeError: training ended before all updates were done.
    """
    from lookright.api.report import Report
    from lookright.api.tasks import counts_of

    data: Any = sets  # of the model's task
    if updates is not None:
        recipe = recipe.replace(**_epochs(sets, recipe, updates, evals))
    result = model.fit(data.train, data.dev, recipe=recipe, progress=False)
    outcome = result.outcome
    if updates is not None and outcome.n_updates != updates and not outcome.stopped_early:
        raise RecipeError(f"{outcome.n_updates} updates were done, expected {updates}")
    report = model.evaluate(data.test, samples=1)
    row = {
        "status": "done",
        "dev": outcome.best_score,
        "test": report.headline[1],
        "convention": report.convention if isinstance(report, Report) else outcome.score_name,
        "task": result.recipe.task,
        "dev_update": outcome.update,
        "evals": [[e["step"], e["eval_score"]] for e in outcome.history if "eval_score" in e],
        "n_train": len(sets.train),
        "n_dev": len(sets.dev),
        "n_test": len(sets.test),
        "data": {name: data.content_hash() for name, data in sets._asdict().items()},
        "fit_seconds": round(result.seconds, 2),
        "recipe": {name: value for name, value in result.recipe.to_dict().items() if name not in PLACES},
        "device": model.device.type,
        "machine": result.account["machine"],
        "versions": result.account["versions"],
    }
    return row, counts_of(report)


def _epochs(sets: Sets, recipe: Recipe, updates: int, evals: int) -> dict[str, Any]:
    """The options of a recipe that make just so many updates."""
    batch_size = recipe.resolved(Facts(n_parameters=1, n_sentences=len(sets.train))).batch_size
    assert batch_size is not None
    per_epoch = updates_per_epoch(len(sets.train), batch_size, recipe.accumulation_fault)
    return {
        "epochs": (updates - 0.5) / per_epoch,  # rounded up to whole updates: just so many
        "evals_per_epoch": max(1, round(evals * per_epoch / updates)),
    }


def recipe_on(folder: Path, recipe: StudyRecipe, dataset: StudyData) -> Recipe:
    """The recipe of runs on a data set, with its task: as one of the two says, or as the data is.

    Raises:
        RecipeError: options of the other task.
    """
    from lookright.api.tasks import task_of

    found = Recipe.from_dict({**recipe.options, **dataset.reading})
    if found.task is not None:
        return found
    # Not by the recipe's pooling: in a study of sentences and texts it is the recipe that is wrong, and not the data.
    return found.replace(task=task_of(Recipe.from_dict(dataset.reading), file_of(folder, dataset.train)))


def sets_of(folder: Path, dataset: StudyData, recipe: Recipe) -> Sets:
    """The sets of a data set, read as a recipe needs them.

    Raises:
        DataError, RecipeError: what cannot be read.
    """
    return read_sets(folder, json.dumps(dataset.definition()), str(recipe.task), recipe.word_split)


@functools.lru_cache(maxsize=8)
def read_sets(folder: Path, definition: str, task: str, word_split: str | None) -> Sets:
    """The sets that a study names.

    Args:
        folder: that paths are relative to.
        definition: of the data set, as JSON.
        task: whether they are sentences or texts.
        word_split: how running text is split into words.

    Raises:
        DataError, RecipeError: what cannot be read.
    """
    from lookright.api.tasks import Reader, held_out

    told = json.loads(definition)
    read = Reader(task, Recipe(**{**told["reading"], "task": task}, word_split=word_split))
    train, test = (read(file_of(folder, told[role]), role) for role in ("train", "test"))
    if isinstance(told["dev"], float):
        train, dev = held_out(train, told["dev"])
    else:
        dev = read(file_of(folder, told["dev"]), "dev")
    return Sets(train, dev, test)


def _check_own_plan(base: str, folder: Path) -> None:
    """Refuse a base that has no plan of its own where one is asked for."""
    from lookright.attention import is_encoder
    from lookright.models.base import carried_plan, load_config
    from lookright.models.store import is_tagger_folder

    if is_tagger_folder(folder):
        return
    if not is_encoder(load_config(folder)) and carried_plan(folder) is None:
        raise RecipeError(f"the plan is 'own', but {base} is a decoder that carries none; list its plans")


def _free_memory() -> None:
    """Give back what a run took, so that the next one of this process has it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


# ------------------------------------------------------------------------------------------------------------ all runs


@dataclass(frozen=True)
class StudyOutcome:
    """What a start of a study came to.

    Attributes:
        done: runs that were done now.
        failed: runs that failed, their second try included.
        results: of all runs in the folder; None where none is done yet.
    """

    done: int
    failed: int
    results: StudyResults | None


def run_study(
    study: Study | str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    device: str = "auto",
    samples: int = 10_000,
    plots: bool = True,
    say: Callable[[str], None] = log.info,
) -> StudyOutcome:
    """Do the runs of a study that are left, and write tables, plots and the report of all.

    Args:
        study: a study, or the path of a study file.
        out: folder of the study; what is done there is not done again.
        workers: runs at once, each in a process of its own; with GPUs, one each by round robin.
        device: auto, cpu, cuda, mps.
        samples: resamples of each test.
        plots: draw them (extra `plots`).
        say: where lines for people go.

    Raises:
        RecipeError: a study file that cannot be read, or data or a base that is not there; file and key are named.
        DataError: data that cannot be read.
        OutputError: the folder holds another study, or cannot be written.
        MissingExtraError: plots without matplotlib.
        KeyboardInterrupt: with a text that says what is kept.
    """
    from lookright.study.folder import StudyFolder
    from lookright.study.plots import require_matplotlib
    from lookright.study.pool import environments, run_all

    if not isinstance(study, Study):
        study = Study.from_toml(study)
    if workers < 1:
        raise RecipeError(f"workers is {workers}; expected at least 1")
    if plots:
        require_matplotlib()
    jobs = jobs_of(study, device=device)
    check_study(study)
    folder = StudyFolder(Path(out))
    folder.begin(study)
    book = folder.book()
    try:
        done, failed = run_all(
            jobs, book,
            runner=fine_tune,
            say=say,
            workers=environments(workers, gpus_in_sight(device), cores=cores_of_this_process()),
            retries=1,
            check=goes_with,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; finished runs are kept in {out}: start again to go on") from None
    finally:
        book.close()
    return StudyOutcome(done, failed, report_study(study, out, samples=samples, plots=plots))


def report_study(
    study: Study | str | Path, out: str | Path, *, samples: int = 10_000, plots: bool = True
) -> StudyResults | None:
    """Write tables, plots and the report of the runs that are there; None where none is done.

    Raises:
        OutputError: the folder holds another study, or cannot be written.
        DataError: rows that do not belong together.
        MissingExtraError: plots without matplotlib.
    """
    from lookright.study.folder import StudyFolder
    from lookright.study.results import results_of

    if not isinstance(study, Study):
        study = Study.from_toml(study)
    folder = StudyFolder(Path(out))
    folder.check(study)
    results = results_of(study, folder.rows(), folder.counts(), samples=samples)
    if results is not None:
        folder.write(results, plots=plots)
    return results


def check_study(study: Study) -> None:
    """Refuse what is in the study's way before anything is run: bases, data and recipes, one by one.

    Raises:
        RecipeError: a base or a file that is not there, a base that does not take its plans, a recipe that is not for
            a data set.
        DataError: data that cannot be read.
    """
    where = "" if study.file is None else f"{study.file}: "
    try:
        for model in study.models:
            check_base(study, model)
        for dataset in study.datasets:
            check_files(study.folder, dataset)
            check_recipes(study, dataset)
    except RecipeError as error:
        raise RecipeError(f"{where}{error}") from None
    except DataError as error:
        raise DataError(f"{where}{error}") from None
    read_sets.cache_clear()  # the runs are done by other processes


def check_base(study: Study, model: StudyModel) -> None:
    """Refuse a base that is not there, cannot be loaded, or does not take its plans; what a hub has is left to it.

    Raises:
        RecipeError: naming the base.
    """
    base = base_of(study.folder, model.base)
    if base == BUNDLED:
        return
    from lookright.attention import is_encoder
    from lookright.models.base import choose_plan, load_config, looks_like_path, resolve_folder, weight_files
    from lookright.models.store import is_tagger_folder

    path, where = Path(base).expanduser(), f"[model.{model.name}] base"
    if not path.exists():
        if looks_like_path(base):
            raise RecipeError(
                f"{where}: {study.folder / path}: no such folder; paths of a study are relative to the study file"
            )
        return
    try:
        folder = resolve_folder(base)
        if is_tagger_folder(folder):
            return
        config = load_config(folder)
        weight_files(folder)
        n_layers = getattr(config.get_text_config(), "num_hidden_layers", None)
        for plan in study.plans_of(model):
            if plan == OWN:
                _check_own_plan(base, folder)
            elif is_encoder(config) or n_layers is None:
                choose_plan(config, plan)  # says why it has none
            else:
                MaskPlan.parse(plan, n_layers)
    except LookRightError as error:
        raise RecipeError(f"{where}: {error}") from None


def check_files(folder: Path, dataset: StudyData) -> None:
    """Refuse a data set whose files are not there before anything is run.

    Raises:
        RecipeError: naming the file.
    """
    for name in (dataset.train, dataset.test, dataset.dev):
        if isinstance(name, str):
            try:
                file_of(folder, name)
            except RecipeError as error:
                raise RecipeError(f"[dataset.{dataset.name}] {error}") from None


def check_recipes(study: Study, dataset: StudyData) -> None:
    """Refuse data that cannot be read, recipes that are not for its task, and a regression, before anything is run.

    Raises:
        RecipeError: naming both.
        DataError: naming the data set.
    """
    from lookright.data.texts import Target, TextDataset

    for recipe in study.recipes:
        try:
            train = sets_of(study.folder, dataset, recipe_on(study.folder, recipe, dataset)).train
        except RecipeError as error:
            raise RecipeError(f"[recipe.{recipe.name}] with [dataset.{dataset.name}]: {error}") from None
        except DataError as error:
            raise DataError(f"[dataset.{dataset.name}] {error}") from None
        if isinstance(train, TextDataset) and train.target is Target.REGRESSION:
            raise RecipeError(
                f"[dataset.{dataset.name}] is a regression, and a study compares labels that are right; leave it out, "
                "or say what its gold is (target = 'single-label')"
            )


def goes_with(row: Row, rows: Sequence[Row]) -> str | None:
    """What a row has that those there have not, and should have; None where it goes with them."""
    found = (difference(other, row) for other in rows if other["status"] == "done")
    return next((text for text in found if text is not None), None)


def gpus_in_sight(device: str) -> list[str]:
    """The GPUs, as CUDA_VISIBLE_DEVICES names them; none where the processor is to be used."""
    if device not in ("auto", "cuda"):
        return []
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in given.split(",") if name.strip() and name.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def cores_of_this_process() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
