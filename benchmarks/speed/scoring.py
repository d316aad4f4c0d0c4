"""Strict F1 of a million tags: LookRight beside seqeval, strings in and a figure out."""

from __future__ import annotations

import json
import random
import statistics
import sys
from typing import Final

from benchmarks.speed.report import Figure
from benchmarks.speed.rounds import Bench, order
from benchmarks.speed.sentences import LABELS, generate
from benchmarks.speed.workers import Failed, Meter, Worker, busy_note

WRONG: Final = 0.05
"""Share of predicted tags that are drawn anew; many become ill-formed, as those of models are."""

SYSTEMS: Final = {
    "LookRight, strict": ("with_lookright", "ours", {}),
    "seqeval, strict": ("with_seqeval", "current", {"mode": "strict"}),
    "seqeval, its default": ("with_seqeval", "current", {"mode": "default"}),
}


def tags(n: int, seed: int) -> dict[str, list[list[str]]]:
    """Gold and predicted tags of sentences that have `n` words or a few more together."""
    generator = random.Random(f"tags {seed}")
    gold: list[list[str]] = []
    found = 0
    for row in generate(n, seed):
        gold.append(row["tags"])
        found += len(row["tags"])
        if found >= n:
            break
    predicted = [[generator.choice(LABELS) if generator.random() < WRONG else tag for tag in row] for row in gold]
    return {"gold": gold, "predicted": predicted}


def measure(bench: Bench, n: int, n_rounds: int) -> list[Figure]:
    """Time all systems in turn, in random order.

    Raises:
        Failed: strict figures that differ.
    """
    made = tags(n, bench.seed)
    file = bench.folder / "tags.json"
    file.write_text(json.dumps(made), encoding="utf-8")
    n_tokens = sum(map(len, made["gold"]))
    seconds: dict[str, list[float]] = {}
    scores: dict[str, float] = {}
    others: list[float | None] = []
    workers: dict[str, Worker] = {}
    try:
        for name, (script, env, options) in SYSTEMS.items():
            workers[name] = bench.start(script, env, f"score {name}")
            case = {"activity": "score", "tags": str(file), "n_tokens": n_tokens, **options}
            workers[name].ask({"do": "prepare", "case": case})
        for number in range(n_rounds):
            for name in order(sorted(workers), number, bench.seed):
                meter = Meter(workers[name].process.pid)
                answer = workers[name].ask({"do": "round"})
                others.append(meter.others())
                seconds.setdefault(name, []).append(answer["seconds"])
                scores[name] = answer["f1"]
                print(f"[round {number + 1}/{n_rounds}] {name}: {answer['seconds']:.3f} s", file=sys.stderr, flush=True)
    finally:
        for worker in workers.values():
            worker.end()
    ours, theirs = (scores[name] for name in ("LookRight, strict", "seqeval, strict"))
    if abs(ours - theirs) > 1e-9:
        raise Failed(f"strict F1 is {ours} by LookRight and {theirs} by seqeval")
    return figures(seconds, n_tokens, busy_note(others))


def figures(seconds: dict[str, list[float]], n_tokens: int, busy: str = "") -> list[Figure]:
    """Medians, and ratios to ours."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    what = f"F1 of {n_tokens:,} tags, IOB2, strings in"
    out = []
    for name, median in medians.items():
        unit = f"s, median of {len(seconds[name])} rounds, {min(seconds[name]):.3f} to {max(seconds[name]):.3f}{busy}"
        ours = name.startswith("LookRight")
        out.append(Figure(f"{what}: {name}", round(median, 3), unit, 1.0 if ours and n_tokens >= 10**6 else None))
        if not ours:
            times = median / medians["LookRight, strict"]
            out.append(Figure(f"{what}: {name} / LookRight, strict", round(times, 1), f"ratio of medians{busy}"))
    return out
