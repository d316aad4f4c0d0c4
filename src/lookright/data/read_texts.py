"""Readers of labeled texts: JSON Lines, CSV and TSV with named columns, and the `datasets` package.

    {"text": "My card is gone.", "label": "lost_card"}                 one label
    {"text": "Rain in Rome.", "labels": ["weather", "travel"]}         any number of labels
    {"text": "It rains.", "text_pair": "It is wet.", "label": 0.8}     a pair, and a number

What the gold is, is told from all of it: lists are labels, numbers of which one is not whole are a regression, and all
else is one label. In a table, a column `labels` holds labels with "|" between them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from lookright.data.hub import is_hub_folder, label_names, load_hub, pick_split
from lookright.data.lines import STDIN, first_character, is_stream, iter_lines, name_of, top_of
from lookright.data.read import HUB_PREFIX, hub_source
from lookright.data.records import SPAN_KEYS, TOKEN_KEYS, Record, iter_records
from lookright.data.sentence import Note, Place
from lookright.data.tables import TABLE_SUFFIXES, column_names, iter_table
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError

FORMATS: Final = ("auto", "jsonl", "csv", "tsv", "hub")
LABEL_KEYS: Final = ("labels", "label")
SEPARATOR: Final = "|"
"""Between the labels in one cell of a table."""
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+")
_POINT_NOT_COMMA: Final = "numbers are read with a decimal point, not a comma, so write 3.14 for 3,14"
_JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")

log: Final = logging.getLogger("lookright.data")


@dataclass(frozen=True)
class TextColumns:
    """Where a record has what.

    Attributes:
        text: key or column of the text.
        pair: of the second text of a pair; it need not be there, unless it is named otherwise.
        label: of the gold; None: `labels`, else `label`.
    """

    text: str = "text"
    pair: str = "text_pair"
    label: str | None = None


class TextRead(NamedTuple):
    """What a reader yields: a text, its gold as it stands in the file, and the rest of its record."""

    text: Text
    gold: Any
    rest: Record


class _Source(NamedTuple):
    """Records, the key of their gold, whether that is called `labels`, and whether a cell may hold several."""

    records: Iterable[tuple[int, Record]]
    key: str | None
    listed: bool
    separated: bool


def read_texts(
    path: str | Path,
    *,
    format: str = "auto",
    columns: TextColumns | None = None,
    target: Target | str | None = None,
    labeled: bool = True,
) -> TextDataset:
    """Read labeled texts; see the top of this module.

    Args:
        path: a file; "-" for standard input; a folder written by `datasets`' `save_to_disk`; or `hub:SOURCE[:SPLIT]`.
        format: `jsonl`, `csv`, `tsv`, `hub`; "auto" goes by name and content.
        columns: which keys or columns hold what.
        target: what the gold is; told from it where none is given.
        labeled: whether there must be gold.

    Raises:
        DataError: with file and line, for whatever cannot be read, and for texts without gold.
    """
    columns = columns or TextColumns()
    return _read(_source(path, format, columns), name_of(path), columns, target, labeled=labeled)


def texts_of_table(
    table: Any, *, columns: TextColumns | None = None, target: Target | str | None = None
) -> TextDataset:
    """Labeled texts of a table in memory: a `datasets.Dataset`, or a data frame of pandas; else as `read_texts`.

    Raises:
        DataError: no such columns, or texts without gold.
    """
    columns = columns or TextColumns()
    name = f"the {type(table).__name__}"
    frame = hasattr(table, "columns")  # a `datasets.Dataset` has none; a column of a frame may be called "features"
    if frame and not hasattr(table, "iloc"):
        raise DataError("expected a data frame of pandas: most others have to_pandas()", path=name)
    found = table.columns if frame else table.column_names
    if found is None:
        raise DataError("a stream that does not know its columns: give datasets.Dataset.from_list(list(it))", path=name)
    if isinstance(found, dict):
        raise DataError(f"several splits, {', '.join(found)}: give one of them", path=name)
    names = [str(column) for column in found]
    _check_columns(names, columns, name, None)
    key = _label_key(names, columns, name, None)
    if not frame:
        records = _hub_records(table, key, name)
    else:
        rows = enumerate(table.to_dict("records"), start=1)
        records = ((row, {str(k): _plain_value(v) for k, v in record.items()}) for row, record in rows)
    return _read(_Source(records, key, key == "labels", False), name, columns, target, labeled=True)


def _read(
    source: _Source, name: str, columns: TextColumns, target: Target | str | None, *, labeled: bool
) -> TextDataset:
    """The texts of some records, with what must be said about them."""
    found, key, listed, separated = source
    reads = list(_reads(found, name, columns, key if labeled else None))
    notes: list[Note] = []
    chosen: Target | None = None
    if labeled:
        cells = [(read.gold, read.text) for read in reads]
        chosen, note = told_target(cells, target, listed=listed, separated=separated)
        notes += [] if note is None else [note]
        notes += _unread_labels(reads, key)
        reads = [
            read._replace(text=with_gold(read.text, read.gold, chosen, repr(key), separated=separated))
            for read in reads
        ]
    texts = tuple(read.text for read in reads)
    notes += _lone_texts(texts)
    empty = [Place(text.path, text.line, "") for text in texts if text.is_empty]
    if empty:
        message = f"{len(empty)} empty text{'s' * (len(empty) > 1)}: read as a text of one placeholder"
        notes.append(Note("empty", f"{message}; the first is {empty[0]}", len(empty), tuple(empty)))
    for note in notes:
        log.log(logging.INFO if note.kind == "target" else logging.WARNING, "%s: %s", name, note.message)
    return TextDataset(texts, chosen, name, tuple(notes))


def iter_texts(
    path: str | Path, *, format: str = "auto", columns: TextColumns | None = None
) -> Iterator[tuple[Text, Record]]:
    """Read texts to be classified one at a time, each with its record.

    Formats are those of `read_texts`, and "text", a text on each line, which "auto" takes for whatever is nothing else.

    Raises:
        DataError: with file and line, for whatever cannot be read.
    """
    columns = columns or TextColumns()
    if (_format(path, format, plain="text")) == "text":
        name = name_of(path)
        for number, line in iter_lines(path):
            yield Text(line, path=name, line=number), {"text": line}
        return
    found, *_ = _source(path, format, columns, labeled=False)
    for read in _reads(found, name_of(path), columns, None):
        yield read.text, read.rest


def task_in(path: str | Path, columns: TextColumns | None = None) -> str:
    """Which task a labeled file is for, by its name and its first records: `text`, or `tags`.

    Of a pipe it is told by the records that have come first, as far as they can be seen without being taken.

    Raises:
        DataError: the file cannot be read.
    """
    if columns is not None and columns != TextColumns():
        return "text"
    if str(path).startswith(HUB_PREFIX) or is_hub_folder(path):
        source, split = hub_source(str(path))
        names = pick_split(load_hub(source), split, str(path))[0].column_names
        return "text" if "text" in names and not set(names) & {*TOKEN_KEYS, "spans", "entities"} else "tags"
    if is_stream(path):
        return next(filter(None, map(_task_of, _records_in(top_of(path)))), "tags")
    suffix = _suffix(path)
    if suffix in TABLE_SUFFIXES:
        names = column_names(path, tabs=suffix != ".csv")
        return "text" if suffix == ".csv" or ("text" in names and set(names) & set(LABEL_KEYS)) else "tags"
    if suffix not in _JSON_SUFFIXES and first_character(path) != "{":
        return "tags"
    for _, record in iter_records(path):
        told = _task_of(record)
        if told is not None:
            return told
    return "tags"


def _records_in(top: str) -> Iterator[Record]:
    """The whole records of JSON Lines in the first characters of a file; none where they are something else."""
    for line in top.split("\n"):
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _task_of(record: Record) -> str | None:
    """What a record says about its task; None where it fits both, as an empty list does."""
    if any(key in record for key in (*TOKEN_KEYS, "spans", "entities")):
        return "tags"
    if "text" not in record:  # it may be under another name, which is asked for where it is missed
        return "text" if isinstance(record.get("label"), str | int | float) else "tags"
    gold = next((record[key] for key in LABEL_KEYS if key in record), None)
    if isinstance(gold, list):
        return None if not gold else "tags" if isinstance(gold[0], list | dict) else "text"  # spans are lists or dicts
    return "tags" if gold is None and not set(record) & set(SPAN_KEYS) else "text"


# --------------------------------------------------------------------------------------------------------- records


def _format(path: str | Path, format: str, *, plain: str = "jsonl") -> str:
    """The format's name; `plain` is what a file is taken for whose name and content say nothing."""
    known = dict.fromkeys((*FORMATS, *(("text",) if plain == "text" else ())))
    if format not in known:
        raise DataError(f"format {format!r} is none for texts: expected one of {', '.join(known)}")
    if format != "auto":
        return format
    if str(path).startswith(HUB_PREFIX) or (str(path) != STDIN and is_hub_folder(path)):
        return "hub"
    suffix = _suffix(path)
    if suffix in TABLE_SUFFIXES:
        return "csv" if suffix == ".csv" else "tsv"
    return "jsonl" if suffix in _JSON_SUFFIXES or first_character(path) == "{" else plain


