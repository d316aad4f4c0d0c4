"""Words to sub-words: equal to the tokenizer's own running text, and no word ever lost."""

from __future__ import annotations

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import toys
from lookright.data.sentence import Sentence
from lookright.encoding import SubwordEncoder, join, true_gaps
from lookright.errors import LookRightWarning, UnsupportedModelError

KINDS: dict[str, Any] = {
    "bpe": lambda: toys.byte_bpe_tokenizer(),
    "bpe, prefix space": lambda: toys.byte_bpe_tokenizer(prefix_space=True),
    "bpe, bos, no pad": lambda: toys.byte_bpe_tokenizer(bos="template", pad=False),
    "bpe, bos flag": lambda: toys.byte_bpe_tokenizer(bos="flag"),
    "metaspace bpe": lambda: toys.metaspace_tokenizer(),
    "metaspace bpe, no prefix": lambda: toys.metaspace_tokenizer(prefix_space=False, bos=False),
    "metaspace unigram": lambda: toys.metaspace_tokenizer(kind="unigram", bos="flag"),
    "metaspace unigram, no prefix": lambda: toys.metaspace_tokenizer(kind="unigram", prefix_space=False),
    "legacy llama": lambda: toys.metaspace_tokenizer(kind="legacy"),
    "xlmr": lambda: toys.metaspace_tokenizer(kind="xlmr"),
    "wordpiece": lambda: toys.wordpiece_tokenizer(),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
property_test = settings(deadline=None, max_examples=60)

corpus_words = st.sampled_from(sorted({word for text in toys.CORPUS for word in text.split()}))
latin_words = st.text("abcdeghlorstuABZ0129.-'&", min_size=1, max_size=12)
any_words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@cache
def made(kind: str) -> tuple[Any, SubwordEncoder]:
    tokenizer = KINDS[kind]()
    return tokenizer, SubwordEncoder(tokenizer)


def of_words(*words: str) -> Sentence:
    return Sentence(words)


def surely_parted(left: str, right: str) -> bool:
    """A letter or digit beside a mark; the apostrophe is a matter of its own ("'s")."""
    return any(a.isascii() and a.isalnum() and b in ".-&," for a, b in ((left, right), (right, left)))


@every_kind
@property_test
@given(words=st.lists(corpus_words | latin_words, min_size=1, max_size=12), data=st.data())
def test_pieces_are_the_running_text_where_no_token_crosses_a_word_border(
    kind: str, words: list[str], data: st.DataObject
) -> None:
    tokenizer, encoder = made(kind)
    glued = [False, *data.draw(st.lists(st.booleans(), min_size=len(words) - 1, max_size=len(words) - 1))]
    if "bpe" in kind.split(", ") or kind == "wordpiece":
        # Their pre-tokenizers part a text before the model sees it: glue only where they surely part it, too.
        between = zip(words, words[1:], glued[1:], strict=False)
        glued[1:] = [glue and surely_parted(a[-1], b[0]) for a, b, glue in between]
    text, offsets = join(words, glued)
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    encoded = encoder.encode(Sentence(tuple(words), text=text, offsets=offsets))
    assert encoded.n_words == len(words)
    # A lone gap belongs to no word; one that the tokenizer added itself claims to cover the first letter.
    touched = [
        []
        if token in ("▁", "Ġ")
        else [word for word, (start, end) in enumerate(offsets) if start < token_end and token_start < end]
        for token, (token_start, token_end) in zip(whole.tokens(), whole["offset_mapping"], strict=True)
    ]
    if any(len(found) > 1 for found in touched):
        return
    found_ids, expected_ids = encoded.input_ids.tolist(), whole["input_ids"]
    if "unigram" in kind or kind == "xlmr":
        # "l" + "ll" is as likely as "ll" + "l": which one wins is a matter of rounding.
        found_ids, expected_ids = sorted(found_ids), sorted(expected_ids)
    assert found_ids == expected_ids
    for word in range(len(words)):
        own = [position for position, found in enumerate(touched) if word in found]
        assert (encoded.word_first[word], encoded.word_last[word]) == (own[0], own[-1])


@every_kind
@pytest.mark.parametrize("text", toys.CORPUS)
def test_whole_sentences_of_the_corpus_are_the_running_text(kind: str, text: str) -> None:
    tokenizer, encoder = made(kind)
    encoded = encoder.encode(of_words(*text.split()))
    ids = [*encoder.prefix_ids, *encoded.input_ids.tolist(), *encoder.suffix_ids]
    assert ids == tokenizer(text)["input_ids"]


@every_kind
@property_test
@given(words=st.lists(any_words, max_size=10), data=st.data())
def test_n_words_in_are_n_words_out_whatever_they_are(kind: str, words: list[str], data: st.DataObject) -> None:
    tokenizer, encoder = made(kind)
    glued = data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    encoded = encoder.encode(of_words(*words), glued)
    assert encoded.n_words == len(words) == len(encoded.word_last)
    first, last = encoded.word_first, encoded.word_last
    assert (first <= last).all()
    assert (first[1:] > last[:-1]).all()
    if words:
        assert first[0] >= 0
        assert last[-1] == len(encoded) - 1
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert encoded.n_placeholders or not special & set(encoded.input_ids.tolist())
    assert (encoded.input_ids < len(tokenizer)).all()


@every_kind
def test_special_ends_are_those_of_the_tokenizer(kind: str) -> None:
    tokenizer, encoder = made(kind)
    whole = tokenizer("The dog sleeps")["input_ids"]
    inner = tokenizer("The dog sleeps", add_special_tokens=False)["input_ids"]
    assert [*encoder.prefix_ids, *inner, *encoder.suffix_ids] == whole
    expected_prefix = {"wordpiece": [tokenizer.cls_token_id], "bpe": [], "bpe, prefix space": []}.get(
        kind, [] if kind == "metaspace bpe, no prefix" else [tokenizer.bos_token_id]
    )
    assert list(encoder.prefix_ids) == expected_prefix
    assert list(encoder.suffix_ids) == ([tokenizer.sep_token_id] if kind == "wordpiece" else [])


def test_prefix_space_is_what_the_tokenizer_does() -> None:
    found = {kind: made(kind)[1].prefix_space for kind in KINDS}
    assert {kind for kind, adds in found.items() if adds} == {
        "bpe, prefix space", "metaspace bpe", "metaspace unigram", "legacy llama", "xlmr",
    }  # fmt: skip


def test_first_word_in_a_document_has_a_space_from_the_second_sentence_on() -> None:
    tokenizer, encoder = made("bpe")
    one, two = encoder.encode_document([of_words("The", "dog"), of_words("The", "dog")])
    assert one.input_ids.tolist() == tokenizer("The dog")["input_ids"]
    assert two.input_ids.tolist() == tokenizer(" The dog")["input_ids"]


def test_pad_id_and_what_stands_in_for_it() -> None:
    tokenizer, encoder = made("bpe")
    assert encoder.pad_id == tokenizer.pad_token_id
    tokenizer, encoder = made("bpe, bos, no pad")
    assert tokenizer.pad_token_id is None
    assert encoder.pad_id == tokenizer.eos_token_id
    tokenizer = toys.wordpiece_tokenizer(pad=False)
    assert SubwordEncoder(tokenizer).pad_id == 0


def test_gap_token_is_not_part_of_the_word() -> None:
    tokenizer, encoder = made("metaspace unigram")
    encoded = encoder.encode(of_words("the", "Q"))
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())
    assert tokens[-2] == "▁"
    assert encoded.word_first[1] == encoded.word_last[1] == len(tokens) - 1
    assert encoded.word_last[0] == len(tokens) - 3


