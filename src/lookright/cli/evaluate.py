"""`lookright evaluate`: the score of a saved tagger or text classifier on a labeled file."""

from __future__ import annotations

import argparse

from lookright.cli.output import as_json, data, say
from lookright.cli.parser import UsageError, add_json_argument
from lookright.cli.tagger_flags import (
    add_machine_arguments,
    add_reading_arguments,
    load_classifier,
    load_tagger,
    reading_options,
    task_of,
    text_reading_options,
)

EXAMPLES = """
lookright evaluate my-tagger test.conll
lookright evaluate my-tagger test.jsonl --json > scores.json
lookright evaluate my-tagger test.conll --convention conlleval
lookright evaluate my-classifier test.csv --plots plots/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is scored, on what, and by which convention."""
    parser.add_argument("model", metavar="MODEL", help="folder of a saved model, or its name on the model hub")
    parser.add_argument("file", metavar="FILE", help="labeled file; - is stdin")
    parser.add_argument(
        "--convention",
        choices=("strict", "conlleval"),
        default="strict",
        help="which tags make a span: well-formed ones only, or as the CoNLL script reads them (default: strict)",
    )
    parser.add_argument("--plots", metavar="DIR", help="draw confusion.png and reliability.png (text classifiers)")
    add_json_argument(parser)
    add_reading_arguments(parser)
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report: a table, or JSON."""
    if args.plots is not None and task_of(args) != "text":
        raise UsageError(f"--plots is for text classifiers, and {args.model} is a tagger; leave it out")
    if task_of(args) == "text":
        return run_texts(args)
    options = reading_options(args)
    del options["splitter"]  # a text is cut as the tagger cuts
    report = load_tagger(args).evaluate(args.file, convention=args.convention, progress=not args.quiet, **options)
    if args.json:
        as_json(report.to_dict())
    else:
        data(f"{report}\n")
    return 0


def run_texts(args: argparse.Namespace) -> int:
    """Score a text classifier."""
    if args.convention != "strict":
        raise UsageError(f"--convention is for taggers, and {args.model} is a text classifier; leave it out")
    options = text_reading_options(args)
    report = load_classifier(args).evaluate(args.file, progress=not args.quiet, **options)
    made = [] if args.plots is None else report.save_plots(args.plots)
    if args.json:
        as_json(report.to_dict())
    else:
        data(f"{report}\n")
    for path in made:
        say(f"drawn: {path}", quiet=args.quiet)
    return 0
