"""Where measured figures go: one JSON object a line in ``benchmarks/results/<issue>.jsonl``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).with_name("results")


def machine() -> str:
    """The processor, the cores this process may use, the GPU if torch is loaded and sees one, and Python's version."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [model, f"{cores} cores", f"Python {platform.python_version()}"]
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def command() -> str:
    """The command line that started this process, with the interpreter's folder left out."""
    return " ".join(["python", *sys.orig_argv[1:]])


def record(
    file: str,
    name: str,
    value: float | int | str | None,
    unit: str,
    *,
    goal: float | str | None = None,
    seeds: Sequence[int] = (),
) -> dict[str, object]:
    """Append one figure to ``benchmarks/results/<file>.jsonl`` and print it.

    Args:
        file: the file's stem, such as "foundation".
        name: what was measured; the same name for the same measurement, whenever it is taken.
        value: the figure.
        unit: its unit: "s", "words/s", "strict span F1, IOB2, micro".
        goal: the figure that was promised, or None.
        seeds: the seeds behind the figure.
    """
    row: dict[str, object] = {
        "name": name,
        "value": value,
        "unit": unit,
        "goal": goal,
        "seeds": list(seeds),
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(),
    }
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{file}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{name}: {value} {unit}" + (f" (goal: {goal})" if goal is not None else ""))
    return row
