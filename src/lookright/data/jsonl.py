"""JSON Lines with words and tags: `{"tokens": ["Zagreb", "."], "tags": ["B-LOC", "O"]}`.

Keys: the words under `tokens` or `words`; the tags under `tags`, `ner_tags`, `labels`, `pos_tags`, `chunk_tags` or
`upos` (the first that is there, or the one you name), all of them text. A record may have the running `text` too, with
`offsets` (`[[start, end], ...]`, characters) or without: then the words are looked for in it, one after the other, and
a text in which they are not all found with nothing but white space between is left aside, and counted. `document_id`
(or `doc_id`) says which records belong to one document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from lookright.data.collect import Read, collect
from lookright.data.lines import name_of, text_target
from lookright.data.records import TAG_KEYS, TOKEN_KEYS, DocumentBorders, Record, iter_records
from lookright.data.sentence import Dataset, Note, Place, Sentence
from lookright.errors import DataError
from lookright.tags import Scheme


def read_tokens_jsonl(
    path: str | Path, *, tag_key: str | None = None, scheme: Scheme | str = "auto", repair: bool = False
) -> Dataset:
    """Read a file of records with words and tags whole; see the top of this module.

    Args:
        path: the file, or "-" for standard input.
        tag_key: the key of the tags, where it is another than the usual ones.
        scheme: the tagging scheme; "auto" finds it.
        repair: whether ill-formed tags are repaired.

    Raises:
        DataError: with file and line, for whatever is not such a record.
    """
    return read_token_records(iter_records(path), name_of(path), tag_key=tag_key, scheme=scheme, repair=repair)


def read_token_records(
    records: Iterable[tuple[int, Record]],
    name: str,
    *,
    tag_key: str | None = None,
    scheme: Scheme | str = "auto",
    repair: bool = False,
) -> Dataset:
    """As `read_tokens_jsonl`, from `(line, record)` pairs; `name` is how messages call their source."""
    notes: list[Note] = []
    reads = list(token_reads(records, name, tag_key=tag_key, notes=notes))
    return collect(reads, path=name, scheme=scheme, repair_tags=repair, notes=notes)


def iter_tokens_jsonl(
    path: str | Path, *, tag_key: str | None = None, notes: list[Note] | None = None
) -> Iterator[Read]:
    """Read such a file record by record. `notes` is filled, at the end, with what there is to say."""
    yield from token_reads(iter_records(path), name_of(path), tag_key=tag_key, notes=notes)


def token_reads(
    records: Iterable[tuple[int, Record]], name: str, *, tag_key: str | None = None, notes: list[Note] | None = None
) -> Iterator[Read]:
    """Sentences from `(line, record)` pairs; `name` is how messages call their source."""
    borders = DocumentBorders(each_record=False)
    key: str | None = tag_key
    first: int | None = None
    unaligned: list[Place] = []
    for line, record in records:
        if first is None:
            first = line
            key = tag_key or next((key for key in TAG_KEYS if key in record), None)
        words = _strings(record, _token_key(record, name, line), name, line)
        if key is not None and key not in record:
            had = f"as line {first} has it" if tag_key is None else "as asked for"
            raise DataError(f"no {key!r} in this record, expected one tag per word {had}", path=name, line=line)
        tags = None if key is None else _strings(record, key, name, line)
        text, offsets = _surface(record, words, name, line)
        if offsets is None and text is not None:
            unaligned.append(Place(name, line, text[:80]))
            text = None
        yield Read(Sentence(words, tags, text, offsets, name, line), borders.starts(record))
    if unaligned and notes is not None:
        message = f"the text of {len(unaligned)} records does not hold their words in order and is not used"
        notes.append(Note("text", f"{message}; the first is {unaligned[0]}", len(unaligned), tuple(unaligned)))


def _token_key(record: Record, name: str, line: int) -> str:
    for key in TOKEN_KEYS:
        if key in record:
            return key
    keys = ", ".join(map(repr, list(record)[:8])) or "none"
    raise DataError(f"keys {keys}: expected 'tokens' (a list of words)", path=name, line=line)


def _strings(record: Record, key: str, name: str, line: int) -> tuple[str, ...]:
    values = record[key]
    if not isinstance(values, list):
        raise DataError(f"{key!r} is {_what(values)}, expected a list of strings", path=name, line=line)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            hint = "; numbers need the label names: write those" if isinstance(value, int) else ""
            raise DataError(f"{key}[{index}] is {_what(value)}, expected a string{hint}", path=name, line=line)
    return tuple(values)


def _what(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "..."


def _surface(
    record: Record, words: Sequence[str], name: str, line: int
) -> tuple[str | None, tuple[tuple[int, int], ...] | None]:
    """The text and the offsets of the words in it; offsets None where the words are not found in the text."""
    text, offsets = record.get("text"), record.get("offsets")
    if text is None:
        if offsets is not None:
            raise DataError("'offsets' without 'text': expected both or neither", path=name, line=line)
        return None, None
    if not isinstance(text, str):
        raise DataError(f"'text' is {_what(text)}, expected a string", path=name, line=line)
    if offsets is None:
        return text, find_words(text, words)
    pairs = isinstance(offsets, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair) for pair in offsets
    )
    if not pairs:
        raise DataError(f"'offsets' is {_what(offsets)}, expected [[start, end], ...]", path=name, line=line)
    return text, tuple((start, end) for start, end in offsets)


def find_words(text: str, words: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Character offsets of the words in `text`, one after the other; None unless only white space lies outside them."""
    offsets = []
    at = 0
    for word in words:
        start = at
        while start < len(text) and not text.startswith(word, start):
            if not text[start].isspace():
                return None
            start += 1
        if start == len(text):
            return None
        at = start + len(word)
        offsets.append((start, at))
    return None if text[at:].strip() else tuple(offsets)


def write_jsonl(dataset: Dataset | Iterable[Sentence], target: str | Path | TextIO) -> None:
    """Write one record per sentence: `tokens`, `tags` (where there are any), `text` and `offsets` (where there is one).

    Args:
        dataset: a `Dataset` (then `document_id` is written when it has more than one document) or sentences.
        target: a file name (written whole or not at all), "-" for standard output, or an open text file.

    Raises:
        OutputError: when the file cannot be written.
    """
    with text_target(target) as handle:
        for sentence, document in with_documents(dataset, each_record=False):
            record: dict[str, Any] = {} if document is None else {"document_id": document}
            record["tokens"] = sentence.words
            if sentence.tags is not None:
                record["tags"] = sentence.tags
            if sentence.text is not None:
                record |= {"text": sentence.text, "offsets": sentence.offsets}
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")


def with_documents(
    dataset: Dataset | Iterable[Sentence], *, each_record: bool
) -> Iterator[tuple[Sentence, int | None]]:
    """Each sentence with its document's number, or with None where a reader finds the same borders without one."""
    if not isinstance(dataset, Dataset):
        yield from ((sentence, None) for sentence in dataset)
        return
    starts = dataset.document_starts or ()
    plain = len(starts) == len(dataset) if each_record else len(starts) <= 1
    borders = set(starts)
    document = -1
    for index, sentence in enumerate(dataset):
        document += index in borders
        yield sentence, None if plain else document
