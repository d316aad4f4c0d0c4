"""What the tests of training share: toy data, a tagger on a tiny base, runs that are killed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import toys
from lookright.data import Dataset, Sentence
from lookright.encoding import SubwordEncoder
from lookright.models.base import load_base
from lookright.models.settings import TaggerSettings
from lookright.models.store import build_tagger
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.tags import Scheme
from lookright.training.fit import FitResult, fit
from lookright.training.recipe import Recipe


def toy_data(n: int, seed: int = 0) -> Dataset:
    """`n` labeled sentences as a data set."""
    return Dataset(tuple(Sentence(tuple(w), tuple(t)) for w, t in toys.toy_dataset(n, seed)), scheme=Scheme.IOB2)


TRAIN = toy_data(20, seed=0)
DEV = toy_data(12, seed=1)
SHORT = {"epochs": 3.0, "batch_size": 4, "learning_rate": 3e-3, "detokenize": 0.5, "precision": "float32"}
"""15 updates, 5 in each epoch."""


def tagger(folder: Path, plan: str = "1", **settings: Any) -> tuple[LookRightForTokenClassification, Any]:
    """A tagger without labels yet on the base in a folder, and its tokenizer."""
    base = load_base(folder, plan=plan, check=False)
    return build_tagger(base, TaggerSettings(**settings)), base.tokenizer


def run(
    folder: Path, out: Path | None = None, dev: Dataset | None = DEV, plan: str = "1", **options: Any
) -> tuple[FitResult, LookRightForTokenClassification]:
    """A short run on the toy data."""
    model, tokenizer = tagger(folder, plan)
    result = fit(model, tokenizer, TRAIN, dev, Recipe(**{**SHORT, **options}), out, progress=False)
    return result, model


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@functools.cache
def encoder() -> SubwordEncoder:
    """Of the byte-level toy tokenizer."""
    return SubwordEncoder(toys.byte_bpe_tokenizer())


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process; return its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
