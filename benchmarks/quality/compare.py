"""LookRight on a base against what one would otherwise train from scratch on the same file: a CRF, and blank spaCy.

    python benchmarks/quality/compare.py --data data --base base --runs runs.jsonl --minutes 5
    python benchmarks/quality/compare.py ... --systems crf spacy           # the peers alone, which need no base
    python benchmarks/quality/compare.py ... --table --markdown            # what is finished, for the docs
    python benchmarks/quality/compare.py ... --table --plot quality.png --record
    python benchmarks/quality/compare.py ... --limit 200 --steps 50 --epochs 1   # to try things out

DATA holds one folder per set with train.conll, test.conll and, where there is one, dev.conll (else a tenth of train is
held out by content, for every system). All systems get the same sentences, and are scored by LookRight's strict F1
(plain tags: accuracy) over the full gold of test. The peers are optional installs: benchmarks/quality/requirements.txt.

A finished run is a row of RUNS and is not run again, as long as data, seed and settings are the same. The settings of
ours hold the fingerprint of the base and the product's defaults, so that another base or other defaults are other runs,
and the peers' runs stay. How many epochs `--minutes` allows is measured; see ours.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.quality import crf, ours, plot, report, spacy_pipeline
from benchmarks.quality.runs import SYSTEMS, Answer, Job, Runs
from benchmarks.quality.sets import SETS, Split, load_split
from benchmarks.results import record
from benchmarks.tables import markdown, plain_text

from lookright.errors import LookRightError

PEERS = {"crf": crf.MODULES, "spacy": spacy_pipeline.MODULES}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder per set")
    parser.add_argument("--runs", type=Path, required=True, help="file of finished runs, read and added to")
    parser.add_argument("--base", help="folder of the base that ours starts from")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="of ours and of spaCy; the CRF runs once"
    )
    parser.add_argument(
        "--epochs",
        type=_epochs,
        help="of ours: a number, or 'default' (what is taken without --minutes too) for the product's",
    )
    parser.add_argument("--minutes", type=float, help="of training of ours on a set; with --epochs: at most")
    parser.add_argument("--steps", type=int, default=spacy_pipeline.STEPS, help="of spaCy, at most")
    parser.add_argument("--limit", type=int, help="sentences of each file, to try things out")
    parser.add_argument("--table", action="store_true", help="run nothing, show what is finished")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the table")
    parser.add_argument("--record", action="store_true", help="add the means to benchmarks/results/quality.jsonl")
    args = parser.parse_args()
    _check(parser, args)
    return args


def _epochs(text: str) -> float | str:
    return text if text == "default" else float(text)


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is run."""
    needed = {system: PEERS.get(system, ()) for system in args.systems} | (
        {"--plot": plot.MODULES} if args.plot else {}
    )
    missing = [
        f"{who} needs {module}" for who, modules in needed.items() for module in modules if not find_spec(module)
    ]
    if missing:
        parser.error(
            f"{', '.join(missing)}, which is not installed: pip install -r benchmarks/quality/requirements.txt, or "
            "leave it out (--systems)"
        )
    if "ours" in args.systems:
        if args.base is None:
            parser.error("ours needs --base; or leave it out: --systems crf spacy")
        ours.check_base(args.base)
        try:
            budget_of(args)
        except ValueError as error:
            parser.error(str(error))
    if args.record and (args.limit or any(text.startswith("/") for text in sys.argv[1:])):
        parser.error(
            "--record keeps figures of whole sets, and the command line: leave --limit out, and give no absolute path "
            "(run it in a folder with links named data and base)"
        )


def budget_of(args: argparse.Namespace) -> ours.Budget:
    """How long ours trains."""
    if args.epochs is None and args.minutes is None:
        return ours.Budget()
    return ours.Budget(args.epochs, args.minutes)


def jobs_of(args: argparse.Namespace, split: Split) -> list[Job]:
    """All jobs on one set."""
    jobs = []
    for system in args.systems:
        if system == "ours":
            settings = ours.settings(args.base, split, budget_of(args))
        else:
            settings = crf.settings() if system == "crf" else spacy_pipeline.settings(args.steps)
        seeds = [0] if system == "crf" else args.seeds
        jobs += [Job(system, split.name, seed, split.fingerprint, settings) for seed in seeds]
    return jobs


