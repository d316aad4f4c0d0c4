"""What the tests of the search share: toy data, a search on a tiny base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import toys
from lookright.api.searching import Searched, search_plan
from lookright.data import Dataset, Sentence
from lookright.tags import Scheme


def toy_data(n: int, seed: int) -> Dataset:
    """Labeled sentences."""
    return Dataset(tuple(Sentence(tuple(w), tuple(t)) for w, t in toys.toy_dataset(n, seed)), scheme=Scheme.IOB2)


TRAIN, DEV = toy_data(40, 0), toy_data(60, 1)
TRAINING: dict[str, Any] = {"epochs": 1.0, "batch_size": 4, "learning_rate": 5e-3, "precision": "float32"}
"""10 updates."""


def search(base: Path, out: Path | None = None, **options: Any) -> Searched:
    """Search on a base, quietly."""
    given: dict[str, Any] = {"train": TRAIN, "dev": DEV, "progress": False, "device": "cpu", **TRAINING, **options}
    return search_plan(base, given.pop("train"), given.pop("dev"), out=out, **given)
