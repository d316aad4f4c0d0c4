"""Plain text as documents: files of any size, packed or not, read as a stream.

A document is a run of lines that are not blank; blank lines stand between documents. A very long one counts as several,
cut between lines, so that a file without blank lines is read as a stream, too.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import lzma
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

from lookright.errors import DataError, MissingExtraError

PACKED: Final = (".xz", ".gz", ".zst")
TEXT_ENDINGS: Final = (".txt", ".text", ".md")
TOKENIZER_CHARACTERS: Final = 40_000_000
"""How much text a tokenizer learns from; more changes little."""


LONGEST_DOCUMENT: Final = 1_000_000
"""Characters after which a document ends with the line. A tokenizer takes about 100 bytes of memory for each."""


def text_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files that paths mean: files themselves, and the text files right in a folder, packed or not.

    Raises:
        DataError: no such file, a pipe or device, or a folder without text files.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and _plain_name(p).endswith(TEXT_ENDINGS))
            if not inside:
                raise DataError(
                    f"no text files in this folder; expected names that end in {', '.join(TEXT_ENDINGS)}, "
                    f"also with {', '.join(PACKED)} after it",
                    path=path,
                )
            found += inside
        elif path.is_file():
            found.append(path)
        elif path.exists() or str(path) == "-":
            raise DataError(
                "a stream, which can be read only once; expected a file, since a resumed run reads it again", path=path
            )
        else:
            raise DataError("no such file or folder", path=path)
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file as it lies on the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def documents(path: Path) -> Iterator[str]:
    """The documents of a file, one after the other.

    Raises:
        DataError: bytes that are not UTF-8 (with their place), or a packed file that is damaged.
        MissingExtraError: a .zst file, and nothing to read it with.
    """
    lines: list[str] = []
    size = 0
    for line in _lines(path):
        blank = not line.strip()
        if lines and (blank or size >= LONGEST_DOCUMENT):
            yield "".join(lines).rstrip("\n")
            lines, size = [], 0
        if not blank:
            lines.append(line)
            size += len(line)
    if lines:
        yield "".join(lines).rstrip("\n")


def sample(files: Iterable[Path], characters: int = TOKENIZER_CHARACTERS) -> Iterator[str]:
    """Documents from the beginning of each file, as many of each as fits its share of the bytes."""
    files = list(files)
    whole = sum(path.stat().st_size for path in files) or 1
    for path in files:
        room = characters * path.stat().st_size / whole
        for document in documents(path):
            yield document
            room -= len(document)
            if room <= 0:
                break


def is_held_out(document: str, share: float) -> bool:
    """Whether a document is held out: decided by its text alone, so that copies of it stay together."""
    digest = hashlib.blake2b(document.encode(), digest_size=8, person=b"held out").digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _plain_name(path: Path) -> str:
    return path.stem if path.suffix in PACKED else path.name


def _lines(path: Path) -> Iterator[str]:
    place = 0
    try:
        with _open(path) as file:
            for raw in file:
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"not UTF-8 text: the byte 0x{raw[error.start]:02x} at byte {place + error.start}; "
                        "expected plain text in UTF-8",
                        path=path,
                    ) from None
                yield (line.removeprefix("\ufeff") if place == 0 else line).replace("\r\n", "\n")
                place += len(raw)
    except (DataError, MissingExtraError):
        raise
    except OSError as error:
        if not isinstance(error, gzip.BadGzipFile):
            raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error
        raise DataError(f"the packed file is damaged ({error})", path=path) from error
    except Exception as error:
        if not isinstance(error, EOFError | lzma.LZMAError | zlib.error) and type(error).__name__ != "ZstdError":
            raise
        raise DataError(f"the packed file is damaged or cut short ({error})", path=path) from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return cast("IO[bytes]", _zstd(path).open(path, "rb"))
    return path.open("rb")


def _zstd(path: Path) -> Any:
    """The module that opens .zst files: Python's own from 3.14 on, before that its backport."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError("backports.zstd", "zst", f"{path}: a .zst file")
