"""`lookright demo`: the same small decoder fine-tuned under a plan and under the causal mask, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lookright.cli.info import say_what_a_plan_means
from lookright.cli.libraries import calm
from lookright.cli.output import data, percent, say, table
from lookright.cli.parser import UsageError
from lookright.cli.trouble import no_notes

if TYPE_CHECKING:
    from lookright.api.report import Report
    from lookright.api.tagger import Tagger
    from lookright.data import Dataset, Sentence
    from lookright.inference.render import Example

EXAMPLES = """
lookright demo
lookright demo --plan 1111 --out demo-1111
lookright demo --quick
"""

OUR_FILES = {"tagger", "tagger-causal", "demo.html"}
"""What the out folder may hold when the demo is run again."""

PAGE_SENTENCES = 60
SHOWN_SENTENCES = 3


class Size(NamedTuple):
    """How much the demo does: sentences of train, dev and test, and epochs."""

    train: int
    dev: int
    test: int
    epochs: float


FULL = Size(train=3394, dev=1009, test=1287, epochs=4)
QUICK = Size(train=200, dev=50, test=100, epochs=1)
LAYERS = 4
"""Of the bundled base."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the plan, the place and the size."""
    parser.add_argument(
        "--plan", metavar="PLAN", default="0011", help="the plan to compare with causal (default: 0011)"
    )
    parser.add_argument("--out", metavar="DIR", default="demo-out", help="where the result goes (default: demo-out)")
    parser.add_argument(
        "--quick", action="store_true", help="a look at how it runs, in seconds: its scores mean nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Train twice, compare, and show."""
    from lookright.models.bundled import BUNDLED
    from lookright.plan import MaskPlan

    size = QUICK if args.quick else FULL
    if MaskPlan.parse(args.plan, LAYERS).is_causal:
        raise UsageError(
            f"the demo compares a plan with the causal one, and {args.plan!r} is that; give another --plan"
        )
    out = claimed(Path(args.out))
    say_what_a_plan_means(args.plan, quiet=args.quiet)
    with no_notes():
        sets = read_sample(size)
    calm(quiet=args.quiet)
    say("Data: WNUT-17 (tweets and posts; six types of rare entities; CC BY 4.0), bundled.", quiet=args.quiet)
    say(
        f"Base: {BUNDLED}, bundled: a decoder of {LAYERS} layers and 10 million weights, pretrained on plain English.",
        quiet=args.quiet,
    )
    causal = train_under("causal", sets, size, out / "tagger-causal", quiet=args.quiet)
    opened = train_under(args.plan, sets, size, out / "tagger", quiet=args.quiet)
    data(comparison({"causal": causal[1], args.plan: opened[1]}))
    show(opened[0], sets["test"], out / "demo.html", args.plan)
    say(f"\nwritten: {out / 'demo.html'} ({PAGE_SENTENCES} test sentences beside their gold)", quiet=args.quiet)
    say(f"next: echo 'Your text.' | lookright predict {out / 'tagger'} -", quiet=args.quiet)
    return 0


def claimed(out: Path) -> Path:
    """Return the out folder, made if need be.

    Raises:
        OutputError: it is a file, or holds something else than an earlier demo.
    """
    from lookright.errors import OutputError

    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; expected a folder to write to")
    others = sorted({entry.name for entry in out.iterdir()} - OUR_FILES) if out.is_dir() else []
    if others:
        raise OutputError(f"{out} holds something else ({others[0]}); give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    return out


def read_sample(size: Size) -> dict[str, Dataset]:
    """Return the first sentences of each split of the bundled sample."""
    from lookright.data import Dataset, read_conll
    from lookright.data.samples import sample

    sets = {}
    for split, path in sample("wnut17").items():
        whole = read_conll(path)
        sets[split] = Dataset(whole.sentences[: getattr(size, split)], path=whole.path, scheme=whole.scheme)
    return sets


def train_under(plan: str, sets: dict[str, Dataset], size: Size, out: Path, *, quiet: bool) -> tuple[Tagger, Report]:
    """Fine-tune the base under a plan; everything else is the same for every plan, the seed too."""
    from lookright.api.tagger import Tagger
    from lookright.models.bundled import BUNDLED

    tagger = Tagger.from_pretrained(BUNDLED, plan=plan)
    say(f"\nTraining under the plan {plan}. {tagger.plan.describe() if tagger.plan else ''}", quiet=quiet)
    tagger.fit(
        sets["train"],
        dev=sets["dev"],
        seed=0,
        epochs=size.epochs,
        progress=not quiet,
    )
    report = tagger.evaluate(sets["test"], name="test", progress=not quiet)
    tagger.save_pretrained(out)
    return tagger, report


def comparison(reports: dict[str, Report]) -> str:
    """The strict F1 of each type under each plan, side by side."""
    first = next(iter(reports.values()))
    types = list(dict.fromkeys(kind for report in reports.values() for kind in report.scores.per_type))
    rows = [["type", *reports, "gold"]]
    for kind in sorted(types):
        scores = [report.scores.per_type.get(kind) for report in reports.values()]
        gold = next(score.gold for score in scores if score)
        rows.append([kind, *(percent(score.f1 if score else None) for score in scores), str(gold)])
    total = first.scores.counts[0]
    rows.append(["all", *(percent(report.f1) for report in reports.values()), str(total)])
    title = f"{first.convention}, on {first.scores.n_sentences} test sentences, same seed:"
    return f"\n{title}\n\n{table(rows)}\n\n{verdict(reports)}\n\n"


def verdict(reports: dict[str, Report]) -> str:
    """How much better or worse the second plan was, and what the figure is and is not sure of."""
    from lookright.metrics import p_words, paired_bootstrap

    (one, first), (other, second) = reports.items()
    if first.f1 is None or second.f1 is None:
        return f"{other} minus {one}: undefined, nothing was found"
    test = paired_bootstrap(second.scores, first.scores)
    return (
        f"{other} minus {one}: {100 * test.difference:+.2f} points, p {p_words(test.p_value)} over test sentences "
        f"({test.method}).\n"
        "This is one seed: the noise between seeds is not in that figure, and on so small a base it is points wide."
    )


def show(tagger: Tagger, test: Dataset, page: Path, plan: str) -> None:
    """Print some test sentences in colour, and write a page of more of them beside their gold."""
    from lookright.data.lines import text_target
    from lookright.inference.render import html_page, print_examples

    taggable = [sentence for sentence in test if any(tag != "O" for tag in sentence.tags or ())][:PAGE_SENTENCES]
    examples = _examples(tagger, taggable)
    found = [example for example in examples if example.spans] or examples
    types = tagger.settings.types
    data(f"The first {SHOWN_SENTENCES} test sentences with entities in which the plan {plan} found any:\n\n")
    print_examples([example._replace(gold=None) for example in found[:SHOWN_SENTENCES]], types=types)
    note = f"WNUT-17 test sentences (CC BY 4.0), tagged under the plan {plan} by a decoder of 10 million weights."
    with text_target(page) as stream:
        stream.write(html_page(examples, title="LookRight demo", note=note, types=types))


def _examples(tagger: Tagger, sentences: Sequence[Sentence]) -> list[Example]:
    from lookright.inference.predictor import spans_of
    from lookright.inference.render import Example, Highlight

    examples = []
    for sentence, tagging in zip(sentences, tagger.tag(sentences), strict=True):
        gold = spans_of(sentence, sentence.tags or (), [1.0] * len(sentence), tagger.settings.scheme)
        examples.append(
            Example(
                sentence.surface()[0],
                [Highlight(s.type, s.start, s.end, s.score) for s in tagging.spans],
                [Highlight(s.type, s.start, s.end) for s in gold],
            )
        )
    return examples
