"""Scoring many plans of one set of weights on dev: what lower layers give under one plan serves all that share them."""

from __future__ import annotations

import contextlib
import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lookright.attention import current_plan, decoder_layers, plan_switch
from lookright.data import Dataset
from lookright.data.texts import TextDataset
from lookright.encoding import Window, collate, collate_texts, token_budget
from lookright.inference.device import is_out_of_memory
from lookright.inference.predictor import Predictor
from lookright.inference.runner import Runner, evaluating
from lookright.inference.text_predictor import TextPredictor
from lookright.metrics import evaluate_tags
from lookright.models.headed import HeadedModel, hidden_size
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.plan import MaskPlan
from lookright.search.candidates import common
from lookright.search.trials import IntArray
from lookright.text_metrics import FloatArray, LabelScores
from lookright.training.labels import tags_in
from lookright.training.text_evaluation import tuned_scores

LogProbs = NDArray[np.float32]
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]
T = TypeVar("T")


class DevOrder:
    """The units of dev (sentences, texts) in random order, to score a part of them.

    Args:
        sizes: of each unit, in words.
        blocks: of units that stay together, in order.
        seed: of the order.
    """

    def __init__(self, sizes: Sequence[int], blocks: Sequence[range], *, seed: int) -> None:
        self.sizes, self.blocks = sizes, list(blocks)
        random.Random(f"dev {seed}").shuffle(self.blocks)

    def part(self, first: int, n_words: float, *, least: int = 1) -> int:
        """The block after those from `first` on with about so many words, up to twice that for the `least` units."""
        words = units = 0
        for number in range(first, len(self.blocks)):
            if words >= n_words and (units >= least or words >= 2 * n_words):
                return number
            words += sum(self.sizes[index] for index in self.blocks[number])
            units += len(self.blocks[number])
        return len(self.blocks)

    def between(self, first: int, last: int) -> list[range]:
        """The blocks of a part, in the order of dev."""
        return sorted(self.blocks[first:last], key=lambda block: block.start)


