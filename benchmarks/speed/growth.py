"""How cost grows: with the length of sentences, their number, the layers that are open, and the workers.

All of LookRight. Length and open layers are measured through `Tagger.predict` (and `fit`) in turns, in random order;
numbers and workers through the command line, from file to file, start included.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.speed.cases import Case, ours
from benchmarks.speed.lifetime import command, has_workers, saved_tagger
from benchmarks.speed.material import MOST_POSITIONS, SHAPES, Material
from benchmarks.speed.report import Figure
from benchmarks.speed.rounds import Bench, Book, Round, run, subwords
from benchmarks.speed.sentences import Row, generate, write
from benchmarks.speed.workers import BUSY, Failed, Meter, environment
from benchmarks.tables import plain_text

COMMAND_SHAPE = "tiny"
"""Its layers cost next to nothing, so that what is around them shows."""


class Amounts(Protocol):
    """How much is measured; see `compare.Sizes`."""

    @property
    def train(self) -> int: ...
    @property
    def predict(self) -> int: ...
    @property
    def rounds(self) -> int: ...
    @property
    def growth(self) -> tuple[int, ...]: ...
    @property
    def lengths(self) -> tuple[int, ...]: ...
    @property
    def length_tokens(self) -> int: ...


def measure(bench: Bench, material: Material, sizes: Amounts, file: Path) -> list[Figure]:
    """Measure all axes, keep their rows in `file`, and print the table."""
    book = Book(file)
    file.unlink(missing_ok=True)
    for axis in (lengths, open_layers, numbers, workers):
        for row in axis(bench, material, sizes):
            book.add(row)
    print("\nHow cost grows")
    print(plain_text(cells(book.rows())))
    return figures(book.rows(), bench.threads)


def sentences_of(length: int, tokens: int, material: Material) -> list[Row]:
    """Sentences of exactly so many sub-words: words that are one sub-word each."""
    drawn = (word for row in generate(10**9, material.seed, words=50) for word in row["tokens"])
    short = (word for word in drawn if len(material.tokenizer.encode(word).ids) == 1)
    rows = []
    for _ in range(max(1, tokens // length)):
        words = list(itertools.islice(short, length))
        rows.append({"tokens": words, "tags": ["O"] * length, "n_subwords": length})
    return rows


def lengths(bench: Bench, material: Material, sizes: Amounts) -> list[Round]:
    """Prediction of sentences of one length each, about equally many sub-words in all."""
    measured = []
    for length in sizes.lengths:
        file = material.folder / f"length-{length}.jsonl"
        write(sentences_of(length, sizes.length_tokens, material), file)
        windows = {"windows of 512": 512} if length <= 512 else {"windows of 512": 512, "one window": MOST_POSITIONS}
        for what, window in windows.items():
            case = ours(f"{length} {what}", "predict", "bfloat16", sentences=str(file), window=window)
            measured.append((case, "sub-words in a sentence", length, f"prediction, {what}"))
    return _in_turn(bench, measured, file, sizes.rounds)


def open_layers(bench: Bench, material: Material, sizes: Amounts) -> list[Round]:
    """Prediction and training with the upper layers open: none, every second number of them, all."""
    file, _ = material.sentences(sizes.predict, "growth-predict")
    short, _ = material.sentences(max(32, sizes.train // 2), "growth-train")
    shape = next(shape for shape in SHAPES.values() if f"-{_name(shape)}-" in bench.model.name)
    counts = sorted({0, shape.layers, *range(0, shape.layers, 2)})
    found: list[Round] = []
    for activity, where, what in (("predict", file, "prediction"), ("train", short, "training")):
        measured = [
            (
                ours(f"{what} {n}", activity, "bfloat16", plan="causal" if n == 0 else f"top:{n}", batch_size=32),
                "open layers",
                n,
                f"{what}, bfloat16",
            )
            for n in counts
        ]
        found += _in_turn(bench, measured, where, sizes.rounds)
    return found


def _name(shape: Any) -> str:
    return next(name for name, known in SHAPES.items() if known is shape)


def _in_turn(bench: Bench, measured: Sequence[tuple[Case, str, int, str]], file: Path, n_rounds: int) -> list[Round]:
    """Run cases in turn, and give a row for each."""
    taken: dict[str, list[Round]] = {}
    cases = [Case(**{**vars(case), "has_roof": False}) for case, *_ in measured]
    run(bench, cases, file, n_rounds, lambda row: taken.setdefault(row["case"], []).append(row))
    rows = []
    for case, axis, at, what in measured:
        if case.name in taken:
            # Not `row["tokens"]`: windows overlap, and what they compute twice is cost and no more text.
            there = subwords(Path(case.options.get("sentences", file)))
            each = [1e6 * row["seconds"] / there for row in taken[case.name]]
            others = [row["others"] for row in taken[case.name] if row["others"] is not None]
            rows.append(_row(axis, at, what, statistics.median(each), max(others, default=None)))
    return rows


def numbers(bench: Bench, material: Material, sizes: Amounts) -> list[Round]:
    """`lookright predict` over more and more sentences."""
    tagger = saved_tagger(bench, material, COMMAND_SHAPE, "float32")
    return [
        _commanded(bench, material, tagger, n, "sentences", n, "lookright predict, tiny model") for n in sizes.growth
    ]


def workers(bench: Bench, material: Material, sizes: Amounts) -> list[Round]:
    """`lookright predict` with one worker and with two, each with one thread."""
    if not has_workers():
        print("workers: this version of lookright predict has no --workers", file=sys.stderr, flush=True)
        return []
    tagger = saved_tagger(bench, material, "20m", "float32")
    n = 4 * sizes.predict
    alone = Bench(**{**vars(bench), "threads": 1})
    return [
        _commanded(
            alone, material, tagger, n, "workers", count, "lookright predict, one thread each", "--workers", str(count)
        )
        for count in (1, 2)
    ]


def _commanded(
    bench: Bench, material: Material, tagger: Path, n: int, axis: str, at: int, what: str, *flags: str
) -> Round:
    """One call of `lookright predict`, from file to file."""
    texts, out = bench.folder / "growth.txt", bench.folder / "growth-out.jsonl"
    subwords, done = 0, 0
    with texts.open("w", encoding="utf-8") as stream:
        for row in generate(n, material.seed):
            text = " ".join(row["tokens"])
            stream.write(text + "\n")
            if done < 2_000:  # enough to know how many sub-words a sentence has
                subwords, done = subwords + len(material.tokenizer.encode(text).ids), done + 1
    line = ("predict", str(tagger), str(texts), "--input", "text", "--format", "jsonl", "--out", str(out))
    env = environment(bench.threads, bench.device)
    log = bench.folder / "logs" / "growth.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command(*line, "--device", "cpu", *flags), stdout=subprocess.DEVNULL, stderr=stderr, env=env
        )
    meter, began = Meter(process.pid), time.perf_counter()
    others = None
    while process.poll() is None:
        seen = meter.others()
        others = others if seen is None else seen  # the last look before its end counts: afterwards its account is gone
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise Failed(f"lookright predict of {n:,} texts: {log.read_text(encoding='utf-8', errors='replace')[-300:]}")
    texts.unlink()
    out.unlink()
    tokens = n * subwords / done
    print(f"{axis} {at:,}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return _row(axis, at, what, 1e6 * seconds / tokens, others)


def _row(axis: str, at: int, what: str, us_per_token: float, others: float | None) -> Round:
    return {"axis": axis, "at": at, "what": what, "us_per_token": us_per_token, "others": others}


def cells(rows: Sequence[Round]) -> list[list[str]]:
    """The second table, the header first."""
    busy = lambda row: "" if row["others"] is None or row["others"] <= BUSY else "busy"  # noqa: E731
    body = [[row["axis"], f"{row['at']:,}", row["what"], f"{row['us_per_token']:.1f}", busy(row)] for row in rows]
    return [["what grows", "to", "what is done", "µs a token", ""], *body]


def figures(rows: Sequence[Round], threads: int) -> list[Figure]:
    """Its figures."""
    return [
        Figure(
            f"cost: {row['what']}, {row['axis']}: {row['at']:,}",
            round(row["us_per_token"], 2),
            f"µs a real token, {threads} threads" + (", on a busy machine" if (row["others"] or 0) > BUSY else ""),
        )
        for row in rows
    ]