@pytest.mark.parametrize("word", ["\ufe0f", "\u0301", "\x00", "\x07", "\u200d"])
def test_word_that_becomes_nothing_gets_a_placeholder(word: str) -> None:
    tokenizer, encoder = made("wordpiece")
    assert tokenizer(word, add_special_tokens=False)["input_ids"] == []
    encoded = encoder.encode(of_words("the", word, "dog"))
    assert encoded.n_words == 3
    assert encoded.n_placeholders == 1
    assert encoded.input_ids[encoded.word_first[1]] == tokenizer.unk_token_id == encoder.placeholder_id
    assert encoded.word_first[1] == encoded.word_last[1]


def test_word_of_which_only_the_gap_is_left_takes_the_gap_token() -> None:
    tokenizer = toys.metaspace_tokenizer(kind="unigram")
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Replace("\ufe0f", "")
    encoder = SubwordEncoder(tokenizer)
    encoded = encoder.encode(of_words("the", "\ufe0f", "dog"))
    gap = tokenizer.convert_tokens_to_ids("▁")
    assert encoded.input_ids[encoded.word_first[1] : encoded.word_last[1] + 1].tolist() == [gap]
    assert encoded.n_placeholders == 1
    encoded = encoder.encode(of_words("the", "\ufe0f", "dog"), [False, True, True])
    assert encoded.input_ids[encoded.word_first[1]] == encoder.placeholder_id == tokenizer.unk_token_id


def test_placeholder_without_unknown_token_is_an_underscore() -> None:
    tokenizer, encoder = made("bpe")
    assert tokenizer.unk_token_id is None
    assert encoder.placeholder_id == tokenizer.convert_tokens_to_ids("_")
    tokenizer = toys.byte_bpe_tokenizer()
    tokenizer.unk_token = tokenizer.eos_token  # as in GPT-2: it would end the text
    assert SubwordEncoder(tokenizer).placeholder_id == tokenizer.convert_tokens_to_ids("_")


