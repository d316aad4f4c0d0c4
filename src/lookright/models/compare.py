"""Whether what was saved is what is in memory: logits against logits."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor

from lookright.errors import OutputError
from lookright.models.headed import HeadedModel
from lookright.models.store import load_model

SAME_LOGITS: Final = 1e-5


@torch.inference_mode()
def largest_difference(one: HeadedModel, other: HeadedModel, *, length: int = 12, rows: int = 3) -> float:
    """The largest difference between two models' logits on the same random rows, as a share of the largest logit."""
    vocab = len(cast(Tensor, one.get_input_embeddings().weight))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab, (rows, length), generator=generator)
    logits = []
    for model in (one, other):
        training = model.training
        model.eval()
        logits.append(model(ids.to(model.score.weight.device)).logits.float().cpu())
        model.train(training)
    return float((logits[0] - logits[1]).abs().max() / logits[0].abs().max().clamp_min(1e-6))


def compare_logits(folder: str | Path, model: HeadedModel) -> None:
    """Load what was saved and compare its logits with those of the model in memory.

    A quantised base is left out: it is not saved as it is in memory.

    Raises:
        OutputError: they differ.
    """
    if any("4bit" in type(module).__name__ or "8bit" in type(module).__name__ for module in model.modules()):
        return
    loaded = load_model(folder, HeadedModel, merge=False, check=False).model.to(model.score.weight.device)
    difference = largest_difference(model, loaded)
    if not difference <= SAME_LOGITS:
        raise OutputError(
            f"{folder}: the saved model gives other logits than the one in memory (by {difference:.1e} of the "
            "largest); keep the checkpoints, and report this"
        )
