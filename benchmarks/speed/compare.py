"""LookRight beside BiLLM, the paper's loop, the transformers Trainer and pipeline, spaCy and seqeval: how fast.

    python benchmarks/speed/compare.py                              # all parts; makes the peers' environments first
    python benchmarks/speed/compare.py --quick --parts train predict        # small, to try things out
    python benchmarks/speed/compare.py --sentences labeled.conll    # sentences of a file, in place of invented ones
    python benchmarks/speed/compare.py --python current=.venv/bin/python    # an environment that is there already
    python benchmarks/speed/compare.py --parts steady --data data --sets wnut17 conll2000-chunk
    python benchmarks/speed/compare.py --table --record             # what was measured, into benchmarks/results

Parts: `train` and `predict` (all systems, one shared model, in turn, in random order, several rounds), `score` (strict
F1 of a million tags), `startup`, `memory` (a million sentences through `lookright predict`), `growth` (how cost grows),
`steady` (F1 does not move with speed) and, where CUDA is there, `cuda`. Speeds count real tokens only, the roof is
explained in roof.py, and what each peer does in its file in peers/. A round in which others computed is said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.results import record
from benchmarks.speed import cases, cuda, growth, lifetime, plot, report, rounds, scoring, steady
from benchmarks.speed.environments import Environments, NoEnvironment, parse_given
from benchmarks.speed.material import SHAPES, Material, account
from benchmarks.speed.workers import Failed
from benchmarks.tables import markdown, plain_text

from lookright.errors import LookRightError

PARTS: Final = ("train", "predict", "score", "startup", "memory", "growth", "steady", "cuda")


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        train, predict: sentences of a round.
        rounds: of each system.
        tags: that are scored.
        stream: sentences whose memory is watched.
        growth: numbers of sentences in the second table.
        lengths: of sentences in the second table.
        length_tokens: of each of those.
        starts: of each start-up time.
        steady_updates: of each run that looks at F1; None for the product's own number of epochs.
        steady_sentences: of each file in those; None for all.
        seeds: of those.
    """

    train: int = 512
    predict: int = 2_000
    rounds: int = 5
    tags: int = 1_000_000
    stream: int = 1_000_000
    growth: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    lengths: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    length_tokens: int = 65_536
    starts: int = 7
    steady_updates: int | None = None
    steady_sentences: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


