r"""CoNLL columns: one word per line with its tag, an empty line after each sentence.

What is read, and how it is told apart:

- Columns are separated by one tab each when the first row has a tab, otherwise by runs of spaces. Nothing else
  separates: a no-break space or U+2028 is part of a word. Every row has as many columns as the first one.
- The word is the first column and the tag the last, unless `columns` says otherwise (indices, negative ones count from
  the right).
- A line of nothing, spaces or tabs ends a sentence.
- A line that begins with -DOCSTART- (in any case; followed by nothing, a blank or a bracket) is a document border.
- A line that begins with "# " is a comment when it cannot be a row: in a file with tabs when it has none, in a file
  with spaces when it stands before the first word of a sentence and has another number of columns than the rows. Before
  the first word, `# id ...`, `# newdoc`, `# newpar` and `# key = value` are comments even when their blanks happen to
  give the right number of columns. So the word "#" with its tag stays a word. `# newdoc` is a document border.
- Ten columns with tabs and a number in the first are CoNLL-U: every line that begins with "#" is a comment, the word is
  FORM, the tag is UPOS, multiword ranges ("3-4") and empty nodes ("5.1") are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from lookright.data.collect import Read, collect
from lookright.data.lines import iter_lines, name_of, text_target
from lookright.data.sentence import Dataset, Note, Sentence
from lookright.errors import DataError
from lookright.tags import Scheme

Columns = tuple[int, int | None]
"""Indices of the word's and the tag's column; None for no tags."""

_BLANKS: Final = " \t"
_DOCUMENT: Final = re.compile(r"-DOCSTART-(?:[ \t(]|$)", re.IGNORECASE)
_SURE_COMMENT: Final = re.compile(r"#[ ]+(?:id[ ]+\S+(?:[ \t]\S+=|$)|newdoc\b|newpar\b|[^\s=]+[ ]+=[ ])")
_NEW_DOCUMENT: Final = re.compile(r"#[ ]*newdoc\b")
_CONLLU_ID: Final = re.compile(r"\d+(?:[-.]\d+)?")
_CONLLU_COLUMNS: Final = 10
_MAX_LEADING_COMMENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the rows of a file are read: found from its first row."""

    path: str
    line: int
    tabs: bool
    n_columns: int
    word: int
    tag: int | None
    conllu: bool

    def columns(self, line: str) -> list[str]:
        return _cut(line, self.tabs)

    def is_comment(self, line: str, *, sentence_start: bool) -> bool:
        if not line.startswith("#"):
            return False
        if self.conllu or (sentence_start and _SURE_COMMENT.match(line)):
            return True
        if not line.startswith("# "):
            return False
        return "\t" not in line if self.tabs else sentence_start and len(self.columns(line)) != self.n_columns


def parse_columns(text: str) -> Columns:
    """Read `"0,3"` (word and tag) or `"0"` (words without tags); negative numbers count from the right.

    Raises:
        DataError: for anything else.
    """
    parts = text.split(",")
    if len(parts) > 2 or not all(re.fullmatch(r" *-?\d{1,4} *", part) for part in parts):
        raise DataError(f"columns {text!r}: expected the word's and the tag's column, counted from 0, as in '0,3'")
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else None


def read_conll(
    path: str | Path,
    *,
    columns: Columns | None = None,
    scheme: Scheme | str = "auto",
    repair: bool = False,
) -> Dataset:
    """Read a CoNLL file whole; see the top of this module for what is understood.

    Args:
        path: the file, or "-" for standard input.
        columns: `(word, tag)` column indices; the tag may be None for a file without tags. By default the first and
            the last column (CoNLL-U: FORM and UPOS).
        scheme: the tagging scheme; "auto" finds it.
        repair: whether ill-formed tags are repaired.

    Raises:
        DataError: with file and line, for whatever is not such a file.
    """
    name = name_of(path)
    notes: list[Note] = []
    stream = iter_conll(path, columns=columns, notes=notes)
    reads = list(stream)
    return collect(reads, path=name, scheme=scheme, repair_tags=repair, notes=notes)


