"""Linear layers with 8-bit weights: close to the real ones, and blind to the company of a token."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

from lookright.models import int8
from lookright.models.compilation import why_not_compiled
from lookright.models.int8 import Int8Linear, LastRounded, has_int8_weights, why_no_int8, with_int8_weights

pytestmark = pytest.mark.skipif(why_no_int8() is not None, reason=str(why_no_int8()))

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def pair(dtype: torch.dtype = torch.float32, *, bias: bool = True) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias, dtype=dtype)
    return linear, Int8Linear(linear)


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_linear_layer_but_for_the_rounding(dtype: torch.dtype, bias: bool) -> None:
    linear, rounded = pair(dtype, bias=bias)
    hidden = torch.randn(2, 9, 64).to(dtype)
    expected, found = linear(hidden).float(), rounded(hidden)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    assert (found.float() - expected).norm() < 0.015 * expected.norm()


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_token_gets_does_not_depend_on_its_company(dtype: torch.dtype) -> None:
    """To the bit, beside a token a thousand times as large: one scale for both would leave nothing of the small one."""
    _, rounded = pair(dtype)
    hidden = torch.randn(5, 64)
    hidden[3] *= 1000
    hidden = hidden.to(dtype)
    together = rounded(hidden)
    for row in range(5):
        assert torch.equal(together[row], rounded(hidden[row : row + 1])[0])


@torch.no_grad()
def test_empty_and_damaged_tokens() -> None:
    linear, rounded = pair()
    hidden = torch.randn(3, 64)
    hidden[0], hidden[1, 5] = 0, torch.nan
    found = rounded(hidden)
    assert torch.equal(found[0], linear.bias)
    assert found[1].isnan().all()
    assert found[2].isfinite().all()


@torch.no_grad()
def test_a_copy_outlives_the_layer_and_nothing_outlives_both() -> None:
    before = len(int8._packed)
    _, rounded = pair()
    hidden = torch.randn(3, 64)
    expected = rounded(hidden)
    copied = copy.deepcopy(rounded)
    del rounded
    gc.collect()
    assert torch.equal(copied(hidden), expected)
    del copied
    gc.collect()
    assert len(int8._packed) == before


def test_which_layers_are_replaced() -> None:
    class Own(nn.Linear):
        pass

    model = nn.ModuleDict(
        {"up": nn.Linear(64, 32), "gate": nn.Linear(64, 32), "narrow": nn.Linear(64, 8), "own": Own(64, 32)}
    )
    assert not has_int8_weights(model)
    assert with_int8_weights(model) == 1
    assert has_int8_weights(model)
    assert {name: type(child) for name, child in model.items()} == {
        "up": Int8Linear, "gate": nn.Linear, "narrow": nn.Linear, "own": Own,
    }  # fmt: skip
    assert repr(model["up"]) == "Int8Linear(in_features=64, out_features=32)"


@pytest.mark.skipif(why_not_compiled("cpu") is not None, reason="no compiler here")
@pytest.mark.slow  # seconds of a C++ compiler
@torch.no_grad()
def test_compiled_it_is_the_same_for_all_layers_and_lengths() -> None:
    """One compiled code for layers with different weights; rounding may differ by one step where halves meet."""
    torch.manual_seed(0)
    layers = [Int8Linear(nn.Linear(64, 64)) for _ in range(2)]

    def both(hidden: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            hidden = layer(hidden)
        return hidden

    compiled = torch.compile(both, dynamic=True, fullgraph=True)
    for length in (7, 12):
        hidden = torch.randn(length, 64)
        expected = both(hidden)
        assert (compiled(hidden) - expected).norm() < 0.01 * expected.norm()


def test_what_one_module_rounded_is_not_taken_for_another_input() -> None:
    torch.manual_seed(0)
    shared = LastRounded()
    layers = [nn.Linear(32, 32, bias=False) for _ in range(3)]
    one, two = (Int8Linear(layer, shared, 0) for layer in layers[:2])
    other = Int8Linear(layers[2], shared, 1)
    first, second = torch.randn(4, 32), torch.randn(4, 32)
    alone = {(n, i): Int8Linear(layers[n])(x) for n in range(3) for i, x in enumerate((first, second))}
    for at, layer, inputs in ((0, one, 0), (1, two, 0), (1, two, 1), (0, one, 1), (2, other, 1), (2, other, 0)):
        assert torch.equal(layer((first, second)[inputs]), alone[at, inputs])
    assert copy.deepcopy(shared).last is None
