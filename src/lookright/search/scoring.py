"""Scoring many plans of one set of weights on dev: what lower layers give under one plan serves all that share them."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lookright.attention import current_plan, decoder_layers, plan_switch
from lookright.data import Dataset
from lookright.encoding import Window, collate, token_budget
from lookright.inference.device import is_out_of_memory
from lookright.inference.predictor import Predictor
from lookright.metrics import evaluate_tags
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.plan import MaskPlan
from lookright.search.candidates import common
from lookright.search.trials import IntArray
from lookright.training.labels import tags_in

LogProbs = NDArray[np.float32]


class DevOrder:
    """The sentences of dev in random order, to score a part of them; documents stay whole where the tagger sees them.

    Args:
        dev: labeled sentences.
        by_document: whether documents stay whole.
        seed: of the order.
    """

    def __init__(self, dev: Dataset, *, by_document: bool, seed: int) -> None:
        self.dev = dev
        starts = dev.document_starts if by_document and dev.document_starts else range(len(dev))
        ends = (*starts[1:], len(dev))
        self.units = [range(start, end) for start, end in zip(starts, ends, strict=True)]
        random.Random(f"dev {seed}").shuffle(self.units)

    def part(self, first: int, n_words: float, *, least: int = 1) -> int:
        """The unit after those from `first` on with about so many words, up to twice that for the `least` sentences."""
        words = sentences = 0
        for number in range(first, len(self.units)):
            if words >= n_words and (sentences >= least or words >= 2 * n_words):
                return number
            words += sum(len(self.dev.sentences[index]) for index in self.units[number])
            sentences += len(self.units[number])
        return len(self.units)

    def sentences(self, first: int, last: int) -> list[range]:
        """The units of a part, in the order of dev."""
        return sorted(self.units[first:last], key=lambda unit: unit.start)


class PlanScorer:
    """Scores plans with one set of weights.

    Args:
        model: its plan is switched while it is scored, and is afterwards what it was.
        tokenizer: its tokenizer.
        dev: labeled sentences.
        device: where the model is.
        budget: sub-words at once.
        autocast: makes a context of the number format of the training.
    """

    def __init__(
        self,
        model: LookRightForTokenClassification,
        tokenizer: PreTrainedTokenizerBase,
        dev: Dataset,
        device: torch.device,
        budget: int,
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.model, self.dev, self.autocast, self.budget = model, dev, autocast, budget
        self.gold = tags_in(dev, model.settings.scheme)
        self.predictor = Predictor(model, tokenizer, device=device, token_budget=budget)
        self.switch = plan_switch(model.backbone)

    def counts(self, plans: Sequence[MaskPlan], units: Sequence[range]) -> dict[MaskPlan, IntArray]:
        """Counts (sentences, 3) of each plan over the sentences of some units of dev, one unit after the other."""
        numbers = [number for unit in units for number in unit]
        sentences = [self.dev.sentences[number] for number in numbers]
        starts = list(itertools.accumulate((len(unit) for unit in units[:-1]), initial=0))
        pool = self.predictor.pool_of(sentences, starts)
        n_labels = len(self.model.settings.labels)
        found = {
            plan: [np.full((len(sentence), n_labels), np.nan, np.float32) for sentence in sentences] for plan in plans
        }
        own, modes = current_plan(self.model.backbone), [m for m in self.model.modules() if m.training]
        self.model.eval()
        try:
            with torch.inference_mode(), self.autocast():
                self._fill([window for _, windows in pool for window in windows], found)
        finally:
            for module in modes:
                module.training = True
            if own is not None:
                self.switch(own)
        gold, scheme = [self.gold[number] for number in numbers], self.model.settings.scheme
        return {
            plan: evaluate_tags(
                gold, [tagging.tags for tagging in self.predictor.taggings(pool, log_probs)], scheme
            ).per_sentence
            for plan, log_probs in found.items()
        }

    def _fill(self, windows: Sequence[Window], found: dict[MaskPlan, list[LogProbs]]) -> None:
        """Put in the log-probabilities of the words that windows own; in smaller batches where memory runs out."""
        groups = token_budget([len(window) for window in windows], self.budget, layout=self.predictor.layout)
        for group in groups:
            batch = [windows[index] for index in group]
            try:
                self._fill_batch(batch, found)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            # Outside the handler, whose traceback keeps the tensors of the failed attempt alive.
            if self.predictor.device.type == "cuda":
                torch.cuda.empty_cache()
            self.budget = sum(len(window) for window in batch) // 2
            self._fill(batch, found)

    def _fill_batch(self, windows: Sequence[Window], found: dict[MaskPlan, list[LogProbs]]) -> None:
        batch = collate(windows, layout=self.predictor.layout, pad_id=self.predictor.encoder.pad_id)
        inputs = {k: v.to(self.predictor.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        for plan, logits in logits_by_plan(self.model, self.switch, list(found), inputs):
            log_probs = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
            at = 0
            for window in windows:
                rows = log_probs[at : at + window.n_owned]
                found[plan][window.sentence][window.owned_from : window.owned_to] = rows
                at += window.n_owned


def logits_by_plan(
    model: LookRightForTokenClassification,
    switch: Callable[[MaskPlan], None],
    plans: Sequence[MaskPlan],
    inputs: dict[str, Any],
) -> Iterator[tuple[MaskPlan, Tensor]]:
    """The logits of one batch under each plan; layers are not computed anew where a plan begins like the one before.

    Args:
        model: in evaluation mode.
        switch: `plan_switch` of its backbone.
        plans: in any order; they come out in another.
        inputs: keyword arguments of its forward method.
    """
    ordered = sorted(plans, key=lambda plan: plan.right_contexts)
    pairs = itertools.pairwise(plan.right_contexts for plan in ordered)
    heights = [0, *(common(before, own) for before, own in pairs)]
    kept: dict[int, Tensor] = {}
    for index, (plan, height) in enumerate(zip(ordered, heights, strict=True)):
        kept = {below: states for below, states in kept.items() if below <= height}
        given = {"trunk_height": height, "trunk_states": kept[height]} if height else {}
        switch(plan)
        with _kept_states(model, {later for later in heights[index + 1 :] if later > height}) as new:
            logits = model(**inputs, **given).logits
        kept |= new
        yield plan, logits


@contextlib.contextmanager
def _kept_states(model: LookRightForTokenClassification, heights: set[int]) -> Iterator[dict[int, Tensor]]:
    """Within: what enters these layers, (rows, length, hidden), is kept."""
    found: dict[int, Tensor] = {}

    def keep(height: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found[height] = args[0] if args else kwargs["hidden_states"]

    layers = decoder_layers(model.backbone)
    handles = [layers[at].register_forward_pre_hook(partial(keep, at), with_kwargs=True) for at in heights]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
