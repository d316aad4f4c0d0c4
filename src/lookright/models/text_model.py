"""The text classifier: any backbone, one vector per text, dropout, and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from lookright.data.texts import Target
from lookright.models.config import LookRightConfig
from lookright.models.dropout import ThreadDropout
from lookright.models.headed import HeadedModel, keep_rows, new_linear
from lookright.models.pooling import Segments, pool_tokens, pool_windows
from lookright.models.text_settings import TextSettings


class LookRightForSequenceClassification(HeadedModel):
    """A backbone under its mask plan, pooling over real tokens, dropout, and a linear head (`score`) in float32.

    With a causal plan and the pooling `last` this is LS-LLaMA, with an open one LS-unLLaMA (arXiv 2310.01208), but for
    padding, which is neither seen nor pooled here.

    Build it with `build_model`, or read it from a folder with `from_pretrained`.
    """

    settings: TextSettings

    def __init__(self, config: LookRightConfig, backbone: PreTrainedModel, settings: TextSettings) -> None:
        super().__init__(config, backbone, settings, len(settings.labels))
        self.attention = new_linear(backbone, 1) if settings.pooling == "attention" else None
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)  # a plain mean at first

    def represent(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        tokens: Tensor | None = None,
        window_of: Tensor | None = None,
        last: Tensor | None = None,
        trunk: tuple[int, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One vector for each window, and the logarithm of its weight among the windows of its text.

        Args:
            input_ids: (rows, length); with `lengths`, one row of windows one after the other.
            attention_mask: (rows, length), 1 for tokens and 0 for padding, on whichever side.
            lengths: sub-words of each packed window; they must sum to the length of the row.
            tokens: int64 (n_tokens,) positions, in the flattened rows, of the sub-words that are pooled; where none are
                given, every real token but the special ones at the ends of each window.
            window_of: int64 (n_tokens,) the window of each of them.
            last: int64 (n_windows,) position of the last token of each window.
            trunk: as for `hidden_states`.

        Returns:
            (n_windows, hidden) and (n_windows,), in float32.
        """
        hidden = self.hidden_states(input_ids, attention_mask, lengths, trunk).flatten(0, 1)
        if tokens is None or window_of is None or last is None:
            tokens, window_of, last = real_tokens(input_ids, attention_mask, lengths)
            inner = inner_tokens(input_ids.flatten()[tokens], Segments(window_of, len(last)), self.settings.ends)
            tokens, window_of = tokens[inner], window_of[inner]
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(self.score.weight.dtype)
            scores = None if self.attention is None else self.attention(hidden[tokens])[:, 0]
            return pool_tokens(hidden, tokens, Segments(window_of, len(last)), last, self.settings.pooling, scores)

    def classify(self, vectors: Tensor, log_weights: Tensor, text_of: Tensor | None = None, n_texts: int = 0) -> Tensor:
        """Logits of texts from what `represent` returned for their windows.

        Args:
            vectors: (n_windows, hidden).
            log_weights: (n_windows,).
            text_of: int64 (n_windows,) the text of each window, ascending; none: each window is a text.
            n_texts: how many texts there are, with `text_of`.

        Returns:
            (n_texts, labels) in float32; for a regression (n_texts, 1), in deviations from the mean (`TextSettings`).
        """
        if text_of is not None:
            vectors = pool_windows(vectors, log_weights, Segments(text_of, n_texts), self.settings.pooling)
        return self.scored(vectors)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        tokens: Tensor | None = None,
        window_of: Tensor | None = None,
        last: Tensor | None = None,
        text_of: Tensor | None = None,
        n_texts: int = 0,
        labels: Tensor | None = None,
        trunk_height: int = 0,
        trunk_states: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits of texts.

        Args:
            input_ids, attention_mask, lengths, tokens, window_of, last: as for `represent`.
            text_of, n_texts: as for `classify`.
            labels: (n_texts,) label indices, -100 where a text does not count; multi-label: (n_texts, labels) 0 or 1;
                regression: (n_texts,) numbers in deviations from the mean (`TextSettings.standard`; the numbers
                themselves may need more digits than float32 has). In these two, NaN where a text does not count.
            trunk_height, trunk_states: so many layers are not computed, since this is their output, (rows, length,
                hidden).

        Returns:
            `logits` (n_texts, labels), of a regression the numbers themselves; `loss`, where labels are given, is the
            SUM over the counted texts: of the cross-entropies; of the means of the labels' binary cross-entropies; of
            the squared errors in deviations.
        """
        trunk = None if trunk_states is None else (trunk_height, trunk_states)
        vectors, weights = self.represent(input_ids, attention_mask, lengths, tokens, window_of, last, trunk)
        logits = self.classify(vectors, weights, text_of, n_texts)
        loss = None if labels is None else text_loss(logits, labels, self.settings)
        if self.settings.target == Target.REGRESSION:
            logits = logits * self.settings.deviation + self.settings.mean
        return SequenceClassifierOutput(loss=loss, logits=logits)


def real_tokens(
    input_ids: Tensor, attention_mask: Tensor | None, lengths: Sequence[int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Every token that is not padding: position, window, and the last position of each window.

    Args:
        input_ids: (rows, length).
        attention_mask: (rows, length), or none where nothing is padded.
        lengths: of packed windows, or none.

    Returns:
        tokens (n_tokens,), window_of (n_tokens,), last (n_windows,).
    """
    rows, length = input_ids.shape
    device = input_ids.device
    if lengths is not None:
        counts = torch.tensor(lengths, device=device)
        tokens = torch.arange(rows * length, device=device)
        return tokens, torch.repeat_interleave(torch.arange(len(counts), device=device), counts), counts.cumsum(0) - 1
    real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    tokens = real.flatten().nonzero()[:, 0]
    columns = torch.arange(length, device=device)
    last = torch.where(real, columns, 0).amax(1) + torch.arange(rows, device=device) * length
    return tokens, tokens // length, last


