"""Prediction with 8-bit weights and with compiled layers: the same answers, the same plan, and clear refusals."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from lookright.attention import probe
from lookright.attention.architecture import decoder_layers
from lookright.data import Sentence
from lookright.errors import OutputError, RecipeError, UnsupportedModelError
from lookright.inference import device as devices
from lookright.inference.device import number_format
from lookright.inference.predictor import Predictor
from lookright.models.base import load_base
from lookright.models.compilation import shared_copy, why_not_compiled
from lookright.models.int8 import Int8Linear, has_int8_weights, why_no_int8
from lookright.models.lora import LoraSettings, lora_targets
from lookright.models.settings import TaggerSettings
from lookright.models.store import build_tagger, load_tagger, save_tagger
from lookright.tags import Scheme, label_set

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(why_no_int8() is not None, reason=str(why_no_int8()))
needs_compiler = pytest.mark.skipif(why_not_compiled("cpu") is not None, reason="no compiler here")


def saved(base: Path, folder: Path, plan: str | None = "0,0,2,*", *, lora: bool = False) -> Path:
    torch.manual_seed(0)
    loaded = load_base(base, plan=plan)
    adapters = LoraSettings(r=2, alpha=4, dropout=0.0, targets=lora_targets(loaded.backbone, "paper")) if lora else None
    settings = TaggerSettings(labels=label_set(["LOC", "PER"], Scheme.IOB2), window=64)
    model = build_tagger(loaded, settings, adapters)
    with torch.no_grad():
        model.score.weight.normal_(std=1.0)
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1)
    save_tagger(folder, model, loaded.tokenizer)
    return folder


@pytest.fixture(scope="module")
def tagger(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny_llama, tmp_path_factory.mktemp("saved") / "tagger")


def sentences(n: int = 20) -> list[Sentence]:
    return [Sentence(tuple(words)) for words, _ in toys.toy_dataset(n, 0)]


def probabilities(predictor: Predictor, given: list[Sentence]) -> list[Any]:
    return [np.array(tagging.probabilities) for tagging in predictor.tag(given)]


def predictor_of(folder: Path, **options: Any) -> Predictor:
    made = {name: options.pop(name) for name in ("compile", "token_budget", "layout") if name in options}
    loaded = load_tagger(folder, **options)
    return Predictor(loaded.model, loaded.tokenizer, device="cpu", **made)


# -------------------------------------------------------------------------------------------------------- 8-bit weights


@needs_int8
@pytest.mark.parametrize("lora", [False, True])
def test_the_plan_holds_with_8_bit_weights_and_answers_are_close(tiny_llama: Path, tmp_path: Path, lora: bool) -> None:
    folder = saved(tiny_llama, tmp_path / "tagger", lora=lora)
    plain, rounded = load_tagger(folder), load_tagger(folder, int8=True)
    layers = [module for module in rounded.model.backbone.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 7 * len(decoder_layers(rounded.model.backbone))
    report = probe(rounded.model.backbone)
    assert report.problems == ()
    assert {path.path for path in report.paths} == {"plain", "padded", "packed"}
    assert not isinstance(rounded.model.score, Int8Linear)
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        one, other = plain.model(ids).logits, rounded.model(ids).logits
    assert 0 < (one - other).norm() < 0.05 * one.norm()


@needs_int8
def test_a_broken_plan_is_found_in_the_model_with_8_bit_weights(tagger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe runs after the weights were replaced, and not only before."""
    from lookright.models import store

    seen = []
    monkeypatch.setattr(store, "check_plan", lambda model: seen.append(has_int8_weights(model)))
    load_tagger(tagger, int8=True)
    assert seen == [True]


@needs_int8
def test_with_8_bit_weights_a_sentence_gets_the_same_in_any_company(tagger: Path) -> None:
    """Up to a rounding step here and there: attention sums in another order, and a half then rounds the other way."""
    given = sentences()
    rounded = predictor_of(tagger, int8=True, token_budget=128)
    alone = [probabilities(rounded, [sentence])[0] for sentence in given]
    for together in (
        probabilities(rounded, given),
        probabilities(predictor_of(tagger, int8=True, layout="padded"), given),
    ):
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, atol=0.02)


@needs_int8
def test_an_encoder_takes_8_bit_weights(tiny_encoder: Path, tmp_path: Path) -> None:
    rounded = load_tagger(saved(tiny_encoder, tmp_path / "encoder", None), int8=True).model
    assert has_int8_weights(rounded.backbone)


