"""Gradients under a plan: checkpointing changes nothing, padding leaves no NaN, adapters learn."""

from __future__ import annotations

import pytest
import torch
from tests.families import BY_NAME, VOCAB

from lookright.attention import apply_plan, packed_kwargs, padded_kwargs
from lookright.plan import MaskPlan

PLAN = MaskPlan((0, 2, -1, 0))
NAMES = ["llama", "mistral", "gemma2", "gpt_oss", "gpt2", "llama4_text", "falcon", "gpt_neo"]


def batch(model, layout: str) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
    if layout == "packed":
        return {"input_ids": ids.reshape(1, -1), **packed_kwargs(model, [9, 12, 6], "cpu")}
    mask = torch.ones_like(ids)
    mask[0, :5] = mask[1, :8] = 0  # left padding: those rows have queries that may see nothing
    return {"input_ids": ids, **padded_kwargs(model, mask)}


def gradients(model, inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    states = model(**inputs, use_cache=False).last_hidden_state
    if "attention_mask" in inputs and inputs["attention_mask"].dim() == 2:
        states = states[inputs["attention_mask"].bool()]
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    (states * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", ["left", "packed"])
def test_checkpointing_and_padding(name, layout):
    family = BY_NAME[name]
    if layout == "packed" and not family.packs:
        pytest.skip("this family has no packed rows")
    for backend in family.backends:
        model = family.model(**{"embd_pdrop": 0.0, "attn_pdrop": 0.0} if name == "gpt2" else {}).train()
        apply_plan(model, PLAN, backend)
        inputs = batch(model, layout)
        plain = gradients(model, inputs)
        assert all(torch.isfinite(gradient).all() for gradient in plain.values())
        assert sum(float(gradient.abs().sum()) > 0 for gradient in plain.values()) > 4
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        checkpointed = gradients(model, inputs)
        assert plain.keys() == checkpointed.keys()
        for key, gradient in plain.items():
            torch.testing.assert_close(checkpointed[key], gradient, rtol=1e-5, atol=1e-6, msg=key)


def test_gradients_flow_only_where_a_token_is_seen():
    model = BY_NAME["llama"].model()
    apply_plan(model, MaskPlan((0, 1, 0, 0)))
    embedded = model.get_input_embeddings()(torch.arange(3, 9)[None]).detach().requires_grad_()
    model(inputs_embeds=embedded, use_cache=False).last_hidden_state[0, 2].sum().backward()
    touched = embedded.grad[0].abs().sum(-1) > 0
    assert touched.tolist() == [True, True, True, True, False, False]


def test_backends_and_layouts_give_the_same_gradient():
    ids = torch.randint(3, VOCAB, (2, 7), generator=torch.Generator().manual_seed(0))
    found = []
    for backend in ("eager", "sdpa"):
        model = BY_NAME["llama"].model()
        apply_plan(model, PLAN, backend)
        packed = {"input_ids": ids.reshape(1, -1), **packed_kwargs(model, [7, 7], "cpu")}
        for inputs in ({"input_ids": ids}, packed):
            model.zero_grad()
            model(**inputs, use_cache=False).last_hidden_state.pow(2).sum().backward()
            found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for other in found[1:]:
        for key, gradient in found[0].items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(other[key], gradient, rtol=0, atol=2e-5 * scale, msg=key)


@pytest.mark.parametrize("layout", ["left", "packed"])
def test_adapters_learn(layout):
    peft = pytest.importorskip("peft")
    model = BY_NAME["llama"].model().train()
    apply_plan(model, PLAN)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config)
    for _ in range(2):  # and still after an evaluation
        found = gradients(wrapped, batch(model, layout))
        assert len(found) == 4 * 2 * 2
        assert all("lora_" in name and float(g.abs().sum()) > 0 for name, g in found.items())
        wrapped.eval()
        with torch.no_grad():
            wrapped(**batch(model, layout), use_cache=False)
        wrapped.train()
