"""One run: from its folder through the trainer to the weights that dev chose."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from transformers import PreTrainedModel, TrainingArguments

from lookright.attention import can_pack, is_encoder
from lookright.errors import LookRightError, OutputError
from lookright.models.compilation import compiled_layers
from lookright.models.headed import HeadedModel
from lookright.training.casting import cast_once
from lookright.training.checkpoints import MODEL_FILE, STATE_FILE
from lookright.training.kept_trunk import Forms, KeptTrunk, keep_trunk
from lookright.training.progress import Reporter, RunLog, is_entry
from lookright.training.recipe import Recipe
from lookright.training.run_folder import RunFolder, write_error
from lookright.training.trainer import (
    Collate,
    Examples,
    LoopRecipe,
    RunCallback,
    RunPlan,
    TaggerTrainer,
    UpdateTrainer,
    best_update,
    load_trained_state,
    out_of_patience,
    training_arguments,
)
from lookright.training.weights import recomputed_activations

log = logging.getLogger("lookright")


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        history: each logged loss and each evaluation, as in the log.
        score_name: the score that chose the checkpoint, with its convention; None without dev.
        best_score: its value at the chosen checkpoint, between 0 and 1; None without dev.
        update: the update whose weights the model has now.
        chosen_by: `dev`, or `last` where there was no dev set to choose by.
        n_updates: updates that were done.
        stopped_early: whether patience ended the run.
    """

    history: tuple[dict[str, Any], ...]
    score_name: str | None
    best_score: float | None
    update: int
    chosen_by: str
    n_updates: int
    stopped_early: bool


class Run(ABC):
    """One run.

    Args:
        model: prepared: what is not trained is frozen.
        recipe: resolved.
        plan: of the run.
        folder: of the run.
        kept: whether the folder is the user's: then it gets recipe, account, log and checkpoints to resume from;
            otherwise only the best weights are kept, for as long as the run lasts.
    """

    score_name: str | None = None
    """The name of the score that chooses the checkpoint; None where the last one is taken."""

    def __init__(
        self, model: PreTrainedModel, recipe: LoopRecipe, plan: RunPlan, folder: RunFolder, *, kept: bool
    ) -> None:
        self.model, self.recipe, self.plan = model, recipe, plan
        self.folder, self.kept = folder, kept

    @abstractmethod
    def trainer(self, args: TrainingArguments) -> UpdateTrainer:
        """The loop."""

    @abstractmethod
    def reporter(self) -> Reporter:
        """What shows the run."""

    @property
    def casts(self) -> bool:
        """Whether the states are cast to a lower precision; a compiled model sees to it."""
        return self.recipe.precision != "float32" and not self.recipe.compile and not is_encoder(self.backbone.config)

    @property
    @abstractmethod
    def backbone(self) -> PreTrainedModel:
        """The layers."""

    def go(self, device: torch.device, account: dict[str, Any], *, progress: bool) -> Outcome:
        """Train, or go on with an earlier run; then take the weights of the chosen checkpoint.

        Args:
            device: where to.
            account: what run.json says; the outcome is added to it.
            progress: whether to show a table on stderr.
        """
        args = training_arguments(
            self.recipe, self.plan, self.folder.checkpoints.partial, device=device, resumable=self.kept
        )
        first = args.process_index == 0
        newest = self._begin(account, args) if self.kept else None
        state = {} if newest is None else json.loads((newest / STATE_FILE).read_text(encoding="utf-8"))
        history: list[dict[str, Any]] = state.get("log_history", [])
        last = done = int(state.get("global_step", 0))
        if done < self.plan.n_updates and not out_of_patience(history, self.plan.patience, self.plan.opening):
            if done and first:
                log.info("going on after update %d of %d", done, self.plan.n_updates)
            try:
                trainer = self.trainer(args)
            except BaseException:
                if first:
                    self.folder.tidy()
                raise
            self._train(trainer, newest, history, progress=progress and first)
            history, last = trainer.state.log_history, trainer.state.global_step
        chosen = best_update(history)
        if last == done or (chosen is not None and chosen != last):
            self._take(chosen or last)
        outcome = self._outcome([entry for entry in history if is_entry(entry)], last, chosen)
        account["outcome"] = {
            name: getattr(outcome, name) for name in Outcome.__dataclass_fields__ if name != "history"
        }
        if self.kept and first:
            self.folder.write_account(account)
        return outcome

    def _begin(self, account: dict[str, Any], args: TrainingArguments) -> Path | None:
        """Open the folder in one process, and let the others wait for it; the checkpoint to go on from, if any."""
        args.distributed_state.wait_for_everyone()  # all have looked into the folder before one writes
        newest = None
        if args.process_index == 0:
            newest = self.folder.begin(self.recipe, account, resume=self.recipe.resume)
            if self.recipe.resume and newest is None:
                log.info("%s has no checkpoint to go on from: beginning at the beginning", self.folder.path)
            self.folder.checkpoints.clear_partial()
        args.distributed_state.wait_for_everyone()
        return newest if args.process_index == 0 else self.folder.begin(self.recipe, account, resume=True)

    def _train(
        self, trainer: UpdateTrainer, newest: Path | None, history: list[dict[str, Any]], *, progress: bool
    ) -> None:
        """Run the loop; whatever ends it, nothing half-written stays."""
        first = trainer.is_world_process_zero()
        reporter = self.reporter() if progress else None
        trainer.on_budget = self._smaller_budget
        run_log = RunLog(self.folder.log if self.kept and first else None)
        saved = self.folder.checkpoints if self.kept or self.score_name is not None else None
        trainer.add_callback(RunCallback(trainer, run_log, reporter, saved, every_checkpoint=self.kept))
        try:
            if reporter:
                reporter.start(history[-1]["step"] if history else 0)
            run_log.restart(history)
            with (
                recomputed_activations(self.backbone, self.recipe.gradient_checkpointing),
                compiled_layers(self.backbone, bool(self.recipe.compile)),
                cast_once(self.backbone, self.casts),
            ):
                trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except BaseException as error:
            if first:
                self.folder.tidy()
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(self._interrupted(trainer.state.global_step)) from None
            if isinstance(error, LookRightError):
                raise
            if isinstance(error, OSError) or (trainer.writing and isinstance(error, Exception)):
                raise write_error(self.folder.path, error) from error
            raise
        finally:
            if reporter:
                reporter.stop()
            # Mixed precision replaced the model's forward method; give the model back as it was.
            trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
            self.model.__dict__.pop("forward", None)  # a copy of the model would call this one's
            trainer.accelerator.free_memory()
        if first:
            self.folder.checkpoints.clear_partial()

    def _smaller_budget(self, budget: int) -> None:
        """Keep the budget that memory is enough for, so that a resumption begins with it."""
        self.recipe = self.recipe.replace(token_budget=budget)
        if self.kept:
            self.folder.write_recipe(self.recipe)

    def _interrupted(self, update: int) -> str:
        kept = self.folder.checkpoints.updates() if self.kept else []
        if not kept:
            return f"stopped after update {update}; no checkpoint was written yet, nothing is kept"
        return f"stopped after update {update}; {self.folder.checkpoints.path(kept[-1])} is whole: go on with --resume"

    def _take(self, update: int) -> None:
        """Put the weights of a checkpoint into the model.

        Raises:
            OutputError: the checkpoint is damaged.
        """
        if (broken := self.folder.checkpoints.broken(update)) is not None:
            raise OutputError(
                f"{self.folder.checkpoints.path(update)} is damaged ({broken}); train again in a new folder"
            )
        load_trained_state(self.model, self.folder.checkpoints.path(update) / MODEL_FILE)

    def _outcome(self, history: list[dict[str, Any]], last: int, chosen: int | None) -> Outcome:
        best = next((e["eval_score"] for e in history if "eval_score" in e and e["step"] == chosen), None)
        return Outcome(
            history=tuple(history),
            score_name=self.score_name,
            best_score=best,
            update=last if chosen is None else chosen,
            chosen_by="last" if chosen is None else "dev",
            n_updates=last,
            stopped_early=last < self.plan.n_updates,
        )


