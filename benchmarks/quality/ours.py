"""LookRight on a base, with the product's own defaults, the same for every set.

Those defaults were settled on the dev parts of NCBI-disease and CoNLL-2000 (benchmarks/base/defaults.py), two of
the sets here; the peers have the settings that are usual for them.

How long a run takes is decided by `Budget`. In minutes it works so: a few updates are run and thrown away (libraries
load, memory is claimed), then a short and a longer run on the set's own training sentences and the tagging of dev are
timed, twice each, of which the faster counts. The difference of the two runs gives the seconds of an update, the rest
of the short one the seconds to get ready. From that, the number of epochs is the largest one, in tenths, whose
predicted time, with one evaluation of dev per epoch, is 95 % of the minutes or less. The learning rate comes down over
just these epochs. It is measured once for a set, before its first seed; the other seeds take the same number. The time
that training then took is in the table.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.runs import BUSY, Answer
from benchmarks.quality.sets import Split

SHARE_OF_BUDGET: Final = 0.95
"""The part of the minutes that is planned for: copying the best weights, and a machine that is slower for a while."""

MEASURED_SECONDS: Final = 10.0
"""About how long the longer timed run takes."""

FREE_OPTIONS: Final = ("epochs", "seed", "base", "train", "dev", "test", "out", "resume", "device", "report_to")
"""Options of a recipe that are told apart elsewhere (seed, epochs, data, base) or decide nothing about the score."""


@dataclass(frozen=True)
class Budget:
    """How long a run of ours trains.

    Attributes:
        epochs: a number; `default` for the product's own; None for as many as the minutes allow.
        minutes: at most; None for no bound.
    """

    epochs: float | str | None = "default"
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.minutes is None:
            raise ValueError("neither epochs nor minutes: nothing says how long to train")
        for name, number in (("minutes", self.minutes), ("epochs", self.epochs)):
            if isinstance(number, int | float) and not number > 0:
                raise ValueError(f"{number} {name}; expected more than 0")

    def __str__(self) -> str:
        if self.epochs is None:
            return f"{self.minutes:g} minutes"
        wanted = f"{self.epochs:g} epochs" if isinstance(self.epochs, int | float) else f"{self.epochs} epochs"
        return wanted if self.minutes is None else f"{wanted}, at most {self.minutes:g} minutes"


@dataclass(frozen=True)
class Speed:
    """What a set costs on this machine, in seconds.

    Attributes:
        ready: before the first update.
        update: one update.
        evaluation: tagging and scoring dev once.
        updates_per_epoch: for the product's batch size.
    """

    ready: float
    update: float
    evaluation: float
    updates_per_epoch: int

    def seconds(self, epochs: float) -> float:
        """The predicted time of a run: an evaluation ends each epoch, and the run."""
        updates = math.ceil(epochs * self.updates_per_epoch)
        return self.ready + updates * self.update + math.ceil(epochs) * self.evaluation

    def epochs_in(self, minutes: float) -> float:
        """The most epochs, in tenths and at least one tenth, that this many minutes are enough for."""
        tenths = 1
        while self.seconds((tenths + 1) / 10) <= 60 * minutes * SHARE_OF_BUDGET:
            tenths += 1
        return tenths / 10


@cache
def _about(base: str) -> tuple[dict[str, Any], Any]:
    """What a base is, in JSON types, and what the product's defaults depend on, for no sentences yet."""
    from lookright import Tagger
    from lookright.training.weights import facts_of

    tagger = Tagger.from_pretrained(base, labels=["ANY"])
    assert tagger.model is not None
    about = {"base": tagger.model.config.base["fingerprint"][:16], "plan": str(tagger.plan)}
    return about, facts_of(tagger.model, 0, tagger.device)


def _default_recipe(base: str, split: Split) -> dict[str, Any]:
    """The product's defaults for this base and this set, in JSON types."""
    from lookright.training.recipe import Recipe

    facts = replace(_about(base)[1], n_sentences=len(split.train))
    return {name: value for name, value in Recipe().resolved(facts).to_dict().items() if value is not None}


