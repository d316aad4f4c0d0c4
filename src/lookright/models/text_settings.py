"""What a text classifier must remember besides its weights. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from lookright.data.texts import Target
from lookright.errors import RecipeError
from lookright.models.settings import HeadSettings

POOLING_CHOICES: Final = ("last", "mean", "max", "attention")
HALF: Final = 0.5
"""The threshold of a label that has none of its own."""


@dataclass(frozen=True)
class TextSettings(HeadSettings):
    """How a text classifier turns a text into labels, or into a number.

    Attributes:
        labels: the label of each output; for a regression, the one name of what is predicted.
        window, dropout: as for `HeadSettings`.
        target: one label, any number of labels, or a number.
        pooling: how the vectors of a text's sub-words become one: the `last` one, their `mean`, their `max`, or a
            mean whose weights are learned (`attention`).
        thresholds: multi-label: the least probability at which each label is given; none: 0.5 for all.
        temperature: what logits are divided by before they become probabilities (Guo et al. 2017, arXiv 1706.04599).
        mean, deviation: regression: of the numbers trained on; the head's output is counted in deviations from the
            mean.
        ends: the special tokens that the tokenizer puts before and after every text; they are not pooled.
        pairs: whether what it was trained on were pairs of texts; None: some were, or it is not known.
    """

    KIND: ClassVar[str] = "text classifier"

    labels: tuple[str, ...] = ("label",)
    target: str = Target.SINGLE.value
    pooling: str = "mean"
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0
    ends: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    pairs: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thresholds and len(self.thresholds) != len(self.labels):
            raise RecipeError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels; expected one for each")
        if not (0 < self.temperature < math.inf and 0 < self.deviation < math.inf):
            raise RecipeError(
                f"temperature is {self.temperature} and deviation is {self.deviation}; expected numbers above 0"
            )
        if self.target == Target.REGRESSION and len(self.labels) != 1:
            raise RecipeError(f"a regression has one output, not {len(self.labels)}")

    @classmethod
    def choices(cls) -> Mapping[str, tuple[str, ...]]:
        """The allowed values of the fields that are choices."""
        return {"target": tuple(target.value for target in Target), "pooling": POOLING_CHOICES}

    def standard(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers in deviations from the mean, as a regression's head counts them."""
        return (numbers - self.mean) / self.deviation

    def numbers(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """The numbers that deviations from the mean stand for: what undoes `standard`."""
        return standard * self.deviation + self.mean

    @property
    def limits(self) -> tuple[float, ...]:
        """The threshold of each label."""
        return self.thresholds or (HALF,) * len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**super().to_dict(), "thresholds": list(self.thresholds), "ends": [list(ids) for ids in self.ends]}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        before, after = data["ends"]
        return {"thresholds": tuple(data["thresholds"]), "ends": (tuple(before), tuple(after))}
