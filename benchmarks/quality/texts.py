"""How good are text classifiers on the bundled base, for each plan and pooling, against TF-IDF and spaCy?

    python benchmarks/quality/texts.py --data data --runs text-runs.jsonl                  # everything, hours
    python benchmarks/quality/texts.py --data data --runs text-runs.jsonl --systems tfidf spacy
    python benchmarks/quality/texts.py --data data --runs text-runs.jsonl --table --markdown
    python benchmarks/quality/texts.py --data data --runs text-runs.jsonl --table --record

`data` holds `banking77/` and `trec-qc/` with `train.jsonl` and `test.jsonl`, and for TREC's fine labels
`train-fine.jsonl` and `test-fine.jsonl`. No set has a dev file: a tenth of train is held out by content, the same for
every system, and chooses checkpoint, regularisation, plan and pooling. Test is only scored.

Every finished run is a row of the file and is not run again, as long as data, seed and settings are the same; a process
that is stopped goes on where it was. On one slow core a run of ours takes about four minutes, so that 3 sets x 3 plans
x 4 poolings x 3 seeds take seven hours of it; a run of spaCy takes 1 to 15 minutes. Where runs are kept, as in
benchmarks/results/texts, `--table` needs no run. To run them, spaCy and scikit-learn must be installed
(benchmarks/quality/requirements.txt), or be left out (`--systems ours`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.quality import text_peers
from benchmarks.quality.runs import Answer, Job, Runs
from benchmarks.results import record
from benchmarks.tables import markdown, plain_text

from lookright.data import TextDataset, hold_out_texts, read_texts
from lookright.text_metrics import LabelScores, label_scores

HELD_OUT: Final = 0.1
SETS: Final = {
    "banking77": ("banking77", ""),
    "trec-coarse": ("trec-qc", ""),
    "trec-fine": ("trec-qc", "-fine"),
}
"""Name -> folder, and what its files' names end in."""
PLANS: Final = ("0000", "0011", "1111")
POOLINGS: Final = ("last", "mean", "max", "attention")
AS_IT_COMES: Final = ("0011", "mean")
"""Plan and pooling of the bundled base where nobody says."""
SYSTEMS: Final = ("ours", *text_peers.PEERS)
SAMPLES: Final = 10_000


@dataclass(frozen=True)
class Split:
    """The three parts of a set; dev is what chooses, test only scores."""

    name: str
    train: TextDataset
    dev: TextDataset
    test: TextDataset

    @property
    def fingerprint(self) -> str:
        """A hash of all three; runs on other texts are other runs."""
        hashes = " ".join(part.content_hash() for part in (self.train, self.dev, self.test))
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def load_split(data: Path, name: str, limit: int | None = None) -> Split:
    """Read a set; `limit`: the first so many texts of each file only, to try things out."""
    folder, ending = SETS[name]
    parts = [read_texts(data / folder / f"{part}{ending}.jsonl") for part in ("train", "test")]
    train, test = (replace(part, texts=part.texts[:limit]) for part in parts)
    return Split(name, *hold_out_texts(train, HELD_OUT), test)


def labels_in(data: TextDataset) -> list[str]:
    """The label of each text."""
    return [(text.labels or ("",))[0] for text in data]


def score(gold: Sequence[str], given: Sequence[str]) -> LabelScores:
    """Accuracy and macro F1, over the full gold."""
    columns = sorted({*gold, *given})
    one, other = (np.array(columns) == np.array(side)[:, None] for side in (gold, given))
    return label_scores(one, other, columns, single=True)


# -------------------------------------------------------------------------------------------------------------- ours


def our_settings(base: str, plan: str, pooling: str, train: TextDataset, epochs: float | None) -> dict[str, Any]:
    """All that decides a run of ours besides the data and the seed."""
    from lookright import TextClassifier, __version__
    from lookright.models.base import fingerprint, resolve_folder
    from lookright.training.defaults import Facts
    from lookright.training.recipe import Recipe
    from lookright.training.weights import facts_of

    if base not in _FACTS:
        classifier = TextClassifier.from_pretrained(base, labels=["a", "b"])
        assert classifier.model is not None
        _FACTS[base] = (facts_of(classifier.model, 0, classifier.device), fingerprint(resolve_folder(base)))
    facts, weights = _FACTS[base]
    assert isinstance(facts, Facts)
    recipe = Recipe(task="text", pooling=pooling, epochs=epochs).resolved(replace(facts, n_sentences=len(train)))
    kept = {k: v for k, v in recipe.to_dict().items() if v is not None and k not in ("seed", "device", "report_to")}
    return {"base": weights[:16], "plan": plan, "recipe": kept, "version": __version__}


