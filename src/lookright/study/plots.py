"""The plots of a study, as PNG and SVG (extra `plots`): F1 per plan, the effect of groups, learning curves."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lookright.errors import MissingExtraError
from lookright.study.plans import is_causal, openness
from lookright.study.results import Branch, BranchResult, DataResult, StudyResults
from lookright.study.tables import GROUPS_TITLE, group_name

INK, SOFT, GRID = "#2b2b2b", "#6f6f6f", "#e4e4e0"
# Apart from each other also for people who see few colours (Okabe and Ito 2008).
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS: Final = ("o", "s", "^", "v", "P", "X")
FORMATS: Final = ("png", "svg")


@dataclass(frozen=True)
class Picture:
    """A plot: what it shows, and its files, PNG and SVG."""

    title: str
    files: tuple[Path, ...]


def require_matplotlib() -> None:
    """Refuse to begin what could not be drawn in the end.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plots", "drawing plots (--no-plots leaves them out)")


def draw_all(results: StudyResults, folder: Path) -> list[Picture]:
    """Draw all plots that the study has the figures for.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [("plans", "Test figure of each plan, with its 95 % interval", plans_figure(results))]
    if any(branch.groups for data in results.data for branch in data.branches.values()):
        drawn.append(("groups", GROUPS_TITLE[0].upper() + GROUPS_TITLE[1:], groups_figure(results)))
    if any(branch.curves for data in results.data for branch in data.branches.values()):
        drawn.append(("curves", "Dev figure over the updates, mean over seeds", curves_figure(results)))
    return [Picture(title, _save(figure, folder / name)) for name, title, figure in drawn]


def _save(figure: Any, stem: Path) -> tuple[Path, ...]:
    import matplotlib

    files = []
    for kind in FORMATS:
        path = stem.with_suffix(f".{kind}")
        part = path.with_name(f".{path.name}.part")
        metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        try:
            with matplotlib.rc_context({"svg.hashsalt": "lookright", "svg.fonttype": "path"}):
                figure.savefig(part, format=kind, dpi=150, facecolor="white", metadata=metadata)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        files.append(path)
    return tuple(files)


def _panels(n: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure of so many panels, two in a row."""
    from matplotlib.figure import Figure

    columns = 1 if n == 1 else 2
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.6), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(h_pad=0.1, w_pad=0.1)
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels[:n]


