"""The variable-length flash kernel on CUDA, against the grouped path. Run with `-m gpu`."""

from __future__ import annotations

import pytest
import torch
from tests.families import BY_NAME
from tests.oracle import difference, run_padded, sentences

from lookright.attention import apply_plan, check_plan, packed_kwargs, partly_open
from lookright.attention.architecture import LayerLimit
from lookright.attention.packing import attend_packed, attend_varlen, borders_of, sdpa_group, takes_varlen
from lookright.plan import MaskPlan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("right", [0, 2, -1])
def test_varlen_is_the_grouped_path(dtype, window, right):
    lengths, limit = [5, 5, 9, 1, 33], LayerLimit(window)
    total = sum(lengths)
    query = torch.randn(1, 8, total, 64, device="cuda", dtype=dtype)
    key, value = torch.randn(2, 1, 2, total, 64, device="cuda", dtype=dtype)
    assert takes_varlen(query, value, limit, 0.0)
    found = attend_varlen(query, key, value, borders_of(lengths), right, limit, None)
    grouped = attend_packed(query, key, value, borders_of(lengths), right, limit, sdpa_group(None, 0.0))
    torch.testing.assert_close(found, grouped, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "llama4_text", "gemma2"])
def test_the_plan_holds_on_cuda(name):
    model = BY_NAME[name].model().to("cuda", torch.bfloat16)
    apply_plan(model, MaskPlan.parse("0,2,*,1", 4))
    assert check_plan(model).problems == ()


@pytest.mark.parametrize("name", ["llama", "mistral", "llama4_text", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_partly_open_layers_on_cuda(name, dtype):
    plan, rows = MaskPlan.parse("0,2,*,1", 4), sentences()
    model = BY_NAME[name].model()
    apply_plan(model, plan)
    with torch.no_grad(), partly_open(model, 0.3):
        expected = run_padded(model, rows, "right")
        model.to("cuda", dtype)
        lengths = [len(row) for row in rows]
        ids = torch.cat(rows)[None].to("cuda")
        kwargs = packed_kwargs(model, lengths, "cuda")
        packed = model(input_ids=ids, **kwargs, use_cache=False).last_hidden_state[0].split(lengths)
    for found, states in zip(packed, expected, strict=True):
        assert difference(found.cpu(), states) < (1e-3 if dtype == torch.float32 else 0.1)
