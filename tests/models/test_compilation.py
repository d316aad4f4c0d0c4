"""Compiled layers compute what plain ones do, whatever the lengths, and are gone afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lookright.attention.architecture import bare_decoder, decoder_layers
from lookright.models.base import install_plan
from lookright.models.compilation import compiled_function, compiled_layers, why_not_compiled
from lookright.models.language_model import cross_entropies, summed_loss
from lookright.plan import MaskPlan


def llama(plan: str) -> Any:
    config = LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    install_plan(bare_decoder(model), MaskPlan.parse(plan, 2), "auto")
    return model


def loss_and_gradients(model: Any, lengths: tuple[int, ...], loss: Any) -> tuple[float, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(5, 60, (1, sum(lengths)), generator=generator)
    source = torch.arange(sum(lengths) - 1)
    model.zero_grad()
    value = summed_loss(model, model, ids, source, ids[0, 1:], lengths=lengths, loss=loss)
    value.backward()
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.skipif(why_not_compiled("cpu") is not None, reason="no compiler here")
def test_compiled_layers_compute_the_same() -> None:
    model = llama("01")
    batches = [(9, 4, 4, 7), (12,), (5, 5, 5, 3, 3)]
    plain = [loss_and_gradients(model, lengths, cross_entropies) for lengths in batches]
    with compiled_layers(model, True):
        assert all(layer._compiled_call_impl is not None for layer in decoder_layers(model))
        compiled = [loss_and_gradients(model, lengths, compiled_function(cross_entropies)) for lengths in batches]
    for (one, gradients), (other, others) in zip(plain, compiled, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()) + 1e-6)
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(model))


def test_nothing_is_compiled_unasked() -> None:
    model = llama("01")
    with compiled_layers(model, False):
        assert all(layer._compiled_call_impl is None for layer in decoder_layers(model))