def _suffix(path: str | Path) -> str:
    file = Path(path)
    return Path(file.stem if file.suffix == ".gz" else file.name).suffix.lower()


def _source(path: str | Path, format: str, columns: TextColumns, *, labeled: bool = True) -> _Source:
    """The records of a file."""
    kind = _format(path, format)
    name = name_of(path)
    if kind == "hub":
        source, split = hub_source(str(path))
        table, name = pick_split(load_hub(source), split, source)
        names = list(table.column_names)
        _check_columns(names, columns, name, None)
        key = _label_key(names, columns, name, None) if labeled else None
        return _Source(_hub_records(table, key, name), key, key == "labels", False)
    rows = iter_table(path, tabs=kind == "tsv") if kind in ("csv", "tsv") else iter_records(path)
    line, first = next(iter(rows))
    named = line if kind == "jsonl" else 1
    _check_columns(list(first), columns, name, named)
    # Where both names are there, and one of them is null, the other is meant.
    named_keys = [key for key in first if first[key] is not None] if kind == "jsonl" else list(first)
    key = _label_key(named_keys, columns, name, named, list(first)) if labeled else None

    def again() -> Iterator[tuple[int, Record]]:
        yield line, first
        yield from rows

    return _Source(again(), key, key == "labels", kind in ("csv", "tsv"))


