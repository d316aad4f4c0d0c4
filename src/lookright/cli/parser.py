"""Argument parsing as people expect it: examples first, the nearest name on a typo, one line per mistake."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from lookright.errors import RecipeError


class UsageError(RecipeError):
    """A command line that cannot be run as written (exit code 2)."""


class HelpShownError(Exception):
    """Raised inside the parser once the help has been printed; never seen by users."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean X?` for the closest of `names`, or an empty string."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


class CommandParser(argparse.ArgumentParser):
    """The parser of one command; its help opens with what the command does and how it is called."""

    def __init__(self, command: str, *, summary: str, examples: str) -> None:
        super().__init__(
            prog=f"lookright {command}",
            description=summary,
            formatter_class=_wide_formatter,
            allow_abbrev=False,
        )
        self.examples = examples

    def format_help(self) -> str:
        """Return the help: summary, examples, usage, options, in that order."""
        formatter = self._get_formatter()
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        examples = "\n".join(f"  {line}".rstrip() for line in self.examples.strip().splitlines())
        usage = self.format_usage().removeprefix("usage: ").strip()
        return f"{self.description}\n\nExamples:\n{examples}\n\nUsage: {usage}\n\n{formatter.format_help()}"

    def format_usage(self) -> str:
        """Return the usage in one line: positionals by name, options as a word."""
        positionals = [action for action in self._actions if not action.option_strings]
        required = [action for action in self._actions if action.option_strings and action.required]
        words = [self.prog]
        words += [_positional_usage(action) for action in positionals]
        words += [f"{action.option_strings[-1]} {action.metavar or action.dest.upper()}" for action in required]
        return " ".join([*words, "[options]"])

    def parse_command(self, arguments: Sequence[str]) -> argparse.Namespace | None:
        """Parse `arguments`; None means that the help was asked for and printed.

        Raises:
            UsageError: an unknown option (with the nearest known one), a missing or an ill-formed value.
        """
        try:
            parsed, unknown = self.parse_known_intermixed_args(arguments)  # options may stand anywhere
        except HelpShownError:
            return None
        if unknown:
            self.error(self._unknown_message(unknown))
        return parsed

    def print_help(self, file: object = None) -> None:
        """Write the help to stdout: it was asked for, so it is data."""
        sys.stdout.write(self.format_help())

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave the parser without leaving the process."""
        if message:
            raise UsageError(message.strip())
        raise HelpShownError

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line, with the way to the help."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def _unknown_message(self, unknown: Sequence[str]) -> str:
        options = [option for option in unknown if option.startswith("-") and option != "-"]
        if not options:
            return f"unexpected argument {unknown[0]!r}"
        option = options[0].split("=", 1)[0]
        return f"unknown option {option!r}{nearest(option, self._option_string_actions)}"


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("common")
    group.add_argument("-q", "--quiet", action="store_true", help="only data and errors: no progress, no notes")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--json`: the result as one JSON object on stdout instead of text for people."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _positional_usage(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(str(action.nargs), name)


def _wide_formatter(prog: str) -> argparse.HelpFormatter:
    width = min(110, shutil.get_terminal_size((100, 24)).columns - 2)
    return argparse.HelpFormatter(prog, max_help_position=30, width=width)
