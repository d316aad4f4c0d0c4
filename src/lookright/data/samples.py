"""Labeled sets that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from lookright.errors import DataError

SAMPLES: Final = ("wnut17",)
SPLITS: Final = ("train", "dev", "test")


def sample(name: str = "wnut17") -> dict[str, Path]:
    """The files of a bundled set: split name to path. Origin and licence are in the SOURCE.md beside them.

    "wnut17" is the whole of WNUT-17 (Derczynski et al. 2017; CC BY 4.0): noisy text with six entity types.

    Raises:
        DataError: for a name that is not bundled.
    """
    if name not in SAMPLES:
        raise DataError(f"no sample {name!r}: expected one of {', '.join(SAMPLES)}")
    folder = Path(str(files("lookright"))) / "assets" / name
    return {split: folder / f"{split}.conll" for split in SPLITS}
