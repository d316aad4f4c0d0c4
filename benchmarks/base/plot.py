"""The plot of the small-scale study: for each set, the figure of every plan with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.base.cells import PLANS

if TYPE_CHECKING:
    from benchmarks.base.table import SetResult

INK, SOFT, PLAIN, CHOSEN, ENCODER = "#2b2b2b", "#6f6f6f", "#5b8db8", "#1f4e79", "#3f8f4f"
ADAPTED: Final = "#e08a3c"


def draw(found: Sequence[SetResult], path: Path) -> None:
    """Draw a panel for each set: the decoder's plans with intervals, the encoder as a line, adapted bases beside."""
    from matplotlib.figure import Figure

    columns = 1 if len(found) == 1 else 2
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(7 * columns, 3.9 * rows + 0.7), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.1)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, result in zip(panels, found, strict=False):
        _panel(axes, result)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes in panels[: len(found)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=2 * columns, frameon=False, fontsize=10,
        title="bars and band: 95 % intervals of the mean, over sentences and seeds", title_fontsize=10,
    )  # fmt: skip
    figure.savefig(path, dpi=150, facecolor="white")


def _panel(axes: Any, result: SetResult) -> None:
    encoder = result.systems.get("encoder")
    if encoder is not None:
        axes.axhspan(100 * encoder.low, 100 * encoder.high, color=ENCODER, alpha=0.12, linewidth=0)
        axes.axhline(100 * encoder.mean, color=ENCODER, linewidth=1.6, label="encoder (mlm)")
    chosen = None if result.choice is None else result.choice.plan
    for index, plan in enumerate(PLANS):
        if plan in result.by_plan:
            best = plan == chosen
            label = "decoder, plan that dev chose" if best else "decoder"
            _point(axes, index, result.by_plan[plan], CHOSEN if best else PLAIN, "D" if best else "o", label)
    others = [(name, plan) for name, plan in sorted(result.own_plan.items()) if name != "encoder" and plan in PLANS]
    for name, plan in others:
        _point(axes, PLANS.index(plan) + 0.3, result.systems[name], ADAPTED, "s", "decoder after mntp, same plan")
    axes.set_xticks(range(len(PLANS)), PLANS, rotation=90, family="monospace", fontsize=9.5, color=INK)
    axes.set_xlim(-0.6, len(PLANS) - 0.3)
    axes.set_title(result.name, fontsize=12, color=INK, loc="left", fontweight="bold")
    axes.set_ylabel(f"{result.convention.removesuffix(', micro')} x 100, test", fontsize=9, color=SOFT)
    axes.set_xlabel("plan (left: lowest layers; 1: causal mask removed)", fontsize=9, color=SOFT)
    axes.grid(axis="y", color="#e4e4e0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _point(axes: Any, x: float, summary: Any, colour: str, marker: str, label: str) -> None:
    mean, low, high = (100 * value for value in (summary.mean, summary.low, summary.high))
    axes.errorbar(
        [x], [mean], yerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], fmt=marker, color=colour, markersize=6.5,
        elinewidth=1.6, capsize=0, label=label,
    )  # fmt: skip
