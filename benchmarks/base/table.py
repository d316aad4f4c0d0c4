"""Tables, tests and the plot of the small-scale study, from the rows of benchmarks/base/grid.py.

    python benchmarks/base/table.py runs.jsonl
    python benchmarks/base/table.py runs.jsonl --markdown study.md --plot study.png --record

For each set: the encoder (variant `encoder`), the decoder (variant `decoder`) causal, open and under the best of its
plans, which dev chooses, and every other variant under the plan that it carries; mean, standard deviation and interval
over seeds; paired tests with Holm's correction over the comparisons of a set; the paper's test over its seventeen pairs
of plans. `lookright.study.statistics` says what each test answers. `--record` adds the figures to
benchmarks/results/base.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.base.cells import PLANS, SETS, Cell
from benchmarks.base.rows import done_rows

from benchmarks import tables
from lookright.errors import DataError, LookRightError
from lookright.study.rows import Counts, Row, read_counts, read_rows, recipe_difference
from lookright.study.statistics import (
    SAMPLES,
    Choice,
    Compared,
    PaperTest,
    Run,
    Runs,
    Summary,
    choose_plan,
    compare_pairs,
    paper_test,
    resampled,
    summarise,
)

DECODER: Final = "decoder"
ENCODER: Final = "encoder"
BEST: Final = "decoder, best plan"
PAPERS_TEST: Final = (
    "The paper's test: one-sided paired t-test of means over seeds over 17 pairs of plans; H0: opening further groups "
    "towards the output does not help; level 0.01. Its pairs share plans: where plans do not differ at all, it rejects "
    "in 7.7 % of the cases instead of 1 %; permuting the plans mends that."
)


@dataclass(frozen=True)
class SetResult:
    """All that is said about a set.

    Attributes:
        name: of the set.
        convention: of the figures.
        systems: by name, in the order of the table.
        choice: of the decoder's plan by dev; None where no plan has runs.
        by_plan: each of the decoder's plans.
        own_plan: of each variant that carries one.
        comparisons: in the order of the table.
        paper: the paper's test on dev and on test; None while plans are missing.
    """

    name: str
    convention: str
    systems: Mapping[str, Summary]
    choice: Choice | None
    by_plan: Mapping[str, Summary]
    own_plan: Mapping[str, str]
    comparisons: Sequence[Compared]
    paper: Mapping[str, PaperTest] | None


# --------------------------------------------------------------------------------------------------------- from rows


def load(files: Sequence[Path], *, seeds: Sequence[int] | None = None) -> tuple[dict[Cell, Row], dict[str, Counts]]:
    """The rows that are done and the counts by run id, of one or several files.

    Raises:
        DataError: no rows, rows without counts, or rows that are not of one study.
    """
    rows = done_rows(row for file in files for row in read_rows(file))
    rows = {cell: row for cell, row in rows.items() if seeds is None or cell.seed in seeds}
    counts = {run: value for file in files for run, value in read_counts(file).items()}
    if not rows:
        raise DataError(f"no finished runs in {', '.join(map(str, files))}")
    first = next(iter(rows.values()))
    hashes: dict[str, str] = {}
    bases: dict[str, str] = {}
    for cell, row in rows.items():
        if row["run"] not in counts:
            raise DataError(f"the counts of {cell.name} (run {row['run']}) are missing: merge the counts files, too")
        if (difference := recipe_difference(first, row)) is not None:
            raise DataError(f"the runs are not of one study: {difference}")
        for known, key, value, what in (
            (hashes, cell.set, row["data"]["test"], "test data"),
            (bases, cell.variant, row["base"], "weights"),
        ):
            if known.setdefault(key, value) != value:
                raise DataError(f"the runs are not of one study: {cell.name} has other {what} than earlier rows")
    return rows, counts


def results(rows: Mapping[Cell, Row], counts: Mapping[str, Counts], *, samples: int = SAMPLES) -> list[SetResult]:
    """The result of each set that has rows."""
    names = sorted({cell.set for cell in rows}, key=lambda name: (SETS.index(name) if name in SETS else 99, name))
    return [_result(name, {c: r for c, r in rows.items() if c.set == name}, counts, samples) for name in names]


def _result(name: str, rows: Mapping[Cell, Row], counts: Mapping[str, Counts], samples: int) -> SetResult:
    cells = sorted(rows)
    drawn = resampled([counts[rows[cell]["run"]] for cell in cells], samples=samples)
    runs: dict[tuple[str, str], dict[int, Run]] = {}
    for index, cell in enumerate(cells):
        row = rows[cell]
        run = Run(row["dev"], row["test"], counts[row["run"]], drawn[index])
        runs.setdefault((cell.variant, cell.plan), {})[cell.seed] = run
    by_plan = {plan: found for (variant, plan), found in runs.items() if variant == DECODER}
    own_plan = {variant: plan for variant, plan in runs if variant != DECODER}
    if len(own_plan) != sum(variant != DECODER for variant, _ in runs):
        raise DataError(
            f"{name}: only {DECODER!r} may have runs under several plans; keep other decoders in other files"
        )
    choice = choose_plan(by_plan)
    systems: dict[str, Runs] = {}
    if ENCODER in own_plan:
        systems[ENCODER] = runs[ENCODER, own_plan[ENCODER]]
    systems |= {f"{DECODER} {plan}": by_plan[plan] for plan in ("0000", "1111") if plan in by_plan}
    if choice is not None:
        systems[BEST] = {seed: by_plan[choice.plan][seed] for seed in choice.seeds}
    systems |= {variant: runs[variant, plan] for variant, plan in sorted(own_plan.items()) if variant != ENCODER}
    comparisons = _comparisons(systems, by_plan, own_plan, choice, samples)
    tests = {split: paper_test(by_plan, split, samples=samples) for split in ("dev", "test")}
    return SetResult(
        name=name,
        convention=next(iter(rows.values()))["convention"],
        systems={system: summarise(found) for system, found in systems.items()},
        choice=choice,
        by_plan={plan: summarise(found) for plan, found in sorted(by_plan.items())},
        own_plan=own_plan,
        comparisons=comparisons,
        paper=None if None in tests.values() else {split: t for split, t in tests.items() if t is not None},
    )


def _comparisons(
    systems: Mapping[str, Runs],
    by_plan: Mapping[str, Runs],
    own_plan: Mapping[str, str],
    choice: Choice | None,
    samples: int,
) -> list[Compared]:
    """The comparisons of a set: the same ones on every set, whatever came out, as far as there are runs."""
    causal, opened = f"{DECODER} 0000", f"{DECODER} 1111"
    wanted = [
        (opened, causal), (ENCODER, causal), (ENCODER, opened), (BEST, causal), (BEST, opened), (ENCODER, BEST),
    ]  # fmt: skip
    everything = {**{f"{DECODER} {plan}": found for plan, found in by_plan.items()}, **systems}
    for variant, plan in sorted(own_plan.items()):
        if variant != ENCODER:
            wanted.append((variant, f"{DECODER} {plan}"))
            if plan == own_plan.get(ENCODER):
                wanted.append((ENCODER, variant))
    chosen = None if choice is None else f"{DECODER} {choice.plan}"
    same_runs = (BEST, chosen)
    pairs = [(first, second) for first, second in wanted if (first, second) != same_runs]
    return compare_pairs(everything, pairs, samples=samples)


# ----------------------------------------------------------------------------------------------------------- in words


def report(found: Sequence[SetResult], rows: Mapping[Cell, Row], *, markdown: bool) -> str:
    """Tables and what must be known to read them."""
    layout = tables.markdown if markdown else tables.plain_text
    parts = [_about(rows), layout(overview(found))]
    for result in found:
        title = f"## {result.name}" if markdown else f"{result.name}\n{'=' * len(result.name)}"
        parts += [title, layout(_systems(result))]
        if (note := _choice_note(result)) is not None:
            parts.append(note)
        if result.comparisons:
            parts.append(layout(_tests(result)))
        if result.paper is not None:
            parts.append(_paper_note(result.paper))
    return "\n\n".join(parts) + "\n"


def _about(rows: Mapping[Cell, Row]) -> str:
    settings = next(iter(rows.values()))["settings"]
    conventions = sorted({row["convention"] for row in rows.values()})
    bases = {cell.variant: row["base"][:12] for cell, row in sorted(rows.items())}
    devices = sorted({row["device"] for row in rows.values()})
    head = (
        f"{len(rows)} runs; {', '.join(conventions)}, x 100, on test, at the checkpoint that dev chose. "
        f"{settings['updates']} updates of {settings['batch_size']} sentences, learning rate "
        f"{settings['learning_rate']:g}, sub-word {settings['subword']}, {settings['precision']}, on "
        f"{' and '.join(devices)}.\n"
        f"Weights: {', '.join(f'{name} {base}' for name, base in bases.items())}. One pretraining run of each: no "
        "interval here covers the chance in pretraining.\n"
        "Intervals (95 %): bootstrap over sentences and seeds. p (sentences): approximate randomization over "
        "sentences, all seeds together; p (both): bootstrap over sentences and seeds. Both are two-sided; Holm: after "
        "his correction over the comparisons of the set."
    )
    return f"{head}\n{PAPERS_TEST}"


def overview(found: Sequence[SetResult]) -> list[list[str]]:
    """Mean and standard deviation over seeds: a row for each system, a column for each set."""
    names = list(dict.fromkeys(system for result in found for system in result.systems))
    lines = [["system", *(result.name for result in found)]]
    for system in names:
        cells = []
        for result in found:
            text = "-" if system not in result.systems else _mean_and_sd(result.systems[system])
            if system == BEST and result.choice is not None:
                text += f" ({result.choice.plan})"
            cells.append(text)
        lines.append([system, *cells])
    return lines


def _systems(result: SetResult) -> list[list[str]]:
    lines = [["system", "plan", "dev", "test", "95 % interval", "seeds"]]
    for system, summary in result.systems.items():
        plan = result.own_plan.get(system, system.removeprefix(f"{DECODER} "))
        if system == BEST and result.choice is not None:
            plan = result.choice.plan
        interval = f"{_points(summary.low)} to {_points(summary.high)}"
        seeds = " ".join(map(str, summary.seeds))
        lines.append([system, plan, _points(summary.dev), _mean_and_sd(summary), interval, seeds])
    return lines


def _choice_note(result: SetResult) -> str | None:
    if result.choice is None:
        if result.by_plan:
            return "No best plan: the decoder's plans have no seed in common yet."
        return None
    missing = len(PLANS) - result.choice.n_plans
    note = (
        f"Best plan: of {result.choice.n_plans} plans the one with the highest mean on dev (seeds "
        f"{' '.join(map(str, result.choice.seeds))}), reported on test; test took no part in the choice."
    )
    return note + (f" {missing} of the sixteen plans have no runs yet." if missing else "")


def _tests(result: SetResult) -> list[list[str]]:
    lines = [
        ["comparison", "difference", "95 % interval", "p (sentences)", "Holm", "p (both)", "Holm", "seeds"],
    ]
    for item in result.comparisons:
        d = item.difference
        lines.append(
            [
                f"{item.first} - {item.second}",
                f"{100 * d.difference:+.2f}",
                f"{100 * d.low:+.2f} to {100 * d.high:+.2f}",
                _p(d.p_sentences), _p(item.holm_sentences), _p(d.p_both), _p(item.holm_both),
                str(len(d.seeds)),
            ]
        )  # fmt: skip
    return lines


def _paper_note(paper: Mapping[str, PaperTest]) -> str:
    parts = [
        f"{split}: mean gain {100 * test.gain:+.2f}, t = {test.statistic:.2f}, p {_p_sign(test.p_value)} "
        f"({'rejected' if test.p_value < 0.01 else 'not rejected'}), by permutation p {_p_sign(test.p_permuted)}"
        for split, test in paper.items()
    ]
    return f"The paper's test: {'; '.join(parts)}."


def _points(value: float) -> str:
    return f"{100 * value:.2f}"


def _mean_and_sd(summary: Summary) -> str:
    return _points(summary.mean) + ("" if summary.sd is None else f" ± {_points(summary.sd)}")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _p_sign(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


# --------------------------------------------------------------------------------------------------------------- main


def keep(found: Sequence[SetResult]) -> None:
    """Append the figures to the result file."""
    from benchmarks.results import record

    for result in found:
        unit = f"100 x {result.convention}, test, mean over seeds"
        for system, summary in result.systems.items():
            record("base", f"{result.name}: {system}", round(100 * summary.mean, 2), unit, seeds=summary.seeds)
        for item in result.comparisons:
            name, seeds = f"{result.name}: {item.first} minus {item.second}", item.difference.seeds
            record("base", name, round(100 * item.difference.difference, 2), unit, seeds=seeds)
            p_value = max(item.holm_sentences, item.holm_both)
            unit_p = "p, the larger of both tests, Holm over the set's comparisons"
            record("base", f"{name}: p", round(p_value, 4), unit_p, seeds=seeds)
        for split, test in (result.paper or {}).items():
            name = f"{result.name}: the paper's test of opening further groups towards the output, {split}"
            record("base", name, round(test.p_value, 4), "p, one-sided t-test, 17 pairs of plans", seeds=test.seeds)
            unit_p = "p, one-sided, the same statistic under permutation of the plans"
            record("base", f"{name}, permuted", round(test.p_permuted, 4), unit_p, seeds=test.seeds)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="files of rows, each with its counts file beside it")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each test")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the plot (PNG or SVG)")
    parser.add_argument("--record", action="store_true", help="add the figures to the result file")
    args = parser.parse_args(argv)
    try:
        rows, counts = load(args.runs, seeds=args.seeds)
        found = results(rows, counts, samples=args.samples)
    except LookRightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(found, rows, markdown=False), end="")
    if args.markdown:
        args.markdown.write_text(report(found, rows, markdown=True), encoding="utf-8")
    if args.plot:
        from benchmarks.base.plot import draw

        draw(found, args.plot)
    if args.record:
        keep(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
