"""Texts as sub-words: as the tokenizer itself has them, pairs joined, nothing lost in windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from lookright.data.texts import Text
from lookright.encoding import TextEncoder, collate_texts

TOKENIZERS = {
    "bytes": lambda: toys.byte_bpe_tokenizer(),
    "bytes-space-bos": lambda: toys.byte_bpe_tokenizer(prefix_space=True, bos=True, pad=False),
    "metaspace": lambda: toys.metaspace_tokenizer(),
    "unigram": lambda: toys.metaspace_tokenizer(kind="unigram", bos=False),
    "legacy": lambda: toys.metaspace_tokenizer(kind="legacy"),
    "xlmr": lambda: toys.metaspace_tokenizer(kind="xlmr"),
    "wordpiece": lambda: toys.wordpiece_tokenizer(),
}
TEXTS = (
    "Angela Merkel visited Zagreb.",
    "Two lines,\nand  two   spaces\tand a tab. ",
    "naïve café 東京都へ行く 😀 — “quoted” …",
    "x",
    "1234567890 3.5% e-mail U.S. AT&T don't",
)


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def test_the_sub_words_are_the_tokenizers_own(tokenizer: Any) -> None:
    encoder = TextEncoder(tokenizer)
    for text, ids in zip(TEXTS, encoder.ids([Text(text) for text in TEXTS]), strict=True):
        assert ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids
        [window] = encoder.windows([Text(text)], 512)[0]
        assert window.input_ids.tolist() == tokenizer(text).input_ids
        assert encoder.length(Text(text)) == len(window)


def test_special_tokens_in_a_text_are_text(tokenizer: Any) -> None:
    encoder = TextEncoder(tokenizer)
    [ids] = encoder.ids([Text("a <eos> b </s> c <pad> [SEP] d")])
    unknown = {tokenizer.unk_token_id}
    assert not set(ids.tolist()) & (set(tokenizer.all_special_ids) - unknown)


def test_an_empty_text_is_one_placeholder(tokenizer: Any) -> None:
    encoder = TextEncoder(tokenizer)
    for ids in encoder.ids([Text(""), Text("", "")])[:1]:
        assert len(ids) == 1
    assert all(len(found) == 1 for found in encoder.windows([Text(""), Text(" \n"), Text("", "")], 16))


def test_a_pair_has_what_the_tokenizer_puts_between(byte_bpe: Any) -> None:
    bert = toys.wordpiece_tokenizer()
    [ids] = TextEncoder(bert).ids([Text("the fox", "the dog")])
    assert ids.tolist() == bert("the fox", "the dog").input_ids[1:-1]
    encoder = TextEncoder(byte_bpe)
    [ids] = encoder.ids([Text("the fox", "the dog")])
    assert byte_bpe.decode(ids.tolist()) == "the fox\nthe dog"
    with_bos = toys.byte_bpe_tokenizer(bos="template")
    [ids] = TextEncoder(with_bos).ids([Text("the fox", "the dog")])
    assert ids.tolist() == with_bos("the fox", "the dog").input_ids[1:]


@given(length=st.integers(1, 400), size=st.integers(8, 64))
@settings(max_examples=40, deadline=None)
def test_every_sub_word_is_owned_once(length: int, size: int) -> None:
    encoder = _encoder()
    text = Text("".join("aeiou xyz"[(i * i + i // 3) % 9] for i in range(length)))
    [ids] = encoder.ids([text])
    [windows] = encoder.windows([text], size)
    owned = np.concatenate([window.input_ids[window.owned_first] for window in windows])
    assert owned.tolist() == ids.tolist()
    assert all(len(window) <= size and window.n_cut == 0 for window in windows)


_made: list[TextEncoder] = []


def _encoder() -> TextEncoder:
    if not _made:
        _made.append(TextEncoder(toys.byte_bpe_tokenizer(bos="template")))
    return _made[0]


def test_a_text_without_a_space_is_not_cut() -> None:
    """A script without spaces: one "word" of ten thousand characters."""
    [windows] = _encoder().windows([Text("東京都" * 3_000)], 128)
    assert len(windows) > 100
    assert sum(window.n_owned for window in windows) == len(_encoder().ids([Text("東京都" * 3_000)])[0])


@pytest.mark.parametrize("layout", ["packed", "padded-right", "padded-left"])
def test_positions_of_tokens_and_of_the_last_one(layout: str) -> None:
    encoder = _encoder()
    texts = [Text("the quick brown fox jumps over the lazy dog " * 3), Text("ok"), Text("Zagreb in May")]
    windows = [window for own in encoder.windows(texts, 16) for window in own]
    text_of = [window.sentence for window in windows]
    kind, _, side = layout.partition("-")
    batch = collate_texts(
        windows,
        layout=kind,
        pad_id=0,
        text_of=text_of,
        pad_side=side or "right",  # type: ignore[arg-type]
    )
    flat = batch["input_ids"].flatten()
    expected = np.concatenate([window.input_ids[window.owned_first] for window in windows])
    assert flat[batch["tokens"]].tolist() == expected.tolist()
    assert flat[batch["last"]].tolist() == [int(window.input_ids[-1]) for window in windows]
    assert torch.bincount(batch["window_of"]).tolist() == [window.n_owned for window in windows]
    assert batch["n_texts"] == 3
    assert batch["text_of"].tolist() == text_of
