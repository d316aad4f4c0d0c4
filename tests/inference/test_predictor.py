"""The predictor: nothing lost, nothing moved, the same answer in any company."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toys
from lookright.data import Sentence, WordSplitter
from lookright.encoding import collate, windows_of, windows_of_document
from lookright.errors import LookRightError
from lookright.inference import runner
from lookright.inference.predictor import POOL_BUDGETS, Predictor, Tagging
from lookright.inference.threads import MOST_AT_ONCE, in_threads
from lookright.models.base import load_base
from lookright.models.settings import TaggerSettings
from lookright.models.store import build_tagger
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.tags import Scheme, ill_formed, label_set

TOLERANCE = 1e-5
PLANS = ("0000", "0011", "1111", "0,2,*,0")


def make_model(folder: Path, plan: str | None = "0011", **changes: Any) -> Any:
    """A tagger with a head strong enough to have opinions, and its tokenizer."""
    base = load_base(folder, plan=plan)
    values: dict[str, Any] = {"labels": label_set(["LOC", "ORG", "PER"], Scheme.IOB2), "window": 128, **changes}
    model = build_tagger(base, TaggerSettings(**values))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model.score.weight.normal_(std=1.0)
    return model.eval(), base.tokenizer


def make_predictor(
    folder: Path, plan: str | None = "0011", *, budget: int = 256, layout: Any = None, **changes: Any
) -> Predictor:
    model, tokenizer = make_model(folder, plan, **changes)
    return Predictor(model, tokenizer, device="cpu", token_budget=budget, layout=layout)


def toy_sentences(n: int, seed: int = 0) -> list[Sentence]:
    return [Sentence(tuple(words)) for words, _ in toys.toy_dataset(n, seed)]


def long_sentence(n_words: int, seed: int = 0) -> Sentence:
    words = [word for text in toys.CORPUS for word in text.split()]
    return Sentence(tuple(random.Random(seed).choices(words, k=n_words)))


def assert_same(one: Sequence[Tagging], other: Sequence[Tagging]) -> None:
    assert [tagging.tags for tagging in one] == [tagging.tags for tagging in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=TOLERANCE)


@pytest.fixture(scope="module")
def predictor(tiny_llama: Path) -> Predictor:
    return make_predictor(tiny_llama)


# ------------------------------------------------------------------------------------------------ company and layout


@pytest.mark.parametrize("plan", PLANS)
def test_alone_in_a_batch_packed_and_padded_are_the_same(tiny_llama: Path, plan: str) -> None:
    sentences = [*toy_sentences(12), long_sentence(150)]
    packed = make_predictor(tiny_llama, plan)
    assert packed.layout == "packed"
    together = packed.tag(sentences)
    assert_same(together, [packed.tag([sentence])[0] for sentence in sentences])
    assert_same(together, make_predictor(tiny_llama, plan, layout="padded").tag(sentences))
    assert_same(together, make_predictor(tiny_llama, plan, layout="padded", budget=1).tag(sentences))


def test_an_encoder_is_padded_and_gives_the_same_alone_and_in_a_batch(tiny_encoder: Path) -> None:
    predictor = make_predictor(tiny_encoder, None)
    assert predictor.layout == "padded"
    sentences = toy_sentences(12)
    assert_same(predictor.tag(sentences), [predictor.tag([sentence])[0] for sentence in sentences])


@pytest.mark.parametrize("plan", PLANS)
def test_logits_of_every_layout_are_those_of_the_sentence_alone(tiny_llama: Path, plan: str) -> None:
    model, tokenizer = make_model(tiny_llama, plan)
    encoder = Predictor(model, tokenizer, device="cpu").encoder
    windows = [w for i, s in enumerate(toy_sentences(6)) for w in windows_of(encoder.encode(s), i, size=128)]

    def logits(chosen: Sequence[Any], **how: Any) -> torch.Tensor:
        with torch.inference_mode():
            result: torch.Tensor = model(**collate(chosen, pad_id=encoder.pad_id, **how)).logits
        return result

    alone = torch.cat([logits([window], layout="padded") for window in windows])
    bound = TOLERANCE * float(alone.abs().max())
    for how in ({"layout": "packed"}, {"layout": "padded"}, {"layout": "padded", "pad_side": "left"}):
        assert float((logits(windows, **how) - alone).abs().max()) <= bound, how


def test_the_order_of_sentences_is_kept(predictor: Predictor) -> None:
    sentences = [*toy_sentences(40), Sentence(()), long_sentence(90)]
    order = random.Random(3).sample(range(len(sentences)), len(sentences))
    straight = predictor.tag(sentences)
    assert [len(tagging.tags) for tagging in straight] == [len(sentence) for sentence in sentences]
    assert_same([straight[i] for i in order], predictor.tag([sentences[i] for i in order]))


def test_empty_inputs(predictor: Predictor) -> None:
    assert predictor.tag([]) == []
    assert predictor.tag([Sentence(()), Sentence(())]) == [Tagging((), (), ())] * 2
    assert list(predictor.tag_iter([])) == []


# --------------------------------------------------------------------------------------------------------- long text


def test_a_long_sentence_is_stitched_from_the_windows_that_own_its_words(predictor: Predictor) -> None:
    sentence = long_sentence(400)
    [tagging] = predictor.tag([sentence])
    assert len(tagging.tags) == len(tagging.probabilities) == 400
    encoder = predictor.encoder
    windows = windows_of(encoder.encode(sentence), 0, size=128, prefix=encoder.prefix_ids, suffix=encoder.suffix_ids)
    assert len(windows) > 3
    expected = np.full((400, len(predictor.settings.labels)), np.nan)
    for window in windows:
        with torch.inference_mode():
            logits = predictor.model(**collate([window], layout="padded", pad_id=encoder.pad_id)).logits
        assert np.isnan(expected[window.owned_from : window.owned_to]).all(), "a word was predicted twice"
        expected[window.owned_from : window.owned_to] = torch.log_softmax(logits.double(), -1)
    assert not np.isnan(expected).any()
    labels = [predictor.settings.labels.index(tag) for tag in tagging.tags]
    np.testing.assert_allclose(tagging.probabilities, np.exp(expected)[np.arange(400), labels], atol=TOLERANCE)


def test_short_text_does_not_depend_on_the_window(tiny_llama: Path) -> None:
    sentences = toy_sentences(8)
    assert_same(
        make_predictor(tiny_llama, window=64).tag(sentences), make_predictor(tiny_llama, window=256).tag(sentences)
    )


def test_words_longer_than_a_window_are_tagged_counted_and_reported(
    tiny_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = make_predictor(tiny_llama, window=16)
    sentence = Sentence(("see", "xq" * 5_000, "there", "zj" * 400))
    with caplog.at_level(logging.WARNING, "lookright"):
        [tagging] = predictor.tag([sentence])
    assert len(tagging.tags) == 4
    assert predictor.n_long_words == 2
    assert "2 words are longer than the window of 16 sub-words" in caplog.text


@pytest.mark.slow
def test_100_000_words_run_in_bounded_memory(tiny_llama: Path) -> None:
    import resource

    predictor = make_predictor(tiny_llama, budget=4096)
    predictor.tag([long_sentence(500)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [tagging] = predictor.tag([long_sentence(100_000)])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(tagging.tags) == 100_000
    assert grown < 600 * 1024, f"{grown / 1024:.0f} MB"


def test_a_stream_is_read_only_as_far_as_a_pool(predictor: Predictor) -> None:
    read = 0

    def stream() -> Iterator[Sentence]:
        nonlocal read
        for sentence in toy_sentences(3_000):
            read += 1
            yield sentence

    results = predictor.tag_iter(stream())
    next(results)
    assert 0 < read < 3_000
    assert read <= POOL_BUDGETS * predictor.budget  # a sentence has at least one sub-word
    assert_same([next(results)], predictor.tag(toy_sentences(2)[1:]))


# ---------------------------------------------------------------------------------------------------------- context


def test_document_context_shows_each_sentence_its_neighbours(tiny_llama: Path) -> None:
    predictor = make_predictor(tiny_llama, context="document")
    sentences = toy_sentences(9)
    starts = [0, 4]
    found = predictor.tag(sentences, document_starts=starts)
    encoder = predictor.encoder
    for start, end in ((0, 4), (4, 9)):
        encoded = encoder.encode_document(sentences[start:end])
        windows = windows_of_document(encoded, range(start, end), size=128)
        for window, tagging in zip(windows, found[start:end], strict=True):
            with torch.inference_mode():
                logits = predictor.model(**collate([window], layout="padded", pad_id=encoder.pad_id)).logits
            best = torch.softmax(logits, -1)
            labels = [predictor.settings.labels.index(tag) for tag in tagging.tags]
            np.testing.assert_allclose(
                tagging.probabilities, best[torch.arange(len(labels)), labels].numpy(), atol=TOLERANCE
            )
    alone = predictor.tag(sentences)
    assert [t.probabilities for t in alone] != [t.probabilities for t in found]
    # Without document context, borders change nothing.
    plain = make_predictor(tiny_llama)
    assert_same(plain.tag(sentences, document_starts=starts), plain.tag(sentences))


# --------------------------------------------------------------------------------------------------- tags and scores


@pytest.mark.parametrize("scheme", [Scheme.IO, Scheme.IOB1, Scheme.IOB2, Scheme.IOBES, Scheme.BILOU])
def test_viterbi_tags_are_well_formed_and_argmax_tags_need_not_be(tiny_llama: Path, scheme: Scheme) -> None:
    labels = label_set(["LOC", "PER"], scheme)
    sentences = toy_sentences(40)
    valid = make_predictor(tiny_llama, labels=labels, scheme=scheme)
    assert [ill_formed(tagging.tags, scheme) for tagging in valid.tag(sentences)] == [[]] * 40
    if scheme is not Scheme.IO:
        greedy = make_predictor(tiny_llama, labels=labels, scheme=scheme, decode="argmax")
        assert any(ill_formed(tagging.tags, scheme) for tagging in greedy.tag(sentences))


def test_argmax_takes_the_most_probable_label_of_each_word(tiny_llama: Path) -> None:
    greedy = make_predictor(tiny_llama, decode="argmax").tag(toy_sentences(20))
    valid = make_predictor(tiny_llama).tag(toy_sentences(20))
    for one, other in zip(greedy, valid, strict=True):
        assert all(a >= b - TOLERANCE for a, b in zip(one.probabilities, other.probabilities, strict=True))


def test_a_span_scores_the_mean_probability_of_its_tags(predictor: Predictor) -> None:
    spans = 0
    for tagging in predictor.tag(toy_sentences(30)):
        assert all(0 < p <= 1 for p in tagging.probabilities)
        for span in tagging.spans:
            own = tagging.probabilities[span.word_start : span.word_end]
            assert span.score == pytest.approx(sum(own) / len(own))
            assert {tag.split("-")[1] for tag in tagging.tags[span.word_start : span.word_end]} == {span.type}
            spans += 1
    assert spans > 20


def test_plain_tags_give_one_span_for_each_word(tiny_llama: Path) -> None:
    predictor = make_predictor(tiny_llama, labels=("ADJ", "NOUN", "VERB"), scheme=Scheme.PLAIN)
    [tagging] = predictor.tag([Sentence(("she", "smiled"))])
    assert [(s.type, s.text, s.start, s.end) for s in tagging.spans] == [
        (tagging.tags[0], "she", 0, 3),
        (tagging.tags[1], "smiled", 4, 10),
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("Aé1 .\r\n\t😀👨\u200d👩e\u0301\ufe0f東🇩🇪#\u00a0\u202e\x00"), max_size=40))
def test_offsets_are_characters_of_the_given_text(predictor: Predictor, text: str) -> None:
    sentence = WordSplitter().sentence(text)
    [tagging] = predictor.tag([sentence])
    assert len(tagging.tags) == len(sentence.words)
    last = 0
    for span in tagging.spans:
        assert text[span.start : span.end] == span.text != ""
        assert span.start >= last
        last = span.end
        words = sentence.words[span.word_start : span.word_end]
        assert span.text.startswith(words[0])
        assert span.text.endswith(words[-1])


# ------------------------------------------------------------------------------------------------------ the machine


class Cramped(Predictor):
    """A predictor on a device that holds only so many sub-words at once."""

    room = 60

    def _log_probs(self, windows: Sequence[Any]) -> Any:
        if sum(len(window) for window in windows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super()._log_probs(windows)


def test_out_of_memory_halves_the_budget_and_goes_on(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = make_model(tiny_llama)
    sentences = toy_sentences(40)
    cramped = Cramped(model, tokenizer, device="cpu", token_budget=100)
    with caplog.at_level(logging.WARNING, "lookright"):
        found = cramped.tag(sentences)
    assert_same(found, Predictor(model, tokenizer, device="cpu").tag(sentences))
    assert cramped.budget <= 60
    assert "out of memory" in caplog.text
    budgets = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    assert budgets == sorted(budgets, reverse=True)  # batches that were too large, too, do not raise it again


def test_out_of_memory_with_one_window_is_an_error_that_says_so(tiny_llama: Path) -> None:
    model, tokenizer = make_model(tiny_llama)
    cramped = Cramped(model, tokenizer, device="cpu")
    with pytest.raises(LookRightError, match=r"out of memory with a single window of \d+ sub-words"):
        cramped.tag([long_sentence(200)])


def test_other_errors_are_not_taken_for_a_lack_of_memory(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(predictor, "_log_probs", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        predictor.tag(toy_sentences(2))


def test_every_module_keeps_its_training_flag_and_dropout_is_off(tiny_llama: Path) -> None:
    model, tokenizer = make_model(tiny_llama, dropout=0.5)
    expected = Predictor(model, tokenizer, device="cpu").tag(toy_sentences(5))
    model.train()
    model.backbone.layers[1].eval()
    flags = [module.training for module in model.modules()]
    assert_same(Predictor(model, tokenizer, device="cpu").tag(toy_sentences(5)), expected)
    assert [module.training for module in model.modules()] == flags

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("anything")

    model.forward = fail
    with pytest.raises(KeyError):
        Predictor(model, tokenizer, device="cpu").tag(toy_sentences(1))
    assert [module.training for module in model.modules()] == flags


def test_weights_that_are_not_numbers_are_an_error(tiny_llama: Path) -> None:
    model, tokenizer = make_model(tiny_llama)
    with torch.no_grad():
        model.score.bias[0] = float("nan")
    with pytest.raises(LookRightError, match="not a number"):
        Predictor(model, tokenizer, device="cpu").tag(toy_sentences(1))


def test_settings_may_differ_from_the_models(tiny_llama: Path) -> None:
    model, tokenizer = make_model(tiny_llama)
    assert isinstance(model, LookRightForTokenClassification)
    other = replace(model.settings, decode="argmax")
    assert Predictor(model, tokenizer, other, device="cpu").settings.decode == "argmax"


def test_threads_share_a_predictor(predictor: Predictor) -> None:
    from concurrent.futures import ThreadPoolExecutor

    jobs = [toy_sentences(4, seed) for seed in range(8)]
    alone = [predictor.tag(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(predictor.tag, jobs * 3), strict=False):
            assert_same(one, other)


def test_taggings_are_those_of_one_thread(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = make_model(tiny_llama)
    used: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(4)

    def counted(compute: Any, items: Any) -> Any:
        used.append(len(items))
        return in_threads(compute, items)

    monkeypatch.setattr(runner, "in_threads", counted)
    predictor = Predictor(model, tokenizer, device="cpu", token_budget=64)
    pool = predictor.pool_of(toy_sentences(60))
    threaded = predictor.score(pool)
    assert used[0] > MOST_AT_ONCE
    torch.set_num_threads(1)
    alone = predictor.score(pool)
    torch.set_num_threads(before)
    assert len(used) == 1
    for one, other in zip(threaded, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
