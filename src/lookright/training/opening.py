"""Opening the layers of a plan over the first part of the updates, instead of all at once.

Pure Python. What an update is computed under is a function of its number, the plan and the seed, and of nothing else:
not of micro-batches, processes, or of what ran before.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import Final

from lookright.errors import RecipeError
from lookright.plan import UNBOUNDED, MaskPlan
from lookright.training.options import did_you_mean

SUDDEN: Final = "sudden"
KINDS: Final = ("soft", "reach", "drawn")
SHARE: Final = 0.3
"""Share of the updates where only the kind is given."""


@dataclass(frozen=True)
class Opening:
    """How the layers of a plan are opened.

    Attributes:
        kind: `sudden`: from the first update on. `soft`: what lies ahead has a weight, see
            `lookright.attention.opening`, that grows in equal steps. `reach`: the layers look ever further, by the
            same factor from update to update. `drawn`: in each update each of the layers is open or causal, open ever
            more often.
        share: of the updates, after which the layers are as the plan says; 0 for `sudden`.
    """

    kind: str = SUDDEN
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Opening:
        """Read `sudden`, `soft`, or a kind with its share, such as `soft:0.3`.

        Raises:
            RecipeError: anything else.
        """
        kind, colon, share = text.partition(":")
        if kind == SUDDEN and not colon:
            return cls()
        number = SHARE if not colon else float(share) if re.fullmatch(r"\d*\.?\d+(e-?\d+)?", share) else 0.0
        if kind not in KINDS or not 0 < number <= 1:
            hint = did_you_mean(kind, (SUDDEN, *KINDS)) if kind not in (SUDDEN, *KINDS) else ""
            raise RecipeError(
                f"opening is {text!r}, expected {SUDDEN!r}, or one of {', '.join(KINDS)} with the share of the updates "
                f"that it takes, above 0 and at most 1, as in 'soft:{SHARE:g}'{hint}"
            )
        return cls(kind, number)

    def n_updates(self, n_updates: int) -> int:
        """After how many of a run's updates the layers are as the plan says."""
        return math.ceil(self.share * n_updates)

    def at(self, n_done: int, n_opening: int, plan: MaskPlan, *, seed: int, longest: int) -> tuple[MaskPlan, float]:
        """What the next update is computed under: a plan that looks no further, and the weight of what lies ahead.

        Args:
            n_done: updates that are done.
            n_opening: updates that the opening takes; the first of them is computed under a causal plan.
            plan: of the model.
            seed: of the run.
            longest: sub-words of the longest stretch that is seen at once: a reach of so many is unbounded.
        """
        if n_done >= n_opening:
            return plan, 1.0
        share = n_done / n_opening
        if self.kind == "soft":
            return plan, share
        rights = plan.right_contexts
        if self.kind == "reach":
            reach = round(longest**share) - 1
            return MaskPlan(tuple(reach if right == UNBOUNDED else min(right, reach) for right in rights)), 1.0
        draw = random.Random(f"opening {seed} {n_done}")
        return MaskPlan(tuple(right if draw.random() < share else 0 for right in rights)), 1.0
