"""Text classification over a backbone: pooling, windows, losses, and the oracle of transformers' own classifiers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.families import BY_NAME, Family
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from lookright.attention import apply_plan, can_pack
from lookright.data.texts import Target
from lookright.errors import ModelFolderError, RecipeError
from lookright.models.base import load_base, load_tokenizer
from lookright.models.compare import largest_difference
from lookright.models.config import LookRightConfig
from lookright.models.pooling import Segments, pool_tokens, pool_windows, weighted_mean
from lookright.models.store import build_model, load_model, load_tagger, save_model
from lookright.models.tasks import model_on
from lookright.models.text_model import (
    LookRightForSequenceClassification,
    extend_text_labels,
    inner_tokens,
    real_tokens,
    text_loss,
)
from lookright.models.text_settings import POOLING_CHOICES, TextSettings
from lookright.plan import MaskPlan

LABELS = ("arts", "sport", "weather")
EOS = 2
TOLERANCE = 1e-5


def classifier(folder: Path, plan: str | None = "0011", **options: Any) -> LookRightForSequenceClassification:
    torch.manual_seed(0)
    model = build_model(load_base(folder, plan=plan), TextSettings(**{"labels": LABELS, **options})).eval()
    assert isinstance(model, LookRightForSequenceClassification)
    with torch.no_grad():
        model.score.weight.normal_()
        if model.attention is not None:
            model.attention.weight.normal_()
    return model


def padded(texts: Sequence[Tensor], side: str, pad: int) -> dict[str, Tensor]:
    length = max(map(len, texts))
    ids = torch.full((len(texts), length), pad)
    mask = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in enumerate(texts):
        where = slice(0, len(text)) if side == "right" else slice(length - len(text), length)
        ids[row, where], mask[row, where] = text, 1
    return {"input_ids": ids, "attention_mask": mask}


def close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max())


# --------------------------------------------------------------------------------------------------------- pooling


def by_loop(rows: Tensor, scores: Tensor, how: str) -> Tensor:
    """One segment's pooled vector, as one would write it for one segment."""
    if how == "mean":
        return rows.mean(0)
    if how == "max":
        return rows.max(0).values
    if how == "last":
        return rows[-1]
    return (torch.softmax(scores, 0)[:, None] * rows).sum(0)


@pytest.mark.parametrize("how", POOLING_CHOICES)
def test_pooling_is_a_loop_over_segments(how: str) -> None:
    sizes = [3, 1, 6]
    hidden, scores = torch.randn(12, 4), 5 * torch.randn(10)
    tokens = torch.tensor([0, 1, 2, 4, 5, 6, 7, 8, 10, 11])
    windows = Segments(torch.repeat_interleave(torch.arange(3), torch.tensor(sizes)), 3)
    last = torch.tensor([2, 4, 11])
    found, _ = pool_tokens(hidden, tokens, windows, last, how, scores)
    parts = zip(hidden[tokens].split(sizes), scores.split(sizes), strict=True)
    assert torch.allclose(found, torch.stack([by_loop(rows, own, how) for rows, own in parts]), atol=1e-6)