def iter_conll(
    path: str | Path, *, columns: Columns | None = None, tagged: bool = True, notes: list[Note] | None = None
) -> Iterator[Read]:
    """Read a CoNLL file sentence by sentence; see `read_conll`.

    `tagged=False` reads words only, where no columns are given. `notes` is filled with what there is to say.
    """
    name = name_of(path)
    lines = iter_lines(path)
    layout, seen = _find_layout(lines, name, columns, tagged)
    if layout.conllu and columns is None and notes is not None:
        notes.append(Note("columns", "CoNLL-U: words from FORM, tags from UPOS (columns=... takes others)"))
    words: list[str] = []
    tags: list[str] = []
    at: list[int] = []
    border = False
    n_sentences = 0

    def sentence() -> Read:
        given = None if layout.tag is None else tuple(tags)
        read = Read(Sentence(tuple(words), given, path=name, line=at[0]), border, tuple(at))
        words.clear()
        tags.clear()
        at.clear()
        return read

    for number, line in chain(seen, lines):
        comment = layout.is_comment(line, sentence_start=not words)
        document = bool(_NEW_DOCUMENT.match(line)) if comment else bool(_DOCUMENT.match(line))
        if comment and not document:
            continue
        if document or not line.strip(_BLANKS):
            if words:
                yield sentence()
                n_sentences += 1
                border = False
            border = border or document
            continue
        row = _row(line, number, layout)
        if row is not None:
            words.append(row[0])
            at.append(number)
            tags.append(row[1])
    if words:
        yield sentence()
        n_sentences += 1
    if not n_sentences:
        raise DataError("no sentence in the file: expected a word and its tag on each line", path=name)


def _cut(line: str, tabs: bool) -> list[str]:
    if not tabs:
        return [part for part in line.split(" ") if part]
    parts = line.split("\t")
    while len(parts) > 2 and not parts[-1].strip(_BLANKS):
        parts.pop()
    return parts


def _find_layout(
    lines: Iterator[tuple[int, str]], name: str, columns: Columns | None, tagged: bool
) -> tuple[_Layout, list[tuple[int, str]]]:
    """The layout, from the first line that is surely a row, and the lines read to find it.

    Lines that begin with "#" may be comments, so they decide only where there is nothing else.
    """
    seen: list[tuple[int, str]] = []
    doubtful: tuple[int, str] | None = None
    for number, line in lines:
        seen.append((number, line))
        if not line.strip(_BLANKS) or _DOCUMENT.match(line):
            continue
        if not line.startswith("#"):
            return _layout(line, number, name, columns, tagged), seen
        if doubtful is None and not _SURE_COMMENT.match(line):
            doubtful = (number, line)
        if doubtful is not None and len(seen) > _MAX_LEADING_COMMENTS:
            break
    if doubtful is None:
        raise DataError("no sentence in the file: expected a word and its tag on each line", path=name)
    return _layout(doubtful[1], doubtful[0], name, columns, tagged), seen


def _layout(line: str, number: int, name: str, columns: Columns | None, tagged: bool) -> _Layout:
    tabs = "\t" in line
    parts = _cut(line, tabs)
    n = len(parts)
    conllu = tabs and n == _CONLLU_COLUMNS and bool(_CONLLU_ID.fullmatch(parts[0]))
    usual: Columns = (1, 3) if conllu else (0, -1)
    word, tag = columns or (usual if tagged else (usual[0], None))
    if n == 1 and tag is not None:
        raise _one_column(parts[0], name, number)
    chosen = [index for index in (word, tag) if index is not None]
    for index in chosen:
        if not -n <= index < n:
            raise DataError(f"no column {index}: this row has {n} columns (0 to {n - 1})", path=name, line=number)
    places = [index % n for index in chosen]
    if len(set(places)) < len(places):
        raise DataError(f"word and tag are both column {places[0]} of {n}: choose two", path=name, line=number)
    return _Layout(name, number, tabs, n, places[0], None if tag is None else places[1], conllu)


