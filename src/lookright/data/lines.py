r"""Lines of text files in and text files out, with clear errors for what is not a text file.

Only "\n" ends a line, never the other characters that Unicode counts as line ends: words may hold them. One "\r" before
it is dropped (Windows files), as is a byte order mark at the top. A file packed by gzip is unpacked on the way.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, TextIO, cast

from lookright.errors import DataError, OutputError

STDIN: Final = "-"
STDIN_NAME: Final = "<stdin>"
MAX_LINE_BYTES: Final = 256 * 2**20
"""A longer line is refused, so that a file without line ends cannot fill the memory."""

_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_GZIP: Final = b"\x1f\x8b"
_PACKED: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh91AY&SY": "bzip2",
    b"PK\x03\x04": "zip",
}
"""How files begin that are packed otherwise."""
_SNIFFED_BYTES: Final = 65536


_pipes: Final[dict[tuple[int, int], BufferedReader]] = {}
"""Pipes that are being read, by device and inode: open until their ends, since what was taken from one is gone."""


def name_of(path: str | Path) -> str:
    """How messages call this input."""
    return STDIN_NAME if str(path) == STDIN else str(path)


def is_stream(path: str | Path) -> bool:
    """Whether this can be read only once: standard input, or a pipe, such as a shell puts in the place of `<(...)`."""
    if str(path) == STDIN:
        return True
    try:
        return stat.S_ISFIFO(Path(path).stat().st_mode)
    except (OSError, ValueError):  # what is wrong with it is said where it is opened
        return False


def first_character(path: str | Path) -> str:
    """The first character of a text that is no white space ("" where there is none near the top); nothing is consumed.

    Raises:
        DataError: as `iter_lines`.
    """
    return top_of(path).lstrip()[:1]


def top_of(path: str | Path) -> str:
    """The first characters of a text, as many as can be seen without consuming any; of a pipe, what has come first.

    Raises:
        DataError: as `iter_lines`.
    """
    with _reading(path) as (raw, _):
        top = raw.peek(_SNIFFED_BYTES)
        if top[:2] == _GZIP:  # a GzipFile would take from a pipe what it looks at
            top = zlib.decompressobj(wbits=31).decompress(top, _SNIFFED_BYTES)
    return top.removeprefix(_BOM).decode("utf-8", "replace")


def iter_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield `(line number from 1, line without its end)` of a UTF-8 text file; `-` is standard input.

    Raises:
        DataError: missing file, directory, no permission, empty, binary, not UTF-8 (with the byte), a line too long.
    """
    with _reading(path) as (raw, name):
        if raw.peek(2)[:2] == _GZIP:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield from _decoded(cast("IO[bytes]", unpacked), name)
        else:
            yield from _decoded(raw, name)


@contextmanager
def _reading(path: str | Path) -> Iterator[tuple[BufferedReader, str]]:
    """The open input, packed as it may be, and its name; what goes wrong with the file itself becomes a DataError."""
    name = name_of(path)
    try:
        with _open(path, name) as raw:
            yield raw, name
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"a damaged gzip file ({error}); expected a whole one", path=name) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=name) from None


@contextmanager
def _open(path: str | Path, name: str) -> Iterator[BufferedReader]:
    if str(path) == STDIN:
        yield cast("BufferedReader", sys.stdin.buffer)  # not ours to close
    else:
        with _open_pipe(Path(path), name) if is_stream(path) else _open_file(Path(path), name) as raw:
            yield raw


@contextmanager
def _open_pipe(file: Path, name: str) -> Iterator[BufferedReader]:
    """A pipe where the last reading of it left off; closed when its end has come."""
    status = file.stat()
    key = (status.st_dev, status.st_ino)
    if key not in _pipes:
        _pipes[key] = _open_file(file, name)
    raw = _pipes[key]
    yield raw
    if not raw.peek(1):
        _pipes.pop(key).close()


def _open_file(file: Path, name: str) -> BufferedReader:
    try:
        if file.is_dir():
            raise DataError("this is a directory, expected a file", path=name)
        return file.open("rb")
    except FileNotFoundError:
        raise DataError("no such file", path=name) from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"not a file name: {error}", path=name) from None  # a NUL in it


def _decoded(handle: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    at = 0  # bytes before this line
    while raw := handle.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise DataError(
                f"a line of more than {MAX_LINE_BYTES // 2**20} MiB: expected one word or one record per line",
                path=name,
                line=number,
            )
        if number == 1 and raw.startswith(_UTF16_BOMS):
            raise DataError("UTF-16 text, expected UTF-8: iconv -f UTF-16 -t UTF-8 converts it", path=name, line=1)
        if number == 1 and (packer := next((name for magic, name in _PACKED.items() if raw.startswith(magic)), None)):
            raise DataError(f"packed by {packer}, expected text or gzip: unpack it first", path=name)
        if b"\0" in raw:
            raise DataError(f"a NUL at byte {at + raw.index(0)}: a binary file, expected text", path=name, line=number)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if b"\0" in handle.read(_SNIFFED_BYTES):
                raise DataError("a binary file, expected text", path=name) from None
            raise DataError(
                f"not UTF-8 at byte {at + error.start} (byte {error.start} of the line is 0x{raw[error.start]:02x}): "
                "expected UTF-8 text; iconv -f LATIN1 -t UTF-8 converts a Latin-1 file",
                path=name,
                line=number,
            ) from None
        if number == 1 and raw.startswith(_BOM):
            line = line[1:]
        at += len(raw)
        yield number, line.removesuffix("\n").removesuffix("\r")
    if not at:
        raise DataError("the file is empty", path=name)


@contextmanager
def text_target(target: str | Path | TextIO) -> Iterator[TextIO]:
    """An open UTF-8 text file to write to: a name, "-" for standard output, or a file that is open already.

    A named file appears whole or not at all: it is written beside its place and then renamed (a device or a pipe is
    written to as it is). A name that ends in `.gz` is packed.

    Raises:
        OutputError: when the place cannot be written.
    """
    if not isinstance(target, str | Path):
        yield target
    elif str(target) == STDIN:
        yield sys.stdout
    else:
        with whole_file(Path(target)) as part, part.open("wb") as raw, ExitStack() as stack:
            is_packed = Path(target).suffix == ".gz"
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if is_packed else None
            binary = cast("IO[bytes]", raw if packed is None else stack.enter_context(packed))
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n", write_through=True)
            yield text
            text.flush()
            text.detach()


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of `file` at the end, or is gone if something went wrong.

    Raises:
        OutputError: when the place cannot be written.
    """
    if file.is_dir():
        raise OutputError(f"{file}: this is a directory, expected a file name")
    # A device or a pipe must be written to, never replaced; a link stays, and what it points to is replaced.
    special = file.exists() and not file.is_file()
    place = file if special else file.resolve()
    part = place if special else place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        yield part
        if not special:
            part.replace(place)
    except OSError as error:
        raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error
    finally:
        if not special:
            with suppress(OSError):
                part.unlink()
