"""seqeval: F1 of tags, in its default mode and in strict mode."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import child


def prepare(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    tags = json.loads(Path(case["tags"]).read_text(encoding="utf-8"))
    mode = {"mode": "strict", "scheme": IOB2} if case["mode"] == "strict" else {}

    def once() -> dict[str, Any]:
        with child.timed() as timer:
            score = f1_score(tags["gold"], tags["predicted"], **mode)
        return {**child.result(timer.seconds, timer.cpu_seconds, [case["n_tokens"]]), "f1": float(score)}

    return once, {"seqeval": version("seqeval")}


if __name__ == "__main__":
    child.serve(prepare)
