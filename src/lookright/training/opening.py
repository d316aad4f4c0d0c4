"""Opening the layers of a plan over the first part of the updates, instead of all at once.

Pure Python. What an update is computed under is a function of its number, and of nothing else: not of micro-batches,
processes, or of what ran before. Two other ways were measured and left out: layers that look ever further, and layers
that are drawn open ever more often (docs/log.md, 2026-11-21).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from lookright.errors import RecipeError
from lookright.training.options import did_you_mean

SUDDEN: Final = "sudden"
SOFT: Final = "soft"
SHARE: Final = 0.3
"""Share of the updates where none is given."""


@dataclass(frozen=True)
class Opening:
    """How the layers of a plan are opened.

    Attributes:
        share: of the updates, over which the weight of what lies ahead (see `lookright.attention.opening`) grows in
            equal steps from 0 to 1; 0: the layers are open from the first update on.
    """

    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Opening:
        """Read `sudden`, `soft`, or `soft` with its share, such as `soft:0.3`.

        Raises:
            RecipeError: anything else.
        """
        kind, colon, share = text.partition(":")
        if kind == SUDDEN and not colon:
            return cls()
        number = SHARE if not colon else float(share) if re.fullmatch(r"\d*\.?\d+(e-?\d+)?", share) else 0.0
        if kind != SOFT or not 0 < number <= 1:
            hint = did_you_mean(kind, (SUDDEN, SOFT)) if kind not in (SUDDEN, SOFT) else ""
            raise RecipeError(
                f"opening is {text!r}, expected {SUDDEN!r}, or {SOFT!r} with the share of the updates that it takes, "
                f"above 0 and at most 1, as in '{SOFT}:{SHARE:g}'{hint}"
            )
        return cls(number)

    def n_updates(self, n_updates: int) -> int:
        """After how many of a run's updates the layers are as the plan says."""
        return math.ceil(self.share * n_updates)


def weight_at(n_done: int, n_opening: int) -> float:
    """The weight of what lies ahead in the next update.

    Args:
        n_done: updates that are done.
        n_opening: updates that the opening takes; the first of them is causal.
    """
    return min(1.0, n_done / n_opening) if n_opening else 1.0
