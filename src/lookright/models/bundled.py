"""The base that comes with the package. Pure Python."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

BUNDLED: Final = "lookright-nano"
"""Its name, wherever the package is installed."""


def bundled_folder() -> Path:
    """Where it is."""
    return Path(str(files("lookright"))) / "assets" / "nano"
