"""The closure, the bands of packed rows, and what the probe must expect, against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.families import BY_NAME, FAMILIES, N_LAYERS, Family
from tests.oracle import naive_mask, sees
from torch.nn import functional

from lookright.attention import packing
from lookright.attention.architecture import LayerLimit, layer_limit
from lookright.attention.masks import PLAN_KEY, channel_of, closure, draws_nothing, stacked_mask
from lookright.attention.packing import (
    attend_packed,
    attend_products,
    band,
    borders_of,
    equal_groups,
    is_packed,
    sdpa_group,
)
from lookright.attention.probing import expected_right_contexts
from lookright.errors import UnsupportedModelError
from lookright.plan import UNBOUNDED, MaskPlan

rights = st.sampled_from([0, UNBOUNDED, 1, 2, 3, 5, 30])
limits = st.one_of(
    st.just((None, None)),
    st.integers(1, 8).map(lambda window: (window, None)),
    st.integers(1, 8).map(lambda chunk: (None, chunk)),
)


def a_family(window: int | None, chunk: int | None) -> Family:
    return Family("made up", "llama", windows=(window,) * N_LAYERS, chunks=(chunk,) * N_LAYERS)


@settings(deadline=None, max_examples=100)
@given(limits, rights, st.integers(1, 12))
def test_closure_of_any_predicate(limit, right, length):
    family = a_family(*limit)
    causal = naive_mask(family, 0, 0, length)
    assert torch.equal(closure(causal, right), naive_mask(family, 0, right, length))
    assert torch.equal(closure(causal, 0), causal)


@settings(deadline=None, max_examples=60)
@given(limits, rights, st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans())
def test_packed_attention_is_attention_under_a_block_mask(limit, right, lengths, sort):
    lengths = sorted(lengths) if sort else lengths
    family, total = a_family(*limit), sum(lengths)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, total, 8, generator=generator)
    key, value = torch.randn(2, 1, 2, total, 8, generator=generator)
    seen = torch.zeros(total, total, dtype=torch.bool)
    start = 0
    for length in lengths:
        for q in range(length):
            for k in range(length):
                seen[start + q, start + k] = sees(family, 0, right, q, k)
        start += length
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
    found = attend_packed(query, key, value, borders_of(lengths), right, LayerLimit(*limit), sdpa_group(None, 0.0))
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(rights, st.integers(1, 12), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.sampled_from([None, 0.3]))
def test_plain_products_are_sdpa_and_have_its_gradients(right, length, sequences, key_heads, scaling):
    """In float64, so that nothing but the method differs."""
    generator = torch.Generator().manual_seed(length)
    shapes = [(sequences, 4, length, 8), (sequences, key_heads, length, 8), (sequences, key_heads, length, 8)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    causal = right == 0
    mask = None if right in (0, UNBOUNDED) else band(length, None, right, None, torch.device("cpu"))
    expected = functional.scaled_dot_product_attention(
        *tensors, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=True
    ).transpose(1, 2)
    found = attend_products(*tensors, mask, causal, scaling)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    direction = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, tensors, direction), torch.autograd.grad(expected, tensors, direction), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_which_kernel_serves(monkeypatch):
    """Large groups of short sequences are trained through products, small ones in float32; all else as it comes."""
    served = []

    def spy(name):
        real = getattr(packing, name)

        def called(query, *rest):
            served.append((name, query.dtype))
            return real(query, *rest)

        monkeypatch.setattr(packing, name, called)

    spy("attend_products")
    spy("attend_sdpa")

    def attend(count, length, dropout=0.0, grad=True):
        query = torch.randn(count, 2, length, 4, requires_grad=grad)
        served.clear()
        output = sdpa_group(None, dropout)(query, query, query, None, True)
        assert output.shape == (count, length, 2, 4)
        return (*served[0], output.dtype)

    single, half = torch.float32, torch.bfloat16
    assert attend(4, 8) == ("attend_sdpa", single, single)
    with torch.autocast("cpu", half):
        assert attend(4, 8) == ("attend_sdpa", single, half)
        assert attend(128, 8) == ("attend_products", single, half)
        assert attend(4, 257) == ("attend_sdpa", single, half)
        assert attend(128, 8, dropout=0.1)[0] == "attend_sdpa"
        assert attend(128, 8, grad=False)[0] == "attend_sdpa"
        with torch.no_grad():
            assert attend(128, 8)[0] == "attend_sdpa"


def test_plain_products_round_like_sdpa_in_bfloat16():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 2, 40, 16, generator=generator).requires_grad_() for _ in range(3)]
    exact = functional.scaled_dot_product_attention(*tensors, is_causal=True).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_products(*tensors, None, True, None)
        flash = functional.scaled_dot_product_attention(*tensors, is_causal=True).transpose(1, 2)
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().mean() < 2 * (flash - exact).abs().mean()


def test_equal_lengths_side_by_side_share_a_call():
    assert equal_groups([3, 3, 2, 3]) == [(2, 3), (1, 2), (1, 3)]


def test_borders_mark_a_packed_row():
    borders = borders_of([2, 3])
    assert borders.tolist() == [[[[0, 2, 5]]]]
    assert is_packed(borders)
    assert not is_packed(None)
    assert not is_packed(torch.ones(1, 1, 5, 5, dtype=torch.bool))
    assert not is_packed(torch.ones(2, 5, dtype=torch.int32))
    with pytest.raises(ValueError, match="positive"):
        borders_of([2, 0])


def test_a_packed_row_of_another_length_is_refused():
    tensor = torch.zeros(1, 2, 4, 8)
    with pytest.raises(ValueError, match="5 tokens"):
        attend_packed(tensor, tensor, tensor, borders_of([2, 3]), 0, LayerLimit(), sdpa_group(None, 0.0))


def test_no_mask_where_nothing_is_to_be_drawn():
    config = BY_NAME["llama"].config()
    draw = stacked_mask(boolean=True)
    causal = {"mask_function": lambda b, h, q, k: k <= q, "batch_size": 2, "device": torch.device("cpu")}

    def mask(plan, length=6, attention_mask=None, **more):
        setattr(config, PLAN_KEY, plan)
        return draw(config=config, q_length=length, kv_length=length, attention_mask=attention_mask, **causal, **more)

    ones = torch.ones(2, 6, dtype=torch.bool)
    padded = ones.clone()
    padded[1, 4:] = False
    assert mask([0, -1, 0, -1]) is None
    assert mask([0, -1, 0, -1], attention_mask=ones) is None
    assert mask([0, 5, 0, -1]) is None  # a look-ahead of 5 is all there is in 6 tokens
    assert mask([0, 0, 0, 0], local_size=6) is None
    assert mask([0, 4, 0, -1]).shape == (2, 3, 6, 6)
    assert mask([0, -1, 0, -1], attention_mask=padded).shape == (2, 2, 6, 6)
    assert mask([0, -1, 0, -1], local_size=5).shape == (2, 2, 6, 6)
    assert mask([0, -1, 0, -1], allow_is_causal_skip=False).shape == (2, 2, 6, 6)
    assert draws_nothing([0, -1, 7], 8)
    assert not draws_nothing([0, -1, 6], 8)


def test_padded_keys_go_after_the_closure():
    config = BY_NAME["llama"].config()
    setattr(config, PLAN_KEY, [0, -1, 0, -1])
    real = torch.tensor([[False, True, True, False]])
    mask = stacked_mask(boolean=True)(
        config=config,
        q_length=4,
        kv_length=4,
        attention_mask=real,
        mask_function=lambda b, h, q, k: k <= q,
        batch_size=1,
        device=torch.device("cpu"),
    )
    opened, causal = channel_of(mask, [0, -1, 0, -1], 1), channel_of(mask, [0, -1, 0, -1], 0)
    assert torch.equal(opened[0, 0], real.expand(4, 4))
    assert torch.equal(causal[0, 0], real.expand(4, 4) & torch.ones(4, 4).tril().bool())


def test_a_foreign_mask_is_refused():
    with pytest.raises(UnsupportedModelError, match="mask of your own"):
        channel_of(torch.ones(1, 1, 4, 4, dtype=torch.bool), [0, -1], 0)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_windows_are_read_from_the_config(family):
    config = family.config()
    found = [layer_limit(config, layer) for layer in range(N_LAYERS)]
    assert found == [LayerLimit(*pair) for pair in zip(family.windows, family.chunks, strict=True)]


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "llama4_text", "gpt_neo", "modernbert-decoder"])
@pytest.mark.parametrize("length", [2, 5, 8, 9, 13])
@pytest.mark.parametrize("right", [0, 1, 2, 3, 6, 40, UNBOUNDED])
def test_what_a_probe_must_measure(name, length, right):
    family = BY_NAME[name]
    last = length - 1
    farthest = [max(last - q for q in range(length) if sees(family, i, right, q, last)) for i in range(N_LAYERS)]
    plan = MaskPlan((right,) * N_LAYERS)
    assert list(expected_right_contexts(family.config(), plan, length)) == farthest
