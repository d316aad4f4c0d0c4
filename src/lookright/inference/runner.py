"""What runs a model over windows: batches by length within a token budget, which is halved when memory runs out."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from lookright.attention import can_pack
from lookright.encoding import Window, token_budget
from lookright.errors import LookRightError
from lookright.inference.device import is_out_of_memory, resolve_device
from lookright.inference.threads import in_threads
from lookright.models.compilation import check_compiler, compiled_copy, uncompilable_runs_plainly
from lookright.models.headed import HeadedModel

Model = TypeVar("Model", bound=HeadedModel)
Result = TypeVar("Result")

log = logging.getLogger("lookright")


def default_token_budget(device: torch.device) -> int:
    """Sub-words of a batch: what keeps the device busy and fits into a small one's memory."""
    return 2_048 if device.type == "cpu" else 16_384


class Runner(Generic[Model]):
    """Runs a model over windows. Threads may share it while its model is in evaluation mode.

    Attributes:
        budget: most sub-words of a batch; halved for good when memory runs out.

    Args:
        model: moved to the device.
        tokenizer: its tokenizer.
        device: `auto`, `cpu`, `cuda`, `mps`, or a torch device.
        token_budget: most sub-words of a batch; by default what suits the device.
        layout: `packed` rows where the model can, or `padded` ones; by default packed where possible.
        compile: run the layers as compiled code, made at the first batch: seconds to a minute, then faster.

    Raises:
        RecipeError: to be compiled on a machine that cannot.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device = "auto",
        token_budget: int | None = None,
        layout: Literal["packed", "padded"] | None = None,
        compile: bool = False,
    ) -> None:
        self.device = resolve_device(device)
        check_compiler(compile, self.device)
        self.model: Model = model if _is_quantized(model) else model.to(self.device)
        self._compiled = compile and not model.is_encoder
        if self._compiled:
            self.model = compiled_copy(self.model, "backbone")
        self.budget = default_token_budget(self.device) if token_budget is None else token_budget
        packs = not model.is_encoder and can_pack(model.backbone)
        self.layout: Literal["packed", "padded"] = layout or ("packed" if packs else "padded")

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Evaluation mode inside, and what cannot be compiled runs as it is."""
        plainly = uncompilable_runs_plainly() if self._compiled else contextlib.nullcontext()
        with evaluating(self.model), plainly:
            yield

    def _batches(
        self, windows: Sequence[Window], compute: Callable[[Sequence[Window]], Result]
    ) -> Iterator[tuple[Sequence[Window], Result]]:
        """What `compute` makes of each batch, shortest windows first; in smaller batches if memory runs out."""
        groups = token_budget([len(window) for window in windows], self.budget, layout=self.layout)
        batches = [[windows[index] for index in group] for group in groups]
        if len(batches) > 1 and self.device.type == "cpu" and torch.get_num_threads() > 1:
            for batch, future in in_threads(compute, batches):
                yield from self._or_smaller(batch, compute, future.result)
            return
        for batch in batches:
            yield from self._or_smaller(batch, compute, partial(compute, batch))

    def _or_smaller(
        self, windows: Sequence[Window], compute: Callable[[Sequence[Window]], Result], attempt: Callable[[], Result]
    ) -> Iterator[tuple[Sequence[Window], Result]]:
        """A batch with what `attempt` gives; with what `compute` makes of smaller ones if memory ran out."""
        found: list[Result] = []
        try:
            found.append(attempt())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(windows) == 1:
                instead = "train with a smaller window" if self.device.type == "cpu" else "run with device='cpu'"
                raise LookRightError(
                    f"out of memory with a single window of {len(windows[0])} sub-words on {self.device}: {instead}"
                ) from error
            traceback.clear_frames(error.__traceback__)  # they keep the tensors of the failed attempt alive
        if found:
            yield windows, found[0]
            return
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        # Batches that were made before may be larger than what it is by now.
        self.budget = min(self.budget, sum(len(window) for window in windows) // 2)
        log.warning("out of memory on %s: going on with batches of %d sub-words", self.device, self.budget)
        yield from self._batches(windows, compute)

    def _on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module's flag is what it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _is_quantized(model: Any) -> bool:
    """Whether the weights are quantised: such a model is where it was loaded, and cannot be moved."""
    return getattr(model.backbone, "quantization_method", None) is not None
