"""The token classifier: any backbone, dropout, and one linear layer on the words' hidden states."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from lookright.attention import packed_kwargs, padded_kwargs
from lookright.models.config import LookRightConfig
from lookright.models.settings import TaggerSettings
from lookright.models.trunk import trunk_given


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


class LookRightForTokenClassification(PreTrainedModel):  # type: ignore[misc]
    """A backbone under its mask plan, dropout, and a linear head (`score`) in float32.

    Build it with `build_tagger`, or read it from a folder with `from_pretrained`.
    """

    config_class = LookRightConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: LookRightConfig, backbone: PreTrainedModel, settings: TaggerSettings) -> None:
        super().__init__(config)
        self.backbone = backbone
        self.settings = settings
        self.is_encoder = not hasattr(backbone.config.get_text_config(), "lookright_right_contexts")
        self.dropout = nn.Dropout(settings.dropout)
        self.score = nn.Linear(hidden_size(backbone), len(settings.labels), dtype=torch.float32)
        nn.init.normal_(self.score.weight, std=getattr(backbone.config.get_text_config(), "initializer_range", 0.02))
        nn.init.zeros_(self.score.bias)
        self.all_tied_weights_keys: dict[str, str] = {}

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> LookRightForTokenClassification:
        """Read a saved tagger; see `lookright.models.store.load_tagger`."""
        from lookright.models.store import load_tagger

        known = {name: kwargs[name] for name in ("revision", "trust_remote_code") if kwargs.get(name) is not None}
        dtype = kwargs.get("dtype") or kwargs.get("torch_dtype")
        if dtype is not None:
            known["dtype"] = str(dtype).removeprefix("torch.")
        model = load_tagger(folder, **known).model
        if kwargs.get("output_loading_info"):  # asked by `transformers.pipeline` when it tries several classes
            info: dict[str, Any] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
            return model, info  # type: ignore[return-value]
        return model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write configuration and weights; `lookright.models.store.save_tagger` also takes tokenizer and card."""
        from lookright.models.store import save_tagger

        save_tagger(save_directory, self, tokenizer=None)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's embeddings."""
        embeddings: nn.Module = self.backbone.get_input_embeddings()
        return embeddings

    def backbone_inputs(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, lengths: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """The arguments of the backbone's forward method; this method's are those of `hidden_states`."""
        if lengths is not None:
            extra = packed_kwargs(self.backbone, lengths, input_ids.device)
        elif self.is_encoder:
            extra = {} if attention_mask is None else {"attention_mask": attention_mask}
        else:
            extra = padded_kwargs(self.backbone, attention_mask)
        if not self.is_encoder:
            extra["use_cache"] = False
        return {"input_ids": input_ids, **extra}

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        trunk: tuple[int, Tensor] | None = None,
    ) -> Tensor:
        """Last hidden states under the plan.

        Args:
            input_ids: (rows, length); with `lengths`, one row of sequences one after the other.
            attention_mask: (rows, length), 1 for tokens and 0 for padding; none where nothing is padded.
            lengths: sub-words of each packed sequence; they must sum to the length of the row.
            trunk: a number of layers, and their output (rows, length, hidden) where it is known already.

        Returns:
            (rows, length, hidden).
        """
        inputs = self.backbone_inputs(input_ids, attention_mask, lengths)
        with contextlib.nullcontext() if trunk is None else trunk_given(self.backbone, *trunk):
            output: Tensor = self.backbone(**inputs).last_hidden_state
        return output

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
        # The head stays in float32, whatever the backbone and autocast compute in.
        with torch.autocast(hidden.device.type, enabled=False):
            logits = self.score(self.dropout(features.to(self.score.weight.dtype))).float()
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum")
        return TokenClassifierOutput(loss=loss, logits=logits)


def hidden_size(backbone: PreTrainedModel) -> int:
    """Width of the backbone's last hidden states."""
    config = backbone.config.get_text_config()
    # OPT projects its last states back to the width of its embeddings.
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def extend_labels(model: LookRightForTokenClassification, settings: TaggerSettings) -> tuple[str, ...]:
    """Give the head the labels of `settings`: rows of labels that it has are kept by name, new ones start fresh.

    Returns:
        The labels that are new.
    """
    old, old_ids = model.score, model.settings.label_to_id
    new = nn.Linear(old.in_features, len(settings.labels), dtype=old.weight.dtype, device=old.weight.device)
    nn.init.normal_(new.weight, std=getattr(model.backbone.config.get_text_config(), "initializer_range", 0.02))
    nn.init.zeros_(new.bias)
    with torch.no_grad():
        for index, label in enumerate(settings.labels):
            if label in old_ids:
                new.weight[index] = old.weight[old_ids[label]]
                new.bias[index] = old.bias[old_ids[label]]
    model.score = new
    model.dropout = nn.Dropout(settings.dropout)
    model.settings = settings
    return tuple(label for label in settings.labels if label not in old_ids)


# So that transformers' own ways of loading find the class; see `lookright.api.registration`.
AutoModelForTokenClassification.register(LookRightConfig, LookRightForTokenClassification, exist_ok=True)
