"""Print the lowest versions that pyproject.toml allows, as pip constraints, one a line."""

import re
import sys
import tomllib
from pathlib import Path

NAMES = ("transformers", "peft", "accelerate")


def lowest() -> list[str]:
    """Return `name==lower bound` for each of NAMES."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in project["dependencies"])
    return [f"{name}=={bounds[name]}" for name in NAMES]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest()) + "\n")
