"""The table as a picture: a bar for each system on each set, with the interval over test sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.quality.report import NAMES, Result

MODULES: Final = ("matplotlib",)
"""What must be installed."""

COLOURS: Final = {"ours": "#1f5fa8", "crf": "#9aa5b1", "spacy": "#e0a458"}


def draw(by_set: Mapping[str, Sequence[Result]], systems: Sequence[str], file: Path) -> None:
    """Write a PNG.

    Args:
        by_set: the results on each set.
        systems: in the order of the bars.
        file: where to.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width = 0.8 / len(systems)
    figure, axes = plt.subplots(figsize=(2.0 + 1.35 * len(by_set), 4.4), layout="constrained")
    for number, system in enumerate(systems):
        shown = [(at, one) for at, found in enumerate(by_set.values()) for one in found if one.system == system]
        if not shown:
            continue
        places = [at + (number - (len(systems) - 1) / 2) * width for at, _ in shown]
        means = [one.mean for _, one in shown]
        below = [max(0.0, one.mean - one.low) for _, one in shown]
        above = [max(0.0, one.high - one.mean) for _, one in shown]
        axes.bar(places, means, width * 0.94, color=COLOURS[system], label=NAMES[system])
        axes.errorbar(places, means, yerr=[below, above], fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        for place, (_, one) in zip(places, shown, strict=True):
            axes.text(place, one.high + 1, f"{one.mean:.1f}", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(range(len(by_set)), [_set_label(name, found) for name, found in by_set.items()], fontsize=8)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("test, 100 x strict span F1 or accuracy", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=len(systems), loc="lower left", bbox_to_anchor=(0, 1))
    axes.set_xlabel("means over seeds, with the 95 % interval over test sentences", fontsize=7)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _set_label(name: str, results: Sequence[Result]) -> str:
    kind = "accuracy" if results and results[0].unit.startswith("accuracy") else "F1"
    return f"{name}\n{kind}"