@every_kind
def test_text_cannot_inject_special_tokens(kind: str) -> None:
    tokenizer, encoder = made(kind)
    words = [*tokenizer.all_special_tokens, "".join(tokenizer.all_special_tokens), "x</s>y"]
    encoded = encoder.encode(of_words(*words))
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not special & set(encoded.input_ids.tolist())
    assert encoded.n_words == len(words)
    assert encoded.n_placeholders == 0


def test_text_cannot_inject_the_unknown_token_even_where_it_is_eos() -> None:
    tokenizer = toys.byte_bpe_tokenizer()
    tokenizer.unk_token = tokenizer.eos_token  # as in GPT-2
    encoded = SubwordEncoder(tokenizer).encode(of_words("the", tokenizer.eos_token))
    assert tokenizer.eos_token_id not in encoded.input_ids.tolist()


def test_giant_word_is_bounded_and_not_remembered() -> None:
    encoder = SubwordEncoder(toys.byte_bpe_tokenizer())
    giant = "ab" * 150_000
    encoder.encode(of_words("the", "dog"))
    before = sum(map(len, encoder._remembered))
    started = time.perf_counter()
    encoded = encoder.encode(of_words("the", giant, "dog", "x" * 65))
    assert time.perf_counter() - started < 10
    assert encoded.n_words == 4
    assert encoded.word_last[1] - encoded.word_first[1] > 1000
    assert sum(map(len, encoder._remembered)) == before


def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookright.encoding.subwords.CACHE_SIZE", 50)
    encoder, tokenizer = SubwordEncoder(toys.byte_bpe_tokenizer()), toys.byte_bpe_tokenizer()
    sentences = [of_words(*(f"w{number}x{word}" for word in range(9)), "the", "dog") for number in range(30)]
    for sentence in (*sentences, *sentences):
        assert encoder.encode(sentence).input_ids.tolist() == tokenizer(" ".join(sentence.words))["input_ids"]
        assert sum(map(len, encoder._remembered)) <= 50
    together = encoder.encode_many(sentences)
    assert [one.input_ids.tolist() for one in together] == [encoder.encode(s).input_ids.tolist() for s in sentences]
    assert sum(map(len, encoder._remembered)) <= 50


def one_by_one(encoder: SubwordEncoder, sentence: Sentence, continues: bool) -> tuple[list[int], ...]:
    """The sub-words of a sentence by the plain rule: word after word, each asked of the tokenizer alone."""
    gaps = true_gaps(sentence) or [False] * len(sentence)
    ids: list[int] = []
    first: list[int] = []
    last: list[int] = []
    n_placeholders = 0
    for index, (word, glue) in enumerate(zip(sentence.words, gaps, strict=True)):
        spaced = (continues or encoder.prefix_space) if index == 0 else not glue
        [piece] = encoder._new_pieces([(word, spaced)])
        first.append(len(ids) + piece.n_gap)
        ids += piece.ids
        last.append(len(ids) - 1)
        n_placeholders += piece.placeholder
    return ids, first, last, [n_placeholders]