class HeadExamples(Examples, Forms, Protocol):
    """Training data of a model with a head."""

    trunk: KeptTrunk | None

    def collator(self, budget: int, layout: Literal["packed", "padded"]) -> Collate:
        """What puts the examples of an update together."""


class Scorer(Protocol):
    """Scores a model on dev.

    Attributes:
        name: of the score that chooses.
    """

    name: str

    def figures(self, *, rank: int = 0, world: int = 1) -> Mapping[str, float | None]:
        """What the log keeps: `score`, the figure that chooses, and its parts."""


class TaggerRun(Run):
    """A run that trains a model with a head: a tagger, or a text classifier.

    Args:
        model: prepared: what is not trained is frozen.
        recipe: resolved.
        examples: the training data.
        scorer: scores the model on dev; None without dev.
        folder: of the run.
        kept: whether the folder is the user's, see `Run`.
    """

    def __init__(
        self,
        model: HeadedModel,
        recipe: Recipe,
        examples: HeadExamples,
        scorer: Scorer | None,
        folder: RunFolder,
        *,
        kept: bool,
    ) -> None:
        super().__init__(model, recipe, RunPlan.of(recipe, len(examples)), folder, kept=kept)
        self.headed, self.examples, self.scorer = model, examples, scorer
        self.score_name = None if scorer is None else scorer.name

    @property
    def backbone(self) -> PreTrainedModel:
        """The layers under the head."""
        return self.headed.backbone

    def reporter(self) -> Reporter:
        """A table with the scores on dev."""
        return Reporter(self.plan.n_updates, self.score_name)

    def trainer(self, args: TrainingArguments) -> UpdateTrainer:
        """The loop over examples."""
        packs = not self.headed.is_encoder and can_pack(self.backbone)
        budget = self.recipe.token_budget or 1
        scorer = self.scorer
        trainer = TaggerTrainer(
            self.model,
            args,
            recipe=self.recipe,
            plan=self.plan,
            examples=self.examples,
            collator=self.examples.collator(budget, "packed" if packs else "padded"),
            evaluate_dev=None
            if scorer is None
            else lambda: scorer.figures(rank=args.process_index, world=args.world_size),
        )
        assert isinstance(self.recipe, Recipe)
        self.examples.trunk = keep_trunk(
            self.headed, self.examples, self.recipe, budget, packs=packs, autocast=trainer.autocast
        )
        return trainer