def inner_tokens(ids: Tensor, windows: Segments, ends: tuple[Sequence[int], Sequence[int]]) -> Tensor:
    """Which real tokens are not special ones that the tokenizer has put before and after its text.

    Args:
        ids: int64 (n_tokens,) window by window.
        windows: the window of each; those of which nothing would be left keep all.
        ends: the special tokens before a text and after it.

    Returns:
        bool (n_tokens,).
    """
    counts = torch.bincount(windows.of, minlength=windows.n)
    from_start = torch.arange(len(ids), device=ids.device) - (counts.cumsum(0) - counts)[windows.of]
    from_end = counts[windows.of] - 1 - from_start
    special = torch.zeros_like(ids, dtype=torch.bool)
    for expected, place in ((ends[0], from_start), (ends[1][::-1], from_end)):
        if expected:
            there = torch.tensor(expected, device=ids.device)[place.clamp_max(len(expected) - 1)]
            special |= (place < len(expected)) & (ids == there)
    left = torch.bincount(windows.of, weights=(~special).double(), minlength=windows.n)
    return ~special | (left == 0)[windows.of]


def text_loss(logits: Tensor, labels: Tensor, settings: TextSettings) -> Tensor:
    """The SUM of the losses of the texts that count, from what `classify` returns.

    See `LookRightForSequenceClassification.forward`.
    """
    if settings.target == Target.SINGLE:
        return functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    counted = ~labels.isnan()
    given = torch.nan_to_num(labels)
    if settings.target == Target.MULTI:
        losses = functional.binary_cross_entropy_with_logits(logits, given, reduction="none")
        return torch.where(counted, losses, 0).mean(1).sum()
    errors = logits[:, 0] - given
    return torch.where(counted, errors.square(), 0).sum()


def extend_text_labels(model: LookRightForSequenceClassification, settings: TextSettings) -> tuple[str, ...]:
    """Give the head the labels of `settings`: rows of labels that it has are kept by name, new ones start fresh.

    A trained regression gives the numbers that it gave, whatever `settings` count them in.

    Returns:
        The labels that are new.
    """
    old = model.score
    new = new_linear(model.backbone, len(settings.labels)).to(old.weight.device, old.weight.dtype)
    added = keep_rows(old, new, model.settings.label_to_id, settings.labels)
    if settings.target == Target.REGRESSION and old.bias.any():  # zeros: nobody has trained it
        _recount(new, model.settings, settings)
    if settings.pooling != model.settings.pooling:
        model.attention = None
        if settings.pooling == "attention":
            model.attention = new_linear(model.backbone, 1).to(old.weight.device, old.weight.dtype)
            nn.init.zeros_(model.attention.weight)
    model.score = new
    model.dropout = ThreadDropout(settings.dropout)
    model.settings = settings
    return added


def _recount(head: nn.Linear, old: TextSettings, new: TextSettings) -> None:
    """Let a regression's head say the same numbers, counted in other deviations from another mean."""
    with torch.no_grad():
        head.weight *= old.deviation / new.deviation
        head.bias.copy_((head.bias.double() * old.deviation + (old.mean - new.mean)) / new.deviation)


# So that transformers' own ways of loading find the class; see `lookright.api.registration`.
AutoModelForSequenceClassification.register(LookRightConfig, LookRightForSequenceClassification, exist_ok=True)
