"""The tables as a picture: a bar for each system, and curves of how cost grows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.speed.rounds import Summary

COLOURS: Final = {"LookRight": "#1f5fa8", "spaCy": "#e0a458"}
OTHERS: Final = "#9aa5b1"
ABREAST: Final = 2
"""Curves beside each other."""


def _colour(case: str) -> str:
    return next((colour for name, colour in COLOURS.items() if case.startswith(name)), OTHERS)


def draw(by_activity: Mapping[str, Mapping[str, Summary]], growth: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write a PNG.

    Args:
        by_activity: summaries.
        growth: rows of the second table: `axis`, `at`, `us_per_token`, `what`.
        file: where to.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {name: found for name, found in by_activity.items() if found}
    axes_of = sorted({row["axis"] for row in growth})
    heights = [0.6 + 0.27 * len(found) for found in shown.values()] + [2.4] * math.ceil(len(axes_of) / ABREAST)
    if not heights:
        return
    figure = plt.figure(figsize=(9, sum(heights) + 0.4), layout="constrained")
    grid = figure.add_gridspec(len(heights), ABREAST, height_ratios=heights)
    for number, (name, found) in enumerate(shown.items()):
        _bars(figure.add_subplot(grid[number, :]), {"train": "training", "predict": "prediction"}[name], found)
    for number, axis in enumerate(axes_of):
        place = grid[len(shown) + number // ABREAST, number % ABREAST]
        _curves(figure.add_subplot(place), axis, [row for row in growth if row["axis"] == axis])
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _bars(axes: Any, title: str, found: Mapping[str, Summary]) -> None:
    summaries = list(found.values())[::-1]
    rates = [one.rate for one in summaries]
    spread = [[one.rate - one.low for one in summaries], [one.high - one.rate for one in summaries]]
    axes.barh([one.case for one in summaries], rates, color=[_colour(one.case) for one in summaries])
    axes.errorbar(rates, range(len(rates)), xerr=spread, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    for place, one in enumerate(summaries):
        roof = "" if one.roof is None else f", {one.roof:.0f} % of the roof"
        axes.text(one.high, place, f"  {one.rate:,.0f}{roof}", va="center", fontsize=7)
    axes.set_xlim(0, 1.3 * max(one.high for one in summaries))
    axes.set_title(f"{title}: real tokens per second, median and range of rounds", fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _curves(axes: Any, axis: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for what in dict.fromkeys(row["what"] for row in rows):
        points = sorted((row["at"], row["us_per_token"]) for row in rows if row["what"] == what)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=what)
    places = [row["at"] for row in rows]
    if max(places) > 50 * max(1, min(places)):
        axes.set_xscale("log")
    axes.set_ylim(0, 1.35 * max(row["us_per_token"] for row in rows))  # room for the legend
    if len(set(places)) < 6:
        axes.set_xticks(sorted(set(places)), [f"{place:,}" for place in sorted(set(places))])
        axes.minorticks_off()
    axes.set_title(f"µs a token, by {axis}", fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    axes.legend(frameon=False, fontsize=6, loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
