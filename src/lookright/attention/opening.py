"""Layers that are partly open: what lies between the causal mask of a base and its plan.

A soft mask gives what the plan lets a layer see to its right a weight between 0 and 1: the logarithm of the weight is
added to these scores before the softmax. With a weight of 0 that is the causal mask, with 1 the plan. The idea is that
of iLLaMA (Wang et al. 2024, arXiv 2404.06773), turned round: there images are first seen whole, and the mask becomes
causal. Two things differ on purpose. In their code the weight multiplies what comes out of the softmax, so that the
attention of a token no longer sums up to 1; a language model was pretrained with attention that does, and a weight of 0
must give back what it was pretrained with. And only the layers of the plan are opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from lookright.attention.architecture import bare_decoder
from lookright.attention.masks import PLAN_KEY, WEIGHT_KEY, plan_of


@contextlib.contextmanager
def partly_open(model: nn.Module, weight: float) -> Iterator[None]:
    """Within: what the layers of a decoder see to the right has a weight.

    Forward and backward belong inside. On leaving, however that comes about, the model has its own plan again.

    Args:
        model: a decoder that `apply_plan` was called on.
        weight: from 0 to 1; 0 is a causal plan, 1 is the model's own, and both run on the fast kernels.

    Raises:
        ValueError: another weight.
    """
    config = bare_decoder(model).config
    own = plan_of(config)
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"the weight of what lies ahead is {weight}, expected 0 to 1")
    setattr(config, PLAN_KEY, own if weight else [0] * len(own))
    if 0.0 < weight < 1.0:
        setattr(config, WEIGHT_KEY, weight)
    try:
        yield
    finally:
        setattr(config, PLAN_KEY, own)
        if hasattr(config, WEIGHT_KEY):
            delattr(config, WEIGHT_KEY)