def settings(base: str, split: Split, budget: Budget) -> dict[str, Any]:
    """All that decides a run besides the data and the seed: the base, and the product's defaults as they are now."""
    from lookright import __version__

    recipe = _default_recipe(base, split)
    wanted = recipe["epochs"] if budget.epochs == "default" else budget.epochs
    kept = {name: value for name, value in recipe.items() if name not in FREE_OPTIONS}
    about, facts = _about(base)
    return {
        **about,
        "device": facts.device,
        "epochs": wanted,
        "minutes": budget.minutes,
        "recipe": kept,
        "version": __version__,
    }


def run(base: str, split: Split, seed: int, budget: Budget, epochs: float | None) -> Answer:
    """Train on train, choose on dev, tag test.

    Args:
        base: a folder, or a name on a hub.
        split: the set.
        seed: of training.
        budget: how long to train.
        epochs: what an earlier seed of the same job found the budget to be; None to find it out now.
    """
    from lookright import Tagger

    speed = None
    if epochs is None:
        epochs, speed = choose_epochs(base, split, budget)
    tagger = Tagger.from_pretrained(base)
    began = time.perf_counter()
    result = tagger.fit(split.train, dev=split.dev, seed=seed, epochs=epochs, progress=False)
    trained = time.perf_counter()
    taggings = tagger.tag(split.test.sentences, document_starts=split.test.document_starts)
    ended = time.perf_counter()
    account = {
        "epochs": result.recipe.epochs,
        "updates": result.outcome.n_updates,
        "chosen": result.outcome.update,
        "parameters": result.n_parameters,
        "speed": None if speed is None else asdict(speed),
    }
    tags = [list(tagging.tags) for tagging in taggings]
    return Answer(tags, trained - began, ended - trained, result.outcome.best_score, account)


def choose_epochs(base: str, split: Split, budget: Budget) -> tuple[float, Speed | None]:
    """The number of epochs for a budget, and the speed where it had to be measured."""
    wanted = _default_recipe(base, split)["epochs"] if budget.epochs == "default" else budget.epochs
    if budget.minutes is None:
        assert wanted is not None
        return float(wanted), None
    speed = measure_speed(base, split)
    fitting = speed.epochs_in(budget.minutes)
    chosen = fitting if wanted is None else min(float(wanted), fitting)
    print(
        f"{split.name}: {speed.update:.3f} s an update, {speed.evaluation:.1f} s an evaluation of dev: "
        f"{chosen:g} epochs, about {speed.seconds(chosen):.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return chosen, speed


def measure_speed(base: str, split: Split) -> Speed:
    """Time short runs on the set's own sentences, each twice, and take the faster; see the top of this module."""
    from lookright import Tagger

    per_epoch = 0

    def timed(updates: int) -> tuple[float, Any]:
        nonlocal per_epoch
        tagger = Tagger.from_pretrained(base)
        began = time.perf_counter()
        epochs = updates / per_epoch if per_epoch else 1e-6
        result = tagger.fit(split.train, epochs=epochs, seed=0, progress=False)
        seconds = time.perf_counter() - began
        per_epoch = math.ceil(result.n_sentences / (result.recipe.batch_size or 1))
        return seconds, tagger

    timed(1)  # loads what is loaded once
    wall, processor = time.perf_counter(), time.process_time()
    few = max(2, min(10, per_epoch // 2))
    short = min(timed(few)[0], timed(few)[0])
    many = min(max(4 * few, math.ceil(few * MEASURED_SECONDS / short)), 20 * per_epoch)
    (long, tagger), (again, _) = timed(many), timed(many)
    update = max(1e-4, (min(long, again) - short) / (many - few))
    evaluations = []
    for _ in range(2):
        began = time.perf_counter()
        tagger.tag(split.dev.sentences, document_starts=split.dev.document_starts)
        evaluations.append(time.perf_counter() - began)
    share = (time.process_time() - processor) / (time.perf_counter() - wall)
    if tagger.device.type == "cpu" and share < BUSY:
        print(f"the machine is busy: {share:.0%} of a core while timing; fewer epochs than could be", file=sys.stderr)
    return Speed(max(0.0, short - few * update), update, min(evaluations), per_epoch)


def check_base(base: str) -> None:
    """Refuse a base that is no local folder before any time is spent.

    Raises:
        SystemExit: with what is wrong.
    """
    if not (Path(base) / "config.json").exists():
        raise SystemExit(f"{base}: no config.json there; expected the folder of a base")
