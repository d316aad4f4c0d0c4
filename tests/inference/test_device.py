"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from lookright.errors import RecipeError
from lookright.inference.device import resolve_device


def test_names_and_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "", "tpu"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="expected one of"):
        resolve_device(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="this machine has none"):
        resolve_device("cuda:1")
