"""What the tests of pretraining share: a toy corpus, short runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import toys
from lookright.training.pretraining.pretrain import PretrainResult, pretrain
from lookright.training.pretraining.recipe import PretrainRecipe

SHORT: dict[str, Any] = {
    "layers": 4, "hidden": 32, "heads": 4, "vocab_size": 400, "length": 32, "batch_tokens": 512, "held_out": 0.15,
    "checkpoints": 3, "updates": 6, "precision": "float32", "token_budget": 256, "device": "cpu",
}  # fmt: skip
"""6 updates of about 16 sequences; checkpoints after 2, 4 and 6."""
SHAPE = ("layers", "hidden", "heads", "vocab_size")


def toy_documents(n: int, seed: int = 0, sentences: int = 3) -> list[str]:
    """`n` documents of some sentences each, one sentence per line."""
    lines = [" ".join(words) for words, _ in toys.toy_dataset(n * sentences, seed)]
    return ["\n".join(lines[i : i + sentences]) for i in range(0, len(lines), sentences)]


def write_corpus(path: Path, n: int = 80, seed: int = 0) -> Path:
    """Write `n` toy documents as plain text."""
    path.write_text("\n\n".join(toy_documents(n, seed)) + "\n", encoding="utf-8")
    return path


def recipe(corpus: Path, out: Path | None, **options: Any) -> PretrainRecipe:
    """The recipe of a short run; tokens are kept beside the corpus."""
    short = {**SHORT, "text": (str(corpus),), "cache": str(corpus.parent / "cache"), **options}
    if "base" in options:
        short = {name: value for name, value in short.items() if name not in SHAPE}
    return PretrainRecipe(**short, out=None if out is None else str(out))


def run(corpus: Path, out: Path, **options: Any) -> PretrainResult:
    """A short run."""
    return pretrain(recipe(corpus, out, **options), progress=False)