@pytest.mark.parametrize("how", ["mean", "max", "attention"])
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=30, deadline=None)
def test_windows_change_nothing_about_what_is_pooled(
    how: str, sizes: list[int], seed: int, data: st.DataObject
) -> None:
    """Pooled in windows, which are then pooled, is pooled at once."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(sum(sizes), 3, generator=generator)
    scores = 9 * torch.randn(sum(sizes), generator=generator)
    n_texts = data.draw(st.integers(1, len(sizes)))
    text_of = torch.tensor(
        sorted([*range(n_texts), *(data.draw(st.integers(0, n_texts - 1)) for _ in sizes[n_texts:])])
    )
    window_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    every = torch.arange(sum(sizes))
    last = torch.tensor(sizes).cumsum(0) - 1
    vectors, weights = pool_tokens(hidden, every, Segments(window_of, len(sizes)), last, how, scores)
    found = pool_windows(vectors, weights, Segments(text_of, n_texts), how)
    expected, _ = pool_tokens(hidden, every, Segments(text_of[window_of], n_texts), last[:n_texts], how, scores)
    assert torch.allclose(found, expected, atol=1e-5)


def test_last_averages_the_windows_by_what_they_stand_for() -> None:
    vectors, counts = torch.tensor([[1.0], [5.0], [7.0]]), torch.tensor([3.0, 1.0, 2.0])
    found = pool_windows(vectors, counts.log(), Segments(torch.tensor([0, 0, 1]), 2), "last")
    assert torch.allclose(found, torch.tensor([[2.0], [7.0]]))


def test_large_scores_neither_overflow_nor_lose_their_gradient() -> None:
    rows = torch.randn(4, 2, requires_grad=True)
    scores = torch.tensor([1000.0, 999.0, -1000.0, -1001.0], requires_grad=True)
    means, weights = weighted_mean(rows, scores, Segments(torch.tensor([0, 0, 1, 1]), 2))
    assert torch.isfinite(means).all()
    assert torch.allclose(weights, torch.stack([scores[:2].logsumexp(0), scores[2:].logsumexp(0)]))
    gradients = torch.autograd.grad(means.sum(), [rows, scores])
    expected = torch.autograd.grad(
        sum((torch.softmax(scores[i : i + 2], 0)[:, None] * rows[i : i + 2]).sum() for i in (0, 2)), [rows, scores]
    )
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected, strict=True))


def test_real_tokens_of_every_layout() -> None:
    ids = torch.zeros(2, 4, dtype=torch.long)
    left, right = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    for mask, tokens, last in ((left, [2, 3, 4, 5, 6, 7], [3, 7]), (right, [0, 1, 4, 5, 6, 7], [1, 7])):
        found = real_tokens(ids, mask, None)
        assert [part.tolist() for part in found] == [tokens, [0, 0, 1, 1, 1, 1], last]
    found = real_tokens(ids.reshape(1, 8), None, (5, 3))
    assert [part.tolist() for part in found] == [list(range(8)), [0] * 5 + [1] * 3, [4, 7]]


def test_special_tokens_at_the_ends_are_not_pooled() -> None:
    ids = torch.tensor([1, 7, 2, 8, 2, 1, 9, 1, 2, 7])
    windows = Segments(torch.tensor([0] * 5 + [1] * 2 + [2] * 2 + [3]), 4)

    def inner(*ends: tuple[int, ...]) -> list[int]:
        found = inner_tokens(ids, windows, (ends[0], ends[1]))
        return found.nonzero()[:, 0].tolist()

    everything = list(range(10))
    assert inner((), ()) == everything
    assert inner((1,), (2,)) == [1, 2, 3, 6, 7, 8, 9]  # in the middle it is text; of nothing but ends, all is kept
    assert inner((1, 7), (8, 2)) == [2, 6, 7, 8, 9]
    assert inner((5,), (5,)) == everything


# ---------------------------------------------------------------------------------------------------------- oracle

WITH_OWN = ["llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "gpt2", "gpt_neo", "gptj", "opt", "olmo2"]
WITHOUT_OWN = ["granite", "cohere2"]
TEXT_LENGTHS = (9, 6, 9, 1, 12)


class BaseAndLinear(nn.Module):
    """What stands in where a family has no classifier of its own: the bare base and a linear layer."""

    def __init__(self, backbone: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.linear = backbone, linear

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.backbone(input_ids=ids, use_cache=False).last_hidden_state[:, -1])
        return logits


def own_classifier(family: Family, backbone: Any, linear: nn.Linear) -> nn.Module | None:
    """transformers' own classifier with the same weights; None where the family has none."""
    config = family.config(num_labels=len(LABELS))
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        return None
    own = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    inner = getattr(own, own.base_model_prefix)
    inner.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        own.score.weight.copy_(linear.weight)
    # A text that ends in the pad token would be read at its last token but one, as stock looks for pads by their id.
    own.config.pad_token_id = None
    return own


def logits_of(found: Any) -> Tensor:
    logits: Tensor = found if isinstance(found, Tensor) else found.logits
    return logits


