"""What is measured: systems, what they do, and with which settings. Pure Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.speed.environments import OURS


@dataclass(frozen=True)
class Case:
    """One row of a table.

    Attributes:
        name: in tables; unique within an activity.
        activity: `train` or `predict`.
        script: the file in `peers/` that runs it.
        environment: that it runs in.
        precision: of its products: `float32`, `bfloat16`, `int8`.
        options: further entries of what is sent to it.
        family: whose it is, for the goals: `ours`, `billm`, `paper`, `transformers`, `spacy`.
        has_roof: whether it computes the shared model.
        optional: whether it may be missing in this version of LookRight.
    """

    name: str
    activity: str
    script: str
    environment: str
    family: str
    precision: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    has_roof: bool = True
    optional: bool = False


def ours(name: str, activity: str, precision: str, **options: Any) -> Case:
    optional = precision == "int8"
    return Case(name, activity, "with_lookright", OURS, "ours", precision, options, not optional, optional)


def stock(name: str, activity: str, precision: str = "float32", **options: Any) -> Case:
    return Case(name, activity, "with_transformers", "current", "transformers", precision, options)


def billm(name: str, activity: str, batch_size: int, padding: str = "example") -> Case:
    options = {"batch_size": batch_size, "padding": padding}
    return Case(name, activity, "with_billm", "billm", "billm", options=options)


def paper(name: str, activity: str, attention: str, *, recompute: bool = False) -> Case:
    options = {"batch_size": 16, "attention": attention, "recompute": recompute}
    return Case(name, activity, "with_paper_loop", "current", "paper", options=options)


def spacy(activity: str) -> Case:
    return Case("spaCy, no transformer", activity, "with_spacy", "spacy", "spacy", has_roof=False)


TRAINING: Final = (
    ours("LookRight float32, 16", "train", "float32", batch_size=16),
    ours("LookRight float32, 32", "train", "float32", batch_size=32),
    ours("LookRight bfloat16, 16", "train", "bfloat16", batch_size=16),
    ours("LookRight bfloat16, 32", "train", "bfloat16", batch_size=32),
    ours("LookRight float32, 128", "train", "float32", batch_size=128),
    ours("LookRight bfloat16, 128", "train", "bfloat16", batch_size=128),
    billm("BiLLM example, 8", "train", 8),
    billm("BiLLM example, 32", "train", 32),
    paper("paper's loop, 16", "train", "eager"),
    paper("paper's loop, 16, recomputing", "train", "eager", recompute=True),
    paper("paper's loop, 16, SDPA", "train", "sdpa"),
    stock("transformers Trainer, 8", "train", batch_size=8),
    stock("transformers Trainer, 32", "train", batch_size=32),
    stock("transformers Trainer, 32, grouped", "train", batch_size=32, group_by_length=True),
    stock("transformers Trainer bfloat16, 8", "train", "bfloat16", batch_size=8),
    stock("transformers Trainer bfloat16, 32", "train", "bfloat16", batch_size=32),
    stock("transformers Trainer bfloat16, 128, grouped", "train", "bfloat16", batch_size=128, group_by_length=True),
    spacy("train"),
)

COMPILED: Final = (ours("LookRight bfloat16, 32, compiled", "train", "bfloat16", batch_size=32, compile=True),)
"""Only when asked for: its second epoch is timed, since the first one compiles."""

PREDICTION: Final = (
    ours("LookRight float32", "predict", "float32"),
    ours("LookRight bfloat16", "predict", "bfloat16"),
    ours("LookRight int8", "predict", "int8"),
    ours("LookRight bfloat16, compiled", "predict", "bfloat16", compile=True),
    ours("LookRight int8, compiled", "predict", "int8", compile=True),
    stock("transformers pipeline, 1", "predict", batch_size=1),
    stock("transformers pipeline, 8", "predict", batch_size=8),
    stock("transformers pipeline, 32", "predict", batch_size=32),
    stock("transformers pipeline bfloat16, 8", "predict", "bfloat16", batch_size=8),
    stock("transformers pipeline bfloat16, 32", "predict", "bfloat16", batch_size=32),
    stock("transformers pipeline bfloat16, 128", "predict", "bfloat16", batch_size=128),
    billm("BiLLM example, 8", "predict", 8),
    paper("paper's loop, 16", "predict", "eager"),
    spacy("predict"),
)


@dataclass(frozen=True)
class Goal:
    """A ratio that the project promised: the fastest of some cases over the fastest of others.

    Attributes:
        what: in words.
        activity: of all these cases.
        mine: family and precisions of ours.
        theirs: families and precisions of the others.
        ratio: at least.
    """

    what: str
    activity: str
    mine: tuple[str, ...]
    theirs: tuple[tuple[str, str], ...]
    ratio: float


PIPELINE: Final = (("transformers", "float32"), ("transformers", "bfloat16"))
PEERS_FLOAT32: Final = (("billm", "float32"), ("paper", "float32"), ("transformers", "float32"))

GOALS: Final = (
    Goal("training, float32, over the best peer", "train", ("float32",), PEERS_FLOAT32, 3.0),
    Goal(
        "training, best precision, over the best peer in float32", "train", ("float32", "bfloat16"), PEERS_FLOAT32, 6.0
    ),
    Goal(
        "training, best precision, over the transformers Trainer in bfloat16", "train", ("float32", "bfloat16"),
        (("transformers", "bfloat16"),), 4.0,
    ),
    Goal("prediction, bfloat16, over the transformers pipeline at its best", "predict", ("bfloat16",), PIPELINE, 6.5),
    Goal("prediction, int8, over the transformers pipeline at its best", "predict", ("int8",), PIPELINE, 8.0),
)  # fmt: skip
FORWARD_SHARE: Final = 80.0
"""Per cent of the roof that ours' forward pass in bfloat16 is to reach."""


def chosen(cases: Iterable[Case], words: Iterable[str] | None) -> list[Case]:
    """The cases whose family is asked for; all where nothing is."""
    wanted = None if words is None else set(words)
    return [case for case in cases if wanted is None or case.family in wanted]
