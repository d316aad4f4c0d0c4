"""F1 does not move with speed: the same data and the same updates, packed in bfloat16 and padded in float32.

Fast: packed rows, training in bfloat16 where the recipe says so, the saved tagger loaded in bfloat16 and run packed.
Slow: every batch padded, everything in float32. Both have the same sentences in the same updates, since these depend on
recipe and seed alone; the last weights are taken, so that nothing is chosen. F1 is that of test, full gold.

Where the processor has fast int8 products, the fast tagger is also run with int8 weights, against itself in bfloat16.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from benchmarks.speed.report import Figure
from benchmarks.speed.workers import Failed

if TYPE_CHECKING:
    from benchmarks.quality.sets import Split

    from lookright import Tagger
    from lookright.metrics import Scores

SAMPLES: Final = 10_000
LEARNED: Final = 5.0
"""Where neither way comes to such a figure, nothing was learned, and nothing can be told."""
LAYOUT_ROOMS: Final = ("lookright.training", "lookright.inference")
"""The rooms in which the product asks whether a model can be packed."""


@contextlib.contextmanager
def layout(*, packed: bool) -> Iterator[None]:
    """Within: batches are packed, or else padded; which of the two the model really got is looked at.

    Raises:
        Failed: at the end, where it got the other, or nothing.
    """
    for room in ("training.run", "inference.predictor"):
        importlib.import_module(f"lookright.{room}")
    from lookright.models.tagger_model import LookRightForTokenClassification

    seen: set[bool] = set()
    inner = LookRightForTokenClassification.hidden_states

    def looked_at(self: Any, input_ids: Any, attention_mask: Any = None, lengths: Any = None, *more: Any) -> Any:
        seen.add(lengths is not None)
        return inner(self, input_ids, attention_mask, lengths, *more)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(LookRightForTokenClassification, "hidden_states", looked_at))
        if not packed:
            for name, module in list(sys.modules.items()):
                if name.startswith(LAYOUT_ROOMS) and hasattr(module, "can_pack"):
                    stack.enter_context(mock.patch.object(module, "can_pack", return_value=False))
        yield
    if seen != {packed}:
        wanted, got = ("packed" if way else "padded" for way in (packed, not packed))
        raise Failed(f"batches were to be {wanted}, and " + (f"some were {got}" if seen else "no model was called"))


@dataclass(frozen=True)
class Pair:
    """Figures of one set, 100 x strict F1 of test, by seed, and the scores that they come from."""

    name: str
    fast: tuple[float, ...]
    slow: tuple[float, ...]
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Fast minus slow, means over seeds."""
        return statistics.mean(self.fast) - statistics.mean(self.slow)

    @property
    def noise(self) -> float:
        """Two standard errors of such a difference, by how much seeds differ; not a number for one seed."""
        if len(self.fast) < 2:
            return math.nan
        variance = (statistics.variance(self.fast) + statistics.variance(self.slow)) / 2
        return 2 * math.sqrt(2 * variance / len(self.fast))

    @property
    def verdict(self) -> str:
        """Whether the difference is more than seeds differ."""
        if max(self.fast + self.slow) < LEARNED:
            return "nothing was learned: cannot tell"
        if math.isnan(self.noise):
            return "one seed: cannot tell"
        return "within seed noise" if abs(self.difference) <= self.noise else "BEYOND seed noise"


def run(split: Split, seed: int, updates: int | None, *, fast: bool) -> tuple[Scores, Scores | None]:
    """Train on train, tag test; for the fast way also with int8 weights, where they are fast."""
    from lookright import Tagger
    from lookright.models.bundled import bundled_folder
    from lookright.models.int8 import why_no_int8

    precision = "bfloat16" if fast else "float32"
    with layout(packed=fast), tempfile.TemporaryDirectory(prefix="speed-steady-") as folder:
        options: dict[str, Any] = {}
        if updates is not None:
            options = {"batch_size": 16, "epochs": 16 * updates / len(split.train)}
        tagger = Tagger.from_pretrained(bundled_folder())
        tagger.fit(split.train, seed=seed, precision=precision, progress=False, **options)
        tagger.save_pretrained(folder)
        loaded = Tagger.from_pretrained(folder, dtype=precision)
        scores = _score(loaded, split)
        if not fast or why_no_int8() is not None:
            return scores, None
        return scores, _score(Tagger.from_pretrained(folder, dtype="int8"), split)