_FACTS: dict[str, tuple[Any, str]] = {}


def run_ours(base: str, split: Split, seed: int, plan: str, pooling: str, epochs: float | None) -> Answer:
    """Train on train, choose the checkpoint on dev, classify test."""
    from lookright import TextClassifier

    classifier = TextClassifier.from_pretrained(base, plan=plan)
    began = time.perf_counter()
    options: dict[str, Any] = {"pooling": pooling, "seed": seed}
    if epochs is not None:
        options["epochs"] = epochs
    result = classifier.fit(split.train, split.dev, progress=False, **options)
    trained = time.perf_counter()
    given = [[said.label or ""] for said in classifier.predict([text.text for text in split.test])]
    account = {"update": result.outcome.update, "n_updates": result.outcome.n_updates}
    return Answer(given, trained - began, time.perf_counter() - trained, result.outcome.best_score, account)


# -------------------------------------------------------------------------------------------------------------- runs


def jobs_of(args: argparse.Namespace, split: Split) -> list[Job]:
    """All jobs on one set."""
    jobs = []
    for system in args.systems:
        if system == "ours":
            for plan in args.plans:
                for pooling in args.poolings:
                    settings = our_settings(args.base, plan, pooling, split.train, args.epochs)
                    jobs += [Job(system, split.name, seed, split.fingerprint, settings) for seed in args.seeds]
        else:
            peer = text_peers.PEERS[system]
            seeds = args.seeds if peer.random else [0]
            settings = {"about": peer.about, "version": version(peer.package)}
            jobs += [Job(system, split.name, seed, split.fingerprint, settings) for seed in seeds]
    return jobs


def answer_of(args: argparse.Namespace, job: Job, split: Split) -> Answer:
    """Run one job."""
    if job.system == "ours":
        settings = job.settings
        return run_ours(args.base, split, job.seed, settings["plan"], settings["recipe"]["pooling"], args.epochs)
    parts = [([text.text for text in part], labels_in(part)) for part in (split.train, split.dev)]
    return text_peers.PEERS[job.system].run(*parts[0], *parts[1], [text.text for text in split.test], job.seed)


