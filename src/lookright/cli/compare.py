"""`lookright compare`: two taggers, or two text classifiers, on one labeled file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from lookright.cli.libraries import calm
from lookright.cli.output import data, percent, say, table, text_width
from lookright.cli.recipe_flags import add_some_recipe_arguments, recipe_from
from lookright.cli.tagger_flags import READING, TEXT_COLUMNS, reading_options, text_reading_options

if TYPE_CHECKING:
    from lookright.api.comparison import SentenceDifference, TaggerComparison

EXAMPLES = """
lookright compare tagger-0011 tagger-causal --test test.conll
lookright compare tagger-0011 tagger-causal --test test.conll --format html --out differences.html
lookright compare tagger-0011 tagger-causal --test test.conll --format jsonl > differences.jsonl
lookright compare my-tagger predictions-of-another-system.conll --test test.conll
lookright compare classifier-0011 classifier-causal --test test.jsonl
"""

FORMATS = ("terminal", "jsonl", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is compared, on what, and how the result looks."""
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(),
            metavar=name,
            help="saved tagger or text classifier, or labeled file with what was predicted for the test set",
        )
    parser.add_argument("--test", metavar="FILE", required=True, help="labeled file that both are scored on")
    parser.add_argument("--format", choices=FORMATS, default="terminal", dest="shape", help="how it looks")
    parser.add_argument("--out", metavar="FILE", help="write to this file instead of stdout")
    parser.add_argument(
        "--show", type=int, default=20, metavar="N", help="sentences shown in a terminal; 0: none (default: 20)"
    )
    parser.add_argument("--samples", type=int, default=10_000, metavar="N", help="resamples of a test (default: 10000)")
    add_some_recipe_arguments(parser, "What is read", [name for name in READING if name != "format"])
    add_some_recipe_arguments(parser, "What is read for whole texts", (*TEXT_COLUMNS, "target"))
    add_some_recipe_arguments(parser, "Where it runs", ("device",))


def run(args: argparse.Namespace) -> int:
    """Compare, and show."""
    from lookright.cli.parser import UsageError

    if args.samples < 100 or args.show < 0:
        raise UsageError("--samples must be at least 100, and --show at least 0")
    calm(quiet=args.quiet)
    from lookright.api.comparison import compare, compared_task

    if compared_task(args.a, args.b, args.test, recipe_from(args)) == "text":
        options = text_reading_options(args)
    else:
        options = reading_options(args)
        del options["splitter"]  # a text is cut as the tagger cuts
    result = compare(
        args.a, args.b, args.test,
        samples=args.samples, device=recipe_from(args).device, progress=not args.quiet, **options,
    )  # fmt: skip
    if args.shape == "terminal" and args.out is None:
        data(summary(result))
        show(result, args.show)
        return 0
    text = {"terminal": lambda: summary(result), "jsonl": lambda: as_lines(result), "html": lambda: page(result)}
    if args.out is None:
        data(text[args.shape]())
        return 0
    from lookright.data.lines import text_target

    with text_target(args.out) as stream:
        stream.write(text[args.shape]())
    say(f"written: {args.out} ({len(result.sentences)} {result.unit} differ)", quiet=args.quiet)
    return 0


def summary(result: TaggerComparison) -> str:
    """Figures, difference, types and notes as text."""
    from lookright.metrics import p_words
    from lookright.study.tables import Table, to_text

    names, test = result.names, result.bootstrap
    lines = [f"{test.figure}, x 100, on {result.n_sentences:,} {result.unit} of {result.data or 'the test set'}:", ""]
    rows = [[name, percent(score.headline[1])] for name, score in zip(names, result.scores, strict=True)]
    rows.append(["difference", f"{100 * test.difference:+.2f}"])
    lines += [table(rows), ""]
    interval = "is undefined: there is nothing to find, and nothing was found"
    if test.low is not None and test.high is not None:
        interval = f"{100 * test.low:+.2f} to {100 * test.high:+.2f} ({test.method})"
    lines.append(f"95 % interval of the difference {interval}")
    lines.append(
        f"p {p_words(result.p_value)} ({result.randomization.method}); p {p_words(test.p_value)} by the bootstrap"
    )
    lines.append(f"Over {result.unit}: whether these very models would rank alike on others. Seeds are for a study.")
    lines += ["", to_text([Table(f"F1 of each {result.kind}", _type_rows(result))], width=text_width()).rstrip()]
    lines += ["", *(f"note: {note}" for note in result.notes)] if result.notes else []
    lines += ["", tally(result), ""]
    return "\n".join(lines)