def _style(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=12, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=SOFT)
    axes.set_ylabel(y, fontsize=9, color=SOFT)
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _legend(figure: Any, panels: Sequence[Any], columns: int) -> None:
    """One legend above all panels, each name once; none where there is one name."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        options = {"loc": "outside upper center", "ncols": min(columns, len(handles)), "frameon": False, "fontsize": 9}
        figure.legend(handles.values(), handles.keys(), **options)


def _unit(data: DataResult) -> str:
    return f"{data.convention.removesuffix(', micro')} x 100"


# ------------------------------------------------------------------------------------------------------------ the plots


def plans_figure(results: StudyResults) -> Any:
    """A panel for each data set: every plan with its interval, a colour for each model and recipe."""
    plans = list(dict.fromkeys(p for d in results.data for b in d.branches.values() for p in b.by_plan))
    figure, panels = _panels(len(results.data), width=max(4.5, 1.5 + 0.34 * len(plans)), height=3.8)
    branches = results.branches
    for axes, data in zip(panels, results.data, strict=True):
        for number, branch in enumerate(branches):
            if branch in data.branches:
                shift = (number - (len(branches) - 1) / 2) * min(0.22, 0.7 / len(branches))
                _points(axes, data.branches[branch], plans, number, shift, results.label(branch))
        axes.set_xticks(
            range(len(plans)),
            plans,
            rotation=90 if len(plans) > 8 or max(map(len, plans)) > 6 else 0,
            family="monospace",
        )
        axes.set_xlim(-0.6, len(plans) - 0.4)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        _style(axes, data.name, "plan (left: lowest layers; 1: causal mask removed)", f"{_unit(data)}, test")
    _legend(figure, panels, 4)
    return figure


def _points(axes: Any, result: BranchResult, plans: Sequence[str], number: int, shift: float, label: str) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    chosen = None if result.choice is None else result.choice.plan
    for plan, summary in result.by_plan.items():
        mean, low, high = (100 * value for value in (summary.mean, summary.low, summary.high))
        best = plan == chosen
        axes.errorbar(
            [plans.index(plan) + shift], [mean], yerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], fmt=marker,
            color=colour, markersize=8 if best else 6, elinewidth=1.5, capsize=0, markeredgewidth=1.8 if best else 0,
            markeredgecolor=INK if best else colour, label=f"{label}: chosen on dev" if best else label,
        )  # fmt: skip


def groups_figure(results: StudyResults) -> Any:
    """A heat map for each model and recipe: groups of layers, the lowest at the bottom, against data sets."""
    import numpy as np

    branches = [b for b in results.branches if any(b in d.branches and d.branches[b].groups for d in results.data)]
    sizes = [d.branches[b].n_groups for b in branches for d in results.data if b in d.branches]
    width, height = max(4.2, 2.2 + 1.15 * len(results.data)), 1.5 + 0.62 * max(sizes)
    figure, panels = _panels(len(branches), width=width, height=height)
    tables = [_effects(results, branch) for branch in branches]
    largest = max([abs(v) for table in tables for row in table for v in row if not np.isnan(v)], default=0.0) or 1.0
    for axes, branch, table in zip(panels, branches, tables, strict=True):
        image = axes.imshow(table, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", origin="lower")
        for group, row in enumerate(table):
            for column, value in enumerate(row):
                strong = not np.isnan(value) and abs(value) > 0.6 * largest
                text = "-" if np.isnan(value) else f"{value:+.1f}"
                axes.text(column, group, text, ha="center", va="center", fontsize=10, color="white" if strong else INK)
        names = [group_name(group, len(table)) for group in range(len(table))]
        axes.set_xticks(range(len(results.data)), [data.name for data in results.data])
        axes.set_yticks(range(len(names)), names)
        _style(axes, results.label(branch), "", "group of layers")
        axes.spines["bottom"].set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.8)
    bar.set_label("points gained by opening the group", fontsize=9, color=SOFT)
    return figure


def _effects(results: StudyResults, branch: Branch) -> list[list[float]]:
    """Points by group and data set; NaN where no pair of plans tells."""
    found = [data.branches.get(branch) for data in results.data]
    n_groups = max(result.n_groups for result in found if result is not None)
    table = [[float("nan")] * len(found) for _ in range(n_groups)]
    for column, result in enumerate(found):
        for effect in () if result is None else result.groups:
            table[effect.group][column] = 100 * effect.gain
    return table


def curves_figure(results: StudyResults) -> Any:
    """A panel for each data set, model and recipe: causal, fully open and the chosen plan in colour, others in grey."""
    shown = [(d, b, r) for d in results.data for b, r in d.branches.items() if r.curves]
    figure, panels = _panels(len(shown), width=5.6, height=3.4)
    for axes, (data, branch, result) in zip(panels, shown, strict=True):
        special = _special(result)
        for plan, curve in result.curves.items():
            colour, label = special.get(plan, ("#bdbdb8", "other plans"))
            figures = [100 * value for value in curve.figures]
            front = {"linewidth": 2, "marker": "o", "markersize": 4, "zorder": 3} if plan in special else {}
            axes.plot(curve.updates, figures, color=colour, label=label, **{"linewidth": 1.1, **front})
        axes.xaxis.get_major_locator().set_params(integer=True)  # there are no half updates
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        several = len(results.branches) > 1
        _style(axes, f"{data.name}, {results.label(branch)}" if several else data.name, "update", f"{_unit(data)}, dev")
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each label once
        axes.legend(handles.values(), handles.keys(), fontsize=8, frameon=False, loc="best")
    return figure


def _special(result: BranchResult) -> dict[str, tuple[str, str]]:
    """The plans that are drawn in colour, with colour and label."""
    if len(result.curves) == 1:
        return {plan: (COLOURS[0], f"plan {plan}") for plan in result.curves}
    most = max(result.curves, key=openness)
    special = {most: (COLOURS[1], f"most open: {most}")}
    special |= {plan: (COLOURS[0], f"causal: {plan}") for plan in result.curves if is_causal(plan)}
    if result.choice is not None and result.choice.plan in result.curves:
        special[result.choice.plan] = (COLOURS[2], f"chosen on dev: {result.choice.plan}")
    return special
