"""The head on its backbone: pooling, the summed loss, labels that grow."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lookright.models.base import load_base
from lookright.models.settings import TaggerSettings
from lookright.models.store import build_tagger
from lookright.models.tagger_model import LookRightForTokenClassification, extend_labels, pool_words
from lookright.tags import Scheme, label_set

LABELS = label_set(["PER", "LOC"], Scheme.IOB2)


def tagger(folder: Path, plan: str | None = "0011", **settings: Any) -> LookRightForTokenClassification:
    torch.manual_seed(0)
    return build_tagger(load_base(folder, plan=plan), TaggerSettings(labels=LABELS, **settings)).eval()


@pytest.mark.parametrize("how", ["first", "last", "mean"])
def test_pooling_against_a_loop(how: str) -> None:
    hidden = torch.randn(9, 3)
    first, last = torch.tensor([0, 2, 5, 8]), torch.tensor([1, 2, 7, 8])
    expected = []
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        expected.append({"first": hidden[a], "last": hidden[b], "mean": hidden[a : b + 1].mean(0)}[how])
    assert torch.allclose(pool_words(hidden, first, last, how), torch.stack(expected), atol=1e-6)


def test_no_words_is_no_logits(tiny_llama: Path) -> None:
    empty = torch.zeros(0, dtype=torch.long)
    assert (
        tagger(tiny_llama)(torch.ones(1, 3, dtype=torch.long), word_first=empty, word_last=empty).logits.shape[0] == 0
    )


def test_packed_padded_and_alone_are_the_same(tiny_llama: Path) -> None:
    model = tagger(tiny_llama)
    sentences = [torch.randint(5, 90, (n,)) for n in (4, 4, 7)]
    with torch.no_grad():
        alone = torch.cat([model(s[None]).logits[0] for s in sentences])
        packed = model(torch.cat(sentences)[None], lengths=(4, 4, 7)).logits[0]
        for side in ("right", "left"):
            ids, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
            for row, sentence in enumerate(sentences):
                where = slice(0, len(sentence)) if side == "right" else slice(7 - len(sentence), 7)
                ids[row, where], mask[row, where] = sentence, 1
            padded = model(ids, attention_mask=mask).logits[mask.bool()]
            assert (padded - alone).abs().max() <= 1e-5 * alone.abs().max()
    assert (packed - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_the_loss_is_a_sum_over_counted_words(tiny_llama: Path) -> None:
    model = tagger(tiny_llama)
    ids, first = torch.randint(5, 90, (1, 8)), torch.arange(0, 8, 2)
    labels = torch.tensor([1, -100, 0, 3])
    out = model(ids, word_first=first, word_last=first + 1, labels=labels)
    logs = out.logits.log_softmax(-1)
    assert torch.allclose(out.loss, -(logs[0, 1] + logs[2, 0] + logs[3, 3]))


def test_the_head_stays_in_float32(tiny_llama: Path) -> None:
    base = load_base(tiny_llama, plan="1111", dtype="bfloat16")
    model = build_tagger(base, TaggerSettings(labels=LABELS)).eval()
    assert model.score.weight.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.ones(1, 4, dtype=torch.long)).logits.dtype == torch.float32


def test_an_encoder_under_the_same_class(tiny_encoder: Path) -> None:
    model = tagger(tiny_encoder, plan=None)
    ids = torch.randint(5, 90, (2, 6))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.no_grad():
        padded, alone = model(ids, attention_mask=mask).logits[1, :4], model(ids[1:, :4]).logits[0]
    assert (padded - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_equal_to_the_stock_token_classifier_under_a_causal_plan(tiny_llama: Path) -> None:
    from transformers import LlamaForTokenClassification

    model = tagger(tiny_llama, plan="causal")
    stock = LlamaForTokenClassification.from_pretrained(tiny_llama, num_labels=len(LABELS)).eval()
    stock.score.load_state_dict(model.score.state_dict())
    ids = torch.randint(5, 90, (1, 9))
    with torch.no_grad():
        expected, got = stock(ids).logits, model(ids).logits
    assert (expected - got).abs().max() <= 1e-5 * expected.abs().max()


def test_labels_that_are_there_keep_their_weights_by_name(tiny_llama: Path) -> None:
    model = tagger(tiny_llama)
    old = {label: model.score.weight[i].clone() for i, label in enumerate(LABELS)}
    wider = TaggerSettings(labels=label_set(["AAA", "PER", "LOC"], Scheme.IOB2))
    assert set(extend_labels(model, wider)) == {"B-AAA", "I-AAA"}
    for index, label in enumerate(wider.labels):
        assert (label in old) == (label in LABELS)
        if label in old:
            assert torch.equal(model.score.weight[index], old[label])
    assert model(torch.ones(1, 2, dtype=torch.long)).logits.shape[-1] == 7
