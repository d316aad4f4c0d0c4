"""The environment of all tests, and fixtures that are dear to make and are never altered."""

from __future__ import annotations

import os

# Before torch and transformers are imported by anything: no network, no spinning threads on small machines.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_VERBOSITY="error",
    OMP_WAIT_POLICY="passive",
    GOMP_SPINCOUNT="0",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pytest

import toys


@pytest.fixture(scope="session")
def byte_bpe() -> Any:
    """A byte-level BPE tokenizer without prefix space and BOS. Shared: do not alter it."""
    return toys.byte_bpe_tokenizer()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random LlamaModel with byte-level BPE. Shared: read only."""
    return toys.llama_folder(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random BertModel with WordPiece. Shared: read only."""
    return toys.encoder_folder(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="session")
def toy_sentences() -> list[tuple[list[str], list[str]]]:
    """300 labeled sentences (words, IOB2 tags)."""
    return toys.toy_dataset(300, seed=0)
