"""What can be done with a backbone: which settings and which model class belong to which task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from transformers import PreTrainedModel

from lookright.errors import ModelFolderError
from lookright.models.config import LookRightConfig
from lookright.models.headed import HeadedModel
from lookright.models.settings import HeadSettings, TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import TextSettings

TAGS: Final = "tags"
TEXT: Final = "text"
CLASSES: Final[Mapping[str, type[HeadedModel]]] = {
    TAGS: LookRightForTokenClassification,
    TEXT: LookRightForSequenceClassification,
}
"""The class of each task's models."""


def task_of(settings: HeadSettings) -> str:
    """The name of the task that settings belong to."""
    return TEXT if isinstance(settings, TextSettings) else TAGS


def settings_in(config: LookRightConfig) -> HeadSettings:
    """The settings that a configuration holds.

    Raises:
        ModelFolderError: they are incomplete, or of a task that is not known here.
    """
    if config.task == TAGS:
        return TaggerSettings.from_dict(config.settings)
    if config.task == TEXT:
        return TextSettings.from_dict(config.settings)
    raise ModelFolderError(f"config.json names the task {config.task!r}, which this version of lookright does not know")


def model_on(config: LookRightConfig, backbone: PreTrainedModel, settings: HeadSettings) -> HeadedModel:
    """A model for the settings' task, with a fresh head on a backbone."""
    if isinstance(settings, TextSettings):
        return LookRightForSequenceClassification(config, backbone, settings)
    assert isinstance(settings, TaggerSettings)
    return LookRightForTokenClassification(config, backbone, settings)
