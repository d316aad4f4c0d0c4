"""A tagger with a strong random head, in memory and saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lookright.api.tagger import Tagger

LABELS = ("LOC", "ORG", "PER")


def make_tagger(folder: Path, **options: object) -> Tagger:
    """A tagger on a base whose head has opinions."""
    values: dict[str, object] = {"labels": LABELS, "plan": "0011", "device": "cpu", **options}
    tagger = Tagger.from_pretrained(folder, **values)  # type: ignore[arg-type]
    assert tagger.model is not None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        tagger.model.score.weight.normal_(std=1.0)
    return tagger


@pytest.fixture(scope="session")
def tagger(tiny_llama: Path) -> Tagger:
    """Shared: do not train or alter it."""
    return make_tagger(tiny_llama)


@pytest.fixture(scope="session")
def tagger_folder(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared tagger, saved. Read only."""
    return tagger.save_pretrained(tmp_path_factory.mktemp("saved") / "tagger")
