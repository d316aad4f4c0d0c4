"""The loop of pretraining: the loss of a language model, held-out loss, and where the time of a step goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from lookright.attention import can_pack
from lookright.attention.architecture import bare_decoder
from lookright.encoding import token_budget
from lookright.models.language_model import cross_entropies, summed_loss
from lookright.training.compilation import compiled_function
from lookright.training.examples import At
from lookright.training.pretraining.recipe import PretrainRecipe
from lookright.training.pretraining.sequences import HELD_OUT_EPOCH, SequenceCollator, Sequences, n_targets
from lookright.training.progress import Reporter
from lookright.training.run import Run
from lookright.training.run_folder import RunFolder
from lookright.training.trainer import RunPlan, UpdateTrainer

WORKERS: Final = 2
"""Processes that put updates together while a GPU computes; a CPU computes so slowly that none are worth it."""
COLUMNS: Final = ("epoch", "update", "loss", "held out", "tokens/s", "left")


class Clock:
    """Where the time of updates goes, scoring and saving left out.

    On a GPU the next update is put together while the last one still computes, so that the share is a lower bound.

    Attributes:
        seconds: of all updates.
        waiting: of them, before the model had something to compute.
        tokens: sub-words that this process computed.
    """

    def __init__(self) -> None:
        self.seconds = self.waiting = 0.0
        self.tokens = 0
        self._began = self._ready = 0.0

    def begin(self) -> None:
        """An update is asked for."""
        self._began = time.perf_counter()

    def ready(self, tokens: int) -> None:
        """It is there, and has so many sub-words."""
        self._ready = time.perf_counter()
        self.tokens += tokens

    def done(self) -> None:
        """The optimizer has made its step."""
        now = time.perf_counter()
        self.seconds += now - self._began
        self.waiting += self._ready - self._began

    @property
    def arithmetic(self) -> float | None:
        """The share of an update that is forward, backward and optimizer; None before the first one."""
        return 1 - self.waiting / self.seconds if self.seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Sub-words per second of this process; None before the first update."""
        return self.tokens / self.seconds if self.seconds else None


