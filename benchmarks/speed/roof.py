"""The roof: which bare products a model's linear layers come down to. Pure Python.

The roof of a run is the summed time of these products at the real-token shapes of its batches, with the same threads
and precision: no padding, no recomputation, no attention, no norms, no head, no optimizer. A system that computes
nothing else, on batches without padding, would reach 100 %. Products of bigger batches run faster, so that the roof of
a run depends on its batches; `benchmarks/speed/compare.py` takes each system's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

WORK: Final = ("forward", "full", "adapters")
"""What is computed: a forward pass; training of all weights; training of adapters on frozen weights."""


class Linear(NamedTuple):
    """A linear layer: `inputs` to `outputs`; `adapted` where an adapter stands beside it."""

    inputs: int
    outputs: int
    adapted: bool = True


def shapes_of(config: Mapping[str, Any], adapted: Sequence[str] | None = None) -> tuple[list[Linear], int]:
    """The linear layers of one decoder layer of a Llama-shaped model, and the number of decoder layers.

    Args:
        config: of the model, as in config.json.
        adapted: names of the linear layers that get adapters; None for all.
    """
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    width = config.get("head_dim") or hidden // heads
    keys = config.get("num_key_value_heads", heads) * width
    layers = {
        "q_proj": (hidden, heads * width),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (heads * width, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
    shapes = [Linear(*shape, adapted is None or name in adapted) for name, shape in layers.items()]
    return shapes, config["num_hidden_layers"]


def products(
    tokens: int, layer: Sequence[Linear], work: str, rank: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """The products (m, k, n) of one decoder layer, each (m, k) by (k, n), for a batch of so many real tokens.

    Args:
        tokens: of the batch.
        layer: from `shapes_of`.
        work: one of `WORK`. "full": the output, the gradient of the input and that of the weight. "adapters": the
            output and the gradient of the input of the frozen weight, and all three of the adapter's two matrices.
        rank: of the adapters.
    """
    if work not in WORK:
        raise ValueError(f"work is {work!r}, expected one of {WORK}")
    for linear in layer:
        yield from _of_linear(
            tokens, linear.inputs, linear.outputs, weights=work == "full", gradients=work != "forward"
        )
        if work == "adapters" and linear.adapted:
            assert rank is not None
            yield from _of_linear(tokens, linear.inputs, rank, weights=True, gradients=True)
            yield from _of_linear(tokens, rank, linear.outputs, weights=True, gradients=True)


def _of_linear(m: int, k: int, n: int, *, weights: bool, gradients: bool) -> Iterator[tuple[int, int, int]]:
    yield m, k, n
    if gradients:
        yield m, n, k
    if weights:
        yield n, m, k


def operations(shapes: Iterator[tuple[int, int, int]]) -> int:
    """Additions and multiplications of products."""
    return sum(2 * m * k * n for m, k, n in shapes)
