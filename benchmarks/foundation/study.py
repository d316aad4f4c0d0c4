"""Fine-tune a small decoder on labeled sets under several plans and seeds; score the checkpoint that dev chose on test.

    python benchmarks/foundation/study.py --data DATA --base BASE --runs RUNS.jsonl
    python benchmarks/foundation/study.py ... --subwords first last mean --sets wnut17 conll2000-chunk

DATA holds one folder per set with train.conll, test.conll and, where there is one, dev.conll (else a tenth of train is
held out by content). Finished runs are rows of RUNS.jsonl and are not run again; `--record` adds the means to
benchmarks/results/foundation.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SETS = ("wnut17", "ncbi-disease", "conll2000-chunk", "phee-events", "ud-en-ewt-upos")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--plans", nargs="+", default=["0000", "0011", "1111"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--subwords", nargs="+", default=["mean"])
    parser.add_argument("--contexts", nargs="+", default=["sentence"])
    parser.add_argument("--updates", type=int, default=400, help="updates of a run")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--window", type=int, help="longest input in sub-words (default: what the base takes)")
    parser.add_argument("--evals", type=int, default=3, help="evaluations on dev in a run, the last one included")
    parser.add_argument("--raw-text", action="store_true", help="also tag the detokenised text of the test sentences")
    parser.add_argument("--record", action="store_true", help="add the means to the result file")
    return parser.parse_args()


def run(args: argparse.Namespace, setting: dict[str, Any]) -> dict[str, Any]:
    """One fine-tuning; its scores are in points (0 to 100)."""
    from lookright import Tagger, read_dataset

    folder = args.data / setting["set"]
    dev: Any = folder / "dev.conll"
    if not dev.exists():
        dev = 0.1
    train = read_dataset(folder / "train.conll")
    begin = time.perf_counter()
    epochs = args.updates * args.batch_size / len(train)
    tagger = Tagger.from_pretrained(args.base, plan=setting["plan"])
    tagger.fit(
        train, dev=dev if isinstance(dev, float) else read_dataset(dev), seed=setting["seed"],
        subword=setting["subword"], context=setting["context"], epochs=epochs, batch_size=args.batch_size,
        learning_rate=args.learning_rate, precision=args.precision, window=args.window,
        evals_per_epoch=max(1, round(args.evals / epochs)),
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    test = read_dataset(folder / "test.conll")
    report = tagger.evaluate(test)
    row = {**setting, "test": 100 * report.headline[1], "unit": report.convention, "seconds": round(seconds, 1)}
    if args.raw_text:
        row["raw_text"] = raw_text_score(tagger, test)
    return row


def raw_text_score(tagger: Any, test: Any) -> float | None:
    """Strict F1 (0 to 100) when the test sentences come as detokenised running text, over the same gold."""
    from benchmarks.foundation.raw_text import score_raw_text

    return score_raw_text(tagger, test)


def main() -> None:
    args = arguments()
    done = [json.loads(line) for line in args.runs.read_text().splitlines()] if args.runs.exists() else []
    keys = ("set", "plan", "seed", "subword", "context")
    finished = {tuple(row[k] for k in keys) for row in done}
    grid = list(itertools.product(args.seeds, args.sets, args.plans, args.subwords, args.contexts))
    for number, (seed, name, plan, subword, context) in enumerate(grid, start=1):
        setting = {"set": name, "plan": plan, "seed": seed, "subword": subword, "context": context}
        if tuple(setting[k] for k in keys) in finished:
            continue
        row = run(args, setting)
        with args.runs.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done.append(row)
        print(f"[{number}/{len(grid)}] {json.dumps(row)}", flush=True)
    summarise(args, done)


def summarise(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Print mean and standard deviation over seeds, and record them where that is asked for."""
    from benchmarks.results import record

    for name, plan, subword, context in itertools.product(args.sets, args.plans, args.subwords, args.contexts):
        same = [
            r for r in rows
            if (r["set"], r["plan"], r["subword"], r["context"]) == (name, plan, subword, context)
            and r["seed"] in args.seeds
        ]  # fmt: skip
        if not same:
            continue
        scores = [r["test"] for r in same]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        what = f"{name}, plan {plan}, sub-word {subword}, context {context}"
        print(f"{what}: {statistics.mean(scores):.2f} +- {spread:.2f} ({len(scores)} seeds)")
        if args.record:
            unit = f"100 x {same[0]['unit']}, test, mean over seeds"
            record("foundation", what, round(statistics.mean(scores), 2), unit, seeds=[r["seed"] for r in same])
            gaps = [r["test"] - r["raw_text"] for r in same if r.get("raw_text") is not None]
            if gaps:
                record(
                    "foundation",
                    f"{what}: given words minus raw text, the tagger's own word rule",
                    round(statistics.mean(gaps), 2),
                    unit,
                    seeds=[r["seed"] for r in same],
                )


if __name__ == "__main__":
    main()
