"""`lookright train`: a recipe in, a saved tagger (or text classifier, see `train_texts`) and its score out."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookright.cli import train_texts
from lookright.cli.info import say_what_a_plan_means
from lookright.cli.libraries import calm
from lookright.cli.output import as_json, data, say
from lookright.cli.parser import UsageError, add_json_argument
from lookright.cli.recipe_flags import add_recipe_arguments, recipe_from
from lookright.training.processes import is_first_process

if TYPE_CHECKING:
    from lookright.api.tagger import Tagger
    from lookright.data import Dataset
    from lookright.models.settings import TaggerSettings
    from lookright.training.fit import Trained
    from lookright.training.recipe import Recipe

EXAMPLES = """
lookright train --train train.conll --dev dev.conll --test test.conll --out my-tagger
lookright train --base my-base --train train.conll --dev dev.conll --plan 0011 --out my-tagger
lookright train --base my-base --train train.conll --dev 0.1 --test test.conll --out my-tagger
lookright train --base my-base --train train.conll --dev dev.conll --preset paper --out my-tagger
lookright train --train texts.jsonl --dev 0.1 --test test.csv --pooling mean --out my-classifier
lookright train --train train.conll --dev dev.conll --plan auto --out my-tagger
lookright train --recipe recipe.toml --seed 2 --out run-2
lookright train --recipe recipe.toml --out my-tagger --resume
lookright train --recipe recipe.toml --dry-run > resolved.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe's options, and what is done with the recipe."""
    add_recipe_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe as TOML and stop")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train, score on test, and say where the result is and what comes next."""
    args.quiet = args.quiet or not is_first_process()
    recipe = on_some_base(recipe_from(args), quiet=args.quiet)
    require(recipe, ("train",) if args.dry_run else ("train", "out"))
    say_what_a_plan_means(recipe.plan, quiet=args.quiet)
    if recipe.out is not None:
        check_out(Path(recipe.out), resume=recipe.resume, searches=recipe.plan == "auto")
    if train_texts.task_of(recipe) == "text":
        return train_texts.run(args, recipe.replace(task="text"))
    sets = read_sets(recipe)
    calm(quiet=args.quiet)
    tagger = tagger_on_base(recipe, sets["train"])
    if args.dry_run:
        data(resolved(recipe, tagger, sets["train"]).to_toml())
        return 0
    check_test(recipe, sets, tagger.settings)
    dev = sets.get("dev", recipe.dev if isinstance(recipe.dev, float) else None)
    result = tagger.fit(sets["train"], dev=dev, recipe=recipe, out=recipe.out, progress=not args.quiet)
    if not is_first_process():
        return 0
    report = None
    if "test" in sets:
        report = tagger.evaluate(sets["test"], name="test", progress=not args.quiet)
        tagger.save_card(str(recipe.out))  # with the score
    if args.json:
        as_json(account_of(recipe, result, None if report is None else report.to_dict()))
    elif report is not None:
        data(f"test: {report}\n")
    say_what_comes_next(recipe, result, quiet=args.quiet)
    return 0


def on_some_base(recipe: Recipe, *, quiet: bool) -> Recipe:
    """The recipe, on the bundled base where neither it nor the run that it resumes names one."""
    if recipe.base is None and recipe.resume and recipe.out is not None:
        from lookright.training.run_folder import RunFolder

        recipe = RunFolder(Path(recipe.out)).as_before(recipe)
    if recipe.base is not None:
        return recipe
    from lookright.models.bundled import BUNDLED

    say(f"no --base is given: taking {BUNDLED}, the small base that is bundled", quiet=quiet)
    return recipe.replace(base=BUNDLED)


def require(recipe: Recipe, names: tuple[str, ...], command: str = "train") -> None:
    """Raise `UsageError` for the options that must be given and are not."""
    missing = [f"--{name}" for name in names if getattr(recipe, name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} must be given, as a flag or in --recipe (see `lookright {command} --help`)"
        )


def check_out(out: Path, *, resume: bool, searches: bool = False) -> None:
    """Refuse an out folder that holds something else before anything is read or loaded."""
    if searches:
        from lookright.search.folder import SearchFolder

        SearchFolder(out).check(resume=resume)
        return
    from lookright.training.run_folder import RunFolder

    RunFolder(out).check(resume=resume)