@needs_int8
def test_what_cannot_be_done_with_8_bit_weights(tiny_llama: Path, tagger: Path, tmp_path: Path) -> None:
    from lookright import Tagger

    rounded = Tagger.from_pretrained(tagger, dtype="int8", device="cpu")
    assert rounded.model is not None
    assert has_int8_weights(rounded.model)
    with pytest.raises(OutputError, match="8-bit weights"):
        rounded.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="cannot be trained"):
        rounded.fit([Sentence(("a",), tags=("O",))])
    with pytest.raises(RecipeError, match="not a saved tagger"):
        Tagger.from_pretrained(tiny_llama, dtype="int8", device="cpu", labels=["PER"])


@needs_int8
def test_a_family_without_linear_layers_is_named(tagger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookright.models import store

    monkeypatch.setattr(store, "with_int8_weights", lambda module: 0)
    with pytest.raises(UnsupportedModelError, match="llama"):
        load_tagger(tagger, int8=True)


def test_the_number_format_follows_the_machine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "why_no_int8", lambda: None)
    for fast, rest in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "fast_bfloat16", lambda device, fast=fast: fast)
        assert number_format("int8", CPU) == (rest, True)
        assert number_format("auto", CPU) == ("auto", False)
    assert caplog.records == []
    monkeypatch.setattr(devices, "why_no_int8", lambda: "an old processor")
    with caplog.at_level(logging.WARNING, "lookright"):
        assert number_format("int8", CPU) == ("float32", False)
    assert "an old processor" in caplog.text
    with pytest.raises(RecipeError, match="device='cpu'"):
        number_format("int8", torch.device("cuda"))


def test_a_processor_without_8_bit_products_predicts_all_the_same(
    tagger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lookright import Tagger

    monkeypatch.setattr(devices, "why_no_int8", lambda: "an old processor")
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: False)
    plain = Tagger.from_pretrained(tagger, dtype="int8", device="cpu")
    assert plain.model is not None
    assert not has_int8_weights(plain.model)
    found = [tagging.probabilities for tagging in plain.tag(sentences(3))]
    assert found == [
        tagging.probabilities for tagging in Tagger.from_pretrained(tagger, device="cpu").tag(sentences(3))
    ]


# ------------------------------------------------------------------------------------------------------ compiled layers


@needs_compiler
@pytest.mark.slow  # seconds of a C++ compiler
@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_layers_give_the_same_and_the_model_stays_as_it_was(
    tagger: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_in: set[str] = set()
    inner = Predictor._log_probs

    def noted(self: Predictor, windows: Any) -> Any:
        computed_in.add(threading.current_thread().name)
        return inner(self, windows)

    monkeypatch.setattr(Predictor, "_log_probs", noted)
    before = torch.get_num_threads()
    loaded = load_tagger(tagger)
    plain = Predictor(loaded.model, loaded.tokenizer, device="cpu", token_budget=96)
    compiled = Predictor(loaded.model, loaded.tokenizer, device="cpu", token_budget=96, compile=True)
    assert all(layer._compiled_call_impl is not None for layer in decoder_layers(compiled.model.backbone))
    assert all(module._compiled_call_impl is None for module in loaded.model.modules())
    given = sentences()
    torch.set_num_threads(threads)
    try:
        ours, theirs = plain.tag(given), compiled.tag(given)
    finally:
        torch.set_num_threads(before)
    assert all(name.startswith("batch-of-lookright") == (threads > 1) for name in computed_in)
    for one, other in zip(ours, theirs, strict=True):
        assert one.tags == other.tags
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_a_shared_copy_has_modules_of_its_own_and_the_same_weights(tagger: Path) -> None:
    model = load_tagger(tagger).model
    copied = shared_copy(model)
    assert not set(model.modules()) & set(copied.modules())
    assert dict(model.named_parameters()).keys() == dict(copied.named_parameters()).keys()
    assert all(one is other for one, other in zip(model.parameters(), copied.parameters(), strict=True))
    assert all(one is other for one, other in zip(model.buffers(), copied.buffers(), strict=True))


def test_compiling_is_refused_where_the_machine_cannot(tagger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookright.models import compilation

    monkeypatch.setattr(compilation, "why_not_compiled", lambda kind: "no compiler")
    loaded = load_tagger(tagger)
    with pytest.raises(RecipeError, match="no compiler"):
        Predictor(loaded.model, loaded.tokenizer, device="cpu", compile=True)
