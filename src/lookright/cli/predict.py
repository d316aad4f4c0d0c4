"""`lookright predict`: text, words or labeled files in, spans (or labels) out, in order and in bounded memory."""

from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookright.cli import predict_texts
from lookright.cli.output import say
from lookright.cli.parser import UsageError
from lookright.cli.recipe_flags import add_some_recipe_arguments
from lookright.cli.tagger_flags import (
    TEXT_COLUMNS,
    add_machine_arguments,
    load_predictor,
    load_tagger,
    own_stdin,
    quick_start,
    reading_options,
    tagger_options,
    task_of,
)

if TYPE_CHECKING:
    from lookright.api.tagger import Tagger
    from lookright.inference.folders import Plan
    from lookright.inference.formats import Format

EXAMPLES = """
lookright predict my-tagger notes.txt
echo "Angela Merkel visited Zagreb." | lookright predict my-tagger -
lookright predict my-tagger notes.txt --format jsonl > spans.jsonl
lookright predict my-tagger test.conll --format conll --out tagged.conll
lookright predict my-tagger articles.jsonl --format html --out page.html
lookright predict my-classifier tickets.csv --text-column body > labels.jsonl
lookright predict my-tagger million.jsonl --workers 8 --out spans.jsonl
lookright predict my-tagger articles/ --engine ray --out labeled/
"""

FORMATS = ("jsonl", "conll", "html", "terminal")
"""What can be written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is tagged, with what, and how the result looks."""
    parser.add_argument("model", metavar="MODEL", help="folder of a saved model, or its name on the model hub")
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="what to tag or to classify; - or nothing is stdin; a folder (taggers) is all its JSON Lines and Parquet "
        "files",
    )
    parser.add_argument(
        "--input",
        choices=("text", "conll", "jsonl", "csv", "tsv"),
        help="what FILE holds: a text on each line, CoNLL columns, JSON Lines, or a table with named columns (default: "
        "by its name and content)",
    )
    parser.add_argument(
        "--format",
        dest="output_format",
        choices=FORMATS,
        help="what to write (default: jsonl; with a tagger where stdout is a terminal, terminal); a text classifier "
        "writes jsonl only",
    )
    parser.add_argument(
        "--out", dest="output", metavar="FILE", default="-", help="where to write (default: stdout); for a folder, DIR"
    )
    parser.add_argument(
        "--all-scores", action="store_true", help="write the probability of every label (text classifiers)"
    )
    group = parser.add_argument_group("several at once")
    group.add_argument(
        "--workers", metavar="N", type=_count, help="processes that share the work, in the same order (default: one)"
    )
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray labels the files of a folder through Ray Data, on many machines (default: local)",
    )
    add_some_recipe_arguments(parser, "What is read", ("columns", *TEXT_COLUMNS[:2]))
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tag everything, in order."""
    from lookright.data.hub import is_hub_folder

    of_hub = args.engine == "local" and is_hub_folder(args.file) and task_of(args) == "text"
    if not of_hub and (args.engine == "ray" or Path(args.file).is_dir()):
        return run_folder(args)
    if task_of(args) == "text":
        return predict_texts.run(args)
    if args.input in ("csv", "tsv") or args.all_scores:
        raise UsageError(f"{args.model} is a tagger; tables and --all-scores are for text classifiers")
    from lookright.data import iter_input
    from lookright.data.lines import is_stream, text_target

    interactive = args.file == "-" and sys.stdin.isatty()
    source: dict[str, Any] = {"format": args.input or "auto", "columns": reading_options(args)["columns"]}
    if interactive:
        source["format"] = args.input or "text"
        say("reading from the keyboard: a text on each line, Ctrl-D ends", quiet=args.quiet)
    if not is_stream(args.file):
        next(iter_input(args.file, **source), None)  # a file that cannot be read is said before the model is loaded
    with quick_start():
        tagger = load_tagger(args)
        from lookright.inference.formats import joined
        from lookright.inference.labeler import AsText, Labeler
        from lookright.inference.workers import Workers

    form = format_of(args, tagger)
    labeler = Labeler(tagger.predictor, AsText(form))
    with contextlib.ExitStack() as stack:
        if args.file == "-" and not interactive:
            stack.enter_context(own_stdin())
        reads = iter_input(args.file, splitter=tagger.splitter, **source)
        if interactive:
            texts = (labeler(chunk) for chunk in labeler.chunks(reads, size=1))
        else:
            workers = None
            if args.workers not in (None, 1):
                workers = stack.enter_context(Workers(labeler, args.workers, model=tagger.predictor.model))
            texts = labeler.run(labeler.chunks(reads, piped=args.file == "-"), workers=workers)
        stack.enter_context(contextlib.closing(texts))
        stream = stack.enter_context(text_target(args.output))
        for text in joined(form, texts):
            stream.write(text)
            stream.flush()
    if args.output != "-":
        say(f"written to {args.output}", quiet=args.quiet)
    return 0


def format_of(args: argparse.Namespace, tagger: Tagger) -> Format:
    """How the result is written: as asked, or as suits the place."""
    from lookright.inference.formats import Columns, JsonLines, Page, Screen

    on_screen = args.output == "-" and sys.stdout.isatty()
    name = args.output_format or ("terminal" if on_screen else "jsonl")
    types = tagger.settings.types
    forms: dict[str, Format] = {
        "jsonl": JsonLines(),
        "conll": Columns(),
        "html": Page(types),
        "terminal": Screen(types, on_screen),
    }
    return forms[name]


def run_folder(args: argparse.Namespace) -> int:
    """Label the files of a folder, each into a file of the same name."""
    if not Path(args.file).is_dir():
        raise UsageError(f"{args.file}: --engine ray labels the files of a folder, and this is none")
    if args.output == "-":
        raise UsageError("a folder of files needs a folder for the results: --out DIR")
    if task_of(args) == "text":
        raise UsageError(f"{args.model} is a text classifier: give it the files of a folder one by one")
    if args.output_format not in (None, "jsonl") or args.input not in (None, "jsonl"):
        raise UsageError("the files of a folder are JSON Lines or Parquet, and are written as they are read")
    with quick_start():
        from lookright.inference.folders import FileLabeler, fingerprint_of, label_here, plan_folder
        from lookright.models.base import resolve_folder
        from lookright.models.store import read_config

        options = tagger_options(args)
        model = resolve_folder(args.model, revision=options["revision"])
        read_config(model)
        made_by = {"model": fingerprint_of(model), "precision": options["dtype"]}
        plan = plan_folder(args.file, args.output, made_by)
    _announce(plan, args)
    if args.engine == "ray":
        from lookright.inference.on_ray import label_on_ray

        here = {"source": str(model.resolve())} if Path(args.model).expanduser().is_dir() else {}
        label_on_ray(plan, partial(load_predictor, {**options, **here}), workers=args.workers)
    elif plan.tasks:
        tagger = load_tagger(args)
        with FileLabeler(tagger.predictor, tagger.splitter, workers=args.workers or 1) as labeler:
            label_here(plan, labeler)
    say(f"written to {args.output}: {len(plan.tasks)} files", quiet=args.quiet)
    return 0


def _announce(plan: Plan, args: argparse.Namespace) -> None:
    if plan.n_strange:
        say(f"left aside: {plan.n_strange} files that are neither JSON Lines nor Parquet", quiet=args.quiet)
    if plan.n_done:
        say(f"done already: {plan.n_done} files", quiet=args.quiet)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 on")
    return int(text)
