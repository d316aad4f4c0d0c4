"""The loss curve of a run as a picture (extra `plots`)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from lookright.training.run_folder import writing

log = logging.getLogger("lookright")


def draw_losses(log_file: Path, picture: Path) -> bool:
    """Draw the losses of a log over the updates; without matplotlib one line says what is missing.

    Args:
        log_file: `log.jsonl` of a run.
        picture: a PNG, replaced in one step.

    Returns:
        Whether it was drawn.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no picture of the losses without matplotlib (pip install 'lookright[plots]'); %s has them", log_file)
        return False
    entries = [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="update", ylabel="loss (nats per sub-word)")
    for name, label, style in (("loss", "training", "-"), ("dev_loss", "held out", "o-")):
        points = [(entry["update"], entry[name]) for entry in entries if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4, linewidth=1)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    part = picture.with_name(f".{picture.name}.part")
    with writing(picture):
        try:
            figure.savefig(part, format="png", dpi=150, metadata={"Software": None})
            part.replace(picture)
        finally:
            part.unlink(missing_ok=True)
    return True