def _check_columns(names: Sequence[str], columns: TextColumns, name: str, line: int | None) -> None:
    wanted = [("text", columns.text, "--text-column")]
    if columns.pair != TextColumns().pair:
        wanted.append(("second text", columns.pair, "--pair-column"))
    for what, key, flag in wanted:
        if key not in names:
            found = ", ".join(map(repr, names[:12])) or "nothing"
            raise DataError(f"no {key!r} here, only {found}: say where the {what} is ({flag})", path=name, line=line)


def _label_key(
    filled: Sequence[str], columns: TextColumns, name: str, line: int | None, names: Sequence[str] | None = None
) -> str:
    """Where the gold is: among the `filled` columns, else among all `names`."""
    names = names or filled
    key = columns.label or next((key for part in (filled, names) for key in LABEL_KEYS if key in part), None)
    if key is None or key not in names:
        found = ", ".join(map(repr, names[:12]))
        expected = repr(key) if key else "'label' or 'labels'"
        raise DataError(
            f"no {expected} here, only {found}: say where the gold is (--label-column)", path=name, line=line
        )
    return key


def _hub_records(table: Any, key: str | None, name: str) -> Iterator[tuple[int, Record]]:
    names = None if key is None else label_names(table.features[key])

    def named(gold: Any, row: int) -> Any:
        if isinstance(gold, list):
            return [named(one, row) for one in gold]
        if type(gold) is int and names is not None:
            if not 0 <= gold < len(names):
                raise DataError(f"the class {gold} has no name; expected 0 to {len(names) - 1}", path=name, line=row)
            return names[gold]
        return gold

    for row, record in enumerate(table, start=1):
        yield row, record if key is None else {**record, key: named(record[key], row)}


