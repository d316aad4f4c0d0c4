"""The trunk: its output in its place gives what the whole model gives, for every family."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from families import FAMILIES, Family
from lookright.attention import apply_plan, can_pack, decoder_layers, packed_kwargs
from lookright.models.trunk import trunk_fingerprint, trunk_given, trunk_height, trunk_states
from lookright.plan import MaskPlan

HEIGHT = 2


def model_of(family: Family) -> Any:
    torch.manual_seed(0)
    model = family.model().eval()
    apply_plan(model, MaskPlan.parse("0011", 4))
    return model


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f.named else pytest.mark.slow) for f in FAMILIES], ids=lambda f: f.name
)
@torch.no_grad()
def test_given_states_stand_for_the_trunk(family: Family) -> None:
    model = model_of(family)
    ids = torch.randint(3, 90, (1, 12))
    inputs = {"input_ids": ids, "use_cache": False}
    inputs |= packed_kwargs(model, [7, 5], ids.device) if can_pack(model) else {}
    whole = model(**inputs).last_hidden_state
    states = trunk_states(model, HEIGHT, **inputs)
    with trunk_given(model, HEIGHT, states):
        assert torch.equal(model(**inputs).last_hidden_state, whole)
    with trunk_given(model, HEIGHT, states.roll(1, 1)):
        assert not torch.allclose(model(**inputs).last_hidden_state, whole)
    assert torch.equal(model(**inputs).last_hidden_state, whole)
    assert not any("forward" in layer.__dict__ for layer in decoder_layers(model))


def test_threads_have_states_of_their_own() -> None:
    """As where two halves of an update are computed at once: both are within, and neither sees the other's states."""
    model = model_of(FAMILIES[0])
    given = [torch.randint(3, 90, (1, length)) for length in (12, 12, 9)]
    wanted = [model(input_ids=ids, use_cache=False).last_hidden_state for ids in given]
    states = [trunk_states(model, HEIGHT, input_ids=ids, use_cache=False) for ids in given]
    all_within, all_done = threading.Barrier(4, timeout=20), threading.Barrier(4, timeout=20)

    def compute(number: int) -> torch.Tensor:
        own = contextlib.nullcontext() if number == 2 else trunk_given(model, HEIGHT, states[number])
        with torch.no_grad(), own:
            all_within.wait()
            found: torch.Tensor = model(input_ids=given[number], use_cache=False).last_hidden_state
            all_done.wait()
        return found

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(compute, number) for number in range(3)]
        all_within.wait()
        assert any("forward" in layer.__dict__ for layer in decoder_layers(model))
        all_done.wait()
        assert all(map(torch.equal, [future.result() for future in futures], wanted))
    assert not any("forward" in layer.__dict__ for layer in decoder_layers(model))


def test_the_height_is_what_is_frozen_below() -> None:
    model = model_of(FAMILIES[0])
    assert trunk_height(model) == 0
    model.requires_grad_(False)
    assert trunk_height(model) == 0  # nothing is trained above
    decoder_layers(model)[3].requires_grad_(True)
    assert trunk_height(model) == 3
    model.get_input_embeddings().requires_grad_(True)
    assert trunk_height(model) == 0


def test_the_fingerprint_is_of_what_lies_below() -> None:
    model = model_of(FAMILIES[0])
    before = trunk_fingerprint(model, HEIGHT)
    with torch.no_grad():
        next(decoder_layers(model)[2].parameters()).add_(1)
    assert trunk_fingerprint(model, HEIGHT) == before
    with torch.no_grad():
        next(decoder_layers(model)[1].parameters()).add_(1)
    assert (changed := trunk_fingerprint(model, HEIGHT)) != before
    model.config.rms_norm_eps *= 2
    assert trunk_fingerprint(model, HEIGHT) != changed