class PlanScorer(ABC):
    """Scores plans on dev with one set of weights.

    Args:
        model: its plan is switched while it is scored, and is afterwards what it was.
        runner: runs it one plan at a time.
        autocast: makes a context of the number format of the training.
    """

    def __init__(self, model: HeadedModel, runner: Runner[Any], autocast: Autocast) -> None:
        self.model, self.runner, self.autocast, self.budget = model, runner, autocast, runner.budget
        self.switch = plan_switch(model.backbone)

    @abstractmethod
    def counts(self, plans: Sequence[MaskPlan], blocks: Sequence[range]) -> dict[MaskPlan, IntArray]:
        """Counts (units, 3) of each plan over the units of some blocks of dev, one block after the other."""

    @abstractmethod
    def _fill_batch(self, windows: Sequence[Window], found: Any) -> None:
        """Put in what each plan in `found` makes of some windows; what is there is written over."""

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Evaluation mode inside; afterwards the model has its own plan again."""
        own = current_plan(self.model.backbone)
        try:
            with evaluating(self.model), torch.inference_mode(), self.autocast():
                yield
        finally:
            if own is not None:
                self.switch(own)

    def _fill(self, windows: Sequence[Window], found: Any) -> None:
        """Put in what each plan makes of windows; in smaller batches where memory runs out."""
        for group in token_budget([len(window) for window in windows], self.budget, layout=self.runner.layout):
            batch = [windows[index] for index in group]
            try:
                self._fill_batch(batch, found)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            # Outside the handler, whose traceback keeps the tensors of the failed attempt alive.
            if self.runner.device.type == "cuda":
                torch.cuda.empty_cache()
            self.budget = min(self.budget, sum(len(window) for window in batch) // 2)
            self._fill(batch, found)

    def _on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.runner.device) if isinstance(v, Tensor) else v for k, v in batch.items()}


class SentencePlanScorer(PlanScorer):
    """Scores plans of a tagger.

    Args:
        model, autocast: as for `PlanScorer`.
        tokenizer: its tokenizer.
        dev: labeled sentences.
        device: where the model is.
        budget: sub-words at once.
    """

    def __init__(
        self,
        model: LookRightForTokenClassification,
        tokenizer: PreTrainedTokenizerBase,
        dev: Dataset,
        device: torch.device,
        budget: int,
        autocast: Autocast = contextlib.nullcontext,
    ) -> None:
        self.predictor = Predictor(model, tokenizer, device=device, token_budget=budget)
        super().__init__(model, self.predictor, autocast)
        self.dev, self.settings = dev, model.settings
        self.gold = tags_in(dev, model.settings.scheme)

    def counts(self, plans: Sequence[MaskPlan], blocks: Sequence[range]) -> dict[MaskPlan, IntArray]:
        """Counts (sentences, 3) of each plan over the sentences of some blocks of dev, one block after the other."""
        numbers = [number for block in blocks for number in block]
        sentences = [self.dev.sentences[number] for number in numbers]
        starts = list(itertools.accumulate((len(block) for block in blocks[:-1]), initial=0))
        pool = self.predictor.pool_of(sentences, starts)
        n_labels = len(self.settings.labels)
        found = {
            plan: [np.full((len(sentence), n_labels), np.nan, np.float32) for sentence in sentences] for plan in plans
        }
        with self._running():
            self._fill([window for _, windows in pool for window in windows], found)
        gold, scheme = [self.gold[number] for number in numbers], self.settings.scheme
        return {
            plan: evaluate_tags(
                gold, [tagging.tags for tagging in self.predictor.taggings(pool, log_probs)], scheme
            ).per_sentence
            for plan, log_probs in found.items()
        }

    def _fill_batch(self, windows: Sequence[Window], found: dict[MaskPlan, list[LogProbs]]) -> None:
        """Put in the log-probabilities of the words that windows own."""
        batch = collate(windows, layout=self.predictor.layout, pad_id=self.predictor.encoder.pad_id)
        for plan, logits in logits_by_plan(self.model, self.switch, list(found), self._on_device(batch)):
            log_probs = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
            at = 0
            for window in windows:
                rows = log_probs[at : at + window.n_owned]
                found[plan][window.sentence][window.owned_from : window.owned_to] = rows
                at += window.n_owned


class TextPlanScorer(PlanScorer):
    """Scores plans of a text classifier. Thresholds of several labels are tuned on the texts that are scored together.

    Args:
        model, tokenizer, device, budget, autocast: as for `SentencePlanScorer`.
        dev: labeled texts.
    """

    def __init__(
        self,
        model: LookRightForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        dev: TextDataset,
        device: torch.device,
        budget: int,
        autocast: Autocast = contextlib.nullcontext,
    ) -> None:
        self.predictor = TextPredictor(model, tokenizer, device=device, token_budget=budget)
        super().__init__(model, self.predictor, autocast)
        self.dev, self.classifier = dev, model
        self._row: dict[int, int] = {}  # of each window of the texts that are being scored

    def counts(self, plans: Sequence[MaskPlan], blocks: Sequence[range]) -> dict[MaskPlan, IntArray]:
        """Counts (texts, 3) of each plan over the texts of some blocks of dev, one block after the other."""
        part = TextDataset(tuple(self.dev[number] for block in blocks for number in block), self.dev.target)
        logits: dict[MaskPlan, list[FloatArray]] = {plan: [] for plan in plans}
        with self._running():
            for pool in self.predictor.pools(part.texts):
                for plan, rows in self._logits(plans, [windows for _, windows in pool]).items():
                    logits[plan].append(rows)
        counts = {}
        for plan, parts in logits.items():
            scores = tuned_scores(part, np.concatenate(parts), self.classifier.settings)
            assert isinstance(scores, LabelScores)
            counts[plan] = scores.counts
        return counts

    def _logits(self, plans: Sequence[MaskPlan], texts: Sequence[Sequence[Window]]) -> dict[MaskPlan, FloatArray]:
        """(texts, labels) under each plan."""
        windows = [window for own in texts for window in own]
        size = hidden_size(self.model.backbone)
        found = {plan: (torch.empty(len(windows), size), torch.empty(len(windows))) for plan in plans}
        self._row = {id(window): index for index, window in enumerate(windows)}
        self._fill(windows, found)
        text_of = torch.tensor([window.sentence for window in windows], device=self.predictor.device)
        return {
            plan: self.classifier.classify(vectors.to(text_of.device), weights.to(text_of.device), text_of, len(texts))
            .double().cpu().numpy()
            for plan, (vectors, weights) in found.items()
        }  # fmt: skip

    def _fill_batch(self, windows: Sequence[Window], found: dict[MaskPlan, tuple[Tensor, Tensor]]) -> None:
        """Put in the vector of each window, and the logarithm of its weight."""
        batch = self._on_device(
            collate_texts(windows, layout=self.predictor.layout, pad_id=self.predictor.encoder.pad_id)
        )
        rows = torch.tensor([self._row[id(window)] for window in windows])

        def represent(trunk: tuple[int, Tensor] | None) -> tuple[Tensor, Tensor]:
            return self.classifier.represent(**batch, trunk=trunk)

        for plan, (vectors, weights) in outputs_by_plan(self.model, self.switch, list(found), represent):
            found[plan][0][rows], found[plan][1][rows] = vectors.cpu(), weights.cpu()


def logits_by_plan(
    model: HeadedModel, switch: Callable[[MaskPlan], None], plans: Sequence[MaskPlan], inputs: dict[str, Any]
) -> Iterator[tuple[MaskPlan, Tensor]]:
    """The logits of one batch under each plan; see `outputs_by_plan`.

    Args:
        model, switch, plans: as there.
        inputs: keyword arguments of the model's forward method.
    """

    def logits(trunk: tuple[int, Tensor] | None) -> Tensor:
        given = {} if trunk is None else {"trunk_height": trunk[0], "trunk_states": trunk[1]}
        found: Tensor = model(**inputs, **given).logits
        return found

    return outputs_by_plan(model, switch, plans, logits)


def outputs_by_plan(
    model: HeadedModel,
    switch: Callable[[MaskPlan], None],
    plans: Sequence[MaskPlan],
    compute: Callable[[tuple[int, Tensor] | None], T],
) -> Iterator[tuple[MaskPlan, T]]:
    """What one batch gives under each plan; layers are not computed anew where a plan begins like the one before.

    Args:
        model: in evaluation mode.
        switch: `plan_switch` of its backbone.
        plans: in any order; they come out in another.
        compute: runs the model on the batch, from a number of layers on whose output is given, or from the first.
    """
    ordered = sorted(plans, key=lambda plan: plan.right_contexts)
    pairs = itertools.pairwise(plan.right_contexts for plan in ordered)
    heights = [0, *(common(before, own) for before, own in pairs)]
    kept: dict[int, Tensor] = {}
    for index, (plan, height) in enumerate(zip(ordered, heights, strict=True)):
        kept = {below: states for below, states in kept.items() if below <= height}
        switch(plan)
        with _kept_states(model, {later for later in heights[index + 1 :] if later > height}) as new:
            output = compute((height, kept[height]) if height else None)
        kept |= new
        yield plan, output


@contextlib.contextmanager
def _kept_states(model: HeadedModel, heights: set[int]) -> Iterator[dict[int, Tensor]]:
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