@every_kind
@property_test
@given(sentences=st.lists(st.lists(any_words | corpus_words, max_size=9), max_size=9), data=st.data())
def test_many_sentences_at_once_are_what_each_is_alone(
    kind: str, sentences: list[list[str]], data: st.DataObject
) -> None:
    _, encoder = made(kind)
    given_sentences = []
    for words in sentences:
        glued = data.draw(st.none() | st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
        text, offsets = (None, None) if glued is None else join(words, glued)
        given_sentences.append(Sentence(tuple(words), text=text, offsets=offsets))
    for found, continues in (
        (encoder.encode_many(given_sentences), False),
        (encoder.encode_document(given_sentences), True),
    ):
        assert len(found) == len(given_sentences)
        for index, (one, sentence) in enumerate(zip(found, given_sentences, strict=True)):
            expected = one_by_one(encoder, sentence, continues and index > 0)
            got = (one.input_ids, one.word_first, one.word_last)
            assert ([part.tolist() for part in got], [one.n_placeholders]) == (list(expected[:3]), expected[3])
            assert {part.dtype for part in got} == {np.dtype(np.int32)}


def test_a_batch_for_the_tokenizer_is_what_single_words_are() -> None:
    """The tokenizer's batches, which begin at some number of new words, against its single calls."""
    words = [f"word{number}" for number in range(100)] + ["\ufe0f", "</s>", "e\u0301", "\u3000x"]
    for kind in KINDS:
        tokenizer = KINDS[kind]()
        keys = [(word, spaced) for word in words for spaced in (False, True)]
        encoder = SubwordEncoder(tokenizer)
        assert encoder._new_pieces(keys) == [encoder._new_pieces([key])[0] for key in keys], kind


def test_sentence_of_a_hundred_thousand_words() -> None:
    _, encoder = made("metaspace unigram")
    words = [word for text in toys.CORPUS for word in text.split()]
    words = (words * (100_000 // len(words) + 1))[:100_000]
    started = time.perf_counter()
    encoded = encoder.encode(of_words(*words))
    assert time.perf_counter() - started < 10
    assert encoded.n_words == 100_000


def test_threads_get_what_one_thread_gets() -> None:
    tokenizer = toys.byte_bpe_tokenizer()
    encoder = SubwordEncoder(tokenizer)
    sentences = [of_words(*text.split(), f"word{number}") for number in range(40) for text in toys.CORPUS]
    expected = [SubwordEncoder(tokenizer).encode(sentence).input_ids.tolist() for sentence in sentences[:5]]

    def disturb_and_encode(sentence: Sentence) -> list[int]:
        # What transformers does on each call: set truncation and padding on the shared backend.
        tokenizer(" ".join(sentence.words), truncation=True, max_length=4, padding="max_length")
        return encoder.encode(sentence).input_ids.tolist()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(disturb_and_encode, sentences))
    alone = SubwordEncoder(tokenizer)
    assert found == [alone.encode(sentence).input_ids.tolist() for sentence in sentences]
    assert found[:5] == expected


def test_truncation_and_padding_of_the_tokenizer_do_not_reach_the_encoder() -> None:
    tokenizer = toys.byte_bpe_tokenizer()
    words = toys.CORPUS[0].split()
    expected = SubwordEncoder(tokenizer).encode(of_words(*words)).input_ids.tolist()
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=99)
    assert SubwordEncoder(tokenizer).encode(of_words(*words)).input_ids.tolist() == expected
    assert len(expected) > 2


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_copies_do_the_same(twin: Any) -> None:
    _, encoder = made("metaspace unigram")
    sentence = of_words("The", "</s>", "dog", ".")
    other = twin(encoder)
    assert other.encode(sentence).input_ids.tolist() == encoder.encode(sentence).input_ids.tolist()
    assert (other.prefix_ids, other.pad_id, other.prefix_space) == (
        encoder.prefix_ids, encoder.pad_id, encoder.prefix_space,
    )  # fmt: skip


def test_gaps_are_true_given_or_single_spaces() -> None:
    tokenizer, encoder = made("bpe")
    words = ("Zagreb", ".")
    spaced = tokenizer("Zagreb .")["input_ids"]
    tight = tokenizer("Zagreb.")["input_ids"]
    assert spaced != tight
    known = Sentence(words, text="Zagreb.", offsets=((0, 6), (6, 7)))
    assert encoder.encode(Sentence(words)).input_ids.tolist() == spaced
    assert encoder.encode(known).input_ids.tolist() == tight
    assert encoder.encode(known, [False, False]).input_ids.tolist() == spaced
    assert encoder.encode(Sentence(words), [True, True]).input_ids.tolist() == tight
    with pytest.raises(ValueError, match="3 gaps for 2 words"):
        encoder.encode(known, [False] * 3)


def test_no_words() -> None:
    encoded = made("wordpiece")[1].encode(Sentence(()))
    assert len(encoded) == encoded.n_words == 0
    assert encoded.input_ids.dtype == encoded.word_first.dtype == encoded.word_last.dtype == np.int32


def test_a_tokenizer_without_fast_backend_is_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'slow/one'.*no fast backend"):
        SubwordEncoder(SimpleNamespace(name_or_path="slow/one"))


def test_a_tokenizer_that_pieces_cannot_follow_is_named() -> None:
    # Splitting drops the spaces, and the next step marks every part: pieces cannot know which part begins a word.
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator(toys.CORPUS, trainer)
    from transformers import PreTrainedTokenizerFast

    with pytest.warns(LookRightWarning, match="other sub-words"):
        SubwordEncoder(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))


def test_saved_and_loaded_tokenizers_do_the_same(tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    for number, kind in enumerate(("bpe, bos flag", "legacy llama", "xlmr", "wordpiece")):
        tokenizer, encoder = made(kind)
        folder = tmp_path / str(number)
        tokenizer.save_pretrained(folder)
        again = SubwordEncoder(AutoTokenizer.from_pretrained(folder))
        sentence = of_words("The", "dog", "don't", "😀", ".")
        assert again.encode(sentence).input_ids.tolist() == encoder.encode(sentence).input_ids.tolist(), kind
        assert (again.prefix_ids, again.suffix_ids, again.prefix_space, again.pad_id) == (
            encoder.prefix_ids, encoder.suffix_ids, encoder.prefix_space, encoder.pad_id,
        ), kind  # fmt: skip
