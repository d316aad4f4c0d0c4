"""`lookright check`: labeled files looked over before anything is trained on them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lookright.cli.output import as_json, data, paint
from lookright.cli.parser import add_json_argument
from lookright.cli.recipe_flags import add_some_recipe_arguments
from lookright.cli.tagger_flags import (
    add_reading_arguments,
    reading_options,
    text_reading_options,
)
from lookright.cli.trouble import complain, no_notes

if TYPE_CHECKING:
    from lookright.data import CheckReport, Sentence, Text

EXAMPLES = """
lookright check train.conll dev.conll test.conll
lookright check train.conll --model my-base
lookright check train.csv test.csv --text-column body --label-column topic
lookright check annotations.jsonl --unaligned snap --json > report.json
"""

LEVEL_COLOURS = {"good": "green", "warn": "yellow", "fail": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files, and the model whose tokenizer counts sub-words."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="labeled files; names with train, dev or test in them say their role"
    )
    parser.add_argument("--model", metavar="MODEL", help="count lengths in the sub-words of this model, too")
    add_json_argument(parser)
    add_some_recipe_arguments(parser, "What they are for", ("task",))
    add_reading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; exit code 1 when anything in it failed."""
    with no_notes():  # what the readers note is in the report
        report = (check_texts if task_of(args) == "text" else check_tags)(args)
    if args.json:
        as_json(report.to_dict())
    else:
        for line in report.lines():
            level = line[:4]
            painted = paint(level, LEVEL_COLOURS[level], sys.stdout) + line[4:] if level in LEVEL_COLOURS else line
            data(painted + "\n")
    if report.exit_code:
        failed = [item.message for item in report.items if item.level == "fail"]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        complain(f"the check failed: {failed[0]}{more}")
    return report.exit_code


def task_of(args: argparse.Namespace) -> str:
    """What the files are for: as asked, or as the first one that can be read tells."""
    from lookright.api.text_inputs import columns_of
    from lookright.cli.recipe_flags import recipe_from
    from lookright.data import task_in
    from lookright.errors import DataError

    recipe = recipe_from(args)
    if recipe.task is not None:
        return recipe.task
    for file in args.files:
        with contextlib.suppress(DataError):
            asked = recipe.target is not None or recipe.format in ("csv", "tsv")
            return "text" if asked else task_in(file, columns_of(recipe))
    return "tags"


def check_tags(args: argparse.Namespace) -> CheckReport:
    """Look tagged files over."""
    from lookright.data.check import check_files

    counter, window = subword_counter(args.model) if args.model else (None, None)
    return check_files(args.files, encoder=counter, window=window, **reading_options(args))


def check_texts(args: argparse.Namespace) -> CheckReport:
    """Look labeled texts over."""
    from lookright.data.check_texts import check_text_files

    counter, window = text_counter(args.model) if args.model else (None, None)
    return check_text_files(args.files, encoder=counter, window=window, **text_reading_options(args))


def text_counter(model: str) -> tuple[Callable[[Text], int], int]:
    """Return what counts a text's sub-words under a model's tokenizer, and the window of that model."""
    from lookright.encoding import TextEncoder

    tokenizer, window = tokenizer_and_window(model)
    return TextEncoder(tokenizer).length, window


def subword_counter(model: str) -> tuple[Callable[[Sentence], int], int]:
    """Return what counts a sentence's sub-words under a model's tokenizer, and the window of that model.

    Raises:
        ModelFolderError: no such model, or no tokenizer in it.
    """
    from lookright.encoding import SubwordEncoder

    tokenizer, window = tokenizer_and_window(model)
    encoder = SubwordEncoder(tokenizer)
    special = len(encoder.prefix_ids) + len(encoder.suffix_ids)
    return lambda sentence: len(encoder.encode(sentence).input_ids) + special, window


def tokenizer_and_window(model: str) -> tuple[Any, int]:
    """Return a model's tokenizer, and how many sub-words it sees at once."""
    from lookright.models.base import build_settings_window, load_config, load_tokenizer, resolve_folder
    from lookright.models.settings import LONGEST_WINDOW
    from lookright.models.store import is_tagger_folder, read_config

    folder = resolve_folder(model)
    if is_tagger_folder(folder):
        window = int(read_config(folder).settings["window"])
    else:
        window = build_settings_window(load_config(folder), LONGEST_WINDOW)
    return load_tokenizer(folder), window
