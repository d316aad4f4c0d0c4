"""Casts are made once, and change nothing but the number format of the rotary tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainer import difference, gradients, trainer_of
from training_support import tagger

from lookright.attention import decoder_layers
from lookright.training.casting import cast_once


def seen_by_linears(model: Any) -> set[torch.dtype]:
    """The number formats in which the projections of the first layer get their input."""
    seen: set[torch.dtype] = set()
    handles = [
        module.register_forward_pre_hook(lambda _, args: seen.add(args[0].dtype))
        for module in decoder_layers(model)[0].modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=torch.arange(3, 9)[None])
    for handle in handles:
        handle.remove()
    return seen


def test_linears_get_what_they_compute_in(tiny_llama: Path) -> None:
    model = tagger(tiny_llama)[0].backbone
    assert torch.float32 in seen_by_linears(model)
    with cast_once(model, True):
        assert seen_by_linears(model) == {torch.bfloat16}
        with torch.no_grad():
            inside = model(input_ids=torch.arange(3, 9)[None]).last_hidden_state
    assert torch.float32 in seen_by_linears(model)
    with torch.no_grad():
        assert torch.equal(model(input_ids=torch.arange(3, 9)[None]).last_hidden_state, inside)  # outside autocast
    with cast_once(model, False):
        assert torch.float32 in seen_by_linears(model)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_gradients_are_those_of_autocast(tiny_llama: Path, tmp_path: Path, layout: str) -> None:
    exact, loss, _ = gradients(trainer_of(tiny_llama, tmp_path, 200, layout))
    trainer = trainer_of(tiny_llama, tmp_path, 200, layout)
    trainer.recipe = trainer.recipe.replace(precision="bfloat16")
    plain, plain_loss, _ = gradients(trainer)
    with cast_once(trainer.model.backbone, True):
        cast, cast_loss, _ = gradients(trainer)
    assert cast_loss == pytest.approx(loss, rel=0.01)
    assert plain_loss == pytest.approx(loss, rel=0.01)
    assert difference(exact, cast) < 2 * difference(exact, plain)
