"""The studies behind the default recipe: one question each, on two sets, three seeds, scored on dev alone.

    python benchmarks/base/defaults.py subword --base base --data data --runs defaults.jsonl
    python benchmarks/base/defaults.py rate --base base --data data --runs defaults.jsonl --updates 480 --table
    python benchmarks/base/defaults.py opening --data data --runs opening.jsonl --updates 0 --against sudden

A run is a row of the runs file and is not run again; `--table` only shows what is there. Figures are points (0 to 100):
dev at the chosen checkpoint, and at the last one, which is the fairer figure where settings are evaluated unequally
often. All runs of a study have the same number of updates, but for `epochs`, whose question that is; `--updates 0`
takes the epochs and the batch size that the recipe takes by itself. `--against NAME` also shows, for each setting, the
difference to the one that has this name, or this last word in place of its own, paired over sets and seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base.run import data_of

Options = dict[str, Any]


def _rates() -> dict[str, Options]:
    found: dict[str, Options] = {}
    for optimizer in ("adamw", "muon"):
        for rate in (2e-4, 5e-4, 1e-3, 2e-3):
            found[f"{optimizer} {rate:g}"] = {"optimizer": optimizer, "learning_rate": rate}
    return found


def _methods() -> dict[str, Options]:
    found: dict[str, Options] = {"full": {"method": "full"}}
    for targets in ("paper", "attention", "all-linear"):
        for rank, rate in ((8, 2e-3), (64, 2e-3), (16, 5e-4), (16, 1e-3), (16, 2e-3), (16, 4e-3)):
            if targets == "all-linear" or rank == 16:
                options = {"method": "lora", "lora_r": rank, "lora_targets": targets, "learning_rate": rate}
                found[f"lora {targets} r{rank} {rate:g}"] = options
    return found


STUDIES: dict[str, dict[str, Options]] = {
    "subword": {
        f"{plan} {subword}": {"plan": plan, "subword": subword}
        for plan in ("0000", "0011", "1111")
        for subword in ("first", "last", "mean")
    },
    "rate": _rates(),
    "method": _methods(),
    "batch": {
        f"{size} at {rate:g}": {"batch_size": size, "learning_rate": rate, "share": 16 / size}
        for size, rate in ((8, 3.5e-4), (8, 5e-4), (16, 5e-4), (32, 5e-4), (32, 1e-3))
    },
    "joins": {f"detokenize {share}": {"detokenize": share} for share in (0.0, 0.25, 0.5)},
    "opening": {
        f"{plan} {opening}": {"plan": plan, "opening": opening}
        for plan in ("0011", "1111")
        for opening in ("sudden", "soft:0.1", "soft:0.3", "soft:0.6")
    },
    # top:4 of the four layers of lookright-nano: all but the embeddings and the last norm
    "embeddings": {
        f"{n} sentences, {name}": {"n_train": n, "train_layers": layers}
        for n in (500, 5000)
        for name, layers in (("trained", "all"), ("frozen", "top:4"))
    },
    "epochs": {
        f"{n} sentences, {epochs} epochs": {"n_train": n, "epochs": epochs}
        for n, choices in ((200, (10, 20, 40)), (1000, (5, 10, 20)), (5000, (3, 6, 12)))
        for epochs in choices
    },
}
"""Study -> name of a setting -> options of `Tagger.fit`, and `plan`, `n_train`, `share` (of the updates)."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--base", default="lookright-nano")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["ncbi-disease", "conll2000-chunk"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", help="only these settings of the study")
    parser.add_argument("--updates", type=int, default=240, help="of 16 sentences; 0: epochs and batches as by default")
    parser.add_argument("--against", metavar="NAME", help="also show differences to this setting, such as sudden")
    parser.add_argument("--table", action="store_true", help="run nothing")
    return parser.parse_args()


def run(args: argparse.Namespace, options: Options, name: str, seed: int) -> dict[str, float]:
    """One fine-tuning: dev at the chosen checkpoint and at the last one, seconds of training."""
    from lookright import Tagger

    train, dev, _ = data_of(args.data / name)
    options = dict(options)
    train = train[: options.pop("n_train", len(train))]
    plan, share = options.pop("plan", "0011"), options.pop("share", 1.0)
    if args.updates:
        options = {"batch_size": 16, **options}
    if args.updates and "epochs" not in options:
        options["epochs"] = (args.updates * share - 0.5) / -(-len(train) // options["batch_size"])
    tagger = Tagger.from_pretrained(args.base, plan=plan)
    begin = time.perf_counter()
    evals = max(1, round(3 / options["epochs"])) if "epochs" in options else 1
    result = tagger.fit(train, dev, seed=seed, progress=False, evals_per_epoch=evals, **options)
    seconds = time.perf_counter() - begin
    scores = [entry["eval_score"] for entry in result.outcome.history if "eval_score" in entry]
    return {
        "dev": 100 * (result.outcome.best_score or 0.0), "last": 100 * scores[-1], "seconds": round(seconds, 1),
        "update": result.outcome.update, "updates": result.outcome.n_updates,
    }  # fmt: skip


def key_of(args: argparse.Namespace, setting: str, name: str) -> Options:
    """What a run is of, the seed left out: weights and options, not names, tell bases and settings apart."""
    from lookright.models.base import fingerprint, resolve_folder

    options = STUDIES[args.study][setting]
    base = fingerprint(resolve_folder(args.base))
    return {
        "study": args.study, "setting": setting, "options": options, "set": name, "limit": args.updates, "base": base
    }  # fmt: skip


def main() -> None:
    args = arguments()
    rows = [json.loads(line) for line in args.runs.read_text().splitlines()] if args.runs.exists() else []
    study = {name: o for name, o in STUDIES[args.study].items() if not args.settings or name in args.settings}
    for seed in [] if args.table else args.seeds:
        for name in args.sets:
            for setting, options in study.items():
                cell = {**key_of(args, setting, name), "seed": seed}
                if any(all(row[key] == value for key, value in cell.items()) for row in rows):
                    continue
                rows.append({**cell, **run(args, options, name, seed)})
                with args.runs.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    show(args, study, rows)
    if args.against:
        compare(args, study, rows)


def show(args: argparse.Namespace, study: dict[str, Options], rows: list[dict[str, Any]]) -> None:
    """A row for each setting: dev, last and seconds on each set, mean and standard deviation over seeds."""
    print(f"\n| {args.study} | " + " | ".join(f"{name}: dev | last | seconds" for name in args.sets) + " | seeds |")
    print("|---" * (3 * len(args.sets) + 2) + "|")
    for setting in study:
        cells, seeds = [], set()
        for name in args.sets:
            keys = key_of(args, setting, name)
            same = [r for r in rows if all(r[k] == v for k, v in keys.items()) and r["seed"] in args.seeds]
            seeds |= {r["seed"] for r in same}
            for figure in ("dev", "last", "seconds"):
                values = [r[figure] for r in same]
                spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 and figure != "seconds" else ""
                cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "-")
        print(f"| {setting} | " + " | ".join(cells) + f" | {len(seeds)} |")


def compare(args: argparse.Namespace, study: dict[str, Options], rows: list[dict[str, Any]]) -> None:
    """A row for each setting: the differences to another one, in points, over all sets and on each of them."""
    places = [*args.sets] if len(args.sets) == 1 else ["all sets", *args.sets]
    print(f"\n| minus {args.against} | figure | " + " | ".join(places) + " | pairs |")
    print("|---" * (len(places) + 3) + "|")
    for setting in study:
        other = next(
            (name for name in (f"{setting.rpartition(' ')[0]} {args.against}", args.against) if name in study), None
        )
        if other in (None, setting):
            continue
        found = {name: (_by_seed(args, rows, setting, name), _by_seed(args, rows, other, name)) for name in args.sets}
        for figure in ("dev", "last", "seconds"):
            pairs = {
                name: [mine[seed][figure] - theirs[seed][figure] for seed in sorted(mine.keys() & theirs.keys())]
                for name, (mine, theirs) in found.items()
            }
            everything = [difference for name in args.sets for difference in pairs[name]]
            cells = [with_interval(everything if place == "all sets" else pairs[place]) for place in places]
            print(f"| {setting} | {figure} | " + " | ".join(cells) + f" | {len(everything)} |")


def _by_seed(args: argparse.Namespace, rows: list[dict[str, Any]], setting: str, name: str) -> dict[int, Any]:
    """The first row of each seed."""
    keys = key_of(args, setting, name)
    same = [row for row in rows if all(row[key] == value for key, value in keys.items()) and row["seed"] in args.seeds]
    return {row["seed"]: row for row in reversed(same)}


def with_interval(differences: list[float]) -> str:
    """The mean of paired differences with its interval of 95 % by Student's t; the mean alone where there is one."""
    if not differences:
        return "-"
    mean = statistics.mean(differences)
    if len(differences) == 1:
        return f"{mean:+.2f}"
    from scipy.stats import t

    half = float(t.ppf(0.975, len(differences) - 1)) * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


if __name__ == "__main__":
    main()
