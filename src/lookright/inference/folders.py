"""A folder of JSON Lines or Parquet files in, a folder of the same files with what the tagger says out.

Each file appears in the result whole or not at all, so that work that was stopped goes on where it was: what is there
and is no older than its source is not done again. A note in the result says which model made it, and another one is
refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self, cast

from lookright.data import Read, WordSplitter, iter_input
from lookright.data.lines import text_target, whole_file
from lookright.data.parquet import copy_with, iter_parquet
from lookright.errors import DataError, OutputError
from lookright.inference.formats import JsonLines, joined, prediction
from lookright.inference.labeler import Chunk, Labeler
from lookright.inference.predictor import Predictor, Tagging
from lookright.inference.workers import Workers

JSON_ENDINGS: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
PARQUET_ENDING: Final = ".parquet"
NOTE: Final = ".lookright-predict.json"
"""The file in the result that says what made it."""
_SAMPLE: Final = 1 << 20

log = logging.getLogger("lookright")


@dataclass(frozen=True)
class Task:
    """One file to do: what is read and what is written, both as absolute paths."""

    source: str
    target: str


@dataclass(frozen=True)
class Plan:
    """What there is to do in a folder.

    Attributes:
        tasks: the files to do, the largest first.
        n_done: files whose result is there already.
        n_strange: files of other kinds, which are left aside.
    """

    tasks: tuple[Task, ...]
    n_done: int
    n_strange: int


def plan_folder(folder: str | Path, out: str | Path, made_by: dict[str, Any]) -> Plan:
    """See what there is to do, and claim the output folder.

    Args:
        folder: with JSON Lines or Parquet files in it, at any depth; hidden ones and those that begin with "_" are no
            data.
        out: where the results go, under the same names.
        made_by: what the results depend on besides their source; kept in the output folder.

    Raises:
        DataError: no file to label there.
        OutputError: the output folder holds something else, or what another model made.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    if out == folder or folder in out.parents or out in folder.parents:
        raise OutputError(f"{out} and {folder} lie in one another; give another place for the results")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))
    sources = [path for path in found if path.name.lower().endswith((*JSON_ENDINGS, PARQUET_ENDING))]
    if not sources:
        raise DataError(f"no {', '.join(JSON_ENDINGS)} or {PARQUET_ENDING} file in this folder", path=str(folder))
    _claim(out, made_by)
    pairs = [(path, out / path.relative_to(folder)) for path in sources]
    to_do = [(path, target) for path, target in pairs if not _is_done(path, target)]
    to_do.sort(key=lambda pair: -pair[0].stat().st_size)
    return Plan(
        tuple(Task(str(path), str(target)) for path, target in to_do),
        len(pairs) - len(to_do),
        len(found) - len(sources),
    )


def fingerprint_of(model: Path) -> str:
    """A hash of a model's files: names, sizes, and the first and last megabyte of each."""
    digest = hashlib.sha256()
    for file in sorted(p for p in model.rglob("*") if p.suffix in (".safetensors", ".json") and p.is_file()):
        if _hidden(file.relative_to(model)) or file.name in ("run.json",):
            continue
        size = file.stat().st_size
        digest.update(f"{file.relative_to(model)}:{size};".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE))
            stream.seek(max(0, size - _SAMPLE))
            digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _is_done(source: Path, target: Path) -> bool:
    return target.is_file() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns


def _claim(out: Path, made_by: dict[str, Any]) -> None:
    note = out / NOTE
    if note.is_file():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before != made_by:
            raise OutputError(f"{out} holds what another model or precision made; give a new folder, or empty this one")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} holds something else; give a new folder, or an empty one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with whole_file(note) as part:
            part.write_text(json.dumps(made_by), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error


def said_of(chunk: Chunk, taggings: list[Tagging]) -> str | list[dict[str, Any]]:
    """What is said about a chunk: lines of JSON where its records were such lines, else (Parquet) a mapping per row."""
    pairs = list(zip(chunk, taggings, strict=True))
    if chunk[0].rest is not None:
        return JsonLines().body(pairs)
    return [prediction(read, tagging) for read, tagging in pairs]


class FileLabeler:
    """Labels one file after the other, with one model. A context, at whose end its processes end.

    Args:
        predictor: runs the model.
        splitter: cuts texts into words.
        workers: processes that share the work on a file; 1 is this one alone.
    """

    def __init__(self, predictor: Predictor, splitter: WordSplitter, *, workers: int = 1) -> None:
        self._splitter = splitter
        self._labeler = Labeler(predictor, said_of)
        self._workers = Workers(self._labeler, workers, model=predictor.model) if workers != 1 else None

    def __enter__(self) -> Self:
        if self._workers is not None:
            self._workers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._workers is not None:
            self._workers.__exit__(*error)

    def label(self, task: Task) -> None:
        """Do one file.

        Raises:
            DataError: with file and line, for what cannot be read.
            OutputError: when the result cannot be written.
        """
        Path(task.target).parent.mkdir(parents=True, exist_ok=True)
        if task.source.lower().endswith(PARQUET_ENDING):
            rows = self._said(iter_parquet(task.source, self._splitter))
            copy_with(task.source, task.target, chain.from_iterable(cast("Iterator[list[dict[str, Any]]]", rows)))
            return
        with text_target(task.target) as stream:
            if Path(task.source).stat().st_size:  # jobs that write in many parts leave empty ones
                reads = iter_input(task.source, format="jsonl", splitter=self._splitter)
                for text in joined(JsonLines(), cast("Iterator[str]", self._said(reads))):
                    stream.write(text)

    def _said(self, reads: Iterable[Read]) -> Iterator[str | list[dict[str, Any]]]:
        return self._labeler.run(self._labeler.chunks(reads), workers=self._workers)


def label_here(plan: Plan, labeler: FileLabeler) -> None:
    """Do all the files, one after the other; what cannot be read does not keep the others from being done.

    Raises:
        DataError: the first of those that could not be read.
    """
    failures: list[str] = []
    for number, task in enumerate(plan.tasks, start=1):
        try:
            labeler.label(task)
        except DataError as error:
            if failures:  # the first one is said at the end
                log.warning("%d of %d: %s", number, len(plan.tasks), error)
            failures.append(str(error))
        else:
            log.info("%d of %d: %s", number, len(plan.tasks), task.target)
    raise_failures(failures, len(plan.tasks))


def raise_failures(failures: list[str], n_tasks: int) -> None:
    """Raise the first of the files' errors, if there are any.

    Raises:
        DataError: says how many files failed.
    """
    if failures:
        others = f" (this and {len(failures) - 1} more of {n_tasks} files" if len(failures) > 1 else " (this file"
        raise DataError(f"{failures[0]}{others} could not be labeled; the rest is done, and is not done again)")
