"""What is predicted, and from where: causal, masked, and masked next-token targets. NumPy only.

`clm`: each sub-word from the output at the one before it.
`mlm` (BERT, arXiv 1810.04805, section 3.1): some sub-words are masked; each from the output in its own place.
`mntp` (LLM2Vec, arXiv 2404.05961, section 2.2): some are masked; each from the output at the place before it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Targets(NamedTuple):
    """A sequence to predict in.

    Attributes:
        input_ids: (length,), what the model sees.
        source: (targets,), the places whose outputs predict.
        target: (targets,), the ids that they are to predict.
    """

    input_ids: Ids
    source: Ids
    target: Ids


@dataclass(frozen=True)
class Objective:
    """How targets are drawn.

    Attributes:
        name: clm, mlm or mntp.
        mask_id: stands for a masked sub-word; None for clm.
        rate: share of the sub-words that are predicted.
        masking: `bert`: of those, 80 % are replaced by the mask, 10 % by a random sub-word, 10 % stay; `always`: all
            are replaced by the mask.
        vocab: random sub-words are drawn below this id.
        special: ids that are never predicted, nor drawn.
    """

    name: str
    mask_id: int | None = None
    rate: float = 0.15
    masking: str = "bert"
    vocab: int = 0
    special: Collection[int] = ()

    def targets(self, ids: Ids, generator: np.random.Generator) -> Targets:
        """Draw the targets of a sequence; a sequence with anything to predict has at least one."""
        if self.name == "clm":
            return Targets(ids, np.arange(len(ids) - 1), ids[1:])
        shift = 1 if self.name == "mntp" else 0  # nothing stands before the first sub-word to predict it from
        places = np.flatnonzero(~np.isin(ids, list(self.special)))
        places = places[places >= shift]
        chosen = places[generator.random(len(places)) < self.rate]
        if not len(chosen) and len(places):
            chosen = places[generator.integers(len(places), size=1)]
        seen = ids.copy()
        fate = generator.random(len(chosen))
        masked = fate < (0.8 if self.masking == "bert" else 1.0)
        assert self.mask_id is not None
        seen[chosen[masked]] = self.mask_id
        random = chosen[(fate >= 0.8) & (fate < 0.9) & ~masked]
        seen[random] = self._draw(len(random), generator)
        return Targets(seen, chosen - shift, ids[chosen])

    def _draw(self, n: int, generator: np.random.Generator) -> Ids:
        """Random sub-words that are not special."""
        drawn = generator.integers(self.vocab, size=n)
        while (bad := np.isin(drawn, list(self.special))).any():
            drawn[bad] = generator.integers(self.vocab, size=int(bad.sum()))
        return drawn
