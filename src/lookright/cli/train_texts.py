"""`lookright train --task text`: a recipe in, a saved text classifier and its score out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lookright.cli.libraries import calm
from lookright.cli.output import as_json, data, say
from lookright.cli.parser import UsageError
from lookright.training.processes import is_first_process

if TYPE_CHECKING:
    from lookright.api.text_classifier import TextClassifier
    from lookright.data import TextDataset
    from lookright.models.text_settings import TextSettings
    from lookright.training.recipe import Recipe


def task_of(recipe: Recipe) -> str:
    """What a recipe trains: as it says, as its base does already, or as its training data tells."""
    from lookright.api.tasks import task_in_data, task_said
    from lookright.models.base import resolve_folder
    from lookright.models.store import saved_task

    assert recipe.base is not None
    assert recipe.train is not None
    if (said := task_said(recipe)) is not None:
        return said
    folder = resolve_folder(recipe.base, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    return saved_task(folder) or task_in_data(recipe, recipe.train)


def run(args: argparse.Namespace, recipe: Recipe) -> int:
    """Train, score on test, and say where the result is and what comes next."""
    from lookright.cli.train import account_of, say_what_comes_next

    sets = read_sets(recipe)
    train = sets["train"]
    say(f"task: text, {train.target}", quiet=args.quiet)
    calm(quiet=args.quiet)
    classifier = classifier_on_base(recipe, train)
    if args.dry_run:
        data(resolved(recipe, classifier, train).to_toml())
        return 0
    check_test(recipe, sets, classifier.settings)
    dev = sets.get("dev", recipe.dev if isinstance(recipe.dev, float) else None)
    result = classifier.fit(train, dev=dev, recipe=recipe, out=recipe.out, progress=not args.quiet)
    if not is_first_process():
        return 0
    report = None
    if "test" in sets:
        report = classifier.evaluate(sets["test"], name="test", progress=not args.quiet)
        classifier.save_card(str(recipe.out))  # with the score
    if args.json:
        as_json(account_of(recipe, result, None if report is None else report.to_dict()))
    elif report is not None:
        data(f"test: {report}\n")
    say_what_comes_next(recipe, result, scale=1 if train.target == "regression" else 100, quiet=args.quiet)
    return 0


def read_sets(recipe: Recipe) -> dict[str, TextDataset]:
    """Return the labeled files of a recipe by role: train, and dev and test where they are files."""
    from lookright.api.text_inputs import as_text_dataset, reading_options
    from lookright.training.text_labels import target_of

    paths = {"train": recipe.train, "dev": recipe.dev, "test": recipe.test}
    options = reading_options(recipe)
    sets: dict[str, TextDataset] = {}
    for role, path in paths.items():
        if isinstance(path, str):
            sets[role] = as_text_dataset(path, **options)
            options["target"] = target_of(sets[role], role).value  # a small file must not be read in another way
    return sets


def classifier_on_base(recipe: Recipe, train: TextDataset) -> TextClassifier:
    """Return an untrained classifier for the labels of `train`, or the saved classifier that the base is."""
    from lookright.api.text_classifier import TextClassifier
    from lookright.data import trained_part
    from lookright.models.base import resolve_folder
    from lookright.models.store import is_tagger_folder

    base = str(recipe.base)
    folder = resolve_folder(base, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    new: dict[str, Any] = {}
    if not is_tagger_folder(folder):
        new = {"plan": None if recipe.plan == "auto" else recipe.plan, "pooling": recipe.pooling}
    elif recipe.plan is not None:
        raise UsageError(f"{base} is a saved text classifier, which has its own plan; leave --plan out")
    classifier = TextClassifier.from_pretrained(
        base,
        **new,
        device=recipe.device,
        backend=recipe.backend,
        quantization="4bit" if recipe.method == "qlora" else None,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        token_budget=recipe.token_budget,
    )
    classifier.begin(trained_part(train, recipe.dev))
    return classifier


def check_test(recipe: Recipe, sets: dict[str, TextDataset], existing: TextSettings | None = None) -> None:
    """Refuse test data that cannot be scored now, rather than after the training.

    Args:
        recipe: of the training.
        sets: by role.
        existing: the settings of the classifier that is trained; None for a new one.
    """
    from lookright.data import trained_part
    from lookright.training.overlap import say_overlap
    from lookright.training.text_labels import check_text_labels, text_settings_for

    if "test" in sets:
        settings = text_settings_for(recipe, trained_part(sets["train"], recipe.dev), existing)
        check_text_labels(sets["test"], settings, "test", strict=recipe.strict_labels)
        say_overlap(sets["train"], sets["test"], "test")


def resolved(recipe: Recipe, classifier: TextClassifier, train: TextDataset) -> Recipe:
    """Return the recipe with a figure in place of every automatic value."""
    from lookright.data import trained_part
    from lookright.training.weights import as_model, facts_of

    assert classifier.model is not None
    if recipe.plan == "auto":
        return resolved(recipe.replace(plan=None), classifier, train).replace(plan="auto")
    train = trained_part(train, recipe.dev)
    return as_model(recipe, classifier.model).resolved(facts_of(classifier.model, len(train), classifier.device))
