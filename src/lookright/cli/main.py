"""The entry point of `lookright`: finds the command, loads it alone, turns what goes wrong into one line.

Exit codes: 0 done; 1 the data, the model or the machine would not do; 2 the command line was wrong; 130 stopped by
Ctrl-C; 141 the reader of our output went away. Nothing heavy is imported before a command runs, so that every
`--help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from lookright import __version__
from lookright.cli import trouble
from lookright.cli.parser import CommandParser, UsageError, add_common_arguments, nearest
from lookright.errors import OutputError

COMMANDS: dict[str, str] = {
    "train": "Fine-tune a base model on labeled sentences or texts, under a mask plan.",
    "search": "Find the mask plan that suits a task, for about the price of one fine-tuning.",
    "pretrain": "Train a base on plain text, or adapt one to looking right.",
    "predict": "Tag or classify text, lines or files with a saved model.",
    "evaluate": "Score a saved model on a labeled file, on the full gold.",
    "study": "Run models x plans x seeds x data sets x recipes; tables, tests, plots, report.",
    "compare": "Compare two taggers on a labeled file: difference, p-value, sentences that differ.",
    "check": "Look a labeled file over before training on it.",
    "info": "Describe a model and draw what a plan does in it.",
    "demo": "Train two small taggers on bundled data and compare their plans.",
}

TOP_HELP = """\
LookRight: sequence labeling with any decoder language model, choosing layer by layer how far right it may look.

Examples:
  lookright demo
  lookright check train.conll dev.conll
  lookright train --base BASE --train train.conll --dev dev.conll --plan 0011 --out my-tagger
  lookright predict my-tagger notes.txt
  lookright evaluate my-tagger test.conll

Commands:
{commands}

`lookright COMMAND --help` shows examples and options of one command; `lookright --version` prints the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; `argv` excludes the program's name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    debug = "--debug" in arguments
    try:
        with trouble.messages_on_stderr(quiet="--quiet" in arguments or "-q" in arguments):
            code = _dispatch(arguments)
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has what it wanted, as in `lookright predict ... | head`
        _drop_stdout()
        return 141
    except KeyboardInterrupt as stop:
        if debug:
            traceback.print_exc()
        trouble.complain(str(stop) or "stopped by Ctrl-C; nothing half-written is kept")
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        trouble.complain(trouble.one_line(error))
        if trouble.is_full_disk(error):
            _drop_stdout()
        return trouble.exit_code(error)


def _dispatch(arguments: list[str]) -> int:
    """Run the command that `arguments` names."""
    name = arguments[0] if arguments else "--help"
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(TOP_HELP.format(commands=_command_table()))
        return 0 if arguments else 2
    if name in {"-V", "--version"}:
        sys.stdout.write(f"lookright {__version__}\n")
        return 0
    if name not in COMMANDS:
        raise UsageError(_unknown_command(name))
    module = importlib.import_module(f"lookright.cli.{name}")
    parser = CommandParser(name, summary=COMMANDS[name], examples=module.EXAMPLES)
    module.add_arguments(parser)
    add_common_arguments(parser)
    parsed = parser.parse_command(arguments[1:])
    if parsed is None:
        return 0
    return int(module.run(parsed))


def _command_table() -> str:
    return "\n".join(f"  {name:<10}{summary}" for name, summary in COMMANDS.items())


def _unknown_command(name: str) -> str:
    if name.startswith("-"):
        return f"option {name!r} before the command: put options after it, as in `lookright train {name} ...`"
    return f"no command {name!r}{nearest(name, COMMANDS)}; the commands are {', '.join(COMMANDS)}"


class _Closed(io.TextIOBase):
    """In the place of a standard output that whoever started us has closed."""

    def write(self, text: str) -> int:
        raise OutputError("standard output is closed, and the result has no other place: send it to a file or a pipe")


def _replace_closed_streams() -> None:
    """Where stdout or stderr is closed (`>&-`), Python has None in its place, which nobody expects."""
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = io.StringIO()


def _drop_stdout() -> None:
    """Give stdout a place where the flush that the interpreter does at its end cannot fail once more."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


if __name__ == "__main__":
    sys.exit(main())
