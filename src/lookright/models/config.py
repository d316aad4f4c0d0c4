"""The configuration class of what we save. It needs nothing but the base class, so that it can be registered early."""

from __future__ import annotations

from typing import Any, Final

from transformers import AutoConfig, PreTrainedConfig

MODEL_TYPE: Final = "lookright"


class LookRightConfig(PreTrainedConfig):  # type: ignore[misc]
    """The configuration of a saved tagger or text classifier, or of a base that carries its plan.

    It has a `model_type` of its own so that stock transformers refuses the folder instead of loading the backbone
    with its causal mask.

    Args:
        base_config: the backbone's own configuration as a dictionary, the plan included.
        settings: `TaggerSettings` or `TextSettings` as a dictionary; empty for a base, which has no labels.
        task: whose settings they are: `tags` or `text`.
        adapter: `LoraSettings` as a dictionary where the folder holds an adapter instead of a whole backbone.
        base: name, revision and fingerprint of the base that the model was made from.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        base_config: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        adapter: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        task: str = "tags",
        **kwargs: Any,
    ) -> None:
        self.base_config = base_config or {}
        self.settings = settings or {}
        self.adapter = adapter
        self.base = base or {}
        self.task = task
        labels = self.settings.get("labels")
        if labels:
            kwargs.setdefault("id2label", dict(enumerate(labels)))
            kwargs.setdefault("label2id", {label: index for index, label in enumerate(labels)})
        super().__init__(**kwargs)


# So that `AutoConfig` knows the model type; see `lookright.api.registration`.
AutoConfig.register(MODEL_TYPE, LookRightConfig, exist_ok=True)