@pytest.mark.parametrize("name", WITH_OWN + WITHOUT_OWN)
def test_equal_to_transformers_own_classifier_run_alone(name: str) -> None:
    """Causal, pooled at the last token: alone, packed, padded on either side; pad = EOS, texts end in it."""
    family = BY_NAME[name]
    backbone = family.model(seed=3, pad_token_id=EOS)
    linear = nn.Linear(32, len(LABELS), bias=False)
    stock: Any = own_classifier(family, backbone, linear)
    assert (stock is None) == (name in WITHOUT_OWN)
    stock = stock or BaseAndLinear(copy.deepcopy(backbone), linear)
    apply_plan(backbone, MaskPlan.causal(4), "eager")
    ours = model_on(LookRightConfig(), backbone, TextSettings(labels=LABELS, pooling="last")).eval()
    with torch.no_grad():
        ours.score.weight.copy_(linear.weight)
        generator = torch.Generator().manual_seed(1)
        texts = [torch.randint(3, 90, (n,), generator=generator) for n in TEXT_LENGTHS]
        texts[1][-1] = texts[2][-1] = texts[2][4] = EOS
        expected = torch.cat([logits_of(stock(text[None])) for text in texts])
        alone = torch.cat([ours(text[None]).logits for text in texts])
        assert close(alone, expected)
        for side in ("right", "left"):
            assert close(ours(**padded(texts, side, EOS)).logits, expected), side
        if can_pack(backbone):
            assert close(ours(torch.cat(texts)[None], lengths=TEXT_LENGTHS).logits, expected)


@pytest.mark.parametrize("plan", ["0000", "0011", "1111"])
@pytest.mark.parametrize("how", POOLING_CHOICES)
def test_a_text_does_not_depend_on_its_company(tiny_llama: Path, how: str, plan: str) -> None:
    model = classifier(tiny_llama, plan, pooling=how)
    texts = [torch.randint(5, 90, (n,)) for n in (4, 1, 9, 4)]
    with torch.no_grad():
        alone = torch.cat([model(text[None]).logits for text in texts])
        assert close(model(torch.cat(texts)[None], lengths=(4, 1, 9, 4)).logits, alone)
        for side in ("right", "left"):
            for pad in (0, 7):
                assert close(model(**padded(texts, side, pad)).logits, alone)


@pytest.mark.parametrize("how", POOLING_CHOICES)
def test_gradients_do_not_depend_on_the_layout(tiny_llama: Path, how: str) -> None:
    model = classifier(tiny_llama, "0011", pooling=how)  # seeds what is drawn after it, too
    texts, labels = [torch.randint(5, 90, (n,)) for n in (4, 2, 9)], torch.tensor([0, 2, -100])

    def gradients(batches: list[tuple[dict[str, Any], Tensor]]) -> list[Tensor]:
        model.zero_grad()
        for inputs, own in batches:
            model(**inputs, labels=own).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    together = gradients([(padded(texts, "left", 0), labels)])
    apart = gradients([({"input_ids": t[None]}, labels[i : i + 1]) for i, t in enumerate(texts)])
    packed = gradients([({"input_ids": torch.cat(texts)[None], "lengths": (4, 2, 9)}, labels)])
    largest = max(float(gradient.abs().max()) for gradient in together)
    for other in (apart, packed):
        assert max(float((a - b).abs().max()) for a, b in zip(together, other, strict=True)) <= 1e-5 * largest


def test_an_encoder_under_the_same_class(tiny_encoder: Path) -> None:
    model = classifier(tiny_encoder, None)
    texts = [torch.randint(5, 90, (n,)) for n in (6, 3)]
    with torch.no_grad():
        assert close(model(**padded(texts, "right", 0)).logits[1:], model(texts[1][None]).logits)


# ----------------------------------------------------------------------------------------------------------- losses


def test_losses_are_sums_over_texts_that_count() -> None:
    logits = torch.randn(3, 3)
    single = TextSettings(labels=LABELS)
    found = text_loss(logits, torch.tensor([1, -100, 0]), single)
    assert torch.allclose(found, -logits.log_softmax(1)[[0, 2], [1, 0]].sum())
    multi = TextSettings(labels=LABELS, target="multi-label")
    given = torch.tensor([[1.0, 0, 1], [torch.nan] * 3, [0, 0, 0]])
    p = logits.sigmoid()
    expected = -(given * p.log() + (1 - given) * (1 - p).log())[[0, 2]].mean(1).sum()
    assert torch.allclose(text_loss(logits, given, multi), expected)
    number = TextSettings(labels=("stars",), target="regression", mean=5.0, deviation=2.0)
    found = text_loss(logits[:, :1], torch.tensor([1.0, torch.nan, 4.0]), number)
    assert torch.allclose(found, (logits[[0, 2], 0] - torch.tensor([1.0, 4.0])).square().sum())


