"""Fixtures of pretraining that are dear to make and are never altered."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretraining_support import run, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 80 toy documents. Shared: read only."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy.txt")


@pytest.fixture(scope="session")
def clm_base(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base after a short causal run. Shared: read only."""
    return run(corpus, tmp_path_factory.mktemp("bases") / "clm").folder


@pytest.fixture(scope="session")
def mntp_base(corpus: Path, clm_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That base after a short mntp run with adapters, under the plan 0,2,0,*. Shared: read only."""
    out = tmp_path_factory.mktemp("bases") / "mntp"
    return run(corpus, out, base=str(clm_base), objective="mntp", plan="0,2,0,*", lora_r=4).folder
