"""The training loop: the Trainer of transformers, with our own batches, loss, optimizer and evaluation.

What is ours, all through methods that the Trainer offers for it:

- an update is a number of sentences, cut into micro-batches by a token budget; its loss is the mean over all counted
  words of the update, whatever the micro-batches and the processes, so that k micro-batches give the gradient of one;
- the learning rate is a function of the number of updates, and ends where the schedule says;
- evaluation is on dev, over the full gold, through the predictor;
- checkpoints hold what is trained as safetensors and the Trainer's own state files, but no pickled arguments.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lookright.attention import partly_open
from lookright.errors import LookRightError, OutputError, RecipeError
from lookright.inference.device import is_out_of_memory
from lookright.models.headed import BACKBONE
from lookright.models.store import refuse_damaged
from lookright.training.checkpoints import MODEL_FILE, Checkpoints
from lookright.training.examples import UpdateSampler
from lookright.training.halves import AT_ONCE, draws_in_order, gradients_in_halves, waits_passively
from lookright.training.opening import Opening, weight_at
from lookright.training.optimizers import hidden_matrices, make_optimizer
from lookright.training.pretraining.recipe import PretrainRecipe
from lookright.training.progress import Reporter, RunLog
from lookright.training.recipe import Recipe
from lookright.training.schedule import Schedule, checkpoint_updates, updates_per_epoch
from lookright.training.surroundings import weights_are_sharded

log = logging.getLogger("lookright")

LOGGED_LOSSES: Final = 500
"""About how many losses a run logs besides those at its checkpoints."""

LoopRecipe = Recipe | PretrainRecipe
Evaluate = Callable[[], Mapping[str, float | None]]


class Examples(Protocol):
    """What the loop asks of training data: examples by `At`, and one that does not count."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: Any) -> Any: ...
    def weightless(self) -> Any:
        """An example of which nothing counts."""


class Collate(Protocol):
    """Puts the examples of an update together as micro-batches: at most `budget` sub-words each, at least `least`."""

    budget: int
    least: int

    def __call__(self, update: Any) -> dict[str, Any]:
        """`micro_batches` (keyword arguments of a forward) and `n_words`, how many losses are in their sum.

        Also what they were made of: `update`, which is `n_examples` examples, and `budget`.
        """

    def batch(self, examples: Any) -> dict[str, Any]:
        """One micro-batch."""


