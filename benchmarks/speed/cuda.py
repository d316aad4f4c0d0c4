"""The part for a CUDA machine. NOT YET RUN ON ANY GPU: written beside the CPU part, its first run is still to come.

Shapes of Llama-2-7B and Mistral-7B with random weights: LoRA in bfloat16, and over 4-bit weights where bitsandbytes is
installed, against the transformers Trainer with dynamic padding and the same adapters; prediction against the pipeline;
the most GPU memory of each. The 68 M shape of the paper's small study: all weights. A model is in memory alone: each
system is loaded, warmed up, measured several rounds and ended before the next, in random order, and all of it twice.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.speed.cases import Case, ours, stock
from benchmarks.speed.environments import NoEnvironment
from benchmarks.speed.material import SHAPES, Material, account
from benchmarks.speed.report import Figure
from benchmarks.speed.roof import operations, products, shapes_of
from benchmarks.speed.rounds import Bench, Book, Round
from benchmarks.speed.workers import Failed
from benchmarks.tables import plain_text

LORA: Final = {"r": 16, "lora_alpha": 32.0, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
"""No dropout in front of adapters: systems differ in how they draw it."""
PASSES: Final = 2
TRAIN: Final = 1_024
PREDICT: Final = 8_192
"""Sentences of a round."""
RATE_GOAL: Final = 50.0
PEER_GOAL: Final = 2.5


@dataclass(frozen=True)
class Plan:
    """What is measured with one shape: in which type its weights are, whether it gets adapters."""

    shape: str
    dtype: str
    adapters: bool


PLANS: Final = (
    Plan("68m", "float32", adapters=False),
    Plan("llama-2-7b", "bfloat16", adapters=True),
    Plan("mistral-7b", "bfloat16", adapters=True),
)


def cases_of(plan: Plan, *, four_bit: bool) -> list[Case]:
    """The systems for a shape."""
    more: dict[str, Any] = {"adapters": LORA} if plan.adapters else {}
    name = "LoRA" if plan.adapters else "all weights"
    found = [
        ours(f"LookRight bfloat16, {name}, 32", "train", "bfloat16", batch_size=32, **more),
        ours(f"LookRight bfloat16, {name}, 128", "train", "bfloat16", batch_size=128, **more),
        *(
            stock(f"transformers Trainer bfloat16, {name}, {size}", "train", "bfloat16", batch_size=size, **more)
            for size in (8, 32, 128)
        ),
        ours("LookRight bfloat16", "predict", "bfloat16"),
        *(stock(f"transformers pipeline bfloat16, {n}", "predict", "bfloat16", batch_size=n) for n in (8, 32, 128)),
    ]
    if plan.adapters and four_bit:
        found.append(ours("LookRight 4-bit, LoRA, 32", "train", "bfloat16", batch_size=32, quantization="4bit", **more))
    return found


def measure(bench: Bench, material: Material, n_rounds: int) -> list[Figure]:
    """All shapes; nothing where there is no CUDA."""
    if not has_cuda():
        print("cuda: this machine has no CUDA device, so that this part was not run", file=sys.stderr, flush=True)
        return []
    found = []
    for plan in PLANS:
        found += _shape(replace(bench, device="cuda"), material, plan, n_rounds)
    return found


def has_cuda() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def _shape(bench: Bench, material: Material, plan: Plan, n_rounds: int) -> list[Figure]:
    model = material.model(plan.shape, dtype=plan.dtype, device="cuda" if plan.adapters else "cpu")
    layers = SHAPES[plan.shape].layers
    bench = replace(bench, model=model, plan="0011", first_open=layers - layers // 2)
    files = {"train": material.sentences(TRAIN, "cuda-train"), "predict": material.sentences(PREDICT, "cuda-predict")}
    book = Book(bench.folder / f"rounds-cuda-{plan.shape}.jsonl")
    book.path.unlink(missing_ok=True)
    cases = cases_of(plan, four_bit=find_spec("bitsandbytes") is not None)
    rate = _matrix_rate(bench)
    missing: dict[str, str] = {}
    for number in range(PASSES):
        shuffled = list(cases)
        random.Random(f"cuda {bench.seed} {number}").shuffle(shuffled)
        for case in shuffled:
            try:
                _alone(bench, case, files[case.activity][0], n_rounds, number, book)
            except (Failed, NoEnvironment) as error:
                missing[case.name] = str(error)
                print(f"{case.name} is left out: {error}", file=sys.stderr, flush=True)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    rows = summed(book.rows(), config, plan, rate)
    print(f"\n{plan.shape}, {account(files['train'][1])}; matrix rate {rate / 1e12:.0f} TFLOP/s in bfloat16")
    print(plain_text(cells(rows)))
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    return figures(rows, plan)


def _alone(bench: Bench, case: Case, file: Path, n_rounds: int, number: int, book: Book) -> None:
    """Load a system, run its rounds, and end it."""
    with bench.start(case.script, case.environment, f"cuda {case.activity} {case.name}") as worker:
        worker.ask(bench.request(case, file))
        for turn in range(n_rounds):
            answer = worker.ask({"do": "round"})
            book.add({"case": case.name, "activity": case.activity, "round": number * n_rounds + turn, **answer})
            print(f"{case.name}: {answer['tokens'] / answer['seconds']:,.0f} tokens/s", file=sys.stderr, flush=True)


def _matrix_rate(bench: Bench) -> float:
    """Operations per second of one big product in bfloat16."""
    with bench.start("with_lookright", "ours", "matrix rate") as worker:
        worker.ask(bench.request(Case("rate", "roof", "with_lookright", "ours", "ours"), None))
        size = 8192
        answer = worker.ask({"do": "round", "with": {"product": [size, size, size], "precision": "bfloat16"}})
        return 2 * size**3 / float(answer["seconds"])


@dataclass(frozen=True)
class Row:
    """A system on a shape: rate, spread, share of the matrix rate in per cent, GPU memory."""

    case: str
    activity: str
    rate: float
    low: float
    high: float
    share: float
    gpu_mb: float


def summed(rounds: Sequence[Round], config: dict[str, Any], plan: Plan, rate: float) -> list[Row]:
    """A row for each system, the fastest first within an activity.

    The share counts the operations of the roof (see roof.py) at real tokens: of adapters, forward, gradients of
    activations and of adapters.
    """
    adapted = LORA["target_modules"] if plan.adapters else None
    layer, n_layers = shapes_of(config, adapted)  # type: ignore[arg-type]
    by_case: dict[tuple[str, str], list[Round]] = {}
    for row in rounds:
        by_case.setdefault((row["activity"], row["case"]), []).append(row)
    found = []
    for (activity, name), rows in by_case.items():
        work = "forward" if activity == "predict" else "adapters" if plan.adapters else "full"
        rank = int(LORA["r"])  # type: ignore[call-overload]
        rates = [row["tokens"] / row["seconds"] for row in rows]
        shares = [
            100 * n_layers * sum(operations(products(m, layer, work, rank)) for m in row["batches"])
            / row["seconds"] / rate
            for row in rows
        ]  # fmt: skip
        memory = max(row.get("peak_gpu_mb") or 0.0 for row in rows)
        found.append(
            Row(name, activity, statistics.median(rates), min(rates), max(rates), statistics.median(shares), memory)
        )
    return sorted(found, key=lambda row: (row.activity, -row.rate))


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """A table, the header first."""
    head = ["system", "does", "tokens/s", "lowest - highest", "% of matrix rate", "GPU MB"]
    return [head] + [
        [r.case, r.activity, f"{r.rate:,.0f}", f"{r.low:,.0f} - {r.high:,.0f}", f"{r.share:.0f}", f"{r.gpu_mb:,.0f}"]
        for r in rows
    ]


def figures(rows: Sequence[Row], plan: Plan) -> list[Figure]:
    """Figures and goals of a shape."""
    found = []
    for row in rows:
        unit = f"real tokens/s, median, {row.low:.0f} to {row.high:.0f}, {row.gpu_mb:.0f} MB of GPU memory"
        found.append(Figure(f"{plan.shape}, {row.activity}: {row.case}", round(row.rate), unit))
    for activity in ("train", "predict"):
        among = [row for row in rows if row.activity == activity]
        mine = [row for row in among if row.case.startswith("LookRight bfloat16")]
        theirs = [row for row in among if row.case.startswith("transformers")]
        if mine and theirs:
            best, rival = mine[0], theirs[0]
            is_goal = activity == "train" and plan.adapters
            unit = f"ratio of medians, {best.case} / {rival.case}"
            ratio = round(best.rate / rival.rate, 2)
            name = f"{plan.shape}, {activity}"
            found.append(Figure(f"{name}, over transformers", ratio, unit, PEER_GOAL if is_goal else None))
            unit = f"% of the measured bfloat16 matrix rate, {best.case}"
            share = round(best.share, 1)
            found.append(Figure(f"{name}, share", share, unit, RATE_GOAL if is_goal else None))
    return found
