"""Text to tokens, once: a memory-mapped array per file and part, found again by the content of file and tokenizer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from lookright.errors import DataError, OutputError, UnsupportedModelError
from lookright.training.cache import made_once
from lookright.training.pretraining.corpus import LONGEST_DOCUMENT, documents, file_hash, is_held_out

log = logging.getLogger("lookright")

PARTS: Final = ("train", "held_out")
FORMAT: Final = 1
"""Counts up whenever the same text would be kept in another form."""
BATCH: Final = 512
"""Most documents that are tokenised together, on all cores."""


@dataclass(frozen=True)
class Tokens:
    """The documents of one part of a corpus.

    Attributes:
        ids: per file, the token ids of all documents, one after the other (uint16 or uint32, memory-mapped).
        ends: per file, int64 (documents,), where each document ends in them.
    """

    ids: tuple[NDArray[Any], ...]
    ends: tuple[NDArray[np.int64], ...]

    @property
    def n_documents(self) -> int:
        """Documents in all files."""
        return sum(len(ends) for ends in self.ends)

    def __len__(self) -> int:
        """Sub-words in all files."""
        return sum(len(ids) for ids in self.ids)


@dataclass(frozen=True)
class TokenisedCorpus:
    """A corpus as tokens.

    Attributes:
        train, held_out: its two parts.
        sha256: of the contents of all files, whatever their names and order.
    """

    train: Tokens
    held_out: Tokens
    sha256: str


def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of a tokenizer's backend in which text cannot turn into special tokens, and nothing is cut or filled up.

    Raises:
        UnsupportedModelError: a tokenizer without a fast backend.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise UnsupportedModelError(f"{type(tokenizer).__name__} has no fast backend; save it with a tokenizer.json")
    own = Tokenizer.from_str(backend.to_str())
    own.encode_special_tokens = True
    own.no_truncation()
    own.no_padding()
    return own


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of what a tokenizer does to text."""
    return hashlib.sha256(plain_backend(tokenizer).to_str().encode()).hexdigest()


def tokenise(
    files: Sequence[Path], tokenizer: PreTrainedTokenizerBase, cache: Path, *, share: float
) -> TokenisedCorpus:
    """Tokenise files, or find them tokenised. Each document ends with EOS, where the tokenizer has one.

    Args:
        files: of plain text.
        tokenizer: a fast one.
        cache: folder where the tokens are kept.
        share: of the documents that is held out.

    Raises:
        DataError: a file that is no text, or no text in any file.
        OutputError: the cache cannot be written.
    """
    hashes = sorted({file_hash(path): path for path in files}.items())  # sorted: names and order do not matter
    if len(hashes) < len(files):
        log.info("%d of %d files are copies of others, and not taken again", len(files) - len(hashes), len(files))
    tail = f"{tokenizer_hash(tokenizer)} {tokenizer.eos_token_id} {share!r} {FORMAT}"
    folders = []
    for digest, path in hashes:
        key = hashlib.sha256(f"{digest} {tail}".encode()).hexdigest()[:32]
        folders.append(
            made_once(
                cache / "tokens" / key,
                lambda folder, path=path: _write(folder, path, tokenizer, share),  # type: ignore[misc]
            )
        )
    train, held_out = (_read(folders, part) for part in PARTS)
    if not len(train):
        left = f"; all of it fell into the share of {share:g} that is held out" if len(held_out) else ""
        raise DataError(f"no text to train on in {', '.join(str(path) for path in files)}: expected plain text{left}")
    return TokenisedCorpus(train, held_out, hashlib.sha256(" ".join(d for d, _ in hashes).encode()).hexdigest())


def _write(folder: Path, path: Path, tokenizer: PreTrainedTokenizerBase, share: float) -> None:
    log.info("tokenising %s, once: the tokens are kept", path)
    backend = plain_backend(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    highest = max([*backend.get_vocab().values(), *end], default=0)  # not their number: ids may have gaps
    dtype = np.uint16 if highest < 2**16 else np.uint32
    ends: dict[str, list[int]] = {part: [] for part in PARTS}
    files = {part: (folder / f"{part}.bin").open("wb") for part in PARTS}
    try:
        for batch in _batches(documents(path)):
            for text, encoding in zip(batch, backend.encode_batch_fast(batch, add_special_tokens=False), strict=True):
                part = PARTS[is_held_out(text, share)]
                ids = np.array([*encoding.ids, *end], dtype)
                files[part].write(ids.tobytes())
                ends[part].append((ends[part][-1] if ends[part] else 0) + len(ids))
    finally:
        for file in files.values():
            file.close()
    for part in PARTS:
        np.save(folder / f"{part}-ends.npy", np.array(ends[part], np.int64))
    (folder / "dtype.json").write_text(json.dumps({"dtype": np.dtype(dtype).name}), encoding="utf-8")


def _read(folders: Sequence[Path], part: str) -> Tokens:
    ids, ends = [], []
    for folder in folders:
        file = folder / f"{part}.bin"
        try:
            dtype = np.dtype(json.loads((folder / "dtype.json").read_text(encoding="utf-8"))["dtype"])
            ends.append(np.load(folder / f"{part}-ends.npy"))
            whole = file.stat().st_size == (int(ends[-1][-1]) if len(ends[-1]) else 0) * dtype.itemsize
        except (OSError, ValueError, KeyError, EOFError):
            whole = False
        if not whole:
            raise OutputError(f"{folder}: the tokens kept there are damaged; delete that folder, and run again")
        ids.append(np.memmap(file, dtype, "r") if file.stat().st_size else np.zeros(0, dtype))
    return Tokens(tuple(ids), tuple(ends))


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    """Documents to tokenise together: not too many, and not too much text."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == BATCH or size >= LONGEST_DOCUMENT:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
