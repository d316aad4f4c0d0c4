"""Rounds: all systems in turn, in another order each time; and what a set of rounds comes to."""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import FORWARD_SHARE, GOALS, Case, Goal
from benchmarks.speed.environments import Environments, NoEnvironment
from benchmarks.speed.workers import BUSY, Failed, Meter, Worker, environment

WEIGHTS_TOLERANCE = 1e-3
"""Between the sums of the same weights, rounded to bfloat16 in some systems."""

TOKENS_TOLERANCE = 0.01
"""Between the sub-words of a file and those that a system computed: libraries split some words in ways of their own."""

CUTTING = ("billm", "paper")
"""Families that cut long sentences, and compute fewer sub-words than there are."""

Round = dict[str, Any]
"""`case`, `activity`, `round`, and the answer of the system: `seconds`, `tokens`, ...; `others`, `roof_seconds`."""


def order(names: Sequence[str], number: int, seed: int) -> list[str]:
    """The order of a round: random, and the same for the same seed."""
    shuffled = list(names)
    random.Random(f"round {seed} {number}").shuffle(shuffled)
    return shuffled


@dataclass(frozen=True)
class Bench:
    """Where and how cases are run.

    Attributes:
        environments: of the systems.
        folder: for logs and rounds.
        threads: of each system.
        device: `cpu` or `cuda`.
        model: the folder of the shared model.
        plan: of ours; the same layers are open in BiLLM and the paper's model.
        first_open: the lowest open layer.
        seed: of orders.
    """

    environments: Environments
    folder: Path
    threads: int
    device: str
    model: Path
    plan: str
    first_open: int
    seed: int

    def start(self, script: str, env: str, name: str) -> Worker:
        """A system's process."""
        log = self.folder / "logs" / f"{''.join(c if c.isalnum() else '-' for c in name)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return Worker(self.environments.python(env), script, environment(self.threads, self.device), log)

    def request(self, case: Case, sentences: Path | None, **more: Any) -> dict[str, Any]:
        """What a system is asked to prepare."""
        about = {
            "activity": case.activity,
            "model": str(self.model),
            "sentences": None if sentences is None else str(sentences),
            "precision": case.precision,
            "plan": self.plan,
            "first_open": self.first_open,
            "device": self.device,
            "seed": self.seed,
            **case.options,
            **more,
        }
        return {"do": "prepare", "case": about}