class LanguageModelTrainer(UpdateTrainer):
    """The loop for language models."""

    def __init__(self, *args: Any, clock: Clock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock = clock
        self.add_callback(_ClockCallback(clock))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Ask for the next update."""
        self.clock.begin()
        return super().get_batch_samples(*args, **kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As for all models; the clock is told."""
        self.clock.ready(inputs["n_tokens"])
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The SUM of the cross-entropies of the targets of a micro-batch."""
        loss = compiled_function(cross_entropies) if self.recipe.compile else cross_entropies
        return summed_loss(self.model, model, **inputs, loss=loss)

    def group_of(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """As for all models; no decay where all but one row of the embeddings is frozen."""
        learning_rate, decay = super().group_of(name, parameter)
        one_row = isinstance(self.recipe, PretrainRecipe) and self.recipe.method == "lora" and ".lora_" not in name
        return learning_rate, 0.0 if one_row else decay


class _ClockCallback(TrainerCallback):  # type: ignore[misc]
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.done()


class HeldOut:
    """Scores a model on held-out text, with the same masks each time.

    Args:
        sequences: of held-out text.
        collator: puts them together.
    """

    def __init__(self, sequences: Sequences, collator: SequenceCollator) -> None:
        self.sequences, self.collator = sequences, collator

    @torch.no_grad()
    def loss(self, trainer: LanguageModelTrainer) -> dict[str, float | None]:
        """The mean cross-entropy of all targets; all processes share the work, and get the same figure."""
        args, model = trainer.args, trainer.model
        mine = range(args.process_index, len(self.sequences), args.world_size)
        examples = [self.sequences[At(HELD_OUT_EPOCH, number)] for number in mine]
        lengths = [len(example.input_ids) for example in examples]
        sums = torch.zeros(2, dtype=torch.float64)
        model.eval()
        for group in token_budget(lengths, self.collator.budget, layout=self.collator.layout) if examples else []:
            batch = self.collator.batch([examples[index] for index in group])
            on_device: dict[str, Any] = {k: v.to(args.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            sums += torch.tensor([float(summed_loss(model, model, **on_device)), n_targets(batch)])
        model.train()
        if args.world_size > 1:
            gathered = trainer.accelerator.gather(sums.float().to(args.device)[None])
            sums = gathered.double().sum(0).cpu()
        return {"loss": float(sums[0] / sums[1]) if sums[1] else None}


class SpeedReporter(Reporter):
    """Shows a pretraining run: losses, sub-words per second, time left.

    Args:
        n_updates: updates in the run.
        clock: of this process.
        world: number of processes.
        stream: where to; standard error when None.
    """

    def __init__(self, n_updates: int, clock: Clock, world: int = 1, stream: Any = None) -> None:
        super().__init__(n_updates, None, stream or sys.stderr)
        self.clock, self.world = clock, world
        self.began: tuple[float, int] | None = None

    def start(self, n_done: int) -> None:
        """Begin to show a run of which `n_done` updates are done already."""
        self.began = (time.perf_counter(), n_done)
        super().start(n_done)

    def loss_text(self, loss: float | None) -> str:
        """What stands behind the bar."""
        speed = self.speed()
        return super().loss_text(loss) + ("" if speed is None else f"  {speed:,.0f} tokens/s")

    def speed(self) -> float | None:
        """Sub-words per second of all processes."""
        speed = self.clock.tokens_per_second
        return None if speed is None else speed * self.world

    def row(self, values: Mapping[str, Any], *, best: bool) -> None:
        """Show one evaluation."""
        self.header(COLUMNS)
        speed = self.speed()
        left = self._left(int(values["update"]))
        self.line(
            [
                f"{values['epoch']:.2f}",
                str(values["update"]),
                *("-" if values.get(n) is None else f"{values[n]:.4f}" for n in ("loss", "dev_loss")),
                "-" if speed is None else f"{speed:,.0f}",
                "-" if left is None else f"{left // 60}:{left % 60:02d}",
            ]
        )

    def _left(self, update: int) -> int | None:
        """Seconds left, scoring and saving counted in."""
        if self.began is None or update <= self.began[1]:
            return None
        per_update = (time.perf_counter() - self.began[0]) / (update - self.began[1])
        return round(per_update * (self.n_updates - update))


class PretrainRun(Run):
    """A run that trains a language model.

    Args:
        model: prepared: its plan is installed, what is not trained is frozen.
        recipe: resolved.
        plan: of the run.
        train: sequences to train on.
        held_out: sequences to score; None without.
        pad_id: fills up padded rows.
        folder: of the run.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        recipe: PretrainRecipe,
        plan: RunPlan,
        train: Sequences,
        held_out: Sequences | None,
        pad_id: int,
        folder: RunFolder,
    ) -> None:
        super().__init__(model, recipe, plan, folder, kept=True)
        self.train, self.held_out = train, held_out
        self.clock = Clock()
        self.world = 1
        layout: Any = "packed" if can_pack(model) else "padded"
        self.collator = SequenceCollator(train.weightless(), recipe.token_budget or 1, layout, pad_id)

    @property
    def backbone(self) -> PreTrainedModel:
        """The decoder without its head."""
        return bare_decoder(self.model)

    def reporter(self) -> Reporter:
        """A table with losses and speed."""
        return SpeedReporter(self.plan.n_updates, self.clock, self.world)

    def trainer(self, args: TrainingArguments) -> UpdateTrainer:
        """The loop over sequences."""
        self.world = args.world_size
        held_out = None if self.held_out is None else HeldOut(self.held_out, self.collator)
        trainer = LanguageModelTrainer(
            self.model,
            args,
            clock=self.clock,
            recipe=self.recipe,
            plan=self.plan,
            examples=self.train,
            collator=self.collator,
            evaluate_dev=None,
            workers=WORKERS if args.device.type == "cuda" else 0,
        )
        if held_out is not None:
            trainer.evaluate_dev = lambda: held_out.loss(trainer)
        return trainer
