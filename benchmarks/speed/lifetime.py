"""`lookright` as a command: how long it takes to start, and the memory it holds over a million sentences."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.speed.cases import ours
from benchmarks.speed.material import Material
from benchmarks.speed.report import Figure
from benchmarks.speed.rounds import Bench, order
from benchmarks.speed.sentences import generate
from benchmarks.speed.workers import Failed, Meter, busy_note, environment

TEXT: Final = "Angela Merkel visited Zagreb .\n"
SAMPLE_SECONDS: Final = 0.5
FLAT: Final = 5.0
"""Per cent that memory may grow after the first fifth of a stream and still count as flat."""


def command(*arguments: str) -> list[str]:
    """The command line of `lookright`, with this interpreter."""
    return [sys.executable, "-c", "from lookright.cli.main import main; raise SystemExit(main())", *arguments]


def saved_tagger(bench: Bench, material: Material, shape: str, precision: str) -> Path:
    """The folder of a saved tagger of a shape."""
    folder = bench.folder / f"tagger-{shape}-{precision}"
    if not (folder / "config.json").exists():
        with bench.start("with_lookright", "ours", f"save {shape}") as worker:
            case = ours("save", "save", precision, out=str(folder), model=str(material.model(shape)), plan="01")
            worker.ask(bench.request(case, None))
    return folder


def start_up(bench: Bench, material: Material, n: int) -> list[Figure]:
    """Wall-clock of `lookright --help`, and of the first prediction of a saved tagger, process start to end."""
    tagger = saved_tagger(bench, material, "20m", "float32")
    env = environment(bench.threads, bench.device)
    calls = {
        "lookright --help": (command("--help"), 0.2),
        "lookright predict, one text, model of 20 million weights": (
            command("predict", str(tagger), "-", "--input", "text", "--format", "jsonl", "--device", "cpu"),
            2.0,
        ),
        # What any program waits for that loads such a model.
        "import of transformers' model and tokenizer alone": (
            [sys.executable, "-c", "from transformers import AutoTokenizer, LlamaModel"],
            None,
        ),
        "python alone": ([sys.executable, "-c", "pass"], None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    others: dict[str, list[float | None]] = {name: [] for name in calls}
    for number in range(n + 1):
        for name in order(sorted(calls), number, bench.seed):
            meter, began, spent = Meter(os.getpid()), time.perf_counter(), _children_seconds()
            done = subprocess.run(calls[name][0], input=TEXT, capture_output=True, text=True, env=env, check=False)
            if done.returncode:
                raise Failed(f"{name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
            if number:  # the first reads files that later ones find in memory
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(_children_seconds() - spent)
                others[name].append(meter.others())
    return [
        Figure(
            f"start-up: {name}",
            round(statistics.median(taken), 3),
            f"s, median of {n}, {min(taken):.3f} to {max(taken):.3f}, {bench.threads} threads; "
            f"{statistics.median(processor[name]):.3f} s of processor time" + busy_note(others[name]),
            calls[name][1],
        )
        for name, taken in seconds.items()
    ]


def _children_seconds() -> float:
    """Processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(bench: Bench, material: Material, n: int) -> list[Figure]:
    """The memory of `lookright predict` while so many texts stream through it."""
    tagger = saved_tagger(bench, material, "tiny", "float32")
    texts, out, log = (bench.folder / name for name in ("stream.txt", "stream.jsonl", "stream.log"))
    with texts.open("w", encoding="utf-8") as stream:
        stream.writelines(" ".join(row["tokens"]) + "\n" for row in generate(n, bench.seed))
    called = command("predict", str(tagger), str(texts), "--input", "text", "--format", "jsonl", "--device", "cpu")
    began = time.monotonic()
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(called, stdout=stdout, stderr=stderr, env=environment(bench.threads, bench.device))
        samples = []
        try:
            while process.poll() is None:
                held, written = held_mb(process.pid), out.stat().st_size
                if held and written:  # before its first answer it is still loading
                    samples.append(held)
                time.sleep(SAMPLE_SECONDS)
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    with out.open("rb") as lines:
        answered = sum(1 for _ in lines)
    if process.returncode or answered != n:
        raise Failed(f"lookright predict ended with {process.returncode} after {answered:,} of {n:,} texts")
    (bench.folder / "memory.json").write_text(json.dumps(samples))
    for file in (texts, out):
        file.unlink()
    return memory_figures(samples, n, seconds)


def held_mb(pid: int) -> float:
    """The memory of a process and of those that it started, in 10^6 bytes; 0 when it has ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=False).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    family, more = {pid}, True
    while more:
        found = {child for child, parent, _ in rows if parent in family} - family
        family, more = family | found, bool(found)
    return sum(kilobytes for own, _, kilobytes in rows if own in family) * 1024 / 1e6


def memory_figures(samples: Sequence[float], n: int, seconds: float) -> list[Figure]:
    """Whether memory stayed flat: the last fifth of the samples against the second one.

    Args:
        samples: memory in 10^6 bytes, at equal distances in time.
        n: texts.
        seconds: of the whole run.
    """
    name = f"memory of lookright predict, {n:,} texts, tiny model"
    if len(samples) < 10:
        return [Figure(name, None, f"MB; only {len(samples)} samples: too short a run to tell")]
    fifth = len(samples) // 5
    early, late = (statistics.median(part) for part in (samples[fifth : 2 * fifth], samples[-fifth:]))
    grown = 100 * (late - early) / early
    verdict = "flat" if grown <= FLAT else "NOT flat"
    return [
        Figure(name, round(max(samples)), f"MB at most, of {len(samples)} samples"),
        Figure(
            f"{name}, growth",
            round(grown, 1),
            f"%, median of the last fifth ({late:.0f} MB) over the second fifth ({early:.0f} MB): {verdict}",
            f"at most {FLAT:g}",
        ),
        Figure(f"lookright predict, {n:,} texts, tiny model", round(n / seconds), "texts/s, from start to end"),
    ]


def has_workers() -> bool:
    """Whether this version's `lookright predict` can use several processes."""
    env = {**os.environ, "COLUMNS": "200"}
    return (
        "--workers"
        in subprocess.run(command("predict", "--help"), capture_output=True, text=True, env=env, check=False).stdout
    )
