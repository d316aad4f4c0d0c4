"""`lookright pretrain`: plain text and a recipe in, a base out."""

from __future__ import annotations

import argparse
import math
import shlex
from typing import TYPE_CHECKING, Any

from lookright.cli.info import say_what_a_plan_means
from lookright.cli.libraries import calm
from lookright.cli.output import as_json, data, say
from lookright.cli.parser import UsageError, add_json_argument
from lookright.cli.recipe_flags import add_recipe_arguments, recipe_from
from lookright.training.pretraining.recipe import PretrainRecipe
from lookright.training.processes import is_first_process

if TYPE_CHECKING:
    from lookright.training.pretraining.pretrain import PretrainResult

EXAMPLES = """
lookright pretrain --text corpus/*.txt.xz --out my-base
lookright pretrain --text notes.txt --base my-base --objective mntp --plan 0011 --out my-base-0011
lookright pretrain --text notes.txt --objective mlm --layers 8 --hidden 256 --out my-encoder
lookright pretrain --recipe recipe.toml --out my-base --resume
lookright pretrain --recipe recipe.toml --dry-run > resolved.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe's options, and what is done with the recipe."""
    add_recipe_arguments(parser, PretrainRecipe)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe as TOML and stop")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Pretrain, and say where the base is and what comes next."""
    recipe = recipe_from(args, PretrainRecipe)
    names = ("text",) if args.dry_run else ("text", "out")
    if missing := [f"--{name}" for name in names if getattr(recipe, name) is None]:
        raise UsageError(
            f"{' and '.join(missing)} must be given, as a flag or in --recipe (see `lookright pretrain --help`)"
        )
    say_what_a_plan_means(recipe.plan, quiet=args.quiet)
    from lookright.training.pretraining.pretrain import prepare, pretrain

    calm(quiet=args.quiet)
    if args.dry_run:
        from lookright.inference.device import resolve_device

        data(prepare(recipe, resolve_device(recipe.device)).recipe.to_toml())
        return 0
    result = pretrain(recipe, progress=not args.quiet)
    if not is_first_process():
        return 0
    if args.json:
        as_json(_account(result))
    elif result.held_out_loss is not None:
        data(f"held out: loss {result.held_out_loss:.4f}, perplexity {math.exp(min(result.held_out_loss, 50)):.2f}\n")
    _say_what_comes_next(result, quiet=args.quiet)
    return 0


def _account(result: PretrainResult) -> dict[str, Any]:
    return {
        "out": str(result.folder),
        "objective": result.recipe.objective,
        "plan": str(result.plan),
        "loss": result.loss,
        "held_out_loss": result.held_out_loss,
        "n_parameters": result.n_parameters,
        "n_tokens": result.n_tokens,
        "tokens_per_second": result.tokens_per_second,
        "arithmetic": result.arithmetic,
        "seconds": round(result.seconds, 1),
    }


def _say_what_comes_next(result: PretrainResult, *, quiet: bool) -> None:
    if result.tokens_per_second is not None and result.arithmetic is not None:
        say(
            f"{result.tokens_per_second:,.0f} tokens/s; {100 * result.arithmetic:.1f} % of an update is model "
            "arithmetic, the rest waits for data",
            quiet=quiet,
        )
    kind = "an ordinary base" if result.recipe.objective == "clm" else f"a base that carries the plan {result.plan}"
    say(f"saved to {result.folder}: {kind}, {result.n_parameters:,} weights", quiet=quiet)
    say(f"next: lookright train --base {shlex.quote(str(result.folder))} --train FILE ...", quiet=quiet)
