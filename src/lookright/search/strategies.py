"""The strategies of a search: what is tried, in which order, for how much of the budget."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final, Protocol

from lookright.errors import RecipeError
from lookright.models.headed import HeadedModel
from lookright.search.candidates import Candidates, ladder
from lookright.search.draws import UNIFORM, PlanDraw
from lookright.search.judging import Verdict, rank
from lookright.search.trials import Trial
from lookright.search.workshop import Workshop
from lookright.training.fit import Trained
from lookright.training.options import did_you_mean

log = logging.getLogger("lookright")


@dataclass(frozen=True, eq=False)
class Found:
    """What a strategy came to.

    Attributes:
        trial: the training run that gave the model.
        verdict: by which its plan was chosen.
        model: the tagger, or text classifier.
        fit: the account of its training; None where it was read back.
    """

    trial: Trial
    verdict: Verdict
    model: HeadedModel
    fit: Trained | None = None


class Strategy(Protocol):
    """One way to search. Its fields are its options."""

    name: ClassVar[str]

    def budget_for(self, n_plans: int) -> float:
        """The budget where none is given, in fine-tunings."""

    def candidates(
        self, n_layers: int, groups: int, contexts: Sequence[int], most_look_ahead: int | None
    ) -> Candidates:
        """The plans that are searched where they are not given one by one."""

    def run(self, shop: Workshop, budget: float) -> Found:
        """Search."""


class _AllPlans:
    """Strategies whose candidates are all plans of the groups."""

    def candidates(
        self, n_layers: int, groups: int, contexts: Sequence[int], most_look_ahead: int | None
    ) -> Candidates:
        """All plans in which each group has one of the right contexts."""
        return Candidates.of_groups(n_layers, groups, contexts, most_look_ahead=most_look_ahead)


def _train_each(shop: Workshop, budget: float) -> Found:
    """Train every candidate for an equal part of the budget, at most one fine-tuning each."""
    part = budget / len(shop.candidates)
    updates = shop.prices.updates if part >= 1 else shop.prices.updates_for(part)
    trials = [shop.separate("train", name, updates) for name in shop.candidates.names]
    verdict = shop.judge.verdict(trials)
    chosen = next(trial for trial in trials if trial.name == verdict.chosen)
    return Found(chosen, verdict, shop.restored("train", chosen.name))


@dataclass(frozen=True)
class Exhaustive(_AllPlans):
    """Every plan is trained: what the papers did, and the measure of all other strategies."""

    name: ClassVar[str] = "exhaustive"

    def budget_for(self, n_plans: int) -> float:
        """One fine-tuning for each plan."""
        return float(n_plans)

    def run(self, shop: Workshop, budget: float) -> Found:
        """Train all and take the best."""
        return _train_each(shop, budget)


@dataclass(frozen=True)
class Ladder:
    """0000, 0001, 0011, 0111, 1111: one group after the other is opened from the top, as users of BiLLM do by hand."""

    name: ClassVar[str] = "ladder"

    def budget_for(self, n_plans: int) -> float:
        """One fine-tuning for each plan."""
        return float(n_plans)

    def candidates(
        self, n_layers: int, groups: int, contexts: Sequence[int], most_look_ahead: int | None
    ) -> Candidates:
        """The steps of the ladder."""
        return Candidates.of_specs(ladder(n_layers, groups, contexts), n_layers, most_look_ahead=most_look_ahead)

    def run(self, shop: Workshop, budget: float) -> Found:
        """Train all and take the best."""
        return _train_each(shop, budget)


@dataclass(frozen=True)
class Halving(_AllPlans):
    """Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): rounds of equal cost, in which fewer and
    fewer plans are trained further and further; then the best one is trained on, as long as a round, in one go.

    Attributes:
        eta: of so many plans one goes on to the next round.
        scoring: of what a run may cost, the share that its scoring of dev may cost; where all of dev costs more, all
            plans of a round are scored on the same part of it. The last round sees all of dev.
    """

    name: ClassVar[str] = "halving"
    eta: int = 2
    scoring: float = 1 / 3

    def __post_init__(self) -> None:
        if self.eta < 2:
            raise RecipeError(f"eta is {self.eta}, expected at least 2")
        if not 0 < self.scoring < 1:  # nor nan
            raise RecipeError(f"scoring is {self.scoring}, expected a share between 0 and 1")

    def budget_for(self, n_plans: int) -> float:
        """One fine-tuning for each round, and one for the final training."""
        return 1.0 + len(self.field_sizes(n_plans))

    def field_sizes(self, n_plans: int) -> list[int]:
        """How many plans take part in each round."""
        sizes = [n_plans]
        while sizes[-1] > self.eta:
            sizes.append(math.ceil(sizes[-1] / self.eta))
        return sizes

    @staticmethod
    def best_of(trials: Sequence[Trial], size: int) -> list[str]:
        """The plans of a round that go on; a warning where some of them are not better than one that does not."""
        ranked = rank(trials)
        if len(ranked) > size and ranked[size - 1].score == ranked[size].score:
            alike = sum(trial.score == ranked[size].score for trial in ranked)
            log.warning(
                "after %d updates %d of the %d plans of %s have the same score on dev, so that chance says which of "
                "them go on; more of them tell plans apart: give more epochs, or a larger budget",
                ranked[size].updates, alike, len(ranked), ranked[size].stage,
            )  # fmt: skip
        return [trial.name for trial in ranked[:size]]

    def run(self, shop: Workshop, budget: float) -> Found:
        """Train in rounds, of which the last one decides; then train its plan on."""
        sizes = self.field_sizes(len(shop.candidates))
        share = budget / (len(sizes) + 1)
        running, stage = list(shop.candidates.names), ""
        trials: list[Trial] = []
        for number, size in enumerate(sizes, start=1):
            before, stage = stage, f"round {number}"
            running = self.best_of(trials, size) if trials else running
            each = min(1.0, share / size)
            here = shop if number == len(sizes) else shop.in_part(each, self.scoring)
            updates = here.prices.updates_for(each)
            trials = [
                here.separate(stage, name, updates, start=shop.weights(before, name) if before else None)
                for name in running
            ]
            for name in shop.candidates.names if before else ():
                shop.folder.remove_run(before, name)
        verdict = shop.judge.verdict(trials)
        # What won was trained in pieces, each with a learning rate of its own that ends at zero, and with part of the
        # budget of one fine-tuning: it falls short of one that is trained as usual (docs/log.md, 2026-11-21).
        model, weights = shop.make(shop.candidates.named(verdict.chosen)), shop.weights(stage, verdict.chosen)
        updates = shop.prices.updates_for(min(1.0, share))
        fit, trial = shop.finalist(model, "final", verdict.chosen, updates, start=weights, rate=1.0)
        return Found(trial, verdict, model, fit)


@dataclass(frozen=True)
class Shared(_AllPlans):
    """One training run for all plans, then each is scored on dev with the shared weights, and the best trained further.

    As the weights of a once-for-all network (Cai et al. 2020, arXiv 1908.09791), the shared ones serve every plan.

    Attributes:
        share: of the budget that the shared run gets.
        scoring: of the budget that scoring all plans on dev may cost; where all of dev costs less, less is spent. The
            rest is for training the finalists.
        finalists: plans that are trained further.
        extremes: share of the updates that are under the causal and the most open plan, see `PlanDraw`.
        uniform: what is drawn uniformly otherwise: `plans`, or the number of `open` layers.
        per_update: plans of an update: 1, or 2, which divide its sentences, see `PlanDraw`.
        rate: what the learning rate is multiplied by when a finalist is trained.
        rounds: of scoring, where all of dev costs too much.
        leaders: the most plans that go on to the next round of scoring, the causal and the default one besides.
    """

    name: ClassVar[str] = "shared"
    share: float = 0.45
    scoring: float = 0.1
    finalists: int = 1
    extremes: float = 0.25
    uniform: str = UNIFORM[0]
    per_update: int = 1
    rate: float = 1.0
    rounds: int = 2
    leaders: int = 6

    def __post_init__(self) -> None:
        if not (self.share > 0 and self.scoring > 0 and self.share + self.scoring < 1):
            raise RecipeError(
                f"the shared run gets {self.share} and scoring {self.scoring} of the budget; expected positive shares "
                "that leave something for the finalists"
            )
        if not 0 < self.rate < math.inf:  # nor nan
            raise RecipeError(f"rate is {self.rate}, expected a positive number")
        for name in ("finalists", "rounds", "leaders"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}, expected at least 1")

    def budget_for(self, n_plans: int) -> float:
        """One and a half fine-tunings, however many plans there are."""
        return 1.5

    def run(self, shop: Workshop, budget: float) -> Found:
        """Train the shared weights, score all plans, train the finalists on."""
        draw = PlanDraw(shop.candidates, shop.recipe.seed, self.extremes, self.uniform, self.per_update)
        shop = replace(shop, kept=shop.kept or self.finalists > 1)
        model, weights = shop.shared("shared", shop.prices.updates_for(self.share * budget, evals=False), draw)
        scored = shop.score(model, "dev", self.scoring * budget, rounds=self.rounds, leaders=self.leaders)
        verdict = shop.judge.verdict(scored)
        others = [name for name in verdict.ranking if name in verdict.not_told_apart or name == verdict.best]
        finalists = [verdict.chosen, *(name for name in others if name != verdict.chosen)][: self.finalists]
        before = sum(trial.cost.fine_tunings for trial in shop.ledger.all() if trial.stage != "final")
        rest, least = (budget - before) / len(finalists), shop.prices.run(1)
        if rest < least:
            log.warning(
                "the budget leaves %.2f fine-tunings for the final training, and one update with its scoring of dev "
                "costs %.2f: it is exceeded; give a larger budget, or less dev", max(0.0, rest), least,
            )  # fmt: skip
        updates = shop.prices.updates_for(max(least, rest))
        done: dict[str, tuple[Trained, Trial]] = {
            name: shop.finalist(model, "final", name, updates, start=weights, rate=self.rate) for name in finalists
        }
        if len(finalists) > 1:
            verdict = shop.judge.verdict([trial for _, trial in done.values()])
        fit, trial = done[verdict.chosen]
        if finalists[-1] != trial.name:  # the model has the weights of another one now
            fit, trial = shop.finalist(model, "final", trial.name, updates, start=weights, rate=self.rate)
        return Found(trial, verdict, model, fit)


STRATEGIES: Final[dict[str, type[Any]]] = {kind.name: kind for kind in (Shared, Ladder, Halving, Exhaustive)}
"""Every strategy by name, the default first."""
DEFAULT: Final = Shared.name


def strategy_of(given: str | Strategy) -> Strategy:
    """A strategy by its name, with its default options; or the one that is given.

    Raises:
        RecipeError: there is none of that name; the nearest is named.
    """
    if not isinstance(given, str):
        return given
    if given not in STRATEGIES:
        raise RecipeError(
            f"strategy is {given!r}, expected one of {', '.join(STRATEGIES)}{did_you_mean(given, STRATEGIES)}"
        )
    made: Strategy = STRATEGIES[given]()
    return made


def account_of(strategy: Strategy) -> dict[str, Any]:
    """A strategy and its options in JSON types."""
    options: dict[str, Any] = asdict(strategy)  # type: ignore[call-overload]
    return {"name": strategy.name, **options}
