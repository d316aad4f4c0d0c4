"""JSON Lines: one JSON object per line, with file and line in every error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from lookright.data.lines import is_stream, iter_lines, name_of
from lookright.errors import DataError

Record = Mapping[str, Any]

TOKEN_KEYS: Final = ("tokens", "words")
TAG_KEYS: Final = ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags", "upos")
SPAN_KEYS: Final = ("spans", "entities", "labels", "label")
PREDICTED_KEYS: Final = ("spans", "tags")
"""What a prediction is written under."""
DOCUMENT_KEYS: Final = ("document_id", "doc_id")


def iter_records(path: str | Path) -> Iterator[tuple[int, Record]]:
    """Yield `(line number, object)`; empty lines are skipped.

    Raises:
        DataError: for a line that is not one JSON object, and for what is not a text file.
    """
    name = name_of(path)
    found = False
    for number, line in iter_lines(path):
        if not line.strip():
            continue
        found = True
        try:
            record = json.loads(line, parse_constant=_no_constant)
        except RecursionError:
            raise DataError("JSON nested too deeply", path=name, line=number) from None
        except ValueError as error:
            _explain(error, line, name, number)
        if not isinstance(record, dict):
            if isinstance(record, list) and number == 1:
                raise DataError(_ARRAY, path=name, line=number)
            what = type(record).__name__
            raise DataError(f"JSON {what}, expected one JSON object per line", path=name, line=number)
        yield number, record
    if not found:
        raise DataError("no record in the file: expected one JSON object per line", path=name)


Records = Callable[[], Iterable[tuple[int, Record]]]
"""A source of records that can be read more than once."""


def record_source(path: str | Path) -> Records:
    """The records of a file, to be read as often as needed; what comes only once is kept in memory for that."""
    if not is_stream(path):
        return lambda: iter_records(path)
    kept = list(iter_records(path))
    return lambda: kept


_ARRAY: Final = "one JSON array, expected one JSON object per line: jq -c '.[]' FILE converts it"


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _explain(error: ValueError, line: str, name: str, number: int) -> NoReturn:
    if isinstance(error, json.JSONDecodeError):
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(_ARRAY, path=name, line=number) from None
        message = f"not JSON: {error.msg} at character {error.pos} of the line; expected one JSON object per line"
        raise DataError(message, path=name, line=number) from None
    raise DataError(f"not JSON: {error}", path=name, line=number) from None


def json_line(record: Record, *, path: str | None, line: int | None) -> str:
    """A record as a line of JSON Lines; what is no valid text in it, half a surrogate pair, stays escaped.

    Raises:
        DataError: a number that JSON has no form for; path and line say where the record came from.
    """
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(record)
    except ValueError:
        raise DataError("a number that JSON cannot hold: too large for a double", path=path, line=line) from None
    return text + "\n"


def shape_of(record: Record, name: str, line: int) -> str:
    """ "tokens" (words, with or without tags) or "spans" (running text, with or without character spans).

    Raises:
        DataError: for a record that is neither.
    """
    has_tokens, has_tags, has_spans = (any(map(record.__contains__, k)) for k in (TOKEN_KEYS, TAG_KEYS, SPAN_KEYS))
    if has_tokens and (has_tags or not has_spans or "text" not in record):
        return "tokens"
    if "text" in record:
        return "spans"
    keys = ", ".join(map(repr, list(record)[:8])) or "none"
    raise DataError(f"keys {keys}: expected 'tokens' and 'tags', or 'text' and 'spans'", path=name, line=line)


def is_gold(key: str, *, listed: bool) -> bool:
    """Whether what stands under a key is gold that a prediction takes the place of.

    One class for a whole text ("label": "sport") is no gold of a tagger: only lists are (`listed`).
    """
    return key in PREDICTED_KEYS or (listed and key in (*TAG_KEYS, *SPAN_KEYS))


class DocumentBorders:
    """Tells which records begin a document: those whose document id is another than that of the record before."""

    def __init__(self, *, each_record: bool) -> None:
        self._each_record = each_record
        self._last: object = None

    def starts(self, record: Record) -> bool:
        """Whether this record begins a document (records without an id: as said when this was made)."""
        key = next((key for key in DOCUMENT_KEYS if record.get(key) is not None), None)
        if key is None:
            changed = self._last is not None or self._each_record
            self._last = None
            return changed
        document = json.dumps(record[key])
        changed = document != self._last
        self._last = document
        return changed
