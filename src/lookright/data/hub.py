"""Data sets in the form of the `datasets` package: a folder written by `save_to_disk`, or a name (needs the extra).

Rows are read as the records of a JSON Lines file with words and tags are; tags that are numbers are turned into the
names that the features hold. No code of a data set is ever run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lookright.data.jsonl import read_token_records
from lookright.data.records import TAG_KEYS, Record
from lookright.data.sentence import Dataset
from lookright.errors import DataError, MissingExtraError
from lookright.tags import Scheme

_FOLDER_MARKS: Final = ("dataset_dict.json", "state.json", "dataset_info.json")


def is_hub_folder(path: str | Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((Path(path) / mark).is_file() for mark in _FOLDER_MARKS)


def read_hub(
    source: str | Path,
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    tag_key: str | None = None,
    scheme: Scheme | str = "auto",
    repair: bool = False,
) -> Dataset:
    """Read one split of a data set with words and tags.

    Args:
        source: a folder written by `save_to_disk`, or a name.
        split: which split; it may be left out where there is one only.
        config: which configuration, for a name that has several.
        revision: which revision, for a name.
        tag_key: the column of the tags, where it is another than `tags`, `ner_tags`, ...
        scheme: the tagging scheme; "auto" finds it.
        repair: whether ill-formed tags are repaired.

    Raises:
        MissingExtraError: without the `datasets` package.
        DataError: when the source cannot be loaded, has no such split, or no words and tags.
    """
    table, name = pick_split(load_hub(source, config, revision), split, str(source))
    columns = list(table.column_names)
    key = tag_key or next((key for key in TAG_KEYS if key in columns), None)
    if key is not None and key not in columns:
        raise DataError(f"no column {key!r}: expected one of {', '.join(columns)}", path=name)
    labels = None if key is None else label_names(table.features[key])
    if not len(table):
        raise DataError("no rows, expected at least one", path=name)
    records = _records(table, key, labels, name)
    return read_token_records(records, name, tag_key=key, scheme=scheme, repair=repair)


def load_hub(source: str | Path, config: str | None = None, revision: str | None = None) -> Any:
    """What the `datasets` package makes of a source: a table, or splits by name."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "datasets", f"reading {str(source)!r}") from None
    try:
        if Path(source).is_dir() and is_hub_folder(source):
            return datasets.load_from_disk(str(source))
        return datasets.load_dataset(str(source), config, revision=revision)
    except Exception as error:  # the package raises whatever the files, the network and the hub made it raise
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"cannot be loaded as a data set: {first[0][:300]}", path=str(source)) from error


def pick_split(loaded: Any, split: str | None, name: str) -> tuple[Any, str]:
    """One split of what was loaded, and how messages call it."""
    if not isinstance(loaded, dict):
        return loaded, name
    splits = list(loaded)
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        asked = "no split chosen" if split is None else f"no split {split!r}"
        raise DataError(f"{asked}: expected one of {', '.join(map(str, splits))}", path=name)
    return loaded[split], f"{name}:{split}"


def label_names(feature: Any) -> list[str] | None:
    """The names behind a column of class numbers; None for a column of something else."""
    inner = getattr(feature, "feature", feature)
    if isinstance(inner, list):
        inner = inner[0]
    names = getattr(inner, "names", None)
    return None if names is None else list(names)


def _records(table: Any, key: str | None, labels: list[str] | None, name: str) -> Iterator[tuple[int, Record]]:
    for row, record in enumerate(table, start=1):
        if key is not None and labels is not None:
            record = {**record, key: _named(record[key], labels, name, row)}
        yield row, record


def _named(numbers: Any, labels: list[str], name: str, row: int) -> list[str]:
    if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < len(labels) for n in numbers):
        message = f"tags {str(numbers)[:60]}, expected numbers from 0 to {len(labels) - 1} (row {row})"
        raise DataError(message, path=name, line=row)
    return [labels[number] for number in numbers]