def answer_of(args: argparse.Namespace, job: Job, split: Split, rows: dict[str, dict[str, Any]]) -> Answer:
    """Run one job."""
    if job.system == "crf":
        return crf.run(split, job.seed)
    if job.system == "spacy":
        return spacy_pipeline.run(split, job.seed, args.steps)
    same = [row for row in rows.values() if _but_seed(row) == (job.system, job.set, job.data, job.settings)]
    epochs = same[0]["account"]["epochs"] if same else None
    return ours.run(args.base, split, job.seed, budget_of(args), epochs)


def _but_seed(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["system"], row["set"], row["data"], row["settings"]


def run_all(args: argparse.Namespace, runs: Runs, splits: dict[str, Split], jobs: list[Job]) -> None:
    """Run what is not finished, the first seed of every set before the second of any."""
    jobs = sorted(jobs, key=lambda job: args.seeds.index(job.seed) if job.seed in args.seeds else 0)
    for number, job in enumerate(jobs, start=1):
        rows = runs.rows()
        if job.id in rows:
            continue
        split = splits[job.set]
        processor = time.process_time()
        answer = answer_of(args, job, split, rows)
        figure = split.score(answer.tags).headline
        row = runs.add(job, answer, figure, split.dev_is_held_out, time.process_time() - processor)
        print(
            f"[{number}/{len(jobs)}] {job.system} {job.set} seed {job.seed}: test {row['test']} dev {row['dev']}, "
            f"trained {row['train_seconds']} s ({row['cpu_seconds']} s of processor time in all)",
            file=sys.stderr,
            flush=True,
        )


def record_all(by_set: dict[str, list[report.Result]]) -> None:
    """Keep means, differences and training times."""
    for name, results in by_set.items():
        found = report.difference(results)
        best = next((one.mean for one in results if found and one.system == found.peer), None)
        for one in results:
            system, seeds = report.NAMES[one.system], [row["seed"] for row in one.rows]
            if one.system == "ours":
                settings = one.rows[0]["settings"]
                budget = ours.Budget(settings["epochs"], settings["minutes"])
                system += f" on base {settings['base'][:8]}, {budget}"
            goal = round(best, 2) if best is not None and one.system == "ours" else None
            unit = f"100 x {one.unit}, test, mean over seeds"
            record("quality", f"{name}: {system}", round(one.mean, 2), unit, goal=goal, seeds=seeds)
            spent = f"s of training, mean over seeds, {one.rows[0]['machine']}"
            record("quality", f"{name}: {system}, training", round(one.train_seconds, 1), spent, seeds=seeds)
        if found:
            value = f"{found.points:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p {found.p:.4f}"
            unit = "points, 95 % paired bootstrap interval, approximate randomization"
            record("quality", f"{name}: LookRight minus {report.NAMES[found.peer]}", value, unit, goal="> 0")


def main() -> None:
    args = arguments()
    runs = Runs(args.runs)
    splits = {name: load_split(args.data, name, args.limit) for name in args.sets}
    jobs = [job for split in splits.values() for job in jobs_of(args, split)]
    if not args.table:
        run_all(args, runs, splits, jobs)
    rows = runs.rows()
    by_set: dict[str, list[report.Result]] = {}
    for name, split in splits.items():
        done = [rows[job.id] for job in jobs if job.set == name and job.id in rows]
        of = {system: [row for row in done if row["system"] == system] for system in args.systems}
        by_set[name] = [report.result_of(split, found, runs) for found in of.values() if found]
    if not any(by_set.values()):
        raise SystemExit(f"{args.runs} has no finished run of these systems, sets and settings")
    cells = report.table(by_set, args.systems)
    print(markdown(cells) if args.markdown else plain_text(cells))
    print("\n" + "\n".join(("" if not args.markdown else "- ") + line for line in report.notes(by_set)))
    for line in report.warnings(by_set):
        print(line, file=sys.stderr)
    if args.plot:
        plot.draw(by_set, args.systems, args.plot)
    if args.record:
        record_all(by_set)


if __name__ == "__main__":
    try:
        main()
    except LookRightError as error:
        raise SystemExit(str(error)) from None
