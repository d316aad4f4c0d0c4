"""Several sequences in one row, without padding: attention runs inside each of them.

A packed row carries the borders of its sequences as an int32 "attention mask" of shape (1, 1, 1, sequences + 1), which
transformers' mask builders hand to every layer untouched. Families whose own mask code does not know packing (GPT-OSS,
OPT, BioGPT) are packed correctly that way too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lookright.attention.architecture import LayerLimit
from lookright.attention.masks import additive, softened
from lookright.plan import UNBOUNDED

AttendGroup = Callable[[Tensor, Tensor, Tensor, Tensor | None, bool], Tensor]
"""query, key, value (sequences, heads, length, width), mask or None, is_causal -> (sequences, length, heads, width).

A mask is (length, length), boolean or additive.
"""


def borders_of(lengths: Sequence[int]) -> Tensor:
    """The int32 mask that marks a packed row: (1, 1, 1, sequences + 1), cumulative lengths from 0.

    It stays on the CPU: each layer reads the lengths from it, and reading from a GPU would make the queue wait.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"packed lengths must be positive, found {list(lengths)}")
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return ends.view(1, 1, 1, -1)


def is_packed(attention_mask: Tensor | None) -> bool:
    """Whether a mask marks a packed row."""
    return attention_mask is not None and attention_mask.dtype == torch.int32 and attention_mask.dim() == 4


def equal_groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of adjacent sequences of one length: (how many, length)."""
    return [(len(list(run)), length) for length, run in groupby(lengths)]


def band(length: int, left: int | None, right: int | None, chunk: int | None, device: torch.device) -> Tensor:
    """(length, length) boolean: q sees `left` tokens before and `right` after it, within its chunk; None: no limit."""
    position = torch.arange(length, device=device)
    distance = position[None, :] - position[:, None]
    seen = torch.ones(length, length, dtype=torch.bool, device=device)
    if left is not None:
        seen &= distance >= -left
    if right is not None:
        seen &= distance <= right
    if chunk is not None:
        seen &= (position // chunk)[None, :] == (position // chunk)[:, None]
    return seen


def reach(right: int, limit: LayerLimit, length: int) -> tuple[int | None, int | None, int | None]:
    """Left, right and chunk limits of a layer in a sequence of this length; None where there is nothing to limit."""
    left = None if limit.window is None or limit.window >= length else limit.window - 1
    after: int | None = None if right == UNBOUNDED or right >= length - 1 else right
    if left is not None and (after is None or after > left):
        after = left
    chunk = None if limit.chunk is None or limit.chunk >= length else limit.chunk
    return left, after, chunk


MERGED_UP_TO = 16
"""Longest sequence of which several are put into one block."""
BLOCK = 32
"""Most tokens of such a block: two vectors of float32 on today's processors."""