QUICK: Final = Sizes(64, 128, 2, 50_000, 4_000, (100, 1_000), (16, 64, 256), 2_048, 2, 6, 60, (0, 1))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--systems", nargs="+", choices=("ours", "billm", "paper", "transformers", "spacy"))
    parser.add_argument("--work", type=Path, default=Path("speed-work"), help="folder for all that is made")
    parser.add_argument("--sentences", type=Path, metavar="FILE", help="labeled file; else sentences are invented")
    parser.add_argument("--shape", choices=list(SHAPES), default="20m", help="of the shared model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="of each system")
    parser.add_argument("--train-sentences", type=int)
    parser.add_argument("--predict-sentences", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PYTHON", help="environments that are there")
    parser.add_argument("--compile", action="store_true", help="measure training with compiled layers, too")
    parser.add_argument("--data", type=Path, help="for steady: folder with one folder per set, see benchmarks/quality")
    parser.add_argument("--sets", nargs="+", default=["wnut17", "conll2000-chunk"], help="for steady: of DATA")
    parser.add_argument("--steady-updates", type=int, help="for steady: of each run; else as many as the product takes")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try things out")
    parser.add_argument("--table", action="store_true", help="run nothing, show what was measured")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--record", action="store_true", help="add the figures to benchmarks/results/speed.jsonl")
    args = parser.parse_args(given)
    try:
        args.given = parse_given(args.python)
    except ValueError as error:
        parser.error(str(error))
    if args.record and (args.quick or any(text.startswith("/") or "=/" in text for text in sys.argv[1:])):
        parser.error("--record keeps whole measurements, and the command line: no --quick, and no absolute path")
    base = QUICK if args.quick else Sizes()
    wanted = {"rounds": args.rounds, "train": args.train_sentences, "predict": args.predict_sentences}
    wanted["steady_updates"] = args.steady_updates
    args.sizes = Sizes(**{**vars(base), **{name: value for name, value in wanted.items() if value}})
    return args


def bench_of(args: argparse.Namespace, material: Material) -> rounds.Bench:
    """Where the systems run: the upper half of the layers is open."""
    layers = SHAPES[args.shape].layers
    plan = "01" if layers < 4 else "0011"
    return rounds.Bench(
        environments=Environments(args.work / "environments", args.given),
        folder=args.work,
        threads=args.threads,
        device="cpu",
        model=material.model(args.shape),
        plan=plan,
        first_open=layers - layers // 2,
        seed=args.seed,
    )


def systems(args: argparse.Namespace, material: Material, activity: str) -> list[report.Figure]:
    """Training or prediction of all systems."""
    every = cases.PREDICTION if activity == "predict" else (*cases.TRAINING, *(cases.COMPILED if args.compile else ()))
    chosen = cases.chosen(every, args.systems)
    file, rows = material.sentences(getattr(args.sizes, activity), activity)
    setting = f"{args.threads} threads, shape {args.shape}, {account(rows)}"
    book = rounds.Book(args.work / f"rounds-{activity}.jsonl")
    book.path.unlink(missing_ok=True)
    missing = rounds.run(bench_of(args, material), chosen, file, args.sizes.rounds, book.add)
    (args.work / f"setting-{activity}.json").write_text(json.dumps({"setting": setting, "missing": missing}))
    return show_systems(args, activity)


def show_systems(args: argparse.Namespace, activity: str) -> list[report.Figure]:
    """Print a table of systems, and give its figures."""
    every = (*cases.TRAINING, *cases.COMPILED, *cases.PREDICTION)
    found = rounds.summaries(rounds.Book(args.work / f"rounds-{activity}.jsonl").rows(), activity)
    about = json.loads((args.work / f"setting-{activity}.json").read_text(encoding="utf-8"))
    cells = report.table(found)
    print(f"\n{ {'train': 'Training', 'predict': 'Prediction, text in, spans out'}[activity] }: {about['setting']}")
    print(markdown(cells) if args.markdown else plain_text(cells))
    reached = rounds.reached(every, found)
    forward = rounds.forward_share(every, found)
    for line in report.goal_lines(reached):
        print(line)
    for name, reason in about["missing"].items():
        print(f"left out: {name}: {reason}")
    if line := report.busy_line(found):
        print(line)
    return report.figures(activity, found, reached, forward, about["setting"])


def run_part(args: argparse.Namespace, name: str) -> list[report.Figure]:
    """Measure a part, or with --table show what was measured."""
    kept = args.work / f"figures-{name}.json"
    if args.table:
        if not kept.exists():
            return []
        if name in ("train", "predict"):
            return show_systems(args, name)
        found = [report.Figure(**{**row, "seeds": tuple(row["seeds"])}) for row in json.loads(kept.read_text())]
    else:
        material = Material.make(args.work / "material", args.sentences, args.seed)
        bench = bench_of(args, material)
        measure: dict[str, Callable[[], list[report.Figure]]] = {
            "train": lambda: systems(args, material, "train"),
            "predict": lambda: systems(args, material, "predict"),
            "score": lambda: scoring.measure(bench, args.sizes.tags, args.sizes.rounds),
            "startup": lambda: lifetime.start_up(bench, material, args.sizes.starts),
            "memory": lambda: lifetime.memory(bench, material, args.sizes.stream),
            "growth": lambda: growth.measure(bench, material, args.sizes, args.work / "growth.jsonl"),
            "steady": lambda: steady.measure(
                args.data, args.sets, args.sizes.seeds, args.sizes.steady_updates, args.sizes.steady_sentences
            ),
            "cuda": lambda: cuda.measure(bench, material, args.sizes.rounds),
        }
        found = measure[name]()
        kept.write_text(json.dumps([figure.to_dict() for figure in found], ensure_ascii=False))
    if name not in ("train", "predict"):
        print(f"\n{name}")
        for figure in found:
            print(f"{figure.name}: {figure.value} {figure.unit}" + (f" (goal: {figure.goal})" if figure.goal else ""))
    return found


def main() -> None:
    args = arguments()
    # This process, too: it trains in the part `steady`, and must not wait busily while others are measured.
    os.environ.update(rounds.environment(args.threads, "cpu" if "cuda" not in args.parts else "auto"))
    found, failed = {}, {}
    for name in args.parts:
        try:
            found[name] = run_part(args, name)
        except (Failed, NoEnvironment, LookRightError) as error:  # the other parts go on
            failed[name] = str(error)
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
    by_activity = {
        name: rounds.summaries(rounds.Book(args.work / f"rounds-{name}.jsonl").rows(), name)
        for name in ("train", "predict")
    }
    plot.draw(by_activity, rounds.Book(args.work / "growth.jsonl").rows(), args.work / "speed.png")
    if args.record:
        for figure in (figure for figures in found.values() for figure in figures):
            fields: dict[str, Any] = figure.to_dict()
            record("speed", fields.pop("name"), fields.pop("value"), fields.pop("unit"), **fields)
    if failed:
        raise SystemExit("\n".join(f"{name} failed: {reason}" for name, reason in failed.items()))


if __name__ == "__main__":
    main()