def tally(result: TaggerComparison) -> str:
    """How many sentences differ, and who has them right."""
    right = [sum(item.right == name for item in result.sentences) for name in result.names]
    neither = len(result.sentences) - sum(right)
    verb = "classified" if result.unit == "texts" else "tagged"
    return (
        f"{len(result.sentences):,} of {result.n_sentences:,} {result.unit} are {verb} differently: {right[0]:,} right "
        f"in {result.names[0]} alone, {right[1]:,} in {result.names[1]} alone, {neither:,} in neither."
    )


def _type_rows(result: TaggerComparison) -> list[list[str]]:
    from lookright.study.tables import p_cell

    kind = "label" if result.unit == "texts" else "type"
    rows = [[kind, "gold", *result.names, "difference", "95 % interval", "p", "Holm"]]
    for item in result.types:
        figures = [percent(score.f1) for score in (item.first, item.second)]
        tests = ["-"] * 4
        if item.difference is not None and item.low is not None and item.high is not None:
            tests = [f"{100 * item.difference:+.2f}", f"{100 * item.low:+.1f} to {100 * item.high:+.1f}"]
            tests += [p_cell(p) for p in (item.p_value, item.holm) if p is not None]
        rows.append([item.type, f"{item.first.gold:,}", *figures, *tests])
    return rows


def show(result: TaggerComparison, most: int) -> None:
    """Print the first sentences that differ, gold first."""
    from rich.console import Console

    from lookright.inference.render import print_sides

    console, colours = Console(highlight=False), dict[str, str]()
    for item in result.sentences[:most]:
        console.out(f"\n{title(result, item)}", highlight=False)
        sides = [("gold", item.gold), (result.names[0], item.first), (result.names[1], item.second)]
        print_sides(item.text, sides, console, colours)
    left = len(result.sentences) - most
    if most and left > 0:
        console.out(f"\n{left:,} more: --show {len(result.sentences)}, or --format html --out FILE", highlight=False)


def title(result: TaggerComparison, item: SentenceDifference) -> str:
    """Where a sentence is, and who has it right."""
    line = f", line {item.line}" if item.line is not None else ""
    place = f"{result.unit.removesuffix('s')} {item.index + 1}{line}"
    return f"{place}: {'neither is right' if item.right is None else f'{item.right} is right'}"


def as_lines(result: TaggerComparison) -> str:
    """JSON Lines: the comparison, then each sentence that differs."""
    records: list[dict[str, Any]] = [{"comparison": result.to_dict()}, *(item.to_dict() for item in result.sentences)]
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def page(result: TaggerComparison) -> str:
    """One HTML page that stands alone: the figures, then each sentence that differs, side by side with gold."""
    import html

    from lookright.inference.render import html_columns, html_foot, html_head, hues_of, visible

    types = [item.type for item in result.types]
    hues = hues_of(types)
    note = (
        f"{tally(result)} Green edge: {result.names[0]} alone is right; orange: {result.names[1]} alone; grey: neither."
    )
    head = html_head(f"{result.names[0]} and {result.names[1]}", note, hues)
    shown = html.escape(visible(summary(result)))
    figures = f'<section><pre style="overflow-x:auto;font-size:.85rem">{shown}</pre></section>\n'
    names = ("gold", *result.names)
    body = "".join(
        html_columns(
            item.text, list(zip(names, (item.gold, item.first, item.second), strict=True)), hues,
            title=title(result, item), kind=_kind(result, item),
        )
        for item in result.sentences
    )  # fmt: skip
    return head + figures + body + html_foot()


def _kind(result: TaggerComparison, item: SentenceDifference) -> str:
    return "right" if item.right == result.names[0] else "wrong" if item.right == result.names[1] else ""
