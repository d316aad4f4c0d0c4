"""The token classifier: any backbone, dropout, and one linear layer on the words' hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from lookright.models.config import LookRightConfig
from lookright.models.dropout import ThreadDropout
from lookright.models.headed import HeadedModel, keep_rows, new_linear
from lookright.models.settings import TaggerSettings


def pool_words(hidden: Tensor, first: Tensor, last: Tensor, how: str) -> Tensor:
    """One vector per word from the vectors of its sub-words.

    Args:
        hidden: (sub-words, hidden).
        first: (words,) index of each word's first sub-word.
        last: (words,) index of each word's last sub-word.
        how: `first`, `last` or `mean`.

    Returns:
        (words, hidden).
    """
    if how == "first":
        return hidden[first]
    if how == "last":
        return hidden[last]
    counts = last - first + 1
    word_of = torch.repeat_interleave(torch.arange(len(first), device=hidden.device), counts)
    before = torch.cumsum(counts, 0) - counts
    position = torch.arange(len(word_of), device=hidden.device) - before[word_of] + first[word_of]
    sums = hidden.new_zeros(len(first), hidden.shape[-1]).index_add_(0, word_of, hidden[position])
    return sums / counts.unsqueeze(-1).to(hidden.dtype)


class LookRightForTokenClassification(HeadedModel):
    """A backbone under its mask plan, dropout, and a linear head (`score`) in float32, on words.

    Build it with `build_tagger`, or read it from a folder with `from_pretrained`.
    """

    settings: TaggerSettings

    def __init__(self, config: LookRightConfig, backbone: PreTrainedModel, settings: TaggerSettings) -> None:
        super().__init__(config, backbone, settings, len(settings.labels))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        word_first: Tensor | None = None,
        word_last: Tensor | None = None,
        labels: Tensor | None = None,
        trunk_height: int = 0,
        trunk_states: Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Logits of words, or of every sub-word where no words are given.

        Args:
            input_ids: (rows, length).
            attention_mask: (rows, length), 1 for tokens and 0 for padding.
            lengths: sub-words of each packed sequence.
            word_first: (words,) index of each word's first sub-word in the flattened rows.
            word_last: (words,) index of each word's last sub-word.
            labels: (words,) label indices; -100 is not counted.
            trunk_height, trunk_states: so many layers are not computed, since this is their output, (rows, length,
                hidden).

        Returns:
            `logits` (words, labels), or (rows, length, labels) without words; `loss`, where labels are given, is the
            SUM of the cross-entropies of the counted words, so that micro-batches of any size add up.
        """
        trunk = None if trunk_states is None else (trunk_height, trunk_states)
        hidden = self.hidden_states(input_ids, attention_mask, lengths, trunk)
        if word_first is None or word_last is None:
            features = hidden
        else:
            features = pool_words(hidden.flatten(0, 1), word_first, word_last, self.settings.subword)
        logits = self.scored(features)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum")
        return TokenClassifierOutput(loss=loss, logits=logits)


def extend_labels(model: LookRightForTokenClassification, settings: TaggerSettings) -> tuple[str, ...]:
    """Give the head the labels of `settings`: rows of labels that it has are kept by name, new ones start fresh.

    Returns:
        The labels that are new.
    """
    old = model.score
    new = new_linear(model.backbone, len(settings.labels)).to(old.weight.device, old.weight.dtype)
    added = keep_rows(old, new, model.settings.label_to_id, settings.labels)
    model.score = new
    model.dropout = ThreadDropout(settings.dropout)
    model.settings = settings
    return added


# So that transformers' own ways of loading find the class; see `lookright.api.registration`.
AutoModelForTokenClassification.register(LookRightConfig, LookRightForTokenClassification, exist_ok=True)
