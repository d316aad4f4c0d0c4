"""What the commands that load a saved tagger share: the flags of the machine, and the loading."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lookright.cli.libraries import calm
from lookright.cli.recipe_flags import add_some_recipe_arguments, recipe_from

if TYPE_CHECKING:
    from lookright.api.tagger import Tagger
    from lookright.api.text_classifier import TextClassifier
    from lookright.data import TextColumns, WordSplitter
    from lookright.inference.predictor import Predictor

READING = ("format", "columns", "scheme", "repair", "unaligned")
TEXT_COLUMNS = ("text_column", "pair_column", "label_column")
MACHINE = ("device", "backend", "token_budget", "compile", "revision", "trust_remote_code")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how labeled files are read."""
    add_some_recipe_arguments(parser, "What is read", READING)
    add_some_recipe_arguments(parser, "What is read for whole texts", (*TEXT_COLUMNS, "target"))


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `read_dataset` takes, from the flags.

    Raises:
        RecipeError: a value that its option does not take.
    """
    from lookright.api.inputs import reading_options as options_of_recipe

    options = options_of_recipe(recipe_from(args).replace(task="tags"))
    return {**options, "scheme": options["scheme"] or "auto"}


def text_reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `read_texts` takes, from the flags.

    Raises:
        RecipeError: an option that is for taggers.
    """
    from lookright.api.text_inputs import reading_options as options_of_recipe

    options = options_of_recipe(recipe_from(args).replace(task="text"))
    return {name: value for name, value in options.items() if value is not None}


def text_columns(args: argparse.Namespace) -> TextColumns:
    """Return which keys or columns the flags name."""
    from lookright.api.text_inputs import columns_of

    return columns_of(recipe_from(args).replace(task="text"))


def task_of(args: argparse.Namespace) -> str:
    """What the saved model `args.model` does: `tags` or `text`.

    Raises:
        ModelFolderError: no such folder, or a base that nobody has trained yet.
    """
    from lookright.models.base import resolve_folder
    from lookright.models.store import read_config

    return str(read_config(resolve_folder(args.model, revision=recipe_from(args).revision)).task)


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where a tagger runs."""
    add_some_recipe_arguments(parser, "Where it runs", MACHINE)
    parser.add_argument(
        "--precision",
        dest="number_format",
        choices=PRECISIONS,
        default="auto",
        help="number format of the weights; int8 is for processors, and fast with --compile (default: auto, as saved)",
    )
    parser.add_argument(
        "--adapter-base", metavar="DIR", help="where the base of a saved adapter is, if it is not where it was"
    )


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Within: no garbage is collected, which takes a fifth of the time of importing torch and transformers."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was loaded stays: later collections, and the last one at the end, need not go through it
        if was_on:
            gc.enable()


@contextlib.contextmanager
def own_stdin() -> Iterator[None]:
    """Read standard input through a file of our own.

    Ctrl-C may leave the thread that reads behind, waiting for input with the file's lock in its hands; the interpreter,
    which closes its own standard input as it ends, would wait for that lock.
    """
    try:
        raw = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (OSError, ValueError):  # not a real file
        yield
        return
    before = sys.stdin
    sys.stdin = cast("Any", SimpleNamespace(buffer=raw))
    del raw
    try:
        yield
    finally:
        sys.stdin = before


def tagger_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `Tagger.from_pretrained` takes to load the tagger as the machine flags ask."""
    recipe = recipe_from(args)
    return {
        "source": args.model,
        "device": recipe.device,
        "backend": recipe.backend,
        "dtype": args.number_format,
        "revision": recipe.revision,
        "trust_remote_code": recipe.trust_remote_code,
        "token_budget": recipe.token_budget,
        "base": args.adapter_base,
        "compile": bool(recipe.compile),
    }


def load_predictor(options: dict[str, Any]) -> tuple[Predictor, WordSplitter]:
    """Load a tagger in a process that only predicts: what runs its model, and its word rule."""
    from lookright.api.tagger import Tagger

    calm(quiet=True)
    tagger = Tagger.from_pretrained(**options)
    return tagger.predictor, tagger.splitter


@quick_start()
def load_tagger(args: argparse.Namespace) -> Tagger:
    """Load the saved tagger `args.model` as the machine flags ask.

    Raises:
        ModelFolderError: no such folder, or a base that nobody has trained yet.
    """
    from lookright.api.tagger import Tagger
    from lookright.models.base import resolve_folder
    from lookright.models.store import read_config

    calm(quiet=args.quiet)
    options = tagger_options(args)
    read_config(resolve_folder(args.model, revision=options["revision"]))  # raises for a base, before it is loaded
    return Tagger.from_pretrained(**options)


@quick_start()
def load_classifier(args: argparse.Namespace) -> TextClassifier:
    """Load the saved text classifier `args.model` as the machine flags ask.

    Raises:
        ModelFolderError: no such folder, or no text classifier.
    """
    from lookright.api.text_classifier import TextClassifier

    calm(quiet=args.quiet)
    return TextClassifier.from_pretrained(**tagger_options(args))