def read_sets(recipe: Recipe) -> dict[str, Dataset]:
    """Return the labeled files of a recipe by role: train, and dev and test where they are files."""
    from lookright.api.inputs import as_dataset, reading_options
    from lookright.training.labels import scheme_of

    paths = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
    options = reading_options(recipe)
    sets = {role: as_dataset(path, **options) for role, path in paths.items() if isinstance(path, str)}
    for role, dataset in sets.items():
        scheme_of(dataset, role)  # raises where there are no sentences or no tags
    return sets


def check_test(recipe: Recipe, sets: dict[str, Dataset], existing: TaggerSettings | None = None) -> None:
    """Refuse test data that cannot be scored now, rather than after the training.

    Args:
        recipe: of the training.
        sets: by role.
        existing: the settings of the tagger that is trained; None for a new one.
    """
    from lookright.data import trained_part
    from lookright.models.settings import TaggerSettings
    from lookright.tags import label_set
    from lookright.training.labels import check_labels, scheme_of
    from lookright.training.overlap import say_overlap

    if "test" in sets:
        say_overlap(sets["train"], sets["test"], "test")
        types = trained_part(sets["train"], recipe.dev).types()
        if existing is None:
            scheme = scheme_of(sets["train"], "train")
            settings = TaggerSettings(labels=label_set(types, scheme), scheme=scheme)
        else:
            settings = existing.with_types(types)
        check_labels(sets["test"], settings, "test", strict=recipe.strict_labels)


def tagger_on_base(recipe: Recipe, train: Dataset) -> Tagger:
    """Return an untrained tagger for the labels of `train`, or the saved tagger that the base is."""
    from lookright.api.tagger import Tagger
    from lookright.data import trained_part
    from lookright.models.base import resolve_folder
    from lookright.models.store import is_tagger_folder

    base = str(recipe.base)
    folder = resolve_folder(base, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    new: dict[str, Any] = {}
    if not is_tagger_folder(folder):
        plan = None if recipe.plan == "auto" else recipe.plan
        new = {"labels": trained_part(train, recipe.dev).labels(), "scheme": train.scheme, "plan": plan}
    elif recipe.plan is not None:
        raise UsageError(f"{base} is a saved tagger, which has its own plan; leave --plan out, or start from its base")
    return Tagger.from_pretrained(
        base,
        **new,
        device=recipe.device,
        backend=recipe.backend,
        quantization="4bit" if recipe.method == "qlora" else None,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        token_budget=recipe.token_budget,
        word_split=None if recipe.word_split == "learned" else recipe.word_split,
    )


def resolved(recipe: Recipe, tagger: Tagger, train: Dataset) -> Recipe:
    """Return the recipe with a figure in place of every automatic value."""
    from lookright.data import trained_part
    from lookright.training.weights import as_model, facts_of

    assert tagger.model is not None
    if recipe.plan == "auto":
        return resolved(recipe.replace(plan=None), tagger, train).replace(plan="auto")
    train = trained_part(train, recipe.dev)
    return as_model(recipe, tagger.model).resolved(facts_of(tagger.model, len(train), tagger.device))


def account_of(recipe: Recipe, result: Trained, report: dict[str, Any] | None) -> dict[str, Any]:
    """What `--json` prints."""
    outcome = result.outcome
    return {
        "out": recipe.out,
        "dev": {"score": outcome.score_name, "value": outcome.best_score} if outcome.score_name else None,
        "chosen_by": outcome.chosen_by,
        "update": outcome.update,
        "n_updates": outcome.n_updates,
        "stopped_early": outcome.stopped_early,
        "n_parameters": result.n_parameters,
        "n_trained": result.n_trained,
        "seconds": round(result.seconds, 1),
        "test": report,
    }


def say_what_comes_next(recipe: Recipe, result: Trained, *, scale: float = 100, quiet: bool) -> None:
    """Say where the result is, how it was chosen, and what can be done with it; a score is shown times `scale`."""
    outcome = result.outcome
    if outcome.best_score is None:
        chosen = "the last weights (no dev set to choose by)"
    else:
        chosen = (
            f"the weights after update {outcome.update}, {outcome.score_name} {scale * outcome.best_score:.2f} on dev"
        )
    out = shlex.quote(str(recipe.out))
    say(f"saved to {recipe.out}: {chosen}", quiet=quiet)
    say(f"next: lookright predict {out} FILE, or lookright evaluate {out} FILE", quiet=quiet)
