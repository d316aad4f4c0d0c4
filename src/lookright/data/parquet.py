"""Parquet files whose rows are records as in JSON Lines: read a batch at a time, and written anew with more columns.

Needs `pyarrow` (extra `ray`), which is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lookright.data.collect import Read
from lookright.data.lines import name_of, whole_file
from lookright.data.read import record_input
from lookright.data.records import DOCUMENT_KEYS, TOKEN_KEYS, Record, is_gold, shape_of
from lookright.data.words import WordSplitter
from lookright.errors import DataError, MissingExtraError

ROWS: Final = 1_024
"""Rows that are held at a time."""
_READ_KEYS: Final = (*TOKEN_KEYS, "text", "offsets", *DOCUMENT_KEYS)


def iter_parquet(path: str | Path, splitter: WordSplitter) -> Iterator[Read]:
    """Read sentences to be tagged, one for each row, without their gold.

    Raises:
        DataError: with file and row, for what is no Parquet file or no such record.
    """
    file = _open(path)
    names = file.schema_arrow.names
    if file.metadata.num_rows == 0:
        return
    name = name_of(path)
    # What the rows are is told by all columns; only those are read that it takes to tag them.
    words_given = shape_of(dict.fromkeys(names), name, 1) == "tokens"
    wanted = [key for key in _READ_KEYS if key in names and (words_given or key not in TOKEN_KEYS)]
    for read in record_input(_records(file, wanted, name), name, splitter):
        yield read._replace(rest=None)


def _records(file: Any, columns: list[str], name: str) -> Iterator[tuple[int, Record]]:
    number = 0
    for batch in _batches(file, name, columns=columns):
        for row in batch.to_pylist():
            number += 1
            for key in DOCUMENT_KEYS:
                if not isinstance(row.get(key), str | int | None):
                    row[key] = str(row[key])
            yield number, row


def copy_with(path: str | Path, target: str | Path, said: Iterator[Mapping[str, Any]]) -> int:
    """Write a Parquet file anew, with what is said about each row, in place of the gold there; whole or not at all.

    Args:
        path: the file that was read.
        target: the file to write.
        said: for each row in order `text` and `spans`, and `tokens` and `tags` where the rows have words.

    Returns:
        How many rows were written.

    Raises:
        OutputError: when the target cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    file = _open(path)
    schema = _schema(file.schema_arrow, name_of(path))
    n_rows = 0
    with whole_file(Path(target)) as part, parquet.ParquetWriter(part, schema) as writer:
        for batch in _batches(file, name_of(path)):
            if not batch.num_rows:
                continue
            rows = list(islice(said, batch.num_rows))
            n_rows += len(rows)
            columns = [
                pa.array([row[field.name] for row in rows], field.type)
                if field.name in _said_types() and (field.name in rows[0])
                else batch.column(field.name)
                for field in schema
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return n_rows


def _said_types() -> dict[str, Any]:
    """The Arrow types of what is said about a row."""
    import pyarrow as pa

    text = pa.string()
    span = [("type", text), ("start", pa.int64()), ("end", pa.int64()), ("text", text), ("score", pa.float64())]
    return {"text": text, "spans": pa.list_(pa.struct(span)), "tokens": pa.list_(text), "tags": pa.list_(text)}


def _schema(own: Any, name: str) -> Any:
    """The columns of the result: a file's own ones but for its gold, and those that are said."""
    import pyarrow as pa

    fields = {
        field.name: field
        for field in own
        if not is_gold(field.name, listed=pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
    }
    types = _said_types()
    said = ["text", "spans"]
    if shape_of(dict.fromkeys(own.names), name, 1) == "tokens":
        fields.pop("words", None)
        said += ["tokens", "tags"]
    return pa.schema([*({**fields, **{key: pa.field(key, types[key]) for key in said}}).values()])


def _open(path: str | Path) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "ray", "reading Parquet") from None
    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise DataError("no such file", path=name_of(path)) from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a whole Parquet file: {error}", path=name_of(path)) from None


def _batches(file: Any, name: str, columns: list[str] | None = None) -> Iterator[Any]:
    import pyarrow as pa

    try:
        yield from file.iter_batches(ROWS, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"a damaged Parquet file: {error}", path=name) from None
