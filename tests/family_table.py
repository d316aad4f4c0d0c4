"""Write the table in docs/families.md: what was measured for every family. `python -m tests.family_table [--check]`

Each figure is the largest difference to the family's own unpadded eager forward of one sentence, relative to the
largest value, over all plans of `tests.oracle.PLANS` and the layouts of its column. Takes some minutes.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch
import transformers
from tests.families import FAMILIES, Family
from tests.oracle import PLANS, TOLERANCE, rounding, worst_errors

from lookright.attention import apply_plan, check_plan
from lookright.plan import MaskPlan

PAGE = Path(__file__).parents[1] / "docs" / "families.md"

BEGIN, END = "<!-- table: python -m tests.family_table -->\n", "<!-- end of table -->\n"
COLUMNS = (
    "family",
    "eager, padded or not",
    "sdpa, padded or not",
    "eager, packed",
    "sdpa, packed",
    "probe",
    "own bfloat16 rounding",
)


def row(family: Family) -> tuple[str, bool]:
    worst = worst_errors(family, thorough=True)
    cells = []
    for layouts in (("none", "right", "left"), ("packed",)):
        for backend in ("eager", "sdpa"):
            found = [worst[backend, layout] for layout in layouts if (backend, layout) in worst]
            cells.append(f"{max(found):.0e}" if found else "-")
    model, paths = family.model(), 0
    for rights in PLANS.values():
        for backend in family.backends:
            apply_plan(model, MaskPlan(rights), backend)
            paths += len(check_plan(model).paths)
    cells += [f"holds ({paths})", f"{rounding(family, torch.bfloat16):.2f}"]
    return f"| {family.name} | {' | '.join(cells)} |", max(worst.values()) <= TOLERANCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="measure, but leave docs/families.md alone")
    check = parser.parse_args().check
    rows, sound = [], True
    for family in FAMILIES:
        line, good = row(family)
        print(line, flush=True)
        rows.append(line)
        sound &= good
    if not check:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        lines += ["", f"Measured with {versions}, Python {platform.python_version()}, on a CPU."]
        table = "\n".join(lines) + "\n"
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
