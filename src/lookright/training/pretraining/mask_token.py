"""The token that stands for a masked sub-word: the tokenizer's own, a rare one that it has, or a new one."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lookright")

RARE: Final = "_"
"""What LLM2Vec (arXiv 2404.05961, appendix D.1.1) takes where there is no mask token."""
NEW: Final = "<mask>"


class Mask(NamedTuple):
    """The id of the mask, and whether its embedding was never trained."""

    id: int
    new: bool


def mask_for(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, objective: str, wanted: str | None = None
) -> Mask:
    """Find the mask token, or add one to tokenizer and model; which it is, is said unless it is the tokenizer's own.

    Args:
        model: gets a row for a new token.
        tokenizer: gets the new token.
        objective: `mntp` takes `_` where the tokenizer has no mask token; `mlm` adds one.
        wanted: the token that the recipe names; one that the tokenizer does not have is added.
    """
    known = tokenizer.get_vocab()
    if wanted is None and tokenizer.mask_token_id is not None:
        return Mask(int(tokenizer.mask_token_id), new=False)
    if wanted is None and objective == "mntp" and RARE in known:
        log.info("the tokenizer has no mask token: %r stands for masked sub-words", RARE)
        return Mask(int(known[RARE]), new=False)
    if wanted is not None and wanted in known:
        return Mask(int(known[wanted]), new=False)
    token = wanted or NEW
    tokenizer.add_special_tokens({"mask_token": token})
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    new = token not in known
    log.info("%r %s masked sub-words", token, "was added, is trained, and stands for" if new else "stands for")
    return Mask(int(tokenizer.mask_token_id), new=new)


def train_row(embeddings: nn.Module, row: int) -> None:
    """Make one row of an embedding matrix trainable, and only that one."""
    weight = embeddings.weight
    assert isinstance(weight, nn.Parameter)
    weight.requires_grad_(True)

    def only(gradient: Tensor) -> Tensor:
        kept = gradient.new_zeros(gradient.shape)
        kept[row] = gradient[row]
        return kept

    weight.register_hook(only)  # type: ignore[no-untyped-call]
