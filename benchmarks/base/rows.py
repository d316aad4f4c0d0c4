"""The rows of finished runs, and the counts of their test sentences: the format that studies write and read.

`runs.jsonl`: one JSON object a line for each run.

    format      1
    status      "done" or "failed"
    run         an id of this run alone; the counts file names it
    variant, plan, set, seed
                the cell. A row that is done settles its cell; of several the first one counts. Failed rows are kept
                for the record, and their cells are run again
    base        fingerprint of the weights that were fine-tuned (`lookright.models.base.fingerprint`)
    settings    what all runs of the study share: updates, batch_size, learning_rate, subword, evals, precision
    device, machine, versions, began, ended, seconds
                seconds are wall-clock time of the whole run: loading, training, scoring dev and test

    done only:
    dev, test   the figure that `convention` names, from 0 to 1: dev at the checkpoint that dev chose, test there
    convention  such as "strict span F1, IOB2, micro" (plain tags: accuracy)
    dev_update  the update whose weights dev chose
    evals       [[update, dev figure], ...]
    n_train, n_dev, n_test
                sentences
    data        {"train": sha256, "dev": sha256, "test": sha256} of the contents
    fit_seconds training, with the scoring of dev
    recipe      the resolved recipe of the training, without what names a place

    failed only:
    error       one line
    traceback   the end of the traceback

`runs.counts.jsonl`: one object a line for each run that is done.

    run         as in the row
    sentences   of the test set, in its order
    counts      base64 of zlib of little-endian uint16 (sentences, 3): gold, predicted and correct spans of each
                sentence (plain tags: words, words, words tagged right), as `lookright.metrics.Scores.per_sentence`

Both are appended to, and written through to the disk, the counts first. Files of several machines are merged by
concatenating them; a line torn by a crash is passed over. Unknown keys are to be ignored.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.base.cells import Cell
from numpy.typing import NDArray

from lookright.errors import DataError, RecipeError

FORMAT: Final = 1
OF_THE_RUN: Final = frozenset({"plan", "seed", "epochs", "evals_per_epoch", "device", "token_budget"})
"""Options of a resolved recipe that may differ between the runs of a study."""
Row = dict[str, Any]
Counts = NDArray[np.int64]


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
        if row.get("format") != FORMAT:
            raise DataError(f"rows of format {row.get('format')!r}, expected {FORMAT}", path=str(runs))
    return rows


def done_rows(rows: Iterable[Row]) -> dict[Cell, Row]:
    """The row of each cell that is done, the first one where there are several."""
    found: dict[Cell, Row] = {}
    for row in rows:
        if row["status"] == "done":
            found.setdefault(Cell.of(row), row)
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


def check_same_study(rows: Iterable[Row], settings: Mapping[str, Any], bases: Mapping[str, str]) -> None:
    """Refuse to add to rows of other settings, or of another base under the same name.

    Args:
        rows: that are there.
        settings: of the runs to come.
        bases: fingerprint of each variant to come.

    Raises:
        RecipeError: naming what differs.
    """
    for row in rows:
        if row["status"] != "done":
            continue
        other = {name: value for name, value in row["settings"].items() if settings.get(name) != value}
        if other:
            name, value = next(iter(other.items()))
            raise RecipeError(
                f"the rows there were made with {name}={value}, asked for is {settings.get(name)}: "
                "give the same, or another --runs"
            )
        base = bases.get(row["variant"], row["base"])
        if base != row["base"]:
            raise RecipeError(
                f"the rows there have a {row['variant']} with the weights {row['base'][:12]}, this one has "
                f"{base[:12]}: give it another name, or another --runs"
            )


def recipe_difference(first: Row, second: Row) -> str | None:
    """An option of the recipe in which two runs differ that should not, in words; None when there is none.

    It finds what `settings` cannot: a default that was changed in the meantime.
    """
    recipes = [{k: v for k, v in row["recipe"].items() if k not in OF_THE_RUN} for row in (first, second)]
    for name in sorted(recipes[0].keys() | recipes[1].keys()):
        values = [recipe.get(name) for recipe in recipes]
        if values[0] != values[1]:
            return f"{name} is {values[0]!r} in run {first['run']} and {values[1]!r} in run {second['run']}"
    return None


class Book:
    """The files of a study, shared by all processes of one machine that work on it.

    A cell is claimed by locking one byte of `runs.jsonl.lock`; the system gives it back when the process ends, however
    it ends. One process may have one book of a file only: closing any handle of the lock file gives all claims back.

    Args:
        runs: the file of rows.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        runs.parent.mkdir(parents=True, exist_ok=True)
        self._locks = os.open(runs.with_name(runs.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)

    def claim(self, cell: Cell) -> bool:
        """Take a cell; False where another process has it."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(cell))
        except OSError:
            return False
        return True

    def release(self, cell: Cell) -> None:
        """Give a cell back."""
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _place(cell))

    def rows(self) -> list[Row]:
        """What is there now."""
        return read_rows(self.runs)

    def add(self, row: Row, counts: Counts | None = None) -> None:
        """Append a row, and its counts before it, so that a row that is done has its counts."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, 0)
        try:
            if counts is not None:
                _append(counts_file(self.runs), pack(row["run"], counts))
            _append(self.runs, row)
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, 0)

    def close(self) -> None:
        """Give all claims back."""
        os.close(self._locks)


def _place(cell: Cell) -> int:
    """The byte of a cell in the lock file, which need not be that long; byte 0 is the lock of appending."""
    return 1 + int.from_bytes(hashlib.sha256(cell.name.encode()).digest()[:7], "big")


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
                print(f"{path}:{number}: a torn line, passed over", file=sys.stderr)
                continue
            if isinstance(value, dict):
                yield value