def _score(tagger: Tagger, split: Split) -> Scores:
    found = tagger.tag(split.test.sentences, document_starts=split.test.document_starts)
    return split.score([list(tagging.tags) for tagging in found])


def compare(split: Split, seeds: Sequence[int], updates: int | None) -> tuple[Pair, Pair | None]:
    """Both ways on a set, for all seeds; and int8 against bfloat16."""
    fast, slow, int8 = [], [], []
    for seed in seeds:
        for way, packed in (("packed bfloat16", True), ("padded float32", False)):
            scores, small = run(split, seed, updates, fast=packed)
            (fast if packed else slow).append(scores)
            int8 += [] if small is None else [small]
            figure = 100 * (scores.headline[1] or 0.0)
            print(f"{split.name} seed {seed}, {way}: {figure:.2f}", file=sys.stderr, flush=True)
    return pair_of(split.name, fast, slow), pair_of(split.name, int8, fast) if int8 else None


def pair_of(name: str, fast: Sequence[Scores], slow: Sequence[Scores]) -> Pair:
    """The figures of two ways, with the interval of their difference over sentences."""
    from benchmarks.quality.report import pool

    from lookright.metrics import paired_bootstrap

    interval = paired_bootstrap(pool(fast), pool(slow), samples=SAMPLES)
    by_seed = (tuple(100 * (one.headline[1] or 0.0) for one in scores) for scores in (fast, slow))
    low, high = (math.nan if end is None else 100 * end for end in (interval.low, interval.high))
    return Pair(name, *by_seed, low, high)


def measure(
    data: Path | None, sets: Sequence[str], seeds: Sequence[int], updates: int | None, limit: int | None = None
) -> list[Figure]:
    """Compare on sets of a folder, `limit` sentences of each file; on the bundled set where no folder is given."""
    from benchmarks.quality.sets import load_split

    import lookright

    if data is None:
        print("steady: the bundled set alone; a second one needs --data", file=sys.stderr, flush=True)
        data, sets = Path(lookright.__file__).parent / "assets", ["wnut17"]
    found = []
    for name in sets:
        pair, int8 = compare(load_split(data, name, limit), seeds, updates)
        found += figures(pair, seeds, updates)
        if int8 is not None:
            unit = f"points of strict F1, test, interval [{int8.low:+.2f}, {int8.high:+.2f}]"
            found.append(Figure(f"{name}: int8 - bfloat16", round(int8.difference, 2), unit, -0.2, tuple(seeds)))
    return found


def figures(pair: Pair, seeds: Sequence[int], updates: int | None) -> list[Figure]:
    """What a pair comes to."""
    length = "the product's number of epochs" if updates is None else f"{updates} updates of 16 sentences"
    unit = f"100 x strict span F1, test, mean over seeds, {length}"
    about = (
        f"points, {pair.verdict} (two standard errors: {pair.noise:.2f}), 95 % paired bootstrap interval over "
        f"sentences [{pair.low:+.2f}, {pair.high:+.2f}], {length}"
    )
    return [
        Figure(f"{pair.name}: packed bfloat16", round(statistics.mean(pair.fast), 2), unit, None, tuple(seeds)),
        Figure(f"{pair.name}: padded float32", round(statistics.mean(pair.slow), 2), unit, None, tuple(seeds)),
        Figure(
            f"{pair.name}: packed bfloat16 - padded float32", round(pair.difference, 2), about, "within seed noise",
            tuple(seeds),
        ),
    ]  # fmt: skip
