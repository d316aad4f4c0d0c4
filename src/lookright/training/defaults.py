"""What the automatic values of a recipe stand for: presets of publications, and defaults by size.

Pure Python. What was measured for small models stands in docs/log.md; for large ones the values are the usual ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

DEVICES: Final = ("auto", "cpu", "cuda", "mps")

ONLY_TAGS: Final = (
    "columns", "scheme", "repair", "unaligned", "detokenize", "subword", "context", "word_split", "decode",
)  # fmt: skip
"""Options that only tagging has."""
ONLY_TEXT: Final = ("text_column", "pair_column", "label_column", "target", "pooling", "calibrate")
"""Options that only text classification has."""

SMALL_MODEL: Final = 100_000_000
"""Parameters below which all weights are trained by default: such a model fits anywhere with its optimizer."""

TINY_MODEL: Final = 20_000_000
"""Parameters below which learning rates are those of the bundled base."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # Dukić and Šnajder 2024 (arXiv 2401.14556), the settings of their released scripts. Two things are not
        # copied: their loop dropped three of four gradients, and their learning rate never came down.
        "paper": MappingProxyType(
            {
                "method": "lora",
                "lora_r": 64,
                "lora_alpha": 16.0,
                "lora_dropout": 0.1,
                "lora_targets": "paper",
                "learning_rate": 2e-4,
                "head_learning_rate": 2e-4,
                "batch_size": 16,
                "epochs": 5.0,
                "warmup_ratio": 0.0,
                "schedule": "cosine",
                "weight_decay": 0.1,
                "adam_betas": (0.9, 0.95),
                "adam_epsilon": 1e-5,
                "max_grad_norm": 1.0,
                "dropout": 0.1,
                "subword": "first",
            }
        ),
    }
)
"""The settings of publications, by name."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the automatic values depend on.

    Attributes:
        n_parameters: parameters of the base.
        n_sentences: sentences to train on.
        device: the kind of device in use: cpu, cuda or mps.
        max_window: the most sub-words that the base takes at once; None when it has no bound.
        bfloat16: whether the device computes bfloat16 fast.
    """

    n_parameters: int
    n_sentences: int
    device: str = "cpu"
    max_window: int | None = None
    bfloat16: bool = False


def automatic_values(chosen: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The values of all options that have an automatic one.

    Args:
        chosen: the options that the user set, by name; `preset` among them names a set of further ones.
        facts: what the defaults depend on.

    Returns:
        option name -> value; options in `chosen` keep their value, the preset comes next, then the defaults.
    """
    settled = {**PRESETS.get(chosen.get("preset", ""), {}), **chosen}
    asks_for_adapters = any(name.startswith("lora_") for name in settled)
    method = settled.get("method", "full" if facts.n_parameters < SMALL_MODEL and not asks_for_adapters else "lora")
    if method == "full":  # asked for by the user; a preset's adapters go
        settled = {name: value for name, value in settled.items() if not name.startswith("lora_")}
    learning_rate = settled.get("learning_rate", _learning_rate(method, facts.n_parameters))
    adapters: dict[str, Any] = {}
    if method != "full":
        rank = settled.get("lora_r", 16)
        adapters = {"lora_r": rank, "lora_alpha": 2.0 * rank, "lora_dropout": 0.05, "lora_targets": "all-linear"}
    defaults = {
        "method": method,
        **adapters,
        "epochs": _epochs(facts.n_sentences, of_texts=settled.get("task") == "text"),
        "batch_size": 8 if facts.n_sentences < 2_000 else 16,
        "optimizer": "adamw",
        "learning_rate": learning_rate,
        "head_learning_rate": learning_rate * (1 if method == "full" else 5),
        "schedule": "linear",
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "adam_betas": (0.9, 0.999),
        "adam_epsilon": 1e-8,
        "dropout": 0.1,
        "detokenize": 0.5,
        "subword": "mean",
        "context": "sentence",
        "word_split": "learned",
        "decode": "viterbi",
        "window": 512 if facts.max_window is None else min(512, facts.max_window),
        "precision": "bfloat16" if facts.bfloat16 else "float32",
        "token_budget": 2_048 if facts.device == "cpu" else 16_384,
        "compile": False,
    }
    left_out = ONLY_TAGS if settled.get("task") == "text" else ()
    return {name: value for name, value in {**defaults, **settled}.items() if name not in left_out}


def default_pooling(open_plan: bool) -> str:
    """How the vectors of a text's sub-words become one, where nobody says.

    Args:
        open_plan: whether a layer looks right; an encoder's do.
    """
    return "mean" if open_plan else "last"


def _learning_rate(method: str, n_parameters: int) -> float:
    """Peak learning rate: adapters take more than full weights, small models more than large ones."""
    if n_parameters < TINY_MODEL:  # measured on lookright-nano (docs/log.md, 2026-11-21)
        return 5e-4 if method == "full" else 4e-3
    if method != "full":
        return 2e-4
    return 1e-4 if n_parameters < SMALL_MODEL else 2e-5


def _epochs(n_sentences: int, *, of_texts: bool) -> float:
    """Passes over the data: the fewer sentences there are, the more often each is seen.

    A text has one label, where a sentence has many: texts are seen more often.
    """
    # Measured on lookright-nano with 200, 1,000 and 5,000 sentences (docs/log.md, 2026-11-21, "how many epochs").
    for most, epochs in ((200, 20.0), (1_000, 15.0), (5_000, 10.0), (20_000, 5.0 if of_texts else 3.0)):
        if n_sentences < most:
            return epochs
    return 3.0
