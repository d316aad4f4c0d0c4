"""What a tagger remembers."""

import json

import pytest

from lookright.errors import ModelFolderError, RecipeError
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, label_set


def test_the_json_form_reads_back() -> None:
    settings = TaggerSettings(labels=label_set(["PER", "A-B"], Scheme.IOBES), scheme=Scheme.IOBES, window=64)
    assert TaggerSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize("change", [{"odd": 1}, {"labels": None}])
def test_keys_of_another_version_are_named(change: dict[str, object]) -> None:
    data = TaggerSettings().to_dict()
    data.update(change)
    if change == {"labels": None}:
        del data["labels"]
    with pytest.raises(ModelFolderError, match=r"odd|labels"):
        TaggerSettings.from_dict(data)


@pytest.mark.parametrize(
    "change", [{"subword": "middle"}, {"window": 3}, {"dropout": 1.0}, {"labels": ("O", "O")}, {"labels": ()}]
)
def test_impossible_values_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        TaggerSettings(**change)  # type: ignore[arg-type]


def test_types_of_labels_with_hyphens() -> None:
    settings = TaggerSettings(labels=label_set(["creative-work", "PER"], Scheme.IOB2))
    assert set(settings.types) == {"creative-work", "PER"}


def test_new_types_come_after_the_labels_that_are_there() -> None:
    old = TaggerSettings(labels=label_set(["PER"], Scheme.IOB2))
    new = old.with_types(["LOC", "PER"])
    assert new.labels[: len(old.labels)] == old.labels
    assert set(new.labels) == {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}