def _plain_value(value: Any) -> Any:
    """The cell of a data frame without NumPy, and None for its NaN, which stands for no value."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and value != value else value


def _unread_labels(reads: Sequence[TextRead], key: str | None) -> list[Note]:
    """A note where gold stands under both names that it may have."""
    other = next((name for name in LABEL_KEYS if key in LABEL_KEYS and name != key), None)
    if other is None or all(read.rest.get(other) is None for read in reads):
        return []
    return [Note("unread", f"the gold is read from {key!r}, and {other!r} is left aside (--label-column decides)")]


def _lone_texts(texts: Sequence[Text]) -> list[Note]:
    """A note where only some texts are pairs."""
    lone = [Place(text.path, text.line, "") for text in texts if not text.text_pair]
    if not lone or len(lone) == len(texts):
        return []
    message = f"{len(lone)} of {len(texts)} texts have no second text, and the others have; the first is {lone[0]}"
    return [Note("lone", message, len(lone), tuple(lone))]


def _reads(
    records: Iterable[tuple[int, Record]], name: str, columns: TextColumns, key: str | None
) -> Iterator[TextRead]:
    for line, record in records:
        if columns.text not in record:
            raise DataError(f"no {columns.text!r} in this record", path=name, line=line)
        if key is not None and record.get(key) is None:
            found = f"{key!r} is null" if key in record else f"no {key!r}"
            raise DataError(f"{found} in this record, expected its gold", path=name, line=line)
        text = Text(record[columns.text], record.get(columns.pair), path=name, line=line)
        yield TextRead(text, None if key is None else record[key], record)


# ------------------------------------------------------------------------------------------------------------ gold


def told_target(
    golds: Sequence[tuple[Any, Text]], given: Target | str | None, *, listed: bool = False, separated: bool = False
) -> tuple[Target, Note | None]:
    """What the gold is, and, where that is told from it, a note that says so.

    Args:
        golds: the gold of each text as it was given, and the text.
        given: the target, where somebody has said it.
        listed: whether the gold is called `labels`.
        separated: whether it is from the cells of a table, which may hold several labels, and are never numbers.

    Raises:
        DataError: no such target, or lists for some texts and not for others.
    """
    if given is not None:
        try:
            target = Target(given)
        except ValueError:
            raise DataError(f"target {given!r}: expected one of {', '.join(Target)}") from None
        return target, None
    lists = [isinstance(gold, list) for gold, _ in golds]
    if any(lists) or (listed and separated):
        if not separated and not all(lists):
            text = golds[lists.index(not lists[0])][1]
            raise DataError(
                "some texts have a list of labels and others have not; expected a list everywhere",
                path=text.path, line=text.line,
            )  # fmt: skip
        return Target.MULTI, Note("target", "target multi-label: each text has a list of labels")
    _refuse_decimal_commas(golds, separated)
    numbers = [_number(gold, separated) for gold, _ in golds]
    whole = [isinstance(gold, int) or str(gold).strip().lstrip("+-").isdigit() for gold, _ in golds]
    if numbers and None not in numbers and not all(whole):
        return Target.REGRESSION, Note("target", "target regression: the gold is numbers, not all of them whole")
    n_labels = len({str(gold).strip() if separated else str(gold) for gold, _ in golds})
    return Target.SINGLE, Note("target", f"target single-label: {n_labels} label{'s' * (n_labels != 1)}")


def _refuse_decimal_commas(golds: Sequence[tuple[Any, Text]], separated: bool) -> None:
    """Raise where all cells of a table are numbers, of which some have a comma: as labels they would mean nothing."""
    cells = [(gold, text) for gold, text in golds if separated and isinstance(gold, str)]
    with_comma = [(gold, text) for gold, text in cells if _DECIMAL_COMMA.fullmatch(gold.strip())]
    if with_comma and all(_number(gold.strip().replace(",", ".", 1), True) is not None for gold, _ in cells):
        gold, text = with_comma[0]
        raise DataError(
            f"the gold is {gold!r}: {_POINT_NOT_COMMA} (or give --target single-label, if it is the name of a class)",
            path=text.path, line=text.line,
        )  # fmt: skip


def _number(gold: Any, from_text: bool) -> float | None:
    if isinstance(gold, bool) or not (isinstance(gold, int | float) or (from_text and isinstance(gold, str))):
        return None
    if isinstance(gold, str) and "_" in gold:  # a number to Python, and the name of a class to people: 1_2
        return None
    try:
        return float(gold)
    except (ValueError, OverflowError):
        return None


def with_gold(text: Text, gold: Any, target: Target, name: str, *, separated: bool = False) -> Text:
    """The text with its gold.

    Args:
        text: a text.
        gold: as it was given: a label, a list of labels, a number.
        target: what it must be.
        name: how messages call it.
        separated: whether it is the cell of a table, which may hold several labels, with white space around them.

    Raises:
        DataError: it is something else.
    """

    def odd(expected: str) -> DataError:
        shown = json.dumps(gold, ensure_ascii=False, default=str)[:60]
        return DataError(f"{name} is {shown}, expected {expected}", path=text.path, line=text.line)

    if separated and isinstance(gold, str):
        gold = gold.strip()

    if target is Target.REGRESSION:
        value = _number(gold, from_text=True)
        if value is None:
            comma = isinstance(gold, str) and _DECIMAL_COMMA.fullmatch(gold.strip())
            raise odd(f"a number; {_POINT_NOT_COMMA}" if comma else "a number")
        return replace(text, value=value)
    if target is Target.MULTI:
        if isinstance(gold, str) and separated:
            gold = [part.strip() for part in gold.split(SEPARATOR)] if gold else []
        labels = gold if isinstance(gold, list) else [gold]
        if not all(isinstance(label, str | int) for label in labels):
            raise odd("a list of labels")
        return replace(text, labels=tuple(_name(label) for label in labels))
    if not isinstance(gold, str | int):
        raise odd("one label" + (" (a number with a point is for a regression)" if isinstance(gold, float) else ""))
    if isinstance(gold, str) and not gold.strip():
        raise odd("a label; it is empty")
    return replace(text, labels=(_name(gold),))


def _name(label: str | int) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