def merged_groups(groups: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Groups in which short sequences share a block: (blocks, sequences of a block, length)."""
    found = []
    for count, length in groups:
        together = BLOCK // length if length <= MERGED_UP_TO else 1
        blocks, rest = divmod(count, together)
        found += [(blocks, together, length)] * (blocks > 0) + [(rest, 1, length)] * (rest > 0)
    return found


@lru_cache(maxsize=256)
def block_mask(
    together: int, length: int, reach: tuple[int | None, int | None, int | None], dtype: torch.dtype
) -> Tensor:
    """(together * length, together * length) additive mask of a block: each of its sequences sees but itself."""
    seen = torch.block_diag(*[band(length, *reach, torch.device("cpu"))] * together)  # type: ignore[no-untyped-call]
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    borders: Tensor,
    right: int,
    limit: LayerLimit,
    attend: AttendGroup,
    *,
    weight: float = 1.0,
    merge: bool = False,
) -> Tensor:
    """Attention inside each sequence of a packed row, one call per group of equal lengths, on views.

    Args:
        query: (1, heads, total, width).
        key: (1, key heads, total, width).
        value: (1, key heads, total, value width).
        borders: see `borders_of`.
        right: the layer's right context.
        limit: the layer's own window or chunk.
        attend: attention of one group.
        weight: of what lies to the right of a token, see `lookright.attention.opening`.
        merge: put several short sequences into one block, with a mask between them (`merges_short`); not with a weight.

    Returns:
        (1, total, heads, value width).
    """
    lengths = borders.flatten().diff().tolist()
    if query.shape[0] != 1 or sum(lengths) != query.shape[2]:
        raise ValueError(
            f"a packed row of {sum(lengths)} tokens must come as one row, found {query.shape[0]} x {query.shape[2]}"
        )
    groups = equal_groups(lengths)
    parts = merged_groups(groups) if merge and weight == 1.0 else [(count, 1, length) for count, length in groups]
    shapes = [(blocks, together * length) for blocks, together, length in parts]
    outputs = []
    for (_, together, length), (queries, keys, values) in zip(parts, _views(shapes, query, key, value), strict=True):
        left, after, chunk = reach(right, limit, length)
        causal = after == 0 and left is None and chunk is None and together == 1
        if together > 1:
            mask: Tensor | None = block_mask(together, length, (left, after, chunk), query.dtype)
        elif weight < 1.0 and after != 0:
            seen = band(length, left, after, chunk, query.device)
            mask = softened(seen, torch.ones_like(seen).triu_(1), weight, torch.float32)
        elif causal or (left is None and after is None and chunk is None):
            mask = None
        else:
            mask = band(length, left, after, chunk, query.device)
        output = attend(queries, keys, values, mask, causal and length > 1)
        outputs.append(output.reshape(-1, *output.shape[2:]))
    return torch.cat(outputs).unsqueeze(0)


def _views(
    groups: list[tuple[int, int]], query: Tensor, key: Tensor, value: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Each group's query, key and value as (sequences, heads, length, width)."""
    sizes = [count * length for count, length in groups]
    # split rather than slices, squeeze rather than [0]: their backward passes copy once, or not at all
    parts = [torch.split_with_sizes(tensor.squeeze(0).transpose(0, 1), sizes) for tensor in (query, key, value)]
    for group, *tensors in zip(groups, *parts, strict=True):
        queries, keys, values = (tensor.unflatten(0, group).transpose(1, 2) for tensor in tensors)
        yield queries, keys, values


PRODUCTS_UP_TO = 256
"""Longest sequence for which plain products are taken: their score matrices still fit into the processor's cache."""
PRODUCTS_FROM = 1024
"""Fewest tokens of a group for which plain products are taken."""


def sdpa_group(scaling: float | None, dropout: float) -> AttendGroup:
    """One group through scaled_dot_product_attention, or as it trains faster on a processor."""

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        if trains_in_bfloat16(query) and not dropout:
            count, _, length, _ = query.shape
            if length <= PRODUCTS_UP_TO and count * length >= PRODUCTS_FROM:
                return attend_products(query, key, value, mask, is_causal, scaling)
            with torch.autocast(query.device.type, enabled=False):
                wide = attend_sdpa(query.float(), key.float(), value.float(), mask, is_causal, scaling, 0.0)
                return wide.to(torch.bfloat16)
        return attend_sdpa(query, key, value, mask, is_causal, scaling, dropout)

    return attend


def attend_sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """One group through scaled_dot_product_attention; arguments and result as `AttendGroup`."""
    if mask is not None and mask.dtype != torch.bool:
        mask = additive(mask, computed_in(query))
    output = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=is_causal,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


def merges_short(query: Tensor) -> bool:
    """Whether short sequences are computed faster several in a block than each on its own.

    In a forward pass in bfloat16 on a processor: its flash kernel takes a fixed time for each sequence and head, and
    vectors that a short sequence does not fill. In blocks, attention over 2 sub-words is 3.4 times as fast, over 8 1.8
    times, over 16 1.1 times (torch 2.13); for longer ones, and in float32, it does not pay.
    """
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and not torch.is_grad_enabled()


def trains_in_bfloat16(query: Tensor) -> bool:
    """Whether a group takes part in training in bfloat16 on a processor, which PyTorch's own kernels do slowly.

    The backward pass of the flash kernel for CPUs does not use their bfloat16 tiles (torch 2.13). Large groups of short
    sequences are 1.5 to 6 times as fast as plain products. But those are made anew for each shape, which small groups
    of ever new shapes do not pay for: these are computed in float32 (benchmarks/speed/attention.py).
    """
    return (
        query.device.type == "cpu"
        and computed_in(query) == torch.bfloat16
        and query.requires_grad
        and torch.is_grad_enabled()
    )


def computed_in(tensor: Tensor) -> torch.dtype:
    """The number format of a product with this tensor, autocast considered."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def attend_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scaling: float | None
) -> Tensor:
    """One group as two batched products with a softmax between them; arguments and result as `AttendGroup`."""
    sequences, heads, length, width = query.shape
    dtype = computed_in(query)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if key.shape[1] != heads:
        key, value = (tensor.repeat_interleave(heads // key.shape[1], dim=1) for tensor in (key, value))
    rows = sequences * heads
    if is_causal:
        mask = band(length, None, 0, None, query.device)
    with torch.autocast(query.device.type, enabled=False):  # softmax computes in float32 inside, and rounds once
        scaled = (query * (width**-0.5 if scaling is None else scaling)).reshape(rows, length, width)
        turned = key.reshape(rows, length, width).transpose(1, 2)
        if mask is None:
            scores = torch.bmm(scaled, turned)
        else:
            scores = torch.baddbmm(additive(mask, dtype).expand(rows, length, length), scaled, turned)
        output = torch.bmm(torch.softmax(scores, -1), value.reshape(rows, length, value.shape[-1]))
    return output.view(sequences, heads, length, -1).transpose(1, 2)


def eager_group(eager: Callable[..., Any], module: torch.nn.Module, **kwargs: Any) -> AttendGroup:
    """One group through the model's own eager function, which knows its soft-cap and its sinks."""

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        if mask is None:  # some families add their mask without asking whether there is one
            mask = band(query.shape[2], None, 0 if is_causal else None, None, query.device)
        added = additive(mask, query.dtype)[None, None]
        output: Tensor = eager(module, query, key, value, added, **kwargs)[0]
        return output

    return attend


@cache
def _varlen_attention() -> Callable[..., Any] | None:
    """PyTorch's variable-length flash kernel, where it takes a window on both sides."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None


def takes_varlen(query: Tensor, value: Tensor, limit: LayerLimit, dropout: float) -> bool:
    """Whether the variable-length flash kernel can serve this call (CUDA, half precision, no chunks, no dropout)."""
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and query.shape[-1] == value.shape[-1] <= 256
        and limit.chunk is None
        and not dropout
        and _varlen_attention() is not None
    )


def attend_varlen(
    query: Tensor, key: Tensor, value: Tensor, borders: Tensor, right: int, limit: LayerLimit, scaling: float | None
) -> Tensor:
    """A whole packed row in one kernel; its window (left, right) is the plan's own idea. Shapes as `attend_packed`."""
    kernel = _varlen_attention()
    assert kernel is not None
    longest = int(borders.flatten().diff().max())
    left, after, _ = reach(right, limit, longest)
    ends = borders.flatten().to(query.device, non_blocking=True)
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    output: Tensor = kernel(
        *rows,
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if left is None else left, -1 if after is None else after),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.unsqueeze(0)
