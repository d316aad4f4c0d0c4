"""`lookright search`: a base, train and dev in; the plan that suits them, and a model trained under it, out."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookright.cli import train_texts
from lookright.cli.libraries import calm
from lookright.cli.output import as_json, data, say
from lookright.cli.parser import UsageError, add_json_argument
from lookright.cli.recipe_flags import add_recipe_arguments, recipe_from
from lookright.cli.train import check_test, on_some_base, read_sets, require

if TYPE_CHECKING:
    from lookright.api.report import Report
    from lookright.api.text_report import TextReport
    from lookright.training.recipe import Recipe

EXAMPLES = """
lookright search --train train.conll --dev dev.conll --out my-tagger
lookright search --base my-base --train train.conll --dev 0.1 --test test.conll --out my-tagger
lookright search --train train.conll --dev dev.conll --out my-tagger --budget 2
lookright search --train train.conll --dev dev.conll --out my-tagger --strategy exhaustive
lookright search --train train.conll --dev dev.conll --out my-tagger --contexts 0,2 --look-ahead 4
lookright search --train train.conll --dev dev.conll --out my-tagger --plans 0000 0011 0,0,2,2
lookright search --train texts.jsonl --dev 0.1 --test test.jsonl --pooling mean --out my-classifier
lookright search --train train.conll --dev dev.conll --out my-tagger --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is searched, how, and the options of one fine-tuning."""
    group = parser.add_argument_group("the search")
    group.add_argument(
        "--strategy", default="shared", metavar="NAME",
        help="shared: one run for all plans, then the best one trained further; ladder: 0000, 0001, 0011, ...; "
        "halving: rounds with fewer and fewer plans; exhaustive: all (default: shared)",
    )  # fmt: skip
    group.add_argument(
        "--budget", type=float, metavar="X",
        help="in multiples of one fine-tuning (default: shared 1.5, halving one a round and one more, else one a plan)",
    )  # fmt: skip
    group.add_argument(
        "--groups", type=int, metavar="M", help="groups of layers (default: 4, or one a layer where there are fewer)"
    )
    group.add_argument(
        "--contexts", metavar="R,R",
        help="right contexts that a group may have, * for no limit; '0,2' searches plans for streams (default: 0,*)",
    )  # fmt: skip
    group.add_argument(
        "--plans", nargs="+", metavar="PLAN", help="the plans to search, in place of those of the groups"
    )
    group.add_argument(
        "--look-ahead", type=int, metavar="N", help="leave out plans that look further ahead than N sub-words in all"
    )
    add_recipe_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Search, score on test, and say what was found."""
    recipe = on_some_base(recipe_from(args), quiet=args.quiet)
    require(recipe, ("train", "dev", "out"), "search")
    if recipe.plan not in (None, "auto"):
        raise UsageError("--plan is what is searched; name the plans to choose among with --plans")
    options = _options(args)
    if recipe.resume and (done := _done(str(recipe.out))) is not None:
        calm(quiet=args.quiet)
        from lookright.api.searching import check_done

        check_done(Path(str(recipe.out)), recipe.replace(task=train_texts.task_of(recipe)), **options)
        return _shown_again(args, recipe, *done)
    from lookright.search.folder import SearchFolder

    SearchFolder(Path(str(recipe.out))).check(resume=recipe.resume)
    recipe = recipe.replace(task=train_texts.task_of(recipe))
    sets: dict[str, Any] = {**(train_texts.read_sets if recipe.task == "text" else read_sets)(recipe)}
    (train_texts.check_test if recipe.task == "text" else check_test)(recipe, sets)
    calm(quiet=args.quiet)
    from lookright.api.searching import search_plan

    searched = search_plan(
        recipe.base, sets["train"], sets.get("dev", recipe.dev), out=recipe.out, recipe=recipe,
        progress=not args.quiet, **options,
    )  # fmt: skip
    report: Report | TextReport | None = None
    if "test" in sets:
        report = searched.model.evaluate(sets["test"], name="test", progress=not args.quiet)
        searched.model.save_card(str(recipe.out))  # with the score
    account = {"out": recipe.out, **searched.result.to_dict()}
    account["test"] = None if report is None else report.to_dict()
    _show(args, account, f"{searched.result}\n" + ("" if report is None else f"\ntest: {report}\n"))
    out = shlex.quote(str(recipe.out))
    say(f"saved to {recipe.out}: the {searched.model.KIND}, report.md and report.json", quiet=args.quiet)
    say(f"next: lookright predict {out} FILE, or lookright evaluate {out} FILE", quiet=args.quiet)
    return 0


def _shown_again(args: argparse.Namespace, recipe: Recipe, account: dict[str, Any], text: str) -> int:
    """Show a search that is done, and score its model on test, before which it may have been stopped."""
    say(f"the search in {recipe.out} is done", quiet=args.quiet)
    report = None
    if recipe.test is not None:
        calm(quiet=args.quiet)
        from lookright.api.tagger import Tagger
        from lookright.api.text_classifier import TextClassifier
        from lookright.models.store import saved_task

        texts = saved_task(Path(str(recipe.out))) == "text"
        model = (TextClassifier if texts else Tagger).from_pretrained(str(recipe.out), device=recipe.device)
        reading = recipe.replace(train=None, dev=None)
        test: Any = (train_texts.read_sets if texts else read_sets)(reading)["test"]
        report = model.evaluate(test, name="test", progress=not args.quiet)
    account["test"] = None if report is None else report.to_dict()
    _show(args, account, text + ("" if report is None else f"\ntest: {report}\n"))
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of the search say, as keywords of `search_plan`."""
    from lookright.plan import MaskPlan

    found: dict[str, Any] = {"strategy": args.strategy, "budget": args.budget, "plans": args.plans}
    if args.plans and (args.groups is not None or args.contexts is not None):
        raise UsageError("--plans names the plans one by one; leave out --groups and --contexts")
    if args.groups is not None:
        found["groups"] = args.groups
    if args.contexts is not None:
        n_contexts = len(args.contexts.split(","))
        spec = args.contexts if "," in args.contexts else args.contexts + ","
        found["contexts"] = MaskPlan.parse(spec, n_contexts).right_contexts
    if args.look_ahead is not None:
        found["most_look_ahead"] = args.look_ahead
    return found


def _done(out: str) -> tuple[dict[str, Any], str] | None:
    """The report of a search that is done, as data and as text."""
    from lookright.search.folder import REPORT_PAGE, SearchFolder

    report = SearchFolder(Path(out)).report()
    if report is None:
        return None
    return {"out": out, **report}, (Path(out) / REPORT_PAGE).read_text(encoding="utf-8")


def _show(args: argparse.Namespace, account: dict[str, Any], text: str) -> None:
    if args.json:
        as_json(account)
    else:
        data(text)
