"""An update in two halves: on a processor, two threads that compute half of an update each.

It pays where threads of OpenMP wait passively, as they should on a machine that others use: then they lose more time by
waking up for each operation than they gain. Where they spin, they are as fast (figures: docs/log.md, 2026-11-21). Two
halves, and not more parts: Python's lock is held between operations, which are short already.

The same seed gives the same weights, to the byte: gradients are added in an order that does not depend on which thread
is faster, and the dropout of each micro-batch has draws of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from lookright.inference.threads import in_threads
from lookright.models.dropout import ThreadDropout, draws_from

AT_ONCE: Final = 2
Batch = Mapping[str, Any]


def waits_passively() -> bool:
    """Whether threads of OpenMP were told not to spin while they wait."""
    told = (os.environ.get(name, "").strip().lower() for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"))
    return any(value in ("passive", "0") for value in told)


def draws_in_order(model: nn.Module) -> bool:
    """Whether a model draws random numbers in training, and not from generators of its own."""
    return any(_draws(module) for module in model.modules())


def _draws(module: nn.Module) -> bool:
    if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d):
        return module.p > 0 and not isinstance(module, ThreadDropout)
    # Families that call the function have its rate in an attribute: `attention_dropout`, `resid_dropout`, ...
    rates = (value for name, value in vars(module).items() if "dropout" in name or name.endswith("pdrop"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def gradients_in_halves(
    model: nn.Module, batches: Sequence[Batch], loss_of: Callable[[Batch], Tensor], backward: Callable[[Tensor], None]
) -> Tensor:
    """Add the gradients of micro-batches to the weights', which have none yet.

    Args:
        model: whose weights are trained.
        batches: at least two.
        loss_of: the loss of a micro-batch.
        backward: adds the gradients of a loss to the weights'.

    Returns:
        The sum of the losses.
    """
    seeds: list[int] = torch.randint(2**62, (len(batches),)).tolist()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    jobs = list(zip(batches, seeds, strict=True))
    # Two addends give the same sum in either order. Of more, one half is summed on its own.
    apart = len(jobs) > AT_ONCE

    def compute(half: int) -> tuple[list[Tensor], list[Tensor | None]]:
        losses: list[Tensor] = []
        own: list[Tensor | None] = [None] * len(weights)
        for batch, seed in jobs[half::AT_ONCE]:
            with draws_from(seed):
                loss = loss_of(batch)
            losses.append(loss.detach())
            if half and apart:
                own = _sum(own, torch.autograd.grad(loss, weights, allow_unused=True))
            else:
                backward(loss)
        return losses, own

    found = [future.result() for _, future in in_threads(compute, range(AT_ONCE), training=True)]
    for weight, gradient in zip(weights, found[1][1], strict=True):
        if gradient is not None:
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
    return torch.stack([loss for losses, _ in found for loss in losses]).sum()


def _sum(own: Sequence[Tensor | None], new: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [b if a is None else a if b is None else a.add_(b) for a, b in zip(own, new, strict=True)]
