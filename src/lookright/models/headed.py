"""What all models that LookRight saves have in common: a backbone under its mask plan, dropout, and a linear head."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lookright.attention import packed_kwargs, padded_kwargs
from lookright.models.config import LookRightConfig
from lookright.models.dropout import ThreadDropout
from lookright.models.settings import HeadSettings
from lookright.models.trunk import trunk_given

BACKBONE: Final = "backbone."
"""Prefix of the backbone's weights; whatever else a model has belongs to its head."""
SCORE: Final = "score."
"""Prefix of the linear layer, which saved heads leave out."""


class HeadedModel(PreTrainedModel):  # type: ignore[misc]
    """A backbone, dropout, and a linear layer (`score`) in float32; the base class of our models.

    Args:
        config: of the whole model.
        backbone: with its plan.
        settings: what the model must remember besides its weights.
        n_outputs: outputs of the linear layer.
    """

    config_class = LookRightConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    settings: HeadSettings

    def __init__(
        self, config: LookRightConfig, backbone: PreTrainedModel, settings: HeadSettings, n_outputs: int
    ) -> None:
        super().__init__(config)
        self.backbone = backbone
        self.settings = settings
        self.is_encoder = not hasattr(backbone.config.get_text_config(), "lookright_right_contexts")
        self.dropout = ThreadDropout(settings.dropout)
        self.score = new_linear(backbone, n_outputs)
        self.all_tied_weights_keys: dict[str, str] = {}

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> Self:
        """Read a saved model; see `lookright.models.store.load_model`."""
        from lookright.models.store import load_model

        known = {name: kwargs[name] for name in ("revision", "trust_remote_code") if kwargs.get(name) is not None}
        dtype = kwargs.get("dtype") or kwargs.get("torch_dtype")
        if dtype is not None:
            known["dtype"] = str(dtype).removeprefix("torch.")
        model = load_model(folder, cls, **known).model
        if kwargs.get("output_loading_info"):  # asked by `transformers.pipeline` when it tries several classes
            info: dict[str, Any] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
            return cast(Self, (model, info))
        return model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write configuration and weights; `lookright.models.store.save_model` also takes tokenizer and card."""
        from lookright.models.store import save_model

        save_model(save_directory, self, tokenizer=None)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's embeddings."""
        embeddings: nn.Module = self.backbone.get_input_embeddings()
        return embeddings

    def head_state(self) -> dict[str, Tensor]:
        """The weights that are not the backbone's, by the names under which a head is saved apart."""
        state = self.state_dict()
        return {n.removeprefix(SCORE): t for n, t in state.items() if not n.startswith(BACKBONE)}

    def load_head_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a saved head.

        Raises:
            RuntimeError: they do not fit.
        """
        own = {name: name.removeprefix(SCORE) for name in self.state_dict() if not name.startswith(BACKBONE)}
        if set(own.values()) != set(state):
            raise RuntimeError(f"its weights are {', '.join(state)}; expected {', '.join(own.values())}")
        self.load_state_dict({name: state[saved] for name, saved in own.items()}, strict=False)

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

    def scored(self, features: Tensor) -> Tensor:
        """Dropout and the linear layer, in float32 whatever the backbone and autocast compute in.

        Args:
            features: (..., hidden).

        Returns:
            (..., outputs).
        """
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.score(self.dropout(features.to(self.score.weight.dtype))).float()
        return logits


def new_linear(backbone: PreTrainedModel, n_outputs: int) -> nn.Linear:
    """A linear layer in float32 on a backbone's last hidden states, with the weights of one that nobody trained."""
    linear = nn.Linear(hidden_size(backbone), n_outputs, dtype=torch.float32)
    draw_weights(linear, backbone)
    nn.init.zeros_(linear.bias)
    return linear


def draw_weights(linear: nn.Linear, backbone: PreTrainedModel) -> None:
    """Draw the weights of a head anew, as the backbone's family draws its own."""
    nn.init.normal_(linear.weight, std=getattr(backbone.config.get_text_config(), "initializer_range", 0.02))


def keep_rows(old: nn.Linear, new: nn.Linear, old_ids: Mapping[str, int], labels: Sequence[str]) -> tuple[str, ...]:
    """Put the rows of labels that `old` has into `new`, by name.

    Returns:
        The labels that are new.
    """
    with torch.no_grad():
        for index, label in enumerate(labels):
            if label in old_ids:
                new.weight[index] = old.weight[old_ids[label]]
                new.bias[index] = old.bias[old_ids[label]]
    return tuple(label for label in labels if label not in old_ids)


def hidden_size(backbone: PreTrainedModel) -> int:
    """Width of the backbone's last hidden states."""
    config = backbone.config.get_text_config()
    # OPT projects its last states back to the width of its embeddings.
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)
