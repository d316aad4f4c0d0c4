"""Forward and backward of attention on a processor: PyTorch's flash kernel against plain products.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 python benchmarks/speed/attention.py [--record]

Both compute the same 4,096 tokens of 256 dimensions, cut into sequences of one length, in turn and several rounds; the
figure is the median time of the flash kernel over that of the products (above 1: the products are faster).

Then rows as training on sentences has them, 16 sentences of ever new lengths (median 22 sub-words): products for every
group of equal lengths, each of a new shape, against what the package does.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from torch.nn import functional  # noqa: E402

from lookright.attention.architecture import LayerLimit  # noqa: E402
from lookright.attention.packing import (  # noqa: E402
    AttendGroup,
    attend_packed,
    attend_products,
    borders_of,
    sdpa_group,
)
from lookright.plan import UNBOUNDED  # noqa: E402

TOKENS, WIDTH = 4096, 256
Attend = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


def flash(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Attention by PyTorch's own kernel, in the layout of a layer's output."""
    return functional.scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2)


def products(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Attention by two products."""
    return attend_products(query, key, value, None, causal, None)


def seconds(attend: Attend, tensors: list[Tensor], causal: bool) -> float:
    """Of one forward and backward pass."""
    begin = time.perf_counter()
    output = attend(*tensors, causal)
    output.backward(torch.ones_like(output))
    return time.perf_counter() - begin


def ratio(length: int, head: int, dtype: torch.dtype, causal: bool, rounds: int) -> float:
    """Median time of the flash kernel over that of the products."""
    shape = (TOKENS // length, length, WIDTH // head, head)
    tensors = [torch.randn(shape, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
    times: dict[str, list[float]] = {"flash": [], "products": []}
    for number in range(rounds + 2):
        for name, attend in (("flash", flash), ("products", products)):
            taken = seconds(attend, tensors, causal)
            if number >= 2:  # warm by now
                times[name].append(taken)
    return statistics.median(times["flash"]) / statistics.median(times["products"])


def row_ratio(n_sentences: int, causal: bool, rounds: int) -> float:
    """Median time of products for each group over that of the package, for bfloat16 rows of ever new lengths."""
    drawn = random.Random(0)
    times: dict[str, list[float]] = {"products": [], "package": []}
    for _ in range(2 * rounds):
        lengths = sorted(max(2, min(80, round(drawn.lognormvariate(3.1, 0.55)))) for _ in range(n_sentences))
        shape = (1, sum(lengths), WIDTH // 64, 64)
        tensors = [torch.randn(shape, dtype=torch.bfloat16).transpose(1, 2).requires_grad_() for _ in range(3)]
        for name, attend in (("products", products), ("package", None)):
            group = sdpa_group(None, 0.0) if attend is None else _as_group(attend)
            begin = time.perf_counter()
            output = attend_packed(*tensors, borders_of(lengths), 0 if causal else UNBOUNDED, LayerLimit(), group)
            output.backward(torch.ones_like(output))
            times[name].append(time.perf_counter() - begin)
    return statistics.median(times["products"]) / statistics.median(times["package"])


def _as_group(attend: Attend) -> AttendGroup:
    return lambda query, key, value, mask, is_causal: attend(query, key, value, is_causal)


def main() -> None:
    """Measure all lengths and print, or record, a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--record", action="store_true", help="append the figures to benchmarks/results/speed.jsonl")
    args = parser.parse_args()
    from benchmarks.results import record

    for dtype in (torch.bfloat16, torch.float32):
        for head in (32, 64):
            for length in (16, 32, 64, 128, 256, 512):
                causal, full = (ratio(length, head, dtype, kind, args.rounds) for kind in (True, False))
                name = f"attention, {str(dtype).removeprefix('torch.')}, heads of {head}, sequences of {length}"
                sys.stdout.write(f"{name}: causal {causal:.2f}, full {full:.2f}\n")
                sys.stdout.flush()
                if args.record:
                    threads = f"{torch.get_num_threads()} threads"
                    unit = f"time of flash kernel / time of products, forward and backward, median, {threads}"
                    record("speed", f"{name}, causal", round(causal, 2), unit)
                    record("speed", f"{name}, full", round(full, 2), unit)
    for n_sentences in (16, 64):
        for causal in (True, False):
            name = f"attention, bfloat16, rows of {n_sentences} sentences, {'causal' if causal else 'full'}"
            found = row_ratio(n_sentences, causal, args.rounds)
            sys.stdout.write(f"{name}: {found:.2f}\n")
            if args.record:
                unit = "time of products / time of the package, forward and backward, median"
                record("speed", name, round(found, 2), f"{unit}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
