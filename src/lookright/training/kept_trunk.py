"""The output of a frozen trunk for all training sentences, computed once and kept on disk for all epochs and runs.

Where only upper layers are trained (`train_layers`), those below give the same states in every epoch. They are
computed once for each form in which a sentence is seen, and kept under a hash of all that they depend on: the weights
of the trunk, its plan, the sub-words, the number format and the libraries. So other seeds, learning rates and heads
over the same trunk find them there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from lookright.attention import current_plan
from lookright.encoding import Window, collate, token_budget
from lookright.errors import OutputError
from lookright.models.headed import HeadedModel, hidden_size
from lookright.models.trunk import trunk_fingerprint, trunk_height, trunk_states
from lookright.training.cache import cache_folder, made_once
from lookright.training.opening import Opening
from lookright.training.recipe import Recipe
from lookright.training.surroundings import weights_are_sharded

MOST_BYTES: Final = 8 * 2**30
"""Largest file of states; for more, the trunk is computed in every epoch."""
STATES_FILE: Final = "states.npy"

log = logging.getLogger("lookright")


class Forms(Protocol):
    """Training data, of which the trunk may be kept."""

    @property
    def pad_id(self) -> int:
        """Id that fills up rows."""

    def forms(self) -> Iterable[tuple[int, bool, list[Window]]]:
        """Number, whether detokenised, and windows of each item in each form in which it may be seen."""


@dataclass(frozen=True)
class KeptTrunk:
    """States on disk.

    Attributes:
        height: layers of the trunk.
        states: (sub-words of all forms, hidden), as bits where NumPy does not know the number format.
        dtype: of the states.
        starts: (sentence, detokenised) -> its first row.
    """

    height: int
    states: NDArray[Any]
    dtype: torch.dtype
    starts: dict[tuple[int, bool], int]

    def of(self, number: int, detokenized: bool, lengths: Sequence[int]) -> list[Tensor]:
        """The states (length, hidden) of each window of a sentence."""
        start = self.starts[number, detokenized]
        rows = torch.from_numpy(np.array(self.states[start : start + sum(lengths)])).view(self.dtype)
        return list(torch.split_with_sizes(rows, list(lengths)))


def why_not_kept(model: HeadedModel, recipe: Recipe, height: int) -> str | None:
    """Why the states of a frozen trunk of so many layers cannot be kept; None where they can."""
    if recipe.context == "document":
        return "a sentence is seen among neighbours, which differ from epoch to epoch"
    if recipe.compile or recipe.gradient_checkpointing:
        return "the layers are compiled, or computed twice"
    if weights_are_sharded():
        return "the weights are cut up"
    plan = current_plan(model.backbone)
    if Opening.parse(recipe.opening).share and plan is not None and any(plan.right_contexts[:height]):
        return "some of them are opened gradually"
    return None if (recipe.epochs or 0) > 1 else "there is one epoch only"


def keep_trunk(
    model: HeadedModel,
    examples: Forms,
    recipe: Recipe,
    budget: int,
    *,
    packs: bool,
    autocast: Callable[[], Any],
) -> KeptTrunk | None:
    """Compute the states of a frozen trunk, or find them; None where nothing is frozen, or they cannot be kept.

    Args:
        model: on its device, with what is not trained frozen.
        examples: what is trained on.
        recipe: resolved.
        budget: sub-words at once.
        packs: whether rows are packed.
        autocast: a context of the training's number format.

    Raises:
        OutputError: they cannot be written, and other processes wait for them.
    """
    height = 0 if model.is_encoder else trunk_height(model.backbone)
    if not height:
        return None
    if (reason := why_not_kept(model, recipe, height)) is not None:
        log.info("%d frozen layers are computed anew in every epoch: %s", height, reason)
        return None
    starts: dict[tuple[int, bool], int] = {}
    windows: list[Window] = []
    total = 0
    for number, detokenized, own in examples.forms():
        starts[number, detokenized] = total
        windows += own
        total += sum(len(window) for window in own)
    maker = _Maker(model, height, windows, budget, examples.pad_id, packs, autocast)
    size = total * hidden_size(model.backbone) * maker.dtype.itemsize
    if size > MOST_BYTES:
        log.info("%d frozen layers are computed anew in every epoch: %.0f GB to keep", height, size / 1e9)
        return None
    try:
        folder = made_once(cache_folder(None) / "trunks" / maker.fingerprint(), maker.write, maker.is_whole)
    except OutputError as error:
        if torch.distributed.is_initialized():  # the other processes wait for them
            raise
        log.warning("%d frozen layers are computed anew in every epoch: %s", height, error)
        return None
    return KeptTrunk(height, np.load(folder / STATES_FILE, mmap_mode="r"), maker.dtype, starts)


class _Maker:
    """Computes the states of windows."""

    def __init__(
        self,
        model: HeadedModel,
        height: int,
        windows: list[Window],
        budget: int,
        pad_id: int,
        packs: bool,
        autocast: Callable[[], Any],
    ) -> None:
        self.model, self.height, self.windows, self.budget = model, height, windows, budget
        self.pad_id, self.packs, self.autocast = pad_id, packs, autocast
        self.dtype = self._states(windows[:1])[0].dtype

    def fingerprint(self) -> str:
        """A hash of all that the states depend on."""
        plan = current_plan(self.model.backbone)
        assert plan is not None
        about = {
            "trunk": trunk_fingerprint(self.model.backbone, self.height),
            "plan": plan.to_list()[: self.height],
            "dtype": str(self.dtype),
            "device": self.model.device.type,
            "versions": [torch.__version__, transformers.__version__],
            "lengths": [len(window) for window in self.windows],
        }
        with self.autocast():
            about["autocast"] = torch.is_autocast_enabled(self.model.device.type)
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for window in self.windows:
            digest.update(np.ascontiguousarray(window.input_ids).tobytes())
        return digest.hexdigest()[:32]

    def write(self, folder: Path) -> None:
        """Compute all states and write them to a folder."""
        lengths = [len(window) for window in self.windows]
        starts = np.cumsum([0, *lengths])
        log.info("computing %d frozen layers for %d sub-words once", self.height, int(starts[-1]))
        shape, bits = self._form()
        kept = np.lib.format.open_memmap(folder / STATES_FILE, mode="w+", dtype=bits, shape=shape)
        for group in token_budget(lengths, self.budget, layout="packed" if self.packs else "padded"):
            for index, states in zip(group, self._states([self.windows[index] for index in group]), strict=True):
                rows = states if bits == np.float32 else states.view(torch.uint16)
                kept[starts[index] : starts[index + 1]] = rows.numpy()
        kept.flush()

    def is_whole(self, folder: Path) -> bool:
        """Whether a folder holds states of the right form, none cut off."""
        try:
            kept = np.load(folder / STATES_FILE, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return (kept.shape, kept.dtype) == self._form()

    def _form(self) -> tuple[tuple[int, int], np.dtype[Any]]:
        """Shape and type of the numbers of what is kept."""
        n_subwords = sum(len(window) for window in self.windows)
        bits = {2: np.uint16, 4: np.float32}[self.dtype.itemsize]
        return (n_subwords, hidden_size(self.model.backbone)), np.dtype(bits)

    @torch.no_grad()
    def _states(self, windows: Sequence[Window]) -> list[Tensor]:
        """(length, hidden) for each window."""
        model, device = self.model, self.model.device
        was_training = model.training
        model.eval()
        batch = collate(windows, layout="packed" if self.packs else "padded", pad_id=self.pad_id)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "lengths") if name in batch}
        inputs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
        with self.autocast():
            states = trunk_states(model.backbone, self.height, **model.backbone_inputs(**inputs)).cpu()
        model.train(was_training)
        sizes = [len(window) for window in windows]
        if self.packs:
            return list(torch.split_with_sizes(states[0, : sum(sizes)], sizes))
        return [row[:size] for row, size in zip(states, sizes, strict=True)]
