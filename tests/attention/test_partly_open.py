"""Layers that are partly open, against the family's own code with an additive 4-D mask drawn by plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.families import BY_NAME, FAMILIES, Family
from tests.oracle import (
    LENGTHS,
    TOLERANCE,
    Reference,
    difference,
    layouts,
    run_packed,
    run_padded,
    run_plain,
    sees,
    sentences,
)
from torch.nn import functional

from lookright.attention import apply_plan, check_plan, current_plan, kernels, packing, partly_open
from lookright.attention.architecture import LayerLimit
from lookright.attention.masks import WEIGHT_KEY, additive
from lookright.attention.packing import attend_packed, borders_of, sdpa_group
from lookright.plan import UNBOUNDED, MaskPlan

PLAN = MaskPlan((2, 0, UNBOUNDED, 1))
NAMES = ["llama", "mistral", "gemma2", "gpt_oss", "gpt2", "llama4_text", "falcon", "gpt_neo", "gptj"]
"""Windows, soft-caps, sinks, learned positions, chunks, families with hooks; triangles of their own."""
some = pytest.mark.parametrize("family", [BY_NAME[name] for name in NAMES], ids=lambda family: family.name)
every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def states(family: Family, backend: str, plan: MaskPlan, weight: float | None) -> list[tuple[str, dict]]:
    """Of every layout: name, states by sentence; no weight is no opening."""
    model = family.model()
    apply_plan(model, plan, backend)
    found = []
    for layout, run in layouts(family, thorough=False):
        with torch.no_grad():
            if weight is None:
                found.append((layout, run(model)))
            else:
                with partly_open(model, weight):
                    found.append((layout, run(model)))
    return found


def assert_between(family: Family, weight: float) -> None:
    reference = Reference(family)
    expected = [reference.states(row, PLAN.right_contexts, weight) for row in sentences()]
    whole = [reference.states(row, PLAN.right_contexts) for row in sentences()]
    causal = [reference.states(row, (0,) * 4) for row in sentences()]
    for index, length in enumerate(LENGTHS):  # the oracle itself says something in between
        if length > 1:
            assert difference(expected[index], whole[index]) > 100 * TOLERANCE
            assert difference(expected[index], causal[index]) > 100 * TOLERANCE
    for backend in family.backends:
        for layout, found in states(family, backend, PLAN, weight):
            for index, got in found.items():
                assert difference(got, expected[index]) <= TOLERANCE, (backend, layout, index)


@some
def test_in_between_is_an_additive_mask(family):
    assert_between(family, 0.3)


def test_in_between_where_the_ends_need_no_mask():
    """Causal and full attention of a row without padding have kernels of their own, which take no weight."""
    family, rights = BY_NAME["llama"], (0, 0, -1, -1)
    model, row = family.model(), sentences()[0]
    apply_plan(model, MaskPlan(rights), "sdpa")
    with torch.no_grad(), partly_open(model, 0.3):
        found = run_plain(model, [row])[0]
    assert difference(found, Reference(family).states(row, rights, 0.3)) <= TOLERANCE


@pytest.mark.slow
@every
@pytest.mark.parametrize("weight", [0.02, 0.9])
def test_in_between_in_every_family(family, weight):
    assert_between(family, weight)


@some
@pytest.mark.parametrize(("weight", "plan"), [(0.0, MaskPlan((0,) * 4)), (1.0, PLAN)])
def test_the_ends_are_the_causal_mask_and_the_plan_to_the_last_bit(family, weight, plan):
    for backend in family.backends:
        pairs = zip(states(family, backend, PLAN, weight), states(family, backend, plan, None), strict=True)
        for (layout, found), (_, expected) in pairs:
            assert all(torch.equal(found[index], expected[index]) for index in expected), (backend, layout)


def gradients_of(model, losses) -> dict[str, torch.Tensor]:
    model.zero_grad()
    generator = torch.Generator().manual_seed(1)
    sum((row * torch.randn(row.shape, generator=generator)).sum() for row in losses).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt_oss", "llama4_text", "falcon"])
def test_gradients_in_between(name):
    family, rows = BY_NAME[name], sentences()
    reference = Reference(family)
    expected = gradients_of(reference.model, [reference.run(row, PLAN.right_contexts, 0.3) for row in rows])
    runs = {"right": lambda model: run_padded(model, rows, "right"), "left": lambda m: run_padded(m, rows, "left")}
    runs |= {"packed": lambda model: run_packed(model, rows)} if family.packs else {}
    for backend in family.backends:
        for layout, run in runs.items():
            for recompute in (False, True) if name in ("llama", "gemma2") else (False,):
                model = family.model()
                if recompute:
                    model.train()
                    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                apply_plan(model, PLAN, backend)
                with partly_open(model, 0.3):
                    found = gradients_of(model, run(model))
                assert found.keys() == expected.keys()
                scale = max(float(gradient.abs().max()) for gradient in expected.values())
                worst = max(float((found[key] - expected[key]).abs().max()) for key in expected)
                assert worst <= 2e-5 * scale, (backend, layout, recompute)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(None, None), (3, None), (None, 4), (1, None)]),
    st.sampled_from([UNBOUNDED, 1, 2, 5]),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.floats(1e-6, 0.999),
)
@example((None, None), UNBOUNDED, [6] * 5, 0.3)  # as many as would share a block
def test_packed_rows_under_any_window(limit, right, lengths, weight):
    family, total = Family("made up", "llama", windows=(limit[0],) * 4, chunks=(limit[1],) * 4), sum(lengths)
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, total, 8, generator=generator)
    mask = torch.full((total, total), -torch.inf)
    start = 0
    for length in lengths:
        for q in range(length):
            for k in range(length):
                if sees(family, 0, right, q, k):
                    mask[start + q, start + k] = 0.0 if sees(family, 0, 0, q, k) else math.log(weight)
        start += length
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    for merge in (False, True):
        found = attend_packed(
            query, key, value, borders_of(lengths), right, LayerLimit(*limit), sdpa_group(None, 0.0),
            weight=weight, merge=merge,
        )  # fmt: skip
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("products", [True, False])
def test_training_in_bfloat16_on_a_processor(products, monkeypatch):
    """Large groups as plain products, small ones in float32: both take the weight, and their gradients are right."""
    monkeypatch.setattr(packing, "PRODUCTS_FROM", 1 if products else 10**9)
    lengths, generator = [9, 9, 6, 1], torch.Generator().manual_seed(0)
    exact = torch.randn(3, 1, 4, sum(lengths), 8, generator=generator).unbind()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        tensors = [tensor.detach().to(dtype).clone().requires_grad_() for tensor in exact]
        output = attend_packed(*tensors, borders_of(lengths), 2, LayerLimit(), sdpa_group(None, 0.0), weight=0.1)
        (output.float() * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum().backward()
        found.append([output.detach(), *(tensor.grad for tensor in tensors)])
    for one, other in zip(*found, strict=True):
        assert difference(other, one) < 0.03
    plain = attend_packed(*exact, borders_of(lengths), 2, LayerLimit(), sdpa_group(None, 0.0))
    assert difference(plain, found[0][0]) > 0.1


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("layout", ["left", "packed"])
def test_mixed_precision_leaves_no_nan(name, layout):
    """The smallest float32 number is minus infinity in bfloat16, and a row of padding would be all of it."""
    model, rows = BY_NAME[name].model().train(), sentences()
    apply_plan(model, PLAN)
    with partly_open(model, 0.3), torch.autocast("cpu", torch.bfloat16):
        found = run_padded(model, rows, "left", 3) if layout == "left" else run_packed(model, rows)
        gradients = gradients_of(model, found)
    reference = Reference(BY_NAME[name])
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    for index, row in enumerate(rows):
        assert difference(found[index].detach(), reference.states(row, PLAN.right_contexts, 0.3)) < 0.1


def test_the_smallest_number_stays_a_number():
    mask = torch.tensor([0.0, math.log(0.3), torch.finfo(torch.float32).min])
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert torch.isfinite(additive(mask, dtype)).all()


def test_the_kernel_without_a_bias_is_not_taken_while_a_layer_is_partly_open(monkeypatch):
    """As on CUDA, where the variable-length kernel serves a whole row: causal layers keep it, the others come back."""
    served = []

    def varlen(query, key, value, borders, right, limit, scaling):
        served.append(right)
        return attend_packed(query, key, value, borders, right, limit, sdpa_group(scaling, 0.0))

    monkeypatch.setattr(kernels, "takes_varlen", lambda *_: True)
    monkeypatch.setattr(kernels, "attend_varlen", varlen)
    model, rows = BY_NAME["llama"].model(), sentences()
    apply_plan(model, PLAN)
    for weight, expected in ((0.0, [0, 0, 0, 0]), (0.3, [0]), (1.0, list(PLAN.right_contexts))):
        with partly_open(model, weight):
            run_packed(model, rows)
        assert served == expected
        served.clear()


@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_afterwards_the_plan_is_the_models_own_again(name):
    model = BY_NAME[name].model()
    apply_plan(model, PLAN)
    for weight in (0.0, 0.5, 1.0):
        with pytest.raises(KeyboardInterrupt), partly_open(model, weight):
            raise KeyboardInterrupt
        assert current_plan(model) == PLAN
        assert not hasattr(model.config, WEIGHT_KEY)
        assert WEIGHT_KEY not in model.config.to_json_string()
    check_plan(model)


def test_a_weight_is_from_0_to_1():
    model = BY_NAME["llama"].model()
    apply_plan(model, PLAN)
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="expected 0 to 1"), partly_open(model, weight):
            pass
    assert current_plan(model) == PLAN
