"""Training examples: every word once, the same sentences in each update whoever asks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_support import TRAIN, encoder, toy_data

from lookright.data import Dataset, Sentence
from lookright.encoding import IGNORED, windows_of_document
from lookright.errors import LabelError
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, label_set
from lookright.training.examples import At, Collator, TrainingSentences, UpdateSampler, order_of, share_drawn

LABELS = TaggerSettings(labels=label_set(("LOC", "ORG", "PER"), Scheme.IOB2))


def sentences(data: Dataset = TRAIN, share: float = 0.0, **changes: object) -> TrainingSentences:
    return TrainingSentences(
        data,
        dataclasses.replace(LABELS, **changes),
        encoder(),
        share_detokenized=share,
        seed=0,  # type: ignore[arg-type]
    )


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), batch=st.integers(1, 17), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_an_update_has_the_same_sentences_over_any_number_of_processes(
    n: int, batch: int, world: int, epoch: int
) -> None:
    whole = list(UpdateSampler(n, batch, 7, lambda: epoch))
    parts = [list(UpdateSampler(n, batch, 7, lambda: epoch, rank=rank, world=world)) for rank in range(world)]
    assert len(whole) == len(UpdateSampler(n, batch, 7, lambda: epoch)) == len(parts[0])
    for number, update in enumerate(whole):
        assert sorted(update) == sorted(at for part in parts for at in part[number])
    assert sorted(at.number for update in whole for at in update) == list(range(n))
    assert all(len(update) == batch for update in whole[:-1])


def test_the_order_follows_from_seed_and_epoch_only() -> None:
    assert order_of(50, 1, 0) == order_of(50, 1, 0)
    assert len({tuple(order_of(50, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    drawn = [share_drawn(0, At(epoch, number)) for epoch in range(50) for number in range(50)]
    assert 0.45 < sum(x < 0.5 for x in drawn) / len(drawn) < 0.55


@settings(max_examples=40, deadline=None)
@given(size=st.integers(8, 40), n=st.integers(1, 40), seed=st.integers(0, 5))
def test_every_word_counts_once_however_long_the_sentence(size: int, n: int, seed: int) -> None:
    words = tuple(w for s in toy_data(n, seed) for w in s.words)
    tags = tuple(t for s in toy_data(n, seed) for t in s.tags or ())
    data = sentences(Dataset((Sentence(words, tags),), scheme=Scheme.IOB2), window=size)
    found = np.concatenate([example.labels for example in data[At(0, 0)]])
    assert [LABELS.labels[index] for index in found] == list(tags)
    batch = Collator(data, 64, "padded")([data[At(0, 0)]])
    assert batch["n_words"] == len(words)


def test_labels_are_matched_by_name() -> None:
    turned = sentences(labels=tuple(reversed(LABELS.labels)))
    for number, sentence in enumerate(TRAIN):
        (example,) = turned[At(0, number)]
        assert tuple(turned.settings.labels[i] for i in example.labels) == sentence.tags


def test_a_tag_without_a_label_is_named_with_its_line() -> None:
    data = Dataset((Sentence(("a",), ("B-X",), path="f.conll", line=3),), scheme=Scheme.IOB2)
    with pytest.raises(LabelError, match=r"f.conll:3: the tag 'B-X' is none of the tagger's labels"):
        sentences(data)


def test_other_schemes_are_converted() -> None:
    data = Dataset((Sentence(("a", "b"), ("B-LOC", "E-LOC")),), scheme=Scheme.IOBES)
    (example,) = sentences(data)[At(0, 0)]
    assert [LABELS.labels[i] for i in example.labels] == ["B-LOC", "I-LOC"]


def test_sentences_without_words_are_left_out() -> None:
    data = Dataset((Sentence((), ()), *TRAIN.sentences[:2], Sentence((), ())), scheme=Scheme.IOB2)
    assert len(sentences(data)) == 2


def test_a_share_is_seen_with_the_joins_of_running_text() -> None:
    spaced, joined, mixed = sentences(share=0.0), sentences(share=1.0), sentences(share=0.5)

    def ids(data: TrainingSentences, epoch: int) -> list[list[int]]:
        return [data[At(epoch, n)][0].window.input_ids.tolist() for n in range(len(data))]

    differ = sum(a != b for a, b in zip(ids(spaced, 0), ids(joined, 0), strict=True))
    assert differ > len(TRAIN) // 2
    assert ids(mixed, 0) == ids(mixed, 0)
    assert ids(mixed, 0) != ids(mixed, 1)
    assert all(m in (a, b) for m, a, b in zip(ids(mixed, 0), ids(spaced, 0), ids(joined, 0), strict=True))


def test_a_sentence_with_its_own_text_keeps_its_joins() -> None:
    sentence = Sentence(("It", "rains", "."), ("O", "O", "O"), text="It rains .", offsets=((0, 2), (3, 8), (9, 10)))
    data = Dataset((sentence,), scheme=Scheme.IOB2)
    one, other = sentences(data, share=1.0)[At(0, 0)][0], sentences(data, share=0.0)[At(0, 0)][0]
    assert one.window.input_ids.tolist() == other.window.input_ids.tolist()


@pytest.mark.parametrize("size", [12, 40, 512])
def test_document_context_is_that_of_the_whole_document(size: int) -> None:
    data = Dataset(TRAIN.sentences, (0, 3, 11), scheme=Scheme.IOB2)
    mine = sentences(data, window=size, context="document")
    ends = {"prefix": encoder().prefix_ids, "suffix": encoder().suffix_ids}
    number = 0
    for document in data.documents():
        numbers = range(number, number + len(document))
        expected = windows_of_document(encoder().encode_document(document.sentences), numbers, size=size, **ends)
        found = [example.window for n in numbers for example in mine[At(0, n)]]
        assert [w.input_ids.tolist() for w in found] == [w.input_ids.tolist() for w in expected]
        assert [w.owned_first.tolist() for w in found] == [w.owned_first.tolist() for w in expected]
        number += len(document)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_micro_batches_keep_the_budget_and_all_words(layout: str) -> None:
    data = sentences()
    update = [data[At(0, number)] for number in range(len(data))]
    batch = Collator(data, 40, layout)(update)  # type: ignore[arg-type]
    assert len(batch["micro_batches"]) > 3
    assert all(part["input_ids"].numel() <= 40 for part in batch["micro_batches"])
    assert sum(len(part["labels"]) for part in batch["micro_batches"]) == TRAIN.n_words == batch["n_words"]


def test_a_process_without_sentences_takes_part_without_counting() -> None:
    batch = Collator(sentences(), 100, "packed")([])
    assert batch["n_words"] == 0
    assert torch.equal(batch["micro_batches"][0]["labels"], torch.full((len(TRAIN[0].words),), IGNORED))
