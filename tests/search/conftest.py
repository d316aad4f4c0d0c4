"""A search over a tiny base on toy sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookright.api.searching import Searched, search_plan
from lookright.data import Dataset, Sentence
from lookright.tags import Scheme

import toys


def toy_data(n: int, seed: int) -> Dataset:
    """Labeled sentences."""
    return Dataset(tuple(Sentence(tuple(w), tuple(t)) for w, t in toys.toy_dataset(n, seed)), scheme=Scheme.IOB2)


TRAIN, DEV = toy_data(40, 0), toy_data(120, 1)
RECIPE: dict[str, Any] = {"epochs": 2.0, "batch_size": 4, "learning_rate": 3e-3, "precision": "float32", "device": "cpu"}
"""20 updates."""
Search = Callable[..., Searched]


@pytest.fixture
def search(tiny_llama: Path) -> Search:
    """Search on the tiny base."""

    def run(**options: Any) -> Searched:
        given = {"train": TRAIN, "dev": DEV, "progress": False, **RECIPE, **options}
        return search_plan(given.pop("base", tiny_llama), given.pop("train"), given.pop("dev"), **given)

    return run
