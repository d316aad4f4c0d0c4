"""What every strategy works with: the base, the data, the budget's prices, and the rows of what was done already."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from lookright.models.base import install_plan
from lookright.models.headed import HeadedModel
from lookright.plan import MaskPlan
from lookright.search.candidates import Candidates, layers_computed
from lookright.search.draws import PlanDraw
from lookright.search.folder import SearchFolder
from lookright.search.judging import Judge
from lookright.search.prices import Prices
from lookright.search.progress import Table
from lookright.search.runs import QuietRun, SharedRun
from lookright.search.scoring import DevOrder, PlanScorer
from lookright.search.tasks import SearchTask
from lookright.search.trials import ALL_PLANS, IntArray, Ledger, Trial, figure_of
from lookright.training.checkpoints import MODEL_FILE, Checkpoints
from lookright.training.evaluation import DevScorer
from lookright.training.fit import Trained
from lookright.training.recipe import Recipe
from lookright.training.run_folder import CHECKPOINTS, RUN_FILE, RunFolder, writing
from lookright.training.text_evaluation import TextScorer
from lookright.training.trainer import load_trained_state, trained_state
from lookright.training.weights import prepare_weights, set_labels

WEIGHTS: Final = "weights.safetensors"
LEAST_UNITS: Final = 50
"""Units of dev that plans are scored on at least, whatever that costs, as far as there are so many."""
Make = Callable[[MaskPlan], HeadedModel]


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every strategy works with.

    Attributes:
        make: a new, untrained model under a plan, which is probed.
        tokenizer: of the base.
        task: train and dev, and what is trained.
        sizes: of the units of dev, in words.
        recipe: of one fine-tuning, resolved.
        candidates: what is searched.
        prices: of the parts of a search.
        folder: of the search.
        ledger: the trials so far.
        judge: compares trials.
        table: shows trials as they end.
        device: where to.
        kept: whether training runs leave checkpoints, which take time to write: to go on from, or back to.
        units: of dev that runs are scored on, see `in_part`; None: all of them.
    """

    make: Make
    tokenizer: PreTrainedTokenizerBase
    task: SearchTask
    sizes: Sequence[int]
    recipe: Recipe
    candidates: Candidates
    prices: Prices
    folder: SearchFolder
    ledger: Ledger
    judge: Judge
    table: Table
    device: torch.device
    kept: bool = True
    units: IntArray | None = None

    def in_part(self, fine_tunings: float, scoring: float) -> Workshop:
        """The same, with runs that are scored on a random part of dev where all of it costs too much.

        Args:
            fine_tunings: what a run may cost.
            scoring: share of it that its scoring of dev may cost.
        """
        prices = self.prices
        updates = max(1, math.floor((1 - scoring) * fine_tunings * prices.one / max(1, prices.trained(1))))
        words = scoring * fine_tunings * prices.one / prices.forward / prices.n_evals(updates)
        order = self._dev_order()
        blocks = order.between(0, order.part(0, words, least=LEAST_UNITS))
        units = np.array([number for block in blocks for number in block])
        if len(units) == len(self.sizes):
            return self
        sizes = [self.sizes[number] for number in units]
        return replace(
            self, task=self.task.part(units.tolist()), sizes=sizes, units=units,
            prices=replace(prices, part_words=sum(sizes)),
        )  # fmt: skip

    def separate(self, stage: str, name: str, updates: int, start: Path | None = None) -> Trial:
        """Train one plan from the base, or from weights that an earlier trial kept; its own weights are kept, too."""
        if (done := self.ledger.get(stage, name)) is not None:
            return done
        begin = time.monotonic()
        model = self.make(self.candidates.named(name))
        _, trial = self.fit(model, stage, name, updates, start=start, begin=begin)
        with writing(self.folder.path):
            self.folder.run(stage, name).mkdir(parents=True, exist_ok=True)
            save_file(trained_state(model), self.weights(stage, name))
        self._end(trial)
        RunFolder(self.folder.run(stage, name)).checkpoints.keep(())
        return trial

    def fit(
        self,
        model: HeadedModel,
        stage: str,
        name: str,
        updates: int,
        *,
        start: Path | None = None,
        draw: PlanDraw | None = None,
        rate: float = 1.0,
        begin: float | None = None,
    ) -> tuple[Trained, Trial]:
        """Train a model in place, or go on with that run; nothing is written to the ledger.

        Args:
            model: under its plan.
            stage, name: of the trial.
            updates: of the run.
            start: weights to begin with.
            draw: the plans of each update, where it is for many.
            rate: what the learning rates are multiplied by.
            begin: when the trial began; now, unless given.
        """
        begin = time.monotonic() if begin is None else begin
        place = self.folder.run(stage, name) if self.kept else None
        recipe = self.recipe.replace(
            epochs=self.prices.epochs(updates),
            learning_rate=rate * (self.recipe.learning_rate or 0.0),
            head_learning_rate=rate * (self.recipe.head_learning_rate or 0.0),
            resume=place is not None and (place / RUN_FILE).is_file(),
        )
        runs: list[QuietRun] = []

        def make_run(*arguments: Any, **rest: Any) -> QuietRun:
            kind = QuietRun if draw is None else partial(SharedRun, draw=draw)
            runs.append(kind(*arguments, **rest))
            if start is not None:
                load_trained_state(model, start)
            return runs[-1]

        result = self.task.fit(model, self.tokenizer, recipe, place, progress=self.table.shown, make_run=make_run)
        plan = None if draw is not None else self.candidates.named(name)
        n_evals = 0 if draw is not None else self.prices.n_evals(updates)
        cost = self.prices.cost(
            updates=updates, scored=n_evals * self.prices.seen_words, seconds=time.monotonic() - begin
        )
        if plan is None:
            return result, Trial(stage, name, None, updates, cost)
        counts = self._best_counts(runs[0], result)
        return result, Trial(
            stage,
            name,
            plan,
            updates,
            cost,
            result.outcome.best_score,
            counts,
            np.arange(len(counts)) if self.units is None else self.units,
        )

    def shared(self, stage: str, updates: int, draw: PlanDraw) -> tuple[HeadedModel, Path | None]:
        """Train one set of weights for all plans; the model, which has them, and the file that they are kept in."""
        begin = time.monotonic()
        model = self.make(self.candidates.extremes[1])
        done = self.ledger.get(stage, ALL_PLANS)
        _, trial = self.fit(model, stage, ALL_PLANS, updates, draw=draw, begin=begin)  # takes its weights if it is done
        if done is None:
            self._end(trial)
        checkpoints = Checkpoints(self.folder.run(stage, ALL_PLANS) / CHECKPOINTS)
        return model, checkpoints.path(updates) / MODEL_FILE if self.kept else None

    def finalist(
        self,
        model: HeadedModel,
        stage: str,
        name: str,
        updates: int,
        *,
        start: Path | None,
        rate: float,
    ) -> tuple[Trained, Trial]:
        """Put a model under a plan, probe it, and train it on, from some weights or from those that it has."""
        install_plan(model.backbone, self.candidates.named(name), self.recipe.backend)
        result, trial = self.fit(model, stage, name, updates, start=start, rate=rate)
        done = self.ledger.get(stage, name)
        if done is None:
            self._end(trial)
        return result, done or trial

    def score(self, model: HeadedModel, stage: str, limit: float, *, rounds: int, leaders: int) -> list[Trial]:
        """Score all plans on dev with the weights of one model.

        Where all of dev is too much, all plans are scored on a random part of it, and those that are not told apart
        from the best go on to more of it: at most `leaders` of them, for as many rounds.

        Args:
            model: with shared weights.
            stage: of the trials.
            limit: what it may cost, in fine-tunings.
            rounds: in which the limit is spent, where it is not enough for all of dev.
            leaders: the most plans that go on to the next round.
        """
        done = [trial for name in self.candidates.names if (trial := self.ledger.get(stage, name)) is not None]
        if len(done) == len(self.candidates):
            return done
        order = self._dev_order()
        scorer = self.task.plan_scorer(
            model, self.tokenizer, self.device, self.recipe.token_budget or 1, self._autocast
        )
        words = limit * self.prices.one / self.prices.forward
        race = _Race(self, stage, order, scorer)
        everything = self.prices.dev_words * self.share_computed(self.candidates.plans)
        for number in range(1 if words >= everything else rounds):
            race.go(words / rounds if words < everything else words)
            if number + 1 < rounds:
                race.drop(leaders)
        return [self.ledger.get(stage, trial.name) or self._end(trial) for trial in race.trials()]

    def share_computed(self, plans: Sequence[MaskPlan]) -> float:
        """The layers that are computed to score some plans together, as a multiple of all layers."""
        return layers_computed(plans) / self.candidates.n_layers

    def restored(self, stage: str, name: str) -> HeadedModel:
        """The model of a separate trial, from the weights that were kept."""
        model = self.make(self.candidates.named(name))
        set_labels(model, self.task.settings(self.recipe, model.settings))
        prepare_weights(model, self.recipe)
        load_trained_state(model, self.weights(stage, name))
        model.eval()
        with self._autocast():
            self.task.settle(model, self.tokenizer, self.recipe, self.device)
        return model

    def weights(self, stage: str, name: str) -> Path:
        """Where the weights of a separate trial are kept."""
        return self.folder.run(stage, name) / WEIGHTS

    @property
    def spent(self) -> float:
        """Fine-tunings so far."""
        return sum(trial.cost.fine_tunings for trial in self.ledger.all())

    def _end(self, trial: Trial) -> Trial:
        with writing(self.folder.path):
            self.ledger.add(trial)
        self.table.row(trial, self.spent)
        return trial

    def _dev_order(self) -> DevOrder:
        return DevOrder(self.sizes, self.task.blocks(self.recipe.context), seed=self.recipe.seed)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _best_counts(self, run: QuietRun, result: Trained) -> IntArray:
        """The counts of dev behind the checkpoint that was chosen; a run that was resumed scores it anew."""
        scorer = run.scorer
        assert isinstance(scorer, DevScorer | TextScorer)
        if scorer.best is not None and (scorer.best.headline[1] or 0.0) == result.outcome.best_score:
            return self.task.counts(scorer.best)
        with self._autocast():
            return self.task.counts(scorer.scores())