def run_all(args: argparse.Namespace, runs: Runs, splits: dict[str, Split], jobs: list[Job]) -> None:
    """Run what is not finished: peers first, then the first seed of everything before the second of anything."""
    jobs = sorted(jobs, key=lambda job: (job.seed, job.system == "ours"))
    for number, job in enumerate(jobs, start=1):
        if job.id in runs.rows():
            continue
        split = splits[job.set]
        processor = time.process_time()
        answer = answer_of(args, job, split)
        found = score(labels_in(split.test), [labels[0] for labels in answer.tags])
        row = runs.add(job, answer, found.headline, held_out=True, cpu_seconds=time.process_time() - processor)
        print(
            f"[{number}/{len(jobs)}] {name_of(row)} on {job.set}, seed {job.seed}: test {row['test']}, dev "
            f"{row['dev']}, trained {row['train_seconds']} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- report


def choice_of(row: dict[str, Any]) -> tuple[str, str] | None:
    """Plan and pooling of a row of ours."""
    settings = row["settings"]
    return (settings["plan"], settings["recipe"]["pooling"]) if row["system"] == "ours" else None


def name_of(row: dict[str, Any]) -> str:
    """What a row's system is called."""
    choice = choice_of(row)
    return text_peers.PEERS[row["system"]].name if choice is None else " ".join(("LookRight", *choice))


@dataclass(frozen=True)
class Result:
    """A system on a set, over its seeds.

    Attributes:
        name: of the system, with plan and pooling.
        choice: plan and pooling, of ours; None for a peer.
        dev, test, macro_f1: means over seeds, times 100.
        deviation: of test over seeds; None for one seed.
        wrong: (n_seeds, n_texts) the label given where it is wrong, "" where it is right.
        seeds: which.
        train_seconds: mean over seeds.
    """

    name: str
    choice: tuple[str, str] | None
    dev: float
    test: float
    macro_f1: float
    deviation: float | None
    wrong: np.ndarray[Any, np.dtype[np.str_]]
    seeds: tuple[int, ...]
    train_seconds: float

    @property
    def ours(self) -> bool:
        """Whether it is ours."""
        return self.choice is not None

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(n_texts,) the share of the seeds that are right about each test text."""
        found: np.ndarray[Any, np.dtype[np.float64]] = np.mean(self.wrong == "", axis=0)
        return found


class Gap(NamedTuple):
    """Ours, and how it was chosen, beside a peer; the points of accuracy between them, with their interval."""

    how: str
    ours: Result
    peer: Result
    points: str


def results_on(split: Split, rows: Sequence[dict[str, Any]], runs: Runs) -> list[Result]:
    """The systems on a set that have finished runs."""
    gold = labels_in(split.test)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(name_of(row), []).append(row)
    found = []
    for name, own in by_name.items():
        given = [[labels[0] for labels in runs.tags(row)] for row in own]
        scores = [score(gold, labels) for labels in given]
        tests = [100 * one.accuracy for one in scores]
        found.append(
            Result(
                name=name,
                choice=choice_of(own[0]),
                dev=float(np.mean([row["dev"] for row in own])),
                test=float(np.mean(tests)),
                macro_f1=float(np.mean([100 * one.macro_f1 for one in scores])),
                deviation=float(np.std(tests, ddof=1)) if len(tests) > 1 else None,
                wrong=np.where(np.array(given) == np.array(gold), "", np.array(given)),
                seeds=tuple(sorted(row["seed"] for row in own)),
                train_seconds=float(np.mean([row["train_seconds"] for row in own])),
            )
        )
    return found


def difference(one: Result, other: Result, seed: int = 0) -> tuple[float, float, float]:
    """Points of accuracy between two systems, with the 95 % paired bootstrap interval over test texts."""
    gaps = 100 * (one.right - other.right)
    draw = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(gaps))
    means = [
        gaps[draw.integers(0, len(gaps), (min(block, SAMPLES - at), len(gaps)))].mean(1)
        for at in range(0, SAMPLES, block)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(gaps.mean()), float(low), float(high)


def chosen(results: Sequence[Result]) -> tuple[Result | None, Result | None]:
    """Ours as dev chooses it, and the peer that is best on test, which is the hardest choice for ours."""
    ours = [one for one in results if one.ours]
    peers = [one for one in results if not one.ours]
    best = max(ours, key=lambda one: one.dev) if ours else None
    return best, max(peers, key=lambda one: one.test) if peers else None


def pairs_of(results: Sequence[Result]) -> list[tuple[str, Result, Result]]:
    """Ours as dev chooses it, and as it comes, each beside every peer, the best first."""
    peers = sorted((one for one in results if not one.ours), key=lambda one: -one.test)
    default = next((one for one in results if one.choice == AS_IT_COMES), None)
    both = (("chosen on dev", chosen(results)[0]), ("as it comes", default))
    return [(how, one, peer) for how, one in both if one is not None for peer in peers]


def gaps_of(results: Sequence[Result]) -> list[Gap]:
    """The `pairs_of` the systems, each with its difference in words."""
    found = []
    for how, one, peer in pairs_of(results):
        points, low, high = difference(one, peer)
        found.append(Gap(how, one, peer, f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"))
    return found


def section(name: str, rows: Sequence[Sequence[str]], *, as_markdown: bool) -> list[str]:
    """The lines of a table with its title, the head first."""
    return [f"### {name}" if as_markdown else name, "", (markdown if as_markdown else plain_text)(rows), ""]


def pooling_lines(by_set: dict[str, list[Result]], *, as_markdown: bool) -> list[str]:
    """Dev of each plan and pooling, the mean over the sets: what the default pooling is chosen by. Then test."""
    cells: dict[tuple[str, str], list[Result]] = {}
    for results in by_set.values():
        for one in results:
            if one.choice is not None:
                cells.setdefault(one.choice, []).append(one)
    whole = {choice: own for choice, own in cells.items() if len(own) == len(by_set)}
    if not whole:
        return []
    poolings = [pooling for pooling in POOLINGS if any(pooling == other for _, other in whole)]

    def cell(plan: str, pooling: str) -> str:
        own = whole.get((plan, pooling))
        if own is None:
            return "-"
        return f"{np.mean([one.dev for one in own]):.2f} / {np.mean([one.test for one in own]):.2f}"

    rows = [
        ["plan, dev / test", *poolings],
        *([plan, *(cell(plan, pooling) for pooling in poolings)] for plan in dict.fromkeys(plan for plan, _ in whole)),
    ]
    return section(f"mean over {', '.join(by_set)}", rows, as_markdown=as_markdown)


def lines_of(results: Sequence[Result], gaps: Sequence[Gap], name: str, *, as_markdown: bool) -> list[str]:
    """A table of one set, best on dev first, and what is between ours and the peers."""
    head = ["system", "dev", "test accuracy", "macro F1", "seeds", "train s"]
    rows = [
        [
            one.name,
            f"{one.dev:.2f}",
            f"{one.test:.2f}" + ("" if one.deviation is None else f" ± {one.deviation:.2f}"),
            f"{one.macro_f1:.2f}",
            str(len(one.seeds)),
            f"{one.train_seconds:.0f}",
        ]
        for one in sorted(results, key=lambda one: -one.dev)
    ]
    lines = section(name, [head, *rows], as_markdown=as_markdown)
    for how, one, peer, points in gaps:
        lines += [f"{one.name} ({how}) minus {peer.name}: {points}", shared_errors(one, peer), ""]
    return lines


def shared_errors(one: Result, other: Result) -> str:
    """How many texts two systems get wrong, how many both do, and how often they say the same then.

    What both get wrong is hard, or its gold is wrong; where they also agree, the latter is likelier.
    """
    mine, theirs = one.wrong[:, None], other.wrong[None]  # every seed of one beside every seed of the other
    both = (mine != "") & (theirs != "")
    counts = [(a != "").sum(-1).mean() for a in (mine, theirs)]
    same = (both & (mine == theirs)).sum(-1).mean()
    return (
        f"wrong, of {len(one.right)} texts (means over seeds): {one.name} {counts[0]:.0f}, {other.name} "
        f"{counts[1]:.0f}, both {both.sum(-1).mean():.0f}, of these {same:.0f} with the same wrong label"
    )


def record_all(name: str, results: Sequence[Result], gaps: Sequence[Gap]) -> None:
    """Keep the means and the differences."""
    ours, peer = chosen(results)
    for one in results:
        goal = round(peer.test, 2) if one is ours and peer else None
        unit = "100 x accuracy, test, mean over seeds"
        record("quality", f"{name}: {one.name}", round(one.test, 2), unit, goal=goal, seeds=one.seeds)
    for how, one, other, points in gaps:
        what = f"{name}: {one.name}, {how}, minus {other.name}"
        record("quality", what, points, "points, 95 % paired bootstrap interval", goal="> 0", seeds=one.seeds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77 and trec-qc")
    parser.add_argument("--runs", type=Path, required=True, help="file of finished runs, read and added to")
    parser.add_argument("--base", default="lookright-nano", help="the base that ours starts from")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--poolings", nargs="+", choices=POOLINGS, default=list(POOLINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, help="of ours, in place of the product's own")
    parser.add_argument("--limit", type=int, help="texts of each file, to try things out")
    parser.add_argument("--table", action="store_true", help="run nothing, show what is finished")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--record", action="store_true", help="add the means to benchmarks/results/quality.jsonl")
    args = parser.parse_args()
    missing = [
        text_peers.PEERS[one].module
        for one in args.systems
        if one != "ours" and not find_spec(text_peers.PEERS[one].module)
    ]
    if missing and not args.table:
        parser.error(f"{', '.join(sorted(set(missing)))} not installed; leave that out: --systems ours")
    if args.record and args.limit:
        parser.error("--record keeps figures of whole sets: leave --limit out")
    return args


def main() -> None:
    args = arguments()
    runs = Runs(args.runs)
    splits = {name: load_split(args.data, name, args.limit) for name in args.sets}
    if not args.table:
        run_all(args, runs, splits, [job for split in splits.values() for job in jobs_of(args, split)])
    rows = list(runs.rows().values())
    found: dict[str, list[Result]] = {}
    for name, split in splits.items():
        of_set = [row for row in rows if row["set"] == name and row["data"] == split.fingerprint]
        asked = [row for row in of_set if row["system"] in args.systems and row["seed"] in args.seeds]
        results = found[name] = results_on(split, asked, runs)
        gaps = gaps_of(results)
        print("\n".join(lines_of(results, gaps, name, as_markdown=args.markdown)))
        if args.record:
            record_all(name, results, gaps)
    print("\n".join(pooling_lines(found, as_markdown=args.markdown)))


if __name__ == "__main__":
    main()