def test_texts_that_do_not_count_leave_no_gradient() -> None:
    for target, labels in (("multi-label", torch.full((2, 3), torch.nan)), ("single-label", torch.full((2,), -100))):
        logits = torch.randn(2, 3, requires_grad=True)
        text_loss(logits, labels, TextSettings(labels=LABELS, target=target)).backward()
        assert torch.equal(logits.grad, torch.zeros(2, 3))  # type: ignore[arg-type]


def test_a_regression_gives_the_number_itself(tiny_llama: Path) -> None:
    plain = classifier(tiny_llama, labels=("stars",), target="regression")
    shifted = classifier(tiny_llama, labels=("stars",), target="regression", mean=100.0, deviation=3.0)
    ids = torch.randint(5, 90, (2, 6))
    with torch.no_grad():
        assert torch.allclose(shifted(ids).logits, plain(ids).logits * 3 + 100)


# ------------------------------------------------------------------------------------------------- saving and labels


@pytest.mark.parametrize("how", ["last", "attention"])
@pytest.mark.parametrize("lora", [False, True])
def test_saved_and_loaded_is_the_same(tiny_llama: Path, tmp_path: Path, how: str, lora: bool) -> None:
    from lookright.models.lora import LoraSettings, lora_targets

    base = load_base(tiny_llama, plan="0011")
    adapters = LoraSettings(r=2, alpha=4, dropout=0.0, targets=lora_targets(base.backbone, "paper")) if lora else None
    options = {"labels": LABELS, "target": "multi-label", "pooling": how, "thresholds": (0.2, 0.5, 0.7)}
    model = build_model(base, TextSettings(**options), adapters)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("backbone.") or "lora_B" in name:
                parameter.normal_()
    save_model(tmp_path / "out", model, load_tokenizer(tiny_llama))
    loaded = load_model(tmp_path / "out", LookRightForSequenceClassification, merge=not lora)
    assert loaded.settings == model.settings
    assert loaded.model.config.id2label == dict(enumerate(LABELS))
    assert largest_difference(model, loaded.model) == 0
    with pytest.raises(ModelFolderError, match=r"holds a text classifier; TextClassifier\.from_pretrained reads it"):
        load_tagger(tmp_path / "out")


def test_labels_that_are_there_keep_their_weights_by_name(tiny_llama: Path) -> None:
    model = classifier(tiny_llama, pooling="attention")
    kept = model.attention
    before = {label: model.score.weight[index].clone() for index, label in enumerate(LABELS)}
    assert extend_text_labels(model, TextSettings(labels=("weather", "news", "arts"), pooling="attention")) == ("news",)
    assert torch.equal(model.score.weight[0], before["weather"])
    assert torch.equal(model.score.weight[2], before["arts"])
    assert model.attention is kept
    plain = TextSettings(labels=LABELS, pooling="mean", dropout=0.3)
    extend_text_labels(model, plain)
    assert (model.attention, model.settings, model.dropout.p) == (None, plain, 0.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "median"}, "pooling is 'median'; expected one of last, mean, max, attention"),
        ({"target": "ranking"}, "target is 'ranking'"),
        ({"thresholds": (0.5,)}, "1 thresholds for 3 labels"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"target": "regression"}, "a regression has one output, not 3"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        TextSettings(**{"labels": LABELS, **options})


def test_settings_come_back_from_json() -> None:
    import json

    own = TextSettings(labels=LABELS, target=Target.MULTI.value, thresholds=(0.1, 0.2, 0.3), temperature=1.5)
    assert TextSettings.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    with pytest.raises(ModelFolderError, match="the text classifier settings lack"):
        TextSettings.from_dict({"labels": ["a"]})
