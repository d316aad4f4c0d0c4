"""The flags of a recipe, made from the recipe's own description of its options, so that the two cannot drift apart."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from lookright.training.options import Option
from lookright.training.recipe import OPTIONS, Recipe
from lookright.training.recipe_form import RecipeForm

Form = TypeVar("Form", bound=RecipeForm)


def add_recipe_arguments(parser: argparse.ArgumentParser, form: type[RecipeForm] = Recipe) -> None:
    """Add `--recipe` and one flag for each option of a recipe, under the recipe's own headings."""
    parser.add_argument("--recipe", metavar="FILE.toml", help="read options from a file; flags win over it")
    for name, heading in form.GROUPS.items():
        _add_group(parser, heading, form.options_in(name))


def add_some_recipe_arguments(parser: argparse.ArgumentParser, heading: str, names: Sequence[str]) -> None:
    """Add the flags of some of a recipe's options, for a command that does a part of what training does."""
    _add_group(parser, heading, [OPTIONS[name] for name in names])


@overload
def recipe_from(args: argparse.Namespace) -> Recipe: ...
@overload
def recipe_from(args: argparse.Namespace, form: type[Form]) -> Form: ...


def recipe_from(args: argparse.Namespace, form: type[RecipeForm] = Recipe) -> RecipeForm:
    """Return the recipe that a command line asks for: defaults, then the file, then the flags.

    Raises:
        RecipeError: a file that cannot be read, or an option that does not fit.
    """
    given = given_options(args, form)
    recipe = getattr(args, "recipe", None)
    return form.from_toml(recipe, **given) if recipe else form.from_dict(given)


def given_options(args: argparse.Namespace, form: type[RecipeForm] = Recipe) -> dict[str, Any]:
    """Return the recipe's options that stood on the command line, read and checked.

    Raises:
        RecipeError: a value that its option does not take.
    """
    found: dict[str, Any] = {}
    for name, option in form.options().items():
        if hasattr(args, name):
            value = getattr(args, name)
            found[name] = option.from_text(value) if isinstance(value, str) else value
    return found


def _add_group(parser: argparse.ArgumentParser, heading: str, options: Sequence[Option]) -> None:
    group = parser.add_argument_group(heading[0].lower() + heading[1:])
    for option in options:
        _add_option(group, option)


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    help_text = f"{option.help}{_default_text(option)}".replace("%", "%%")
    if option.kind == "flag":
        group.add_argument(
            option.flag,
            dest=option.name,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=help_text,
        )
        return
    # The value stays text here: a wrong one is then reported in the option's own words, not in argparse's.
    metavar = option.metavar or ("|".join(option.choices) if option.choices else option.kind.upper())
    several: dict[str, Any] = {"nargs": "+", "action": "extend"} if option.kind == "paths" else {}
    group.add_argument(
        option.flag, dest=option.name, metavar=metavar, default=argparse.SUPPRESS, help=help_text, **several
    )


def _default_text(option: Option) -> str:
    if option.kind == "flag":
        return ""
    if option.default is not None:
        return f" (default: {option.default})"
    if option.kind == "plan-or-auto":  # "auto" is a value of its own there
        return f" (default: {option.auto})"
    return f" (default: auto, {option.auto})" if option.auto else ""