def prepare(bench: Bench, cases: Iterable[Case], sentences: Path) -> tuple[dict[str, Worker], dict[str, str]]:
    """Start and warm up the systems, one after the other.

    Returns:
        The processes by the name of their case; and why others are missing.
    """
    workers: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    weights: float | None = None
    for case in cases:
        print(f"preparing {case.name}", file=sys.stderr, flush=True)
        worker = None
        try:
            worker = bench.start(case.script, case.environment, f"{case.activity} {case.name}")
            about = worker.ask(bench.request(case, sentences))["about"]
            if about.get("threads", bench.threads) != bench.threads:
                raise Failed(f"it computes with {about['threads']} threads, and not with {bench.threads}")
            if "weights" in about:
                weights = weights or about["weights"]
                if abs(about["weights"] - weights) > WEIGHTS_TOLERANCE * weights:
                    raise Failed(f"it has other weights: their sum is {about['weights']}, elsewhere {weights}")
        except (Failed, NoEnvironment) as error:
            if worker is not None:
                worker.end()
            missing[case.name] = str(error)
            print(f"{case.name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        workers[case.name] = worker
        if "first" in about:  # where layers are compiled, most of it is that
            print(f"{case.name}: the first pass took {about['first']:.1f} s", file=sys.stderr, flush=True)
    return workers, missing


def run(
    bench: Bench, cases: Sequence[Case], sentences: Path, n_rounds: int, keep: Callable[[Round], None]
) -> dict[str, str]:
    """Run all rounds of some cases.

    Args:
        bench: where.
        cases: of one activity.
        sentences: the file.
        n_rounds: how many.
        keep: gets each round as it ends.

    Returns:
        Why cases are missing.
    """
    by_name = {case.name: case for case in cases}
    known = {file: subwords(Path(file)) for file in {case.options.get("sentences", str(sentences)) for case in cases}}
    workers, missing = prepare(bench, cases, sentences)
    roof = bench.start("with_lookright", "ours", "roof") if any(case.has_roof for case in cases) else None
    try:
        if roof is not None:
            roof.ask(bench.request(Case("roof", "roof", "with_lookright", "ours", "ours"), None))
        for number in range(n_rounds):
            for name in order(sorted(workers), number, bench.seed):
                case, meter = by_name[name], Meter(workers[name].process.pid)
                try:
                    answer = workers[name].ask({"do": "round"})
                    answer["others"] = meter.others()
                    check_tokens(case, answer["tokens"], known[case.options.get("sentences", str(sentences))])
                    answer["roof_seconds"] = _roof(roof, case, answer) if roof is not None and case.has_roof else None
                except Failed as error:
                    missing[name] = str(error)
                    workers.pop(name).end()
                    print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
                    continue
                answer["n_batches"] = len(answer.pop("batches"))
                keep({"case": name, "activity": case.activity, "round": number, **answer})
                rate = answer["tokens"] / answer["seconds"]
                print(f"[round {number + 1}/{n_rounds}] {name}: {rate:,.0f} tokens/s", file=sys.stderr, flush=True)
    finally:
        for worker in (*workers.values(), *([] if roof is None else [roof])):
            worker.end()
    return missing


def subwords(sentences: Path) -> int:
    """The sub-words of a file of sentences."""
    with sentences.open(encoding="utf-8") as lines:
        return sum(json.loads(line)["n_subwords"] for line in lines)


def check_tokens(case: Case, counted: int, there: int) -> None:
    """Make sure that a system counted real tokens, and all of them.

    Raises:
        Failed: more than there are; or fewer, but for systems that cut sentences. Windows may overlap, so that long
            sentences in windows are not checked.
    """
    if "window" in case.options:
        return
    most, least = there * (1 + TOKENS_TOLERANCE), there * (1 - TOKENS_TOLERANCE)
    if counted > most or (counted < least and case.family not in CUTTING):
        raise Failed(f"it counted {counted:,} real tokens in a round, of {there:,} that there are")


def _roof(roof: Worker, case: Case, answer: Mapping[str, Any]) -> float:
    """Seconds of the bare products of a round's batches, taken right after it."""
    work = "full" if case.activity == "train" else "forward"
    given = {"batches": answer["batches"], "precision": case.precision, "work": work}
    return float(roof.ask({"do": "round", "with": given})["seconds"])


# ------------------------------------------------------------------------------------------------------------ summing


@dataclass(frozen=True)
class Summary:
    """What the rounds of a case come to.

    Attributes:
        case: its name.
        rate: real tokens per second, the median over rounds.
        low, high: the lowest and the highest rate.
        cpu_rate: real tokens per second of processor time, the median: a hint where the machine is busy.
        roof: per cent of the roof, the median; None where there is none.
        forward: per cent of the roof that forward passes alone reach (prediction); None likewise.
        peak_mb: the most memory of its process.
        rounds: how many.
        disturbed: in how many others used more than `BUSY` cores; None where the system does not tell.
    """

    case: str
    rate: float
    low: float
    high: float
    cpu_rate: float | None
    roof: float | None
    forward: float | None
    peak_mb: float
    rounds: int
    disturbed: int | None

    @classmethod
    def of(cls, name: str, rounds: Sequence[Round]) -> Summary:
        """Sum up."""
        rates = [row["tokens"] / row["seconds"] for row in rounds]
        of_processor = [row["tokens"] / row["cpu_seconds"] for row in rounds if row["cpu_seconds"]]
        known = [row["others"] for row in rounds if row["others"] is not None]
        return cls(
            case=name,
            rate=statistics.median(rates),
            low=min(rates),
            high=max(rates),
            cpu_rate=statistics.median(of_processor) if of_processor else None,
            roof=_share(rounds, "seconds"),
            forward=_share(rounds, "forward_seconds") if rounds[0]["activity"] == "predict" else None,
            peak_mb=max(row["peak_mb"] for row in rounds),
            rounds=len(rounds),
            disturbed=sum(used > BUSY for used in known) if known else None,
        )


def _share(rounds: Sequence[Round], seconds: str) -> float | None:
    shares = [100 * row["roof_seconds"] / row[seconds] for row in rounds if row["roof_seconds"] and row.get(seconds)]
    return statistics.median(shares) if shares else None


def summaries(rounds: Iterable[Round], activity: str) -> dict[str, Summary]:
    """The summary of each case of an activity, the fastest first."""
    by_case: dict[str, list[Round]] = {}
    for row in rounds:
        if row["activity"] == activity:
            by_case.setdefault(row["case"], []).append(row)
    found = [Summary.of(name, rows) for name, rows in by_case.items()]
    return {one.case: one for one in sorted(found, key=lambda one: -one.rate)}


@dataclass(frozen=True)
class Reached:
    """A goal and what came of it: the ratio of the medians of the fastest of ours and the fastest of theirs."""

    goal: Goal
    ratio: float
    mine: str
    theirs: str


def reached(cases: Sequence[Case], found: Mapping[str, Summary]) -> list[Reached]:
    """All goals whose cases were measured."""
    out = []
    for goal in GOALS:
        among = [case for case in cases if case.activity == goal.activity and case.name in found]
        mine = [case.name for case in among if case.family == "ours" and case.precision in goal.mine]
        theirs = [case.name for case in among if (case.family, case.precision) in goal.theirs]
        if mine and theirs:
            best, rival = (max(names, key=lambda name: found[name].rate) for names in (mine, theirs))
            out.append(Reached(goal, found[best].rate / found[rival].rate, best, rival))
    return out


def forward_share(cases: Sequence[Case], found: Mapping[str, Summary]) -> tuple[str, float, float] | None:
    """Ours' share of the roof in bfloat16 forward passes: case, per cent, goal."""
    for case in cases:
        one = found.get(case.name)
        if one is not None and (case.family, case.precision) == ("ours", "bfloat16") and one.forward is not None:
            return case.name, one.forward, FORWARD_SHARE
    return None


class Book:
    """The file of rounds: one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, row: Round) -> None:
        """Append a round."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def rows(self) -> list[Round]:
        """All rounds."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
