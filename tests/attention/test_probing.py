"""The probe catches models that do not do what their plan says."""

from __future__ import annotations

import pytest
import torch
from tests.families import BY_NAME
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lookright.attention import apply_plan, check_plan, decoder_layers, probe
from lookright.attention import install as install_module
from lookright.attention import masks as masks_module
from lookright.attention.kernels import BACKENDS, attend_sdpa
from lookright.errors import PlanNotHeldError
from lookright.plan import MaskPlan


def make(name: str = "llama", spec: str = "0,2,*,*"):
    model = BY_NAME[name].model()
    apply_plan(model, MaskPlan.parse(spec, 4))
    return model


@pytest.fixture
def attention():
    """Put another attention function behind our SDPA name for one test."""

    def install(function):
        AttentionInterface.register(BACKENDS["sdpa"], function)

    yield install
    AttentionInterface.register(BACKENDS["sdpa"], attend_sdpa)


def test_a_sound_model_passes_on_three_paths():
    report = check_plan(make())
    assert [path.path for path in report.paths] == ["plain", "padded", "packed"]
    assert report.measured == report.expected == (0, 2, 7, 7)
    assert report.problems == ()


def test_attention_that_ignores_the_plan(attention):
    def stock(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        return sdpa_attention_forward(module, query, key, value, None, is_causal=True, **kwargs)

    attention(stock)
    with pytest.raises(PlanNotHeldError) as caught:
        check_plan(make())
    text = str(caught.value)
    assert "layer 1 (plain): the plan asks 2, which is 2 here, measured 0" in text
    assert "layer 2 (plain): the plan asks unbounded, which is 7 here, measured 0" in text
    assert "layer 0 (plain)" not in text
    assert "\n" not in text


def test_a_model_bidirectional_only_when_nothing_is_padded(attention):
    """The recipe `module.is_causal = False`: its masks stay causal as soon as one is drawn."""

    def recipe(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        if attention_mask is None or attention_mask.dtype == torch.int32:
            return attend_sdpa(module, query, key, value, attention_mask, **kwargs)
        return sdpa_attention_forward(module, query, key, value, attention_mask[:, -1:].tril(), **kwargs)

    attention(recipe)
    model = make(spec="1111")
    report = probe(model)
    assert report.paths[0].measured == (7, 7, 7, 7)
    assert report.paths[1].measured == (0, 0, 0, 0)
    with pytest.raises(PlanNotHeldError, match=r"layer 0 \(padded\)"):
        check_plan(model)


def test_a_model_causal_only_when_nothing_is_padded(attention):
    def leaky(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        if attention_mask is None or attention_mask.dtype == torch.int32:
            return attend_sdpa(module, query, key, value, attention_mask, **kwargs)
        anything = attention_mask.any(1, keepdim=True).any(2, keepdim=True).expand(-1, 1, query.shape[2], -1)
        return sdpa_attention_forward(module, query, key, value, anything, **kwargs)

    attention(leaky)
    report = probe(make(spec="0000"))
    assert report.paths[0].measured == (0, 0, 0, 0)
    assert report.paths[1].measured == (7, 7, 7, 7)
    with pytest.raises(PlanNotHeldError, match="asks 0, which is 0 here, measured 7"):
        check_plan(make(spec="0000"))


@pytest.mark.parametrize("causal", [True, False])
def test_a_leak_across_a_packed_row(attention, causal):
    """Stock attention over the whole row, as families do whose mask code does not know packing."""

    def leaky(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        if attention_mask is not None and attention_mask.dtype == torch.int32:
            return sdpa_attention_forward(module, query, key, value, None, is_causal=causal, **kwargs)
        return attend_sdpa(module, query, key, value, attention_mask, **kwargs)

    attention(leaky)
    report = probe(make(spec="0000" if causal else "1111"))
    assert report.paths[2].strangers == (0, 1, 2, 3)
    with pytest.raises(PlanNotHeldError, match=r"layers 0,1,2,3 \(packed\): a token sees another sequence"):
        check_plan(make(spec="0000" if causal else "1111"))


def test_a_window_that_runs_over_the_border(attention):
    """Only the sliding layers leak, and only from the sentence before."""

    def leaky(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        if attention_mask is not None and attention_mask.dtype == torch.int32 and module.layer_idx == 2:
            place = torch.arange(query.shape[2])
            distance = place[:, None] - place[None]
            return sdpa_attention_forward(module, query, key, value, (distance >= 0) & (distance < 4), **kwargs)
        return attend_sdpa(module, query, key, value, attention_mask, **kwargs)

    attention(leaky)
    with pytest.raises(PlanNotHeldError, match=r"layers 2 \(packed\): a token sees another sequence"):
        check_plan(make(name="mistral", spec="0000"))


def test_attended_padding(attention):
    """The zero mask of older recipes: open layers see every padded position."""

    def leaky(module, query, key, value, attention_mask, is_causal=None, **kwargs):
        if module.layer_idx >= 2 and attention_mask is not None and attention_mask.dtype != torch.int32:
            return sdpa_attention_forward(module, query, key, value, None, is_causal=False, **kwargs)
        return attend_sdpa(module, query, key, value, attention_mask, **kwargs)

    attention(leaky)
    with pytest.raises(PlanNotHeldError, match=r"layers 2,3 \(padded\): a token sees padding"):
        check_plan(make(spec="0011"))


def test_positions_that_do_not_restart(monkeypatch):
    """Learned positions of a packed row that run on from sentence to sentence."""

    def running(model, lengths, device):
        kwargs = install_module.packed_kwargs(model, lengths, device)
        return {**kwargs, "position_ids": torch.arange(sum(lengths))[None]}

    monkeypatch.setattr("lookright.attention.probing.packed_kwargs", running)
    with pytest.raises(PlanNotHeldError, match="its positions are off"):
        check_plan(make("gpt2", "0011"))
    monkeypatch.setattr("lookright.attention.probing.packed_kwargs", install_module.packed_kwargs)
    monkeypatch.setattr(
        "lookright.attention.probing.padded_kwargs",
        lambda model, mask: {"attention_mask": mask},
    )
    with pytest.raises(PlanNotHeldError, match=r"\(padded\).*positions are off"):
        check_plan(make("gpt2", "0011"))


def test_a_look_ahead_that_is_one_too_long(monkeypatch):
    closure = masks_module.closure
    monkeypatch.setattr(masks_module, "closure", lambda seen, right: closure(seen, right + 1 if right > 0 else right))
    with pytest.raises(PlanNotHeldError, match="asks 2, which is 2 here, measured 3"):
        check_plan(make())


def test_the_probe_is_longer_than_the_look_ahead():
    model = make(spec="0,0,20,*")
    report = check_plan(model)
    assert report.length == 23
    assert report.measured == (0, 0, 20, 22)


def test_a_huge_look_ahead_is_measured_as_far_as_there_is_room():
    model = make(spec="0,0,5000,0")  # 128 positions, less the padding of the probe
    report = check_plan(model)
    assert report.length == 122
    assert report.measured == (0, 0, 121, 0)


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt_oss", "falcon"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(name, dtype):
    model = BY_NAME[name].model().to(dtype)
    apply_plan(model, MaskPlan.parse("0,2,*,1", 4))
    assert check_plan(model).measured[1] == 2


def test_weak_attention_is_still_seen():
    """The last token gets almost no weight where one token attracts nearly all of it."""
    model = make(spec="0011")
    with torch.no_grad():
        for layer in decoder_layers(model):
            layer.self_attn.q_proj.weight.mul_(1.5)
            layer.self_attn.o_proj.weight.mul_(0.01)
    assert check_plan(model.to(torch.bfloat16)).measured == (0, 0, 7, 7)


def test_a_quantised_model():
    """Weights held as 8-bit integers with one scale per row."""

    class Rounded(torch.nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.scale = torch.nn.Buffer(linear.weight.detach().abs().amax(1, keepdim=True) / 127)
            self.weight = torch.nn.Buffer((linear.weight.detach() / self.scale).round().to(torch.int8))

        def forward(self, states):
            return states @ (self.weight.to(states.dtype) * self.scale).T

    model = make()
    for layer in decoder_layers(model):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(layer.self_attn, name, Rounded(getattr(layer.self_attn, name)))
    assert check_plan(model).measured == (0, 2, 7, 7)


def test_the_probe_leaves_no_trace():
    model = make().train()
    decoder_layers(model)[1].eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    check_plan(model)
    assert torch.equal(torch.rand(1), before)
    assert [module.training for module in model.modules()] == modes
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in decoder_layers(model))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_path_that_is_not_used_is_not_measured():
    assert [path.path for path in probe(make(), packed=False).paths] == ["plain", "padded"]
