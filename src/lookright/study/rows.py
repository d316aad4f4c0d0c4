"""The rows of finished runs, and the counts of their test sentences: the format that studies write and read.

`runs.jsonl`: one JSON object a line for each run.

    format      2
    status      "done" or "failed"
    run         an id of this run alone; the counts file names it
    cell        what was run: model/plan/dataset/recipe/seed. A row that is done settles its cell; of several the first
                one counts. Failed rows are kept for the record, and their cells are run again
    id          hash of what the study file says about the cell: base, plan, files, options, seed
    model, plan, dataset, recipe_name, seed
                the parts of the cell
    began, ended, seconds
                seconds are wall-clock time of the whole run: loading, training, scoring dev and test

    done only:
    base        fingerprint of the weights that were fine-tuned (`lookright.models.base.fingerprint`)
    dev, test   the figure that `convention` names, from 0 to 1: dev at the checkpoint that was taken, test there
    convention  such as "strict span F1, IOB2, micro" (plain tags: accuracy)
    dev_update  the update whose weights were taken
    evals       [[update, dev figure], ...]
    task        "tags" or "text"; a row without it is of the first
    n_train, n_dev, n_test
                sentences, or texts
    data        {"train": sha256, "dev": sha256, "test": sha256} of the contents
    fit_seconds training, with the scoring of dev
    recipe      the resolved recipe of the training, without what names a place
    device, machine, versions

    failed only:
    error       one line
    traceback   the end of the traceback

Format 1, of the small-scale study (benchmarks/base), is read, too: it says `variant` and `set` for model and dataset,
has no name for the recipe, and has `settings`, which all its runs share.

`runs.counts.jsonl`: one object a line for each run that is done.

    run         as in the row
    sentences   of the test set, in its order
    counts      base64 of zlib of little-endian uint16 (sentences, 3): gold, predicted and correct spans of each
                sentence (plain tags: words, words, words tagged right; texts: labels), as
                `lookright.metrics.Scores.per_sentence`

Both are appended to, and written through to the disk, the counts first. Files of several machines are merged by
concatenating them; a line torn by a crash is passed over. Unknown keys are to be ignored.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookright.errors import DataError, OutputError
from lookright.training.recipe import OPTIONS

try:
    import fcntl
except ImportError:  # Windows: one start at a time
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("lookright")

FORMAT: Final = 2
KNOWN_FORMATS: Final = (1, FORMAT)
OF_THE_RUN: Final = frozenset({"plan", "pooling", "seed", "epochs", "evals_per_epoch", "device", "token_budget"})
"""Options of a resolved recipe that may differ between the runs of a recipe on several sets and machines; the automatic
pooling is another one under a causal plan."""
Row = dict[str, Any]
Counts = NDArray[np.int64]
Key = TypeVar("Key", bound=Hashable)


def cell_name(row: Mapping[str, Any]) -> str:
    """The name of the cell of a row."""
    if row["format"] == 1:
        return f"{row['variant']}/{row['plan']}/{row['set']}/{row['seed']}"
    return str(row["cell"])


def counts_file(runs: Path) -> Path:
    """The file of the counts beside a file of rows."""
    return runs.with_suffix(".counts.jsonl")


def read_rows(runs: Path) -> list[Row]:
    """The rows of a file, in order; none where there is no file.

    Raises:
        DataError: rows of a format that is not known here.
    """
    rows = list(_objects(runs))
    for row in rows:
        if row.get("format") not in KNOWN_FORMATS:
            raise DataError(
                f"rows of format {row.get('format')!r}, expected {' or '.join(map(str, KNOWN_FORMATS))}", path=str(runs)
            )
    return rows


def done_rows(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, Row]:
    """The row of each cell that is done, the first one where there are several; `key` is what the cell is called by."""
    found: dict[Key, Row] = {}
    for row in rows:
        if row["status"] == "done":
            found.setdefault(key(row), row)
    return found


def read_counts(runs: Path) -> dict[str, Counts]:
    """The counts of the test sentences by run id: (n_sentences, 3) gold, predicted and correct."""
    return {line["run"]: unpack(line) for line in _objects(counts_file(runs))}


def pack(run: str, counts: Counts) -> Row:
    """The line of a run in the counts file."""
    data = np.asarray(counts, dtype="<u2")
    if not np.array_equal(data, counts):
        raise DataError("a sentence has more spans than 65,535: these counts cannot be kept")
    text = base64.b64encode(zlib.compress(data.tobytes(), 9)).decode("ascii")
    return {"run": run, "sentences": len(counts), "counts": text}


def unpack(line: Mapping[str, Any]) -> Counts:
    """The counts of a line: (n_sentences, 3)."""
    data = np.frombuffer(zlib.decompress(base64.b64decode(line["counts"])), dtype="<u2")
    return data.reshape(line["sentences"], 3).astype(np.int64)


def recipe_difference(first: Row, second: Row, *, ignore: frozenset[str] = OF_THE_RUN) -> str | None:
    """An option of the recipe in which two runs differ that should not, in words; None when there is none.

    It finds what the study file cannot tell: a default that was changed in the meantime. An option that an older row
    does not know had its default there, which left everything as it was.
    """
    recipes = [{k: v for k, v in row["recipe"].items() if k not in ignore} for row in (first, second)]
    for name in sorted(recipes[0].keys() | recipes[1].keys()):
        default = OPTIONS[name].default if name in OPTIONS else None
        values = [recipe.get(name, default) for recipe in recipes]
        if values[0] != values[1]:
            return f"{name} is {values[0]!r} in run {first['run']} and {values[1]!r} in run {second['run']}"
    return None


class Book:
    """The files of a study, shared by all processes of one machine that work on it.

    A cell is claimed by locking one byte of `runs.jsonl.lock`; the system gives it back when the process ends, however
    it ends. One process may have one book of a file only: closing any handle of the lock file gives all claims back.
    Where the system has no such locks (Windows), every claim is granted.

    Args:
        runs: the file of rows.

    Raises:
        OutputError: it cannot be written to.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        try:
            runs.parent.mkdir(parents=True, exist_ok=True)
            self._locks = os.open(runs.with_name(runs.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"{runs.parent}: cannot be written: {error.strerror}") from error

    def claim(self, cell: str) -> bool:
        """Take a cell by its name; False where another process has it."""
        try:
            self._lock(_place(cell), wait=False)
        except OSError:
            return False
        return True

    def release(self, cell: str) -> None:
        """Give a cell back."""
        self._unlock(_place(cell))

    def rows(self) -> list[Row]:
        """What is there now."""
        return read_rows(self.runs)

    def add(self, row: Row, counts: Counts | None = None) -> None:
        """Append a row, and its counts before it, so that a row that is done has its counts.

        Raises:
            OutputError: it cannot be written.
        """
        self._lock(0, wait=True)
        try:
            if counts is not None:
                _append(counts_file(self.runs), pack(row["run"], counts))
            _append(self.runs, row)
        except OSError as error:
            raise OutputError(f"{self.runs}: cannot be written: {error.strerror}; start again to go on") from error
        finally:
            self._unlock(0)

    def close(self) -> None:
        """Give all claims back."""
        with contextlib.suppress(OSError):
            os.close(self._locks)

    def _lock(self, place: int, *, wait: bool) -> None:
        if fcntl is not None:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)

    def _unlock(self, place: int) -> None:
        if fcntl is not None:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, place)


def _place(cell: str) -> int:
    """The byte of a cell in the lock file, which need not be that long; byte 0 is the lock of appending."""
    return 1 + int.from_bytes(hashlib.sha256(cell.encode()).digest()[:7], "big")


def _append(path: Path, value: Row) -> None:
    line = json.dumps(value, ensure_ascii=False) + "\n"
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the last line was torn: ours begins on a new one
                line = "\n" + line
        file.write(line.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def _objects(path: Path) -> Iterable[Row]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                log.warning("%s:%d: a torn line, passed over", path, number)
                continue
            if isinstance(value, dict):
                yield value
