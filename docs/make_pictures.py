"""Draw the pictures of the documentation: `python docs/make_pictures.py` (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from lookright.plan import UNBOUNDED, MaskPlan

HERE = Path(__file__).parent / "pictures"
WORDS = ["Paris", "Hilton", "said", "hello", "today"]
LEFT, RIGHT, NOTHING, INK, SOFT = "#5b8db8", "#e08a3c", "#eeeeea", "#2b2b2b", "#6f6f6f"


def sees(query: int, key: int, right: int) -> bool:
    """Whether a word sees another one in a layer with this right context."""
    return key <= query or right == UNBOUNDED or key - query <= right


def draw_mask(axes: Axes, right: int, title: str) -> None:
    """One layer's mask: a row for each word that looks, a column for each word that is seen."""
    n = len(WORDS)
    for query in range(n):
        for key in range(n):
            colour = NOTHING if not sees(query, key, right) else LEFT if key <= query else RIGHT
            axes.add_patch(plt.Rectangle((key, n - 1 - query), 0.94, 0.94, color=colour, linewidth=0))
    axes.set_xlim(0, n)
    axes.set_ylim(0, n)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=10.5, color=INK, pad=8)
    axes.set_xticks([i + 0.47 for i in range(n)], WORDS, rotation=40, ha="right", fontsize=9, color=INK)
    axes.set_yticks([n - 1 - i + 0.47 for i in range(n)], WORDS, fontsize=9, color=INK)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_right_contexts(path: Path) -> None:
    """Three masks beside each other: causal, a look-ahead of one, unbounded."""
    figure, all_axes = plt.subplots(1, 3, figsize=(10, 3.7), constrained_layout=True)
    titles = [
        (0, "right context 0: causal"),
        (1, "right context 1: looks one token ahead"),
        (UNBOUNDED, "right context *: sees both sides"),
    ]
    for axes, (right, title) in zip(all_axes, titles, strict=True):
        draw_mask(axes, right, title)
    all_axes[0].set_ylabel("this token looks ...", fontsize=9, color=SOFT)
    all_axes[1].set_xlabel(
        "... at these tokens (blue: to the left and itself, orange: to the right)", fontsize=9, color=SOFT
    )
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)


def draw_stack(axes: Axes, spec: str, n_layers: int, note: str) -> None:
    """A plan as a stack of layers, the lowest at the bottom."""
    plan = MaskPlan.parse(spec, n_layers)
    for layer, right in enumerate(plan.right_contexts):
        colour = LEFT if right == 0 else RIGHT
        axes.add_patch(plt.Rectangle((0, layer), 1, 0.9, color=colour, alpha=1 if right <= 0 else 0.55, linewidth=0))
        text = "0" if right == 0 else "*" if right == UNBOUNDED else str(right)
        axes.text(
            0.5,
            layer + 0.43,
            text,
            ha="center",
            va="center",
            color="white" if right <= 0 else INK,
            fontsize=11,
            fontweight="bold",
        )
    axes.set_xlim(-0.15, 1.15)
    axes.set_ylim(-0.15, n_layers)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(spec, fontsize=12, family="monospace", color=INK)
    axes.set_xlabel(note, fontsize=9, color=SOFT, labelpad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_plans(path: Path) -> None:
    """Six plans of a model with eight layers."""
    plans = [
        ("0000", "causal:\nthe base as it is"),
        ("0011", "upper half\nunmasked"),
        ("1100", "lower half\nunmasked"),
        ("0101", "second and fourth\nquarter"),
        ("0,0,2,*", "groups with their\nright contexts"),
        ("1111", "bidirectional:\nas an encoder"),
    ]
    figure, all_axes = plt.subplots(1, len(plans), figsize=(10, 4.4), constrained_layout=True)
    for axes, (spec, note) in zip(all_axes, plans, strict=True):
        draw_stack(axes, spec, 8, note)
    all_axes[0].set_yticks([i + 0.43 for i in range(8)], [f"layer {i}" for i in range(8)], fontsize=9, color=SOFT)
    all_axes[0].tick_params(length=0)
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    draw_right_contexts(HERE / "right_contexts.png")
    draw_plans(HERE / "plans.png")
