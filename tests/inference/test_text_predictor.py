"""Texts through the model: order, company, windows, memory, and what logits mean."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lookright.data.texts import Text
from lookright.errors import LookRightError
from lookright.inference.text_predictor import Classification, TextPredictor, decide, probabilities_of
from lookright.models.base import load_base
from lookright.models.store import build_model
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import POOLING_CHOICES, TextSettings

LABELS = ("a", "b", "c")
TEXTS = [
    Text("Angela Merkel visited Zagreb."),
    Text(""),
    Text("the quick brown fox " * 40),
    Text("東京都" * 50),
    Text("a premise", "and a hypothesis"),
    Text("x"),
]


def predictor(folder: Path, plan: str | None = "0011", **options: Any) -> TextPredictor:
    running = {name: options.pop(name) for name in ("token_budget", "layout") if name in options}
    base = load_base(folder, plan=plan, check=False)
    torch.manual_seed(0)
    model = build_model(base, TextSettings(**{"labels": LABELS, "window": 64, **options}))
    assert isinstance(model, LookRightForSequenceClassification)
    with torch.no_grad():
        model.score.weight.normal_()
        if model.attention is not None:
            model.attention.weight.normal_()
    return TextPredictor(model, base.tokenizer, device="cpu", **running)


@pytest.mark.parametrize("pooling", POOLING_CHOICES)
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_text_does_not_depend_on_its_company(tiny_llama: Path, pooling: str, layout: str) -> None:
    alone = predictor(tiny_llama, pooling=pooling)
    together = predictor(tiny_llama, pooling=pooling, layout=layout, token_budget=150)
    expected = np.concatenate([alone.logits([text]) for text in TEXTS])
    found = together.logits(TEXTS)
    assert found.shape == (len(TEXTS), 3)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(together.logits(TEXTS[::-1])[::-1] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("pooling", ["mean", "max", "attention", "last"])
def test_a_long_text_is_what_its_windows_pool_to(tiny_llama: Path, pooling: str) -> None:
    """By hand, window by window: every sub-word that a window owns counts, once, with the states it has there."""
    one = predictor(tiny_llama, pooling=pooling)
    model = one.model.eval()
    [windows] = one.encoder.windows([TEXTS[2]], 64)
    assert len(windows) > 3
    rows, lasts, weights = [], [], []
    with torch.no_grad():
        for window in windows:
            hidden = model.hidden_states(torch.from_numpy(window.input_ids.astype(np.int64))[None])[0]
            rows.append(hidden[torch.from_numpy(window.owned_first.astype(np.int64))])
            lasts.append(hidden[-1])
            weights.append(window.n_owned)
        every = torch.cat(rows)
        assert len(every) == len(one.encoder.ids([TEXTS[2]])[0])
        share = torch.tensor(weights) / sum(weights)
        vector = {
            "mean": lambda: every.mean(0),
            "max": lambda: every.amax(0),
            "attention": lambda: (torch.softmax(model.attention(every)[:, 0], 0)[:, None] * every).sum(0),  # type: ignore[misc]
            "last": lambda: (share[:, None] * torch.stack(lasts)).sum(0),
        }[pooling]()
        expected = model.score(vector).numpy()
    assert np.abs(one.logits([TEXTS[2]])[0] - expected).max() < 1e-4 * np.abs(expected).max()
    assert one.classify([TEXTS[2]])[0].n_windows == len(windows)


@pytest.mark.parametrize("budget", [60, 2048])
def test_progress_counts_texts(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    one = predictor(tiny_llama, token_budget=budget)
    told: list[int] = []
    monkeypatch.setattr(
        "lookright.inference.text_predictor.progress_bar",
        lambda *_, shown: contextlib.nullcontext(told.append if shown else None),
    )
    one.logits(TEXTS, progress=True)
    assert sum(told) == len(TEXTS)
    assert len(told) > len(TEXTS) or budget > 60  # the windows of a long text are done before the text is
    told.clear()
    one.classify(TEXTS, progress=True)
    assert sum(told) == len(TEXTS)


def test_a_stream_is_what_a_list_is(tiny_llama: Path) -> None:
    one = predictor(tiny_llama)
    assert list(one.classify_iter(iter(TEXTS))) == one.classify(TEXTS)
    assert one.classify([]) == []


@pytest.mark.parametrize(("pairs", "odd"), [(True, Text("alone")), (False, Text("a first", "a second")), (None, None)])
def test_single_texts_for_a_classifier_of_pairs_are_said_once(
    tiny_llama: Path, pairs: bool | None, odd: Text | None, caplog: pytest.LogCaptureFixture
) -> None:
    one = predictor(tiny_llama, pairs=pairs)
    usual = Text("one", "two") if pairs else Text("one")
    one.classify([usual] * 3)
    assert not caplog.records
    one.classify([usual, *([odd] if odd else [Text("alone"), Text("one", "two")])])
    one.classify([odd or usual])
    said = [record.getMessage() for record in caplog.records]
    if pairs is None:
        assert not said
    else:
        assert len(said) == 1
        assert ("'alone' has no second text" if pairs else "'a first' has a second text") in said[0]


def test_memory_that_runs_out_halves_the_batch(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = predictor(tiny_llama)
    expected = one.logits(TEXTS)
    represent, sizes = one._represent, []

    def scarce(windows: Sequence[Any]) -> Any:
        sizes.append(sum(map(len, windows)))
        if sizes[-1] > 100:
            raise torch.OutOfMemoryError("out of memory")
        return represent(windows)

    monkeypatch.setattr(one, "_represent", scarce)
    assert np.allclose(one.logits(TEXTS), expected, atol=1e-4)
    assert max(sizes) > 100 >= one.budget
    monkeypatch.setattr(one, "_represent", lambda windows: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(LookRightError, match="out of memory with a single window"):
        one.logits(TEXTS[:1])


def test_what_logits_mean() -> None:
    logits = np.array([[2.0, 0.0, -2.0], [-3.0, -3.0, -2.5]])
    single = TextSettings(labels=LABELS, temperature=2.0)
    found = decide(logits, single, [1, 4])
    assert [one.label for one in found] == ["a", "c"]
    assert found[0].score == pytest.approx(np.exp(1) / (np.exp(1) + 1 + np.exp(-1)))
    assert found[1].n_windows == 4
    multi = TextSettings(labels=LABELS, target="multi-label", thresholds=(0.9, 0.4, 0.07))
    found = decide(logits, multi, [1, 1])
    assert [one.labels for one in found] == [("b", "c"), ("c",)]
    assert found[0].score == 0.5  # of "b": the likelier "a" stays below its threshold
    assert found[0].scores == pytest.approx(1 / (1 + np.exp([0, 2])))
    assert found[0].probabilities == ()
    [every, _] = decide(logits, multi, [1, 1], all_scores=True)
    assert every.by_label(LABELS) == pytest.approx(dict(zip(LABELS, 1 / (1 + np.exp([-2, 0, 2])), strict=True)))
    assert [one.labels for one in decide(np.zeros((1, 3)), single, [1])] == [("a",)]
    assert np.allclose(probabilities_of(logits, multi), 1 / (1 + np.exp(-logits)))
    number = TextSettings(labels=("value",), target="regression")
    assert decide(logits[:, :1], number, [1, 1])[0] == Classification((), (), (), 2.0)
    with pytest.raises(LookRightError, match="text 2 got no probability"):
        decide(np.array([[1.0], [np.nan]]), number, [1, 1])