@dataclass(frozen=True)
class RunPlan:
    """When a run does what, in updates.

    Attributes:
        batch_size: examples per update, over all processes.
        updates_per_epoch: updates in one pass.
        n_updates: updates in all.
        checkpoints: after which updates it is evaluated and saved.
        log_every: updates between two logged losses.
        patience: evaluations without a better score before stopping; 0 for never.
        opening: updates after which the layers are as open as the model's plan says.
        fault: `Recipe.accumulation_fault`.
        n_scheduled: updates over which the learning rate falls; None for all. Under the fault there are more than are
            done, so that it never comes down.
    """

    batch_size: int
    updates_per_epoch: int
    n_updates: int
    checkpoints: tuple[int, ...]
    log_every: int
    patience: int = 0
    opening: int = 0
    fault: int = 0
    n_scheduled: int | None = None

    @classmethod
    def of(cls, recipe: Recipe, n_sentences: int) -> RunPlan:
        """The plan of a resolved recipe for so many sentences."""
        assert recipe.epochs is not None
        assert recipe.batch_size is not None
        fault = recipe.accumulation_fault
        per_epoch = updates_per_epoch(n_sentences, recipe.batch_size, fault)
        checkpoints = checkpoint_updates(recipe.epochs, per_epoch, recipe.evals_per_epoch)
        log_every = max(1, checkpoints[-1] // LOGGED_LOSSES)
        scheduled = None
        if fault > 1:
            scheduled = math.ceil(recipe.epochs * updates_per_epoch(n_sentences, recipe.batch_size))
        return cls(
            recipe.batch_size,
            per_epoch,
            checkpoints[-1],
            checkpoints,
            log_every,
            recipe.patience,
            opening=Opening.parse(recipe.opening).n_updates(checkpoints[-1]),
            fault=fault,
            n_scheduled=scheduled,
        )


def best_update(history: list[dict[str, Any]]) -> int | None:
    """The update with the highest score on dev, the earliest on a tie; None when dev was never scored."""
    scored = [entry for entry in history if "eval_score" in entry]
    return max(scored, key=lambda e: (e["eval_score"], -e["step"]))["step"] if scored else None


def out_of_patience(history: list[dict[str, Any]], patience: int, opening: int = 0) -> bool:
    """Whether the last `patience` evaluations brought no better score; never when patience is 0.

    Those within the first `opening` updates do not count: the model was not yet trained for the plan that it is scored
    under.
    """
    scored = [entry["step"] for entry in history if "eval_score" in entry]
    best = best_update(history)
    since = [step for step in scored if best is not None and step > max(best, opening)]
    return bool(patience) and len(since) >= patience


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name: all of them, or the adapters and the head."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trained_state(model: nn.Module, file: Path) -> None:
    """Put the weights of a checkpoint into a model.

    Raises:
        OutputError: the file does not fit the model.
    """
    state = load_file(file)
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if own.keys() != state.keys():
        raise OutputError(
            f"{file} does not fit the model: {sorted(own.keys() ^ state.keys())[0]!r} is only on one side"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


class UpdateTrainer(Trainer):  # type: ignore[misc]
    """The Trainer of transformers with our updates, loss, optimizer and checkpoints.

    Args:
        model: with everything that is not trained frozen.
        args: made by `training_arguments`.
        recipe: resolved.
        plan: of this run.
        examples: the training data.
        collator: puts an update together.
        evaluate_dev: scores the model on dev; None without dev. Called by all processes at once.
        workers: processes that put updates together ahead of time; 0: none but this one.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        recipe: LoopRecipe,
        plan: RunPlan,
        examples: Examples,
        collator: Collate,
        evaluate_dev: Evaluate | None,
        workers: int = 0,
    ) -> None:
        self.recipe, self.plan, self.evaluate_dev, self.workers = recipe, plan, evaluate_dev, workers
        self.optimizer: Any = None
        self.lr_scheduler: Any = None
        self.control: Any = None
        self.writing = False
        self.on_budget: Callable[[int], None] | None = None
        self.trained_names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        super().__init__(model=model, args=args, train_dataset=examples, data_collator=collator)
        self.remove_callback(PrinterCallback)  # it writes to stdout
        self.halved = self.in_halves()
        collator.least = AT_ONCE if self.halved else 1

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Updates: lists of this process's examples, put together as micro-batches."""

        def epoch() -> int:
            return int(self.state.global_step // self.plan.updates_per_epoch)

        sampler = UpdateSampler(
            len(self.train_dataset), self.plan.batch_size, self.recipe.seed, epoch,
            rank=self.args.process_index, world=self.args.world_size, fault=self.plan.fault,
        )  # fmt: skip
        return DataLoader(
            self.train_dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward over all micro-batches of an update; gradients are exchanged with the last one.

        Where memory runs out, the update is done anew with half the token budget, which then holds for the whole run.

        Returns:
            This process's part of the mean loss over the words of the update, times the number of processes.

        Raises:
            LookRightError: a single example is too much for the memory, or one of several processes ran out of it.
        """
        model.train()
        while True:
            if inputs["budget"] > self.data_collator.budget:  # put together ahead of time, by another process
                inputs = self.data_collator(inputs["update"])
            try:
                return self._gradients(model, inputs)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._check_divisible(inputs, error)
            # Outside the handler, whose traceback keeps the tensors of the failed attempt alive.
            model.zero_grad(set_to_none=True)
            if self.args.device.type == "cuda":
                torch.cuda.empty_cache()
            self._halve_budget(inputs["micro_batches"])

    def in_halves(self) -> bool:
        """Whether two threads compute half of an update each."""
        recipe = self.recipe
        return (
            self.args.device.type == "cpu"
            and self.args.world_size == 1
            and torch.get_num_threads() >= AT_ONCE
            and waits_passively()
            and not (recipe.gradient_checkpointing or self.plan.fault)
            and not draws_in_order(self.model)
        )

    def _gradients(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Add the gradients of an update to the weights'; its loss, as `training_step` returns it."""
        batches: list[dict[str, Any]] = inputs["micro_batches"]
        n_words, n_rounds = self._over_processes(inputs["n_words"], len(batches))
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # these exchange weights in every forward
            batches = batches + [self.data_collator.batch([self.train_dataset.weightless()])] * (
                n_rounds - len(batches)
            )
        # Gradients are averaged over processes, so that the mean over words needs the number of processes back.
        scale = self.args.world_size / max(1, n_words)
        lost = max(1, self.plan.fault)  # the fault divides by the number of batches of which one is left

        def loss_of(batch: Mapping[str, Any]) -> Tensor:
            with self.autocast():
                loss: Tensor = self.compute_loss(model, self._on_device(batch)) * scale
            return loss

        if len(batches) >= AT_ONCE and self.halved:
            return gradients_in_halves(model, batches, loss_of, self.accelerator.backward)
        total = torch.zeros((), device=self.args.device)
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = loss_of(batch)
                self.accelerator.backward(loss if lost == 1 else loss / lost)
            total += loss.detach()
        return total

    def _check_divisible(self, inputs: dict[str, Any], error: BaseException) -> None:
        """Raise where an update that was too much for the memory cannot be cut into smaller micro-batches."""
        if self.args.world_size > 1:  # the other processes may be in the midst of exchanging gradients
            raise LookRightError(
                f"process {self.args.process_index} of {self.args.world_size} ran out of memory; set --token-budget to "
                f"less than {self.data_collator.budget}, then go on with --resume"
            ) from error
        if inputs["n_examples"] == len(inputs["micro_batches"]):
            longest = max(batch["input_ids"].shape[1] for batch in inputs["micro_batches"])
            raise LookRightError(
                f"out of memory with a single example of {longest} sub-words on {self.args.device}: take a smaller "
                "window, --gradient-checkpointing, or adapters (--method lora)"
            ) from error

    def _halve_budget(self, batches: list[dict[str, Any]]) -> None:
        """Half of what was too much: of the budget, or of the largest micro-batch where that is smaller."""
        largest = max(batch["input_ids"].numel() for batch in batches)
        budget = max(1, min(self.data_collator.budget, largest) // 2)
        self.data_collator.budget = budget
        log.warning("out of memory on %s: going on with --token-budget %d", self.args.device, budget)
        if self.on_budget is not None:
            self.on_budget(budget)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The SUM of the cross-entropies of a micro-batch."""
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def group_of(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """The learning rate and the decay of a weight: decay on matrices only."""
        return self.recipe.learning_rate or 0.0, (self.recipe.weight_decay or 0.0) if parameter.ndim > 1 else 0.0

    def muon_names(self) -> set[str]:
        """The weights that Muon serves, and not AdamW: the matrices of the layers, where the recipe asks for it."""
        return hidden_matrices(self.model) if self.recipe.optimizer == "muon" else set()

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """The optimizer, with groups of weights as `group_of` and `muon_names` say."""
        if self.optimizer is None:
            muon = self.muon_names()
            if muon and weights_are_sharded():
                raise RecipeError("muon needs whole matrices, which FSDP and DeepSpeed cut up; take --optimizer adamw")
            groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
            for name, parameter in (model or self.model).named_parameters():
                if parameter.requires_grad:
                    name = name.removeprefix("module.")
                    key = (name in muon, *self.group_of(name, parameter))
                    groups.setdefault(key, []).append(parameter)
            self.optimizer = make_optimizer(
                groups,
                betas=self.recipe.adam_betas or (0.9, 0.999),
                eps=self.recipe.adam_epsilon or 1e-8,
                device=self.args.device,
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """The recipe's schedule, counted in updates."""
        if self.lr_scheduler is None:
            n_updates = self.plan.n_scheduled or num_training_steps
            warmup = math.ceil((self.recipe.warmup_ratio or 0.0) * n_updates)
            schedule = Schedule(self.recipe.schedule or "linear", n_updates, warmup)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, schedule)
        return self.lr_scheduler

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float | None]:
        """Score dev, and stop the run when patience is out."""
        assert self.evaluate_dev is not None
        with self.autocast():
            figures = self.evaluate_dev()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if out_of_patience(self.state.log_history, self.plan.patience, self.plan.opening):
            self.control.should_training_stop = True
        return metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what is trained as safetensors, and read it back; no pickled arguments."""
        self.writing = True
        folder = Path(output_dir or self.args.output_dir)
        state = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None
        if not self.args.should_save:
            return
        folder.mkdir(parents=True, exist_ok=True)
        refuse_damaged(self.model)
        if state is None:
            names = trained_state(self.model)
        else:
            names = {name: tensor.contiguous() for name, tensor in state.items() if name in self.trained_names}
        save_file(names, folder / MODEL_FILE, metadata={"format": "pt"})
        written = load_file(folder / MODEL_FILE)
        odd = next((name for name, tensor in names.items() if not torch.equal(written[name], tensor)), None)
        if odd is not None:
            raise OutputError(f"{folder / MODEL_FILE}: the tensor {odd!r} was not written as it is in memory")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Computation in bfloat16, where the recipe asks for it and the Trainer does not see to it."""
        if self.recipe.precision != "bfloat16" or self.args.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.args.device.type, torch.bfloat16)

    def _on_device(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = self.args.device
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}

    def _over_processes(self, n_words: int, n_batches: int) -> tuple[int, int]:
        """The counted words of the update in all processes, and the most micro-batches that one of them has."""
        if self.args.world_size == 1:
            return n_words, n_batches
        counts = self.accelerator.gather(torch.tensor([[n_words, n_batches]], device=self.args.device))
        return int(counts[:, 0].sum()), int(counts[:, 1].max())


class TaggerTrainer(UpdateTrainer):
    """The loop for models with a head: it has its own learning rate, and the layers may be opened gradually."""

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As for all models, under what this update is to see; all else, scores on dev too, is under the whole plan."""
        with self._opened():
            return super().training_step(model, inputs, num_items_in_batch)

    def _opened(self) -> contextlib.AbstractContextManager[None]:
        """What lies ahead has the weight of the next update."""
        weight = weight_at(int(self.state.global_step), self.plan.opening)
        return contextlib.nullcontext() if weight == 1.0 else partly_open(self.model.backbone, weight)

    def muon_names(self) -> set[str]:
        """As for all models; the head is AdamW's."""
        return {name for name in super().muon_names() if name.startswith(BACKBONE)}

    def group_of(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """As for all models, but for the learning rate of the head."""
        learning_rate, decay = super().group_of(name, parameter)
        if not name.startswith(BACKBONE):
            assert isinstance(self.recipe, Recipe)
            learning_rate = self.recipe.head_learning_rate or learning_rate
        return learning_rate, decay


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Says when to log, evaluate and save, and keeps log, table and checkpoints.

    Args:
        trainer: of this run.
        log: gets each loss and evaluation.
        reporter: shows them; None is silent.
        checkpoints: where they are; None when nothing is to be saved.
        every_checkpoint: whether to save at each evaluation, and not only a new best.
    """

    def __init__(
        self,
        trainer: UpdateTrainer,
        log: RunLog,
        reporter: Reporter | None,
        checkpoints: Checkpoints | None,
        *,
        every_checkpoint: bool,
    ) -> None:
        self.trainer, self.log, self.reporter = trainer, log, reporter
        self.checkpoints, self.every_checkpoint = checkpoints, every_checkpoint
        self.logged_at, self.losses = 0, 0.0
        self.rows_at = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The Trainer logs means since its last log, which for a resumed run is its beginning; so do rows."""
        self.logged_at = self.rows_at = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Set what is due after an update."""
        plan = self.trainer.plan
        due = state.global_step in plan.checkpoints
        control.should_log = due or state.global_step % plan.log_every == 0
        control.should_evaluate = due and self.trainer.evaluate_dev is not None
        control.should_save = due and self.every_checkpoint
        return control

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Keep an entry; a loss that is no number ends the run."""
        entry = {**(logs or {}), "step": state.global_step}
        if "loss" in entry:
            self.losses += entry["loss"] * (state.global_step - self.logged_at)
            self.logged_at = state.global_step
            if not math.isfinite(entry["loss"]):
                raise LookRightError(
                    f"the loss is {entry['loss']} at update {state.global_step}: training has diverged; lower "
                    "--learning-rate, or use --precision float32"
                )
            if self.reporter:
                self.reporter.update(state.global_step, entry["loss"])
                if self.trainer.evaluate_dev is None and state.global_step in self.trainer.plan.checkpoints:
                    self.reporter.row(self._row(state), best=False)
        if state.is_world_process_zero:
            self.log.add(entry)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> TrainerControl:
        """Show the row; without a folder to resume from, only a new best is saved."""
        best = best_update(state.log_history) == state.global_step
        if self.reporter:
            values = {name.removeprefix("eval_"): value for name, value in (metrics or {}).items()}
            values["dev_loss"] = values.get("loss")
            self.reporter.row(values | self._row(state), best=best)
        if self.checkpoints is not None and not self.every_checkpoint and best:
            control.should_save = True
        return control

    def _row(self, state: TrainerState) -> dict[str, Any]:
        """What a row says of the training, with the mean loss of the updates since the row before."""
        loss = self.losses / (self.logged_at - self.rows_at) if self.logged_at > self.rows_at else None
        self.losses, self.rows_at = 0.0, self.logged_at
        return {"epoch": state.epoch, "update": state.global_step, "loss": loss}

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Make the checkpoint count, then remove all but the best and the last."""
        self.trainer.accelerator.wait_for_everyone()
        if self.checkpoints is not None and state.is_world_process_zero:
            self.checkpoints.seal(state.global_step)
            best = best_update(state.log_history)
            self.checkpoints.keep({state.global_step} | ({best} if best is not None else set()))
        self.trainer.accelerator.wait_for_everyone()
        self.trainer.writing = False


def training_arguments(
    recipe: LoopRecipe, plan: RunPlan, folder: Path, *, device: torch.device, resumable: bool
) -> TrainingArguments:
    """The Trainer's arguments for a resolved recipe; `folder` is where it writes checkpoints."""
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=1,  # micro-batches are cut inside an update
        max_steps=plan.n_updates,
        max_grad_norm=recipe.max_grad_norm or 0.0,
        # Elsewhere `UpdateTrainer` sees to it: Accelerate would also turn all outputs, logits too, into float32.
        bf16=recipe.precision == "bfloat16" and weights_are_sharded(),
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        # When to log, evaluate and save is said by `RunCallback`; which one is best, by `best_update`.
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        save_only_model=not resumable,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        report_to=[] if recipe.report_to == "none" else [recipe.report_to],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
    )
    if not weights_are_sharded():
        args.mixed_precision = "no"  # the recipe says it, and not what Accelerate was configured with
    if args.n_gpu > 1:
        args._n_gpu = 1  # one process, one device: DataParallel would cut packed rows apart
    return args
