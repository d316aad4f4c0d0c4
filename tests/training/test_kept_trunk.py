"""Layers that are not trained: no gradient reaches them, and their states are computed once for all epochs and runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from training_support import run, same, tagger, weights

from lookright.attention import decoder_layers
from lookright.errors import RecipeError
from lookright.models.lora import has_lora
from lookright.training import kept_trunk
from lookright.training.kept_trunk import STATES_FILE


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """The folder of kept trunks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "lookright")
    return tmp_path / "cache" / "lookright" / "trunks"


def changed(folder: Path, plan: str, **options: Any) -> set[str]:
    """What a run changed: `embeddings`, the numbers of layers, `head`, ..."""
    before = weights(tagger(folder, plan)[0].backbone)
    _, model = run(folder, plan=plan, dev=None, method="full", **options)
    after = weights(model.backbone)
    parts = {n: n.split(".")[1] if n.startswith("layers.") else n.split(".")[0] for n in before}
    return {parts[name] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(("plan", "layers", "expected"), [("0011", "unmasked", "23"), ("1", "top:1", "3")])
def test_only_the_layers_that_are_named_are_trained(tiny_llama: Path, plan: str, layers: str, expected: str) -> None:
    assert changed(tiny_llama, plan, train_layers=layers) == set(expected)


def test_adapters_are_put_into_these_layers_only(tiny_llama: Path) -> None:
    _, model = run(tiny_llama, plan="0011", dev=None, method="lora", train_layers="top:1")
    assert [has_lora(layer) for layer in decoder_layers(model.backbone)] == [False, False, False, True]


@pytest.mark.parametrize("plan", ["0011", "1"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_kept_states_give_the_same_training(
    tiny_llama: Path, kept: Path, plan: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"plan": plan, "method": method, "train_layers": "top:2", "token_budget": 60}
    first, model = run(tiny_llama, **options)
    assert len(list(kept.iterdir())) == 1
    again, found = run(tiny_llama, **options)
    assert same(weights(model), weights(found))
    monkeypatch.setattr(kept_trunk, "MOST_BYTES", 0)
    plain, computed = run(tiny_llama, **options)
    losses = [[e["loss"] for e in r.outcome.history if "loss" in e] for r in (first, again, plain)]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    one, other = weights(model), weights(computed)
    assert max(float((one[n] - other[n]).abs().max()) for n in one) < 1e-4


def test_the_trunk_is_not_computed_again(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tiny_llama, plan="0011", dev=None, train_layers="top:2")
    monkeypatch.setattr(kept_trunk._Maker, "write", None)
    run(tiny_llama, plan="0011", dev=None, train_layers="top:2", seed=1)  # another seed has the same trunk
    with pytest.raises(TypeError):
        run(tiny_llama, plan="0011", dev=None, train_layers="top:3")
    with pytest.raises(TypeError):  # the second layer looks right
        run(tiny_llama, plan="0111", dev=None, train_layers="top:2")


def test_what_is_half_written_does_not_count(tiny_llama: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kept_trunk._Maker.write

    def dies(self: Any, folder: Path) -> None:
        (folder / STATES_FILE).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(kept_trunk._Maker, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, plan="0011", dev=None, train_layers="top:2")
    assert not list(kept.iterdir())
    monkeypatch.setattr(kept_trunk._Maker, "write", real)
    run(tiny_llama, plan="0011", dev=None, train_layers="top:2")


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY", None, 500])
def test_damaged_states_are_made_anew(
    tiny_llama: Path, kept: Path, left: bytes | int | None, caplog: pytest.LogCaptureFixture
) -> None:
    _, model = run(tiny_llama, plan="0011", dev=None, train_layers="top:2")
    (file,) = kept.glob(f"*/{STATES_FILE}")
    whole = file.read_bytes()
    if left is None:
        file.unlink()
    else:
        file.write_bytes(whole[:left] if isinstance(left, int) else left)
    _, again = run(tiny_llama, plan="0011", dev=None, train_layers="top:2")
    assert "was damaged, and is made anew" in caplog.text
    assert file.read_bytes() == whole
    assert same(weights(model), weights(again))


def test_states_that_cannot_be_written_are_computed_in_every_epoch(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    run(tiny_llama, plan="0011", dev=None, train_layers="top:2")
    assert "2 frozen layers are computed anew in every epoch" in caplog.text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"context": "document"}, "seen among neighbours"),
        ({"gradient_checkpointing": True}, "computed twice"),
        ({"epochs": 1.0}, "one epoch only"),
    ],
)
def test_where_states_are_not_kept_it_is_said(
    tiny_llama: Path, kept: Path, options: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(tiny_llama, plan="0011", dev=None, train_layers="top:2", **options)
    assert reason in caplog.text
    assert not kept.exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train_layers": "upper"}, "expected 'all', 'unmasked', or 'top:N'"),
        ({"train_layers": "top:9"}, "has 4 layers"),
        ({"train_layers": "unmasked", "plan": "0"}, "no layer of the plan looks right"),
    ],
)
def test_layers_that_are_not_there(tiny_llama: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        run(tiny_llama, dev=None, **options)
