"""What goes wrong, said in one line on stderr; warnings and library chatter kept in the same place and form."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator

from lookright.errors import LookRightError, LookRightWarning

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers, written in Rust, name a failed system call in the text of their errors."""


def complain(message: str, *, kind: str = "error") -> None:
    """Write one line `lookright: KIND: MESSAGE` to stderr."""
    line = " ".join(message.split())
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"lookright: {kind}: {line}\n")
        sys.stderr.flush()


def exit_code(error: BaseException) -> int:
    """Return the exit code that belongs to an error: 2 for the command line and the plan, else 1."""
    return error.exit_code if isinstance(error, LookRightError) else 1


def one_line(error: BaseException) -> str:
    """Say in one line what happened and what to do about it."""
    if isinstance(error, LookRightError):
        return str(error)
    number = _os_error_number(error)
    if number in FULL_DISK:
        what = f"cannot write{_place(error)}: {_reason(number)}"
        return f"{what}; nothing half-written is kept: free some space and run again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fspath(error.filename)!s}: {error.strerror or type(error).__name__}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: lower --token-budget (training: --batch-size too), or take a smaller base model"
    name = type(error).__name__
    return f"unexpected {name}: {error} (run again with --debug for the traceback, and please report it)"


def is_full_disk(error: BaseException) -> bool:
    """Whether there was no room to write, also where a library says so in its own way."""
    return _os_error_number(error) in FULL_DISK


@contextlib.contextmanager
def messages_on_stderr(*, quiet: bool) -> Iterator[None]:
    """Within: our warnings and log lines are one line each on stderr; quiet keeps errors only.

    Warnings of other libraries are theirs to fix, not our user's: they are not shown.
    """
    handler = _LineHandler()
    handler.setLevel(logging.ERROR if quiet else logging.INFO)
    logger = logging.getLogger("lookright")
    level_before, propagate_before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("ignore" if quiet else "always", LookRightWarning)
            warnings.showwarning = _show_warning
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)
        logger.propagate = propagate_before


@contextlib.contextmanager
def no_notes() -> Iterator[None]:
    """Within: our loggers write nothing, for a command that reports the same things as data."""
    logger = logging.getLogger("lookright")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # children such as lookright.data ask here for their level
    try:
        yield
    finally:
        logger.setLevel(level)


class _LineHandler(logging.Handler):
    """Writes a log record as one of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "note" if record.levelno < logging.WARNING else record.levelname.lower()
        complain(record.getMessage(), kind=kind)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    complain(str(message), kind="warning")


def _os_error_number(error: BaseException) -> int | None:
    """Return the errno behind an error, also where a library carries it only in its text or its cause."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = RUST_OS_ERROR.search(str(error))
    if found:
        return int(found.group(1))
    return _os_error_number(error.__cause__) if error.__cause__ is not None else None


def _place(error: BaseException) -> str:
    filename = getattr(error, "filename", None)
    return f" {os.fspath(filename)}" if isinstance(filename, str | os.PathLike) else ""


def _reason(number: int | None) -> str:
    return "the file is too large for this disk" if number == errno.EFBIG else "the disk is full"
