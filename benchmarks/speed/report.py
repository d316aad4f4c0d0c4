"""Tables, and figures that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.speed.rounds import Reached, Summary


@dataclass(frozen=True)
class Figure:
    """One measured figure, as `benchmarks.results.record` takes it."""

    name: str
    value: float | int | str | None
    unit: str
    goal: float | str | None = None
    seeds: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def table(found: Mapping[str, Summary]) -> list[list[str]]:
    """The cells of the rows of one activity, the header first; ratios are to the fastest row that is not ours."""
    rival = next((one.rate for name, one in found.items() if not name.startswith(("LookRight", "spaCy"))), None)
    rows = [
        [
            "system",
            "tokens/s",
            "lowest - highest",
            "x best peer",
            "tokens/CPU s",
            "% of roof",
            "forward, % of roof",
            "peak MB",
        ]
    ]
    for one in found.values():
        times = "-" if rival is None else f"{one.rate / rival:.2f}"
        spread = f"{one.low:,.0f} - {one.high:,.0f}"
        processor = "-" if one.cpu_rate is None else f"{one.cpu_rate:,.0f}"
        shares = ["-" if share is None else f"{share:.0f}" for share in (one.roof, one.forward)]
        rows.append([one.case, f"{one.rate:,.0f}", spread, times, processor, *shares, f"{one.peak_mb:,.0f}"])
    return rows


def goal_lines(reached: Sequence[Reached]) -> list[str]:
    """Each goal in a line."""
    lines = []
    for one in reached:
        missed = "" if one.ratio >= one.goal.ratio else "  MISSED"
        ratio = f"{one.ratio:.2f} (goal: {one.goal.ratio:g}){missed}"
        lines.append(f"{one.goal.what}: {ratio}   {one.mine} / {one.theirs}")
    return lines


def busy_line(found: Mapping[str, Summary]) -> str | None:
    """A line about others on the machine; None where there were none."""
    known = [one for one in found.values() if one.disturbed is not None]
    disturbed, rounds = sum(one.disturbed or 0 for one in known), sum(one.rounds for one in known)
    if not known:
        return "this system does not tell whether others computed meanwhile"
    if not disturbed:
        return None
    return (
        f"the machine was busy: others computed during {disturbed} of {rounds} rounds, so that these figures say little"
    )


def figures(
    activity: str,
    found: Mapping[str, Summary],
    reached: Sequence[Reached],
    forward: tuple[str, float, float] | None,
    setting: str,
) -> list[Figure]:
    """The figures of an activity."""  # fmt: skip
    what = {"train": "training", "predict": "prediction"}[activity]
    busy = "" if not any(one.disturbed for one in found.values()) else ", on a busy machine"
    out = []
    for one in found.values():
        unit = f"real tokens/s, median of {one.rounds} rounds, {one.low:.0f} to {one.high:.0f}, {setting}{busy}"
        out.append(Figure(f"{what}: {one.case}", round(one.rate), unit))
        if one.roof is not None:
            out.append(
                Figure(f"{what}: {one.case}, share of the roof", round(one.roof, 1), f"%, median, {setting}{busy}")
            )
    for goal in reached:
        unit = f"ratio of medians, {goal.mine} / {goal.theirs}, {setting}{busy}"
        out.append(Figure(goal.goal.what, round(goal.ratio, 2), unit, goal.goal.ratio))
    if forward is not None:
        case, share, wanted = forward
        unit = f"% of the roof, forward passes alone, median, {setting}{busy}"
        out.append(Figure(f"{what}: {case}, forward", round(share, 1), unit, wanted))
    return out