class _Race:
    """The scoring of plans on dev, part by part."""

    def __init__(self, shop: Workshop, stage: str, order: DevOrder, scorer: PlanScorer) -> None:
        self.shop, self.stage, self.order, self.scorer = shop, stage, order, scorer
        self.running = list(shop.candidates.plans)
        self.counts: dict[MaskPlan, list[IntArray]] = {plan: [] for plan in self.running}
        self.seen: dict[MaskPlan, list[int]] = {plan: [] for plan in self.running}
        self.words = dict.fromkeys(self.running, 0.0)
        self.seconds = dict.fromkeys(self.running, 0.0)
        self.at = 0

    def go(self, words: float) -> None:
        """Score the plans that are still running on so many more words, counted over all plans."""
        begin, computed = time.monotonic(), self.shop.share_computed(self.running)
        last = self.order.part(self.at, words / computed, least=LEAST_UNITS)
        blocks = self.order.between(self.at, last)
        self.at = last
        if not blocks:
            return
        numbers = [number for block in blocks for number in block]
        n_words = sum(self.shop.sizes[number] for number in numbers)
        found = self.scorer.counts(self.running, blocks)
        seconds = time.monotonic() - begin
        for plan, counts in found.items():
            self.counts[plan].append(counts)
            self.seen[plan] += numbers
            self.words[plan] += n_words * computed / len(self.running)
            self.seconds[plan] += seconds / len(self.running)

    def drop(self, leaders: int) -> None:
        """Leave behind what is told apart from the best, and all but the leaders; causal and default plan stay."""
        verdict = self.shop.judge.verdict([trial for trial in self.trials() if trial.plan in self.running])
        among = {verdict.best, *verdict.not_told_apart}
        kept = [name for name in verdict.ranking if name in among][:leaders]
        self.running = [
            plan
            for plan in self.running
            if plan.is_causal or plan == self.shop.judge.default or self.shop.candidates.name_of(plan) in kept
        ]

    def trials(self) -> list[Trial]:
        """What came of it so far, those that ran longest and best last."""
        shop, found = self.shop, []
        for plan in shop.candidates.plans:
            order = np.argsort(np.array(self.seen[plan]), kind="stable")
            counts = np.concatenate(self.counts[plan])[order]
            figure = figure_of(counts)
            cost = shop.prices.cost(scored=self.words[plan], seconds=self.seconds[plan])
            name, sentences = shop.candidates.name_of(plan), np.array(self.seen[plan])[order]
            found.append(Trial(self.stage, name, plan, 0, cost, figure or 0.0, counts, sentences))
        return sorted(found, key=lambda trial: (len(trial.counts if trial.counts is not None else ()), trial.score))
