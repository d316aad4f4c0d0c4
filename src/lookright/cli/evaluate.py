"""`lookright evaluate`: the score of a saved tagger on a labeled file."""

from __future__ import annotations

import argparse

from lookright.cli.output import as_json, data
from lookright.cli.parser import add_json_argument
from lookright.cli.tagger_flags import add_machine_arguments, add_reading_arguments, load_tagger, reading_options

EXAMPLES = """
lookright evaluate my-tagger test.conll
lookright evaluate my-tagger test.jsonl --json > scores.json
lookright evaluate my-tagger test.conll --convention conlleval
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is scored, on what, and by which convention."""
    parser.add_argument("model", metavar="MODEL", help="folder of a saved tagger, or its name on the model hub")
    parser.add_argument("file", metavar="FILE", help="labeled file; - is stdin")
    parser.add_argument(
        "--convention",
        choices=("strict", "conlleval"),
        default="strict",
        help="which tags make a span: well-formed ones only, or as the CoNLL script reads them (default: strict)",
    )
    add_json_argument(parser)
    add_reading_arguments(parser)
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report: a table, or JSON."""
    options = reading_options(args)
    del options["splitter"]  # a text is cut as the tagger cuts
    report = load_tagger(args).evaluate(args.file, convention=args.convention, progress=not args.quiet, **options)
    if args.json:
        as_json(report.to_dict())
    else:
        data(f"{report}\n")
    return 0
