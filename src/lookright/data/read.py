"""One door to all readers: the format is told from the name and the content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from lookright.data.collect import Read
from lookright.data.conll import Columns, iter_conll, read_conll
from lookright.data.hub import is_hub_folder, read_hub
from lookright.data.jsonl import read_token_records, token_reads
from lookright.data.lines import STDIN, first_character, iter_lines, name_of
from lookright.data.records import SPAN_KEYS, TAG_KEYS, Record, is_gold, iter_records, record_source, shape_of
from lookright.data.sentence import Dataset
from lookright.data.spans import read_span_records, span_reads
from lookright.data.words import WordSplitter
from lookright.errors import DataError
from lookright.tags import Scheme

FORMATS: Final = ("auto", "conll", "jsonl", "hub")
HUB_PREFIX: Final = "hub:"

_JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_CONLL_SUFFIXES: Final = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".tsv", ".col", ".ner")


def read_dataset(
    path: str | Path,
    *,
    format: str = "auto",
    columns: Columns | None = None,
    scheme: Scheme | str = "auto",
    repair: bool = False,
    splitter: WordSplitter | None = None,
    unaligned: str = "error",
    offset_unit: str = "auto",
    tag_key: str | None = None,
) -> Dataset:
    """Read labeled data of any known format.

    Args:
        path: a file; "-" for standard input; a folder written by `datasets`' `save_to_disk`; or `hub:SOURCE` or
            `hub:SOURCE:SPLIT`, where the source is such a folder or a data set's name.
        format: "conll", "jsonl" (words and tags, or text and spans, told apart by the first record), "hub", or "auto":
            by the name's ending (`.gz` aside), and where that says nothing JSON Lines when it begins with "{".
        columns: for CoNLL, see `read_conll`.
        scheme: the tagging scheme; "auto" finds it (text and spans: makes IOB2).
        repair: whether ill-formed tags are repaired.
        splitter: for text and spans, see `read_spans_jsonl`, as are `unaligned` and `offset_unit`.
        unaligned: "error", "snap" or "drop".
        offset_unit: "auto", "characters" or "utf-16".
        tag_key: for words and tags under JSON or hub, the key of the tags.

    Raises:
        DataError: with file and line, for whatever cannot be read.
    """
    found = _format(path, format, plain="conll")
    if found == "hub":
        source, split = hub_source(str(path))
        return read_hub(source, split=split, tag_key=tag_key, scheme=scheme, repair=repair)
    if found == "conll":
        return read_conll(path, columns=columns, scheme=scheme, repair=repair)
    return read_jsonl(
        path,
        scheme=scheme,
        repair=repair,
        splitter=splitter,
        unaligned=unaligned,
        offset_unit=offset_unit,
        tag_key=tag_key,
    )


def read_jsonl(
    path: str | Path,
    *,
    scheme: Scheme | str = "auto",
    repair: bool = False,
    splitter: WordSplitter | None = None,
    unaligned: str = "error",
    offset_unit: str = "auto",
    tag_key: str | None = None,
) -> Dataset:
    """Read JSON Lines with words and tags, or with text and spans, whichever the first record has.

    The arguments are those of `read_tokens_jsonl` and `read_spans_jsonl`.

    Raises:
        DataError: with file and line, for whatever cannot be read.
    """
    name = name_of(path)
    source = record_source(path)
    line, first = next(iter(source()))
    if shape_of(first, name, line) == "tokens":
        return read_token_records(source(), name, tag_key=tag_key, scheme=scheme, repair=repair)
    return read_span_records(source, name, splitter, unaligned, offset_unit, scheme)


def iter_input(
    path: str | Path,
    *,
    format: str = "auto",
    columns: Columns | None = None,
    splitter: WordSplitter | None = None,
) -> Iterator[Read]:
    """Read sentences to be tagged, one at a time and without their gold.

    Formats are those of `read_dataset`, "hub" aside, and "text": one text per line, which "auto" takes for whatever is
    neither JSON Lines nor named as CoNLL. An empty line of text is a sentence without words, so that lines in and
    sentences out stay aligned.

    Raises:
        DataError: with file and line, for whatever cannot be read.
    """
    found = _format(path, format, plain="text")
    splitter = splitter or WordSplitter()
    name = name_of(path)
    if found == "hub":
        raise DataError("a data set folder cannot be tagged directly: expected a file", path=name)
    if found == "text":
        yield from (Read(splitter.sentence(line, path=name, line=number)) for number, line in iter_lines(path))
    elif found == "conll":
        for read in iter_conll(path, columns=columns, tagged=False):
            yield read._replace(sentence=read.sentence.with_tags(None))
    else:
        yield from record_input(iter_records(path), name, splitter)


def record_input(records: Iterator[tuple[int, Record]], name: str, splitter: WordSplitter) -> Iterator[Read]:
    """Sentences to be tagged from `(line, record)` pairs, one for each; `name` is how messages call their source."""
    first = next(records)
    words_given = shape_of(first[1], name, first[0]) == "tokens"
    gold = (*TAG_KEYS, *SPAN_KEYS)
    last: Record = {}

    def bare() -> Iterator[tuple[int, Record]]:
        nonlocal last
        for line, last in chain((first,), records):
            yield line, {key: value for key, value in last.items() if key not in gold}

    reads: Iterable[Read] = token_reads(bare(), name) if words_given else span_reads(bare(), name, splitter)
    for read in reads:
        rest = {key: value for key, value in last.items() if not is_gold(key, listed=isinstance(value, list))}
        if words_given:
            rest.pop("words", None)  # they are written as "tokens"
        yield read._replace(rest=rest, words_given=words_given)


def _format(path: str | Path, format: str, *, plain: str) -> str:
    """The format's name; `plain` is what a file is taken for when neither its name nor its content says more."""
    if format != "auto":
        if format not in (*FORMATS, plain):
            raise DataError(f"format {format!r}: expected one of {', '.join(dict.fromkeys((*FORMATS, plain)))}")
        return format
    if str(path).startswith(HUB_PREFIX):
        return "hub"
    if str(path) != STDIN:
        file = Path(path)
        if file.is_dir() and is_hub_folder(file):
            return "hub"
        suffix = Path(file.stem if file.suffix == ".gz" else file.name).suffix.lower()
        if suffix in _JSON_SUFFIXES:
            return "jsonl"
        if suffix in _CONLL_SUFFIXES:
            return "conll"
    return "jsonl" if first_character(path) == "{" else plain


def hub_source(path: str) -> tuple[str, str | None]:
    """The source and the split that `hub:SOURCE:SPLIT`, or a folder's name, stands for."""
    if not path.startswith(HUB_PREFIX):
        return path, None
    source, _, split = path.removeprefix(HUB_PREFIX).partition(":")
    return source, split or None