def _one_column(found: str, name: str, number: int) -> DataError:
    short = found if len(found) <= 40 else found[:40] + "..."
    table = " (a table of texts with commas: --task text --format csv)" if "," in found else ""
    return DataError(
        f"one column ({short!r}), expected a word and a tag with a tab or spaces between them{table}",
        path=name, line=number,
    )  # fmt: skip


def _row(line: str, number: int, layout: _Layout) -> tuple[str, str] | None:
    """Word and tag of a row ("" where the file has no tags); None for a CoNLL-U line that is no word."""
    parts = layout.columns(line)
    if len(parts) != layout.n_columns:
        if len(parts) == 1 and "\t" not in line:
            raise _one_column(parts[0], layout.path, number)
        between = "tabs" if layout.tabs else "spaces"
        other = "; this line has tabs" if "\t" in line and not layout.tabs else ""
        raise DataError(
            f"{len(parts)} columns, expected {layout.n_columns} between {between} as in line {layout.line}{other}",
            path=layout.path,
            line=number,
        )
    if layout.conllu:
        if not _CONLLU_ID.fullmatch(parts[0]):
            message = f"{parts[0]!r} in the first column, expected a CoNLL-U word number"
            raise DataError(message, path=layout.path, line=number)
        if not parts[0].isdigit():
            return None
    word = parts[layout.word]
    tag = "" if layout.tag is None else parts[layout.tag].strip(_BLANKS)
    if not word.strip(_BLANKS):
        raise DataError("the word is empty, expected at least one character", path=layout.path, line=number)
    if layout.tag is not None and not tag:
        raise DataError(f"the tag of {word!r} is empty, expected a tag", path=layout.path, line=number)
    return word, tag


def write_conll(dataset: Dataset | Iterable[Sentence], target: str | Path | TextIO) -> None:
    r"""Write words and tags with a tab between, an empty line after each sentence, `-DOCSTART-` before each document.

    Args:
        dataset: tagged sentences; document borders are written for a `Dataset` of more than one document.
        target: a file name (written whole or not at all) or an open text file.

    Raises:
        DataError: for a sentence without tags or words, and for a word that the format cannot hold.
        OutputError: when the file cannot be written.
    """
    starts = set(dataset.document_starts or ()) if isinstance(dataset, Dataset) else set()
    borders = len(starts) > 1
    with text_target(target) as handle:
        for index, sentence in enumerate(dataset):
            if borders and index in starts:
                handle.write("-DOCSTART-\tO\n\n")
            text = conll_text(sentence)
            handle.write(begun(text) if index == 0 and not borders else text)


def begun(text: str) -> str:
    """The first text of a file; readers take a first U+FEFF for a byte order mark, so that one more is needed."""
    return "\ufeff" + text if text.startswith("\ufeff") else text


def conll_text(sentence: Sentence) -> str:
    """A tagged sentence as lines, with the empty one that ends it.

    Raises:
        DataError: for a sentence without tags, and for a word that the format cannot hold.
    """
    if sentence.tags is None:
        raise DataError("a sentence without tags cannot be written as CoNLL", path=sentence.path, line=sentence.line)
    rows = []
    for word, tag in zip(sentence.words, sentence.tags, strict=True):
        row = f"{word}\t{tag}\n"
        good_tag = not set(tag) & set("\t\n\r\0") and tag == tag.strip(_BLANKS)
        good_word = not set(word) & set("\t\n\0") and word.strip(_BLANKS)
        if not (good_word and good_tag) or _DOCUMENT.match(row) or _SURE_COMMENT.match(row):
            raise DataError(
                f"{word!r} with tag {tag!r} cannot be written as CoNLL (it would not be read back): write JSONL",
                path=sentence.path,
                line=sentence.line,
            )
        rows.append(row)
    return "".join(rows) + "\n"
