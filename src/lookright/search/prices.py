"""What a search costs, in words, in seconds, and in multiples of one fine-tuning. Pure Python."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from lookright.errors import RecipeError
from lookright.training.schedule import checkpoint_updates

FORWARD: Final = {"full": 1 / 3}
"""A forward pass as a part of forward and backward pass where all weights are trained: backward costs twice as much."""
FORWARD_OF_ADAPTERS: Final = 1 / 2
"""The same with adapters: the gradients of frozen weights are not computed."""


@dataclass(frozen=True)
class Cost:
    """What something cost.

    Attributes:
        trained: words that were trained on, each time they were.
        scored: words that were tagged, layers that were not computed anew left out.
        seconds: of wall-clock time.
        fine_tunings: computation, in multiples of one fine-tuning under one plan with its own scoring of dev. A
            function of the words, and not of the machine.
    """

    trained: int = 0
    scored: int = 0
    seconds: float = 0.0
    fine_tunings: float = 0.0

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """The sum."""
        found = list(costs)
        return cls(
            sum(cost.trained for cost in found),
            sum(cost.scored for cost in found),
            round(sum(cost.seconds for cost in found), 2),
            sum(cost.fine_tunings for cost in found),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Prices:
    """What one fine-tuning is, and what its parts cost.

    Attributes:
        updates: of one fine-tuning.
        per_epoch: updates in a pass over the training data.
        evals_per_epoch: how often dev is scored in a pass.
        train_words: words in a pass.
        dev_words: words of dev.
        forward: a forward pass as a part of forward and backward pass.
        part_words: words of the part of dev that runs are scored on; None: all of it.
    """

    updates: int
    per_epoch: int
    evals_per_epoch: int
    train_words: int
    dev_words: int
    forward: float
    part_words: int | None = None

    @property
    def seen_words(self) -> int:
        """Words of what a run is scored on each time."""
        return self.dev_words if self.part_words is None else self.part_words

    def n_evals(self, updates: int) -> int:
        """How often dev is scored in a run."""
        return len(checkpoint_updates(self.epochs(updates), self.per_epoch, self.evals_per_epoch))

    def epochs(self, updates: int) -> float:
        """The `epochs` of a recipe for exactly so many updates: half an update less, since updates are rounded up."""
        return (updates - 0.5) / self.per_epoch

    def trained(self, updates: int) -> int:
        """Words that so many updates train on, on average."""
        return round(updates * self.train_words / self.per_epoch)

    @property
    def one(self) -> float:
        """One fine-tuning, in words trained on."""
        return self.trained(self.updates) + self.forward * self.dev_words * self.n_evals(self.updates)

    def cost(self, *, updates: int = 0, scored: float = 0.0, seconds: float = 0.0) -> Cost:
        """What so many updates and scored words cost."""
        trained = self.trained(updates)
        return Cost(trained, round(scored), round(seconds, 2), (trained + self.forward * scored) / self.one)

    def run(self, updates: int, *, evals: bool = True) -> float:
        """What a run costs, with its scoring of dev or without, in fine-tunings."""
        scored = self.seen_words * self.n_evals(updates) if evals else 0
        return self.cost(updates=updates, scored=scored).fine_tunings

    def updates_for(self, fine_tunings: float, *, evals: bool = True) -> int:
        """The most updates of a run that costs no more than this.

        Raises:
            RecipeError: not even one update can be had for it.
        """
        low, high = 0, max(1, math.ceil(fine_tunings * self.one * self.per_epoch / max(1, self.train_words)))
        while low < high:
            middle = (low + high + 1) // 2
            if self.run(middle, evals=evals) <= fine_tunings + 1e-9:
                low = middle
            else:
                high = middle - 1
        if not low:
            raise RecipeError(
                f"{max(0.0, fine_tunings):.3f} of a fine-tuning of {self.updates} updates is too little for one update "
                f"and its scoring of dev, which take {self.run(1, evals=evals):.3f}; give a larger budget, or less dev"
            )
        return low
