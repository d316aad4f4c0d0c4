"""Scoring plans with shared weights: the same figures as plan by plan, with layers that are shared computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_support import DEV

from families import FAMILIES, Family
from lookright.attention import apply_plan, can_pack, check_plan, current_plan, decoder_layers, plan_switch
from lookright.data import Dataset
from lookright.models.base import Base, BaseSource, load_base
from lookright.models.settings import TaggerSettings
from lookright.models.store import build_tagger
from lookright.plan import MaskPlan
from lookright.search.candidates import Candidates, layers_computed
from lookright.search.scoring import DevOrder, SentencePlanScorer, logits_by_plan
from lookright.search.tasks import TagTask, ranges
from lookright.tags import label_set
from lookright.training.evaluation import DevScorer

ALL = Candidates.of_groups(4).plans
MIXED = Candidates.of_specs(["0000", "0011", "0,0,2,*", "0,0,2,2", "1111", "2,0,0,0"], 4).plans


def tagger(folder: Path, **settings: Any) -> tuple[Any, Any]:
    base = load_base(folder, plan="0000", check=False)
    torch.manual_seed(3)
    model = build_tagger(base, TaggerSettings(labels=label_set(DEV.types(), DEV.scheme), **settings))  # type: ignore[arg-type]
    with torch.no_grad():
        model.score.weight.normal_()
    return model, base.tokenizer


def scorer(folder: Path, dev: Dataset = DEV, **settings: Any) -> SentencePlanScorer:
    return SentencePlanScorer(*tagger(folder, **settings), dev, torch.device("cpu"), 200)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f.named else pytest.mark.slow) for f in FAMILIES], ids=lambda f: f.name
)
@torch.no_grad()
def test_every_family_under_every_plan(family: Family) -> None:
    """A plan that is switched to, with the lower layers' states from other plans, is the plan put in anew."""
    torch.manual_seed(0)
    backbone = family.model().eval()
    apply_plan(backbone, MaskPlan.causal(4))
    base = Base(backbone, None, MaskPlan.causal(4), BaseSource("toy", None, ""))  # type: ignore[arg-type]
    model = build_tagger(base, TaggerSettings(labels=("O", "B-A", "I-A"))).eval()
    inputs: dict[str, Any] = {"input_ids": torch.randint(3, 90, (1, 12))}
    inputs |= {"lengths": (7, 5)} if can_pack(backbone) else {}
    found = {plan: logits.clone() for plan, logits in logits_by_plan(model, plan_switch(backbone), MIXED, inputs)}
    assert set(found) == set(MIXED)
    for plan in MIXED:
        apply_plan(backbone, plan)
        expected = model(**inputs).logits
        assert torch.allclose(found[plan], expected, atol=1e-6), str(plan)
    assert not torch.allclose(found[MIXED[0]], found[MIXED[-1]], atol=1e-3)


def test_a_plan_that_was_switched_to_passes_the_probe(tiny_llama: Path) -> None:
    model, _ = tagger(tiny_llama)
    switch = plan_switch(model.backbone)
    for plan in MIXED:
        switch(plan)
        assert current_plan(model.backbone) == plan
        check_plan(model.backbone)


@pytest.mark.parametrize("context", ["sentence", "document"])
def test_the_same_counts_as_plan_by_plan(tiny_llama: Path, context: str) -> None:
    dev = Dataset(DEV.sentences, document_starts=tuple(range(0, len(DEV), 7)), scheme=DEV.scheme)
    plans = scorer(tiny_llama, dev, context=context)
    task = TagTask(DEV, dev)
    order = DevOrder(task.sizes(None)[1], task.blocks(getattr(plans.settings, "context", None)), seed=0)  # type: ignore[arg-type]
    assert len(order.blocks) == (9 if context == "document" else 60)
    apply_plan(plans.model.backbone, ALL[6])
    found = plans.counts(ALL, order.between(0, len(order.blocks)))
    assert current_plan(plans.model.backbone) == ALL[6]
    model, tokenizer = tagger(tiny_llama, context=context)
    for plan in ALL[::5]:
        apply_plan(model.backbone, plan)
        expected = DevScorer(model, tokenizer, dev, torch.device("cpu"), 200).scores()
        assert np.array_equal(found[plan], expected.per_sentence)
    assert len({tuple(counts.sum(axis=0)) for counts in found.values()}) > 1


def test_layers_that_plans_share_are_computed_once(tiny_llama: Path) -> None:
    plans = scorer(tiny_llama)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    for layer in decoder_layers(plans.model.backbone):
        for name, module in layer.named_modules():
            if name == "self_attn":
                module.register_forward_hook(count)
    plans.counts(ALL, [range(3)])
    assert calls == layers_computed(ALL) == 30


def test_parts_of_dev_cover_it_once() -> None:
    order = DevOrder([len(sentence) for sentence in DEV], ranges(range(len(DEV)), len(DEV)), seed=1)
    seen: list[int] = []
    at = 0
    while at < len(order.blocks):
        after = order.part(at, 40)
        numbers = [number for unit in order.between(at, after) for number in unit]
        assert numbers == sorted(numbers)
        seen += numbers
        at = after
    assert sorted(seen) == list(range(len(DEV)))
    assert order.part(0, 10, least=3) >= 3
    words = sum(len(DEV.sentences[n]) for unit in order.between(0, order.part(0, 10, least=60)) for n in unit)
    assert words <= 20 + max(map(len, DEV.sentences))


def test_less_memory_means_smaller_batches(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = scorer(tiny_llama)
    expected = plans.counts(ALL[:3], [range(20)])
    inner, failed = SentencePlanScorer._fill_batch, iter([True])

    def failing(self: SentencePlanScorer, *rest: Any) -> None:
        if next(failed, False):
            raise MemoryError
        inner(self, *rest)

    monkeypatch.setattr(SentencePlanScorer, "_fill_batch", failing)
    found = plans.counts(ALL[:3], [range(20)])
    assert plans.budget < 200
    assert all(np.array_equal(found[plan], counts) for plan, counts in expected.items())


def test_training_goes_on_in_training_mode(tiny_llama: Path) -> None:
    plans = scorer(tiny_llama)
    plans.model.train()
    plans.counts(ALL[:2], [range(2)])
    assert all(module.training for module in plans.model.modules())
