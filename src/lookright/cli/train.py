"""`lookright train`: a recipe in, a tagger folder out."""

from __future__ import annotations

import argparse

from lookright.cli.recipe_flags import add_recipe_arguments, recipe_from

EXAMPLES = """
lookright train --base BASE --train train.conll --dev dev.conll --plan 0011 --out my-tagger
lookright train --base BASE --train train.conll --dev 0.1 --test test.conll --out my-tagger
lookright train --base BASE --train train.conll --dev dev.conll --preset paper --out my-tagger
lookright train --recipe recipe.toml --seed 2 --out run-2
lookright train --recipe recipe.toml --out my-tagger --resume
lookright train --recipe recipe.toml --dry-run > resolved.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe's options, and what is done with the recipe."""
    add_recipe_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe as TOML and stop")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Train, report, and say what comes next."""
    recipe = recipe_from(args)
    return 0
