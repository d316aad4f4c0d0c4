"""The benchmarks are no part of the package: they are found in the project's root."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
if not (ROOT / "benchmarks").is_dir():  # an installed source distribution
    collect_ignore_glob = ["*.py"]
