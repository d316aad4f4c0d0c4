"""Words to sub-words, word by word, so that no sub-word ever crosses a word border and no word is ever lost.

Every word is tokenised on its own, with the gap before it: as `" word"`, or as `"word"` where it is glued to the word
before it ("Zagreb" + "."). The *pieces* that come out are put together to a sentence. Where the tokenizer itself keeps
to word borders, that is what it makes of the whole running text; where one of its sub-words (or of the parts that its
pre-tokenizer makes: letters glued to letters, as "can" + "not") reaches over a border, it is cut there.

For that the encoder keeps its own copy of the tokenizer's backend, in which everything is switched off that treats the
start of a text in a special way (prefix spaces, stripping), that reads special tokens out of text, and that cuts or
fills up (truncation, padding). The copy is never altered, so that threads can share an encoder: a fast tokenizer of
`transformers` itself cannot be shared, as it sets truncation and padding anew on each call.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from lookright.data.sentence import Sentence
from lookright.encoding.joins import true_gaps
from lookright.errors import LookRightWarning, UnsupportedModelError

Ids = NDArray[np.int32]

CACHE_SIZE: Final = 1 << 16
"""How many different pieces an encoder remembers at most; when it is full, it starts anew."""
LONGEST_CACHED: Final = 64
"""Longer words (in characters) are not remembered: a few of them would fill the memory, and they do not repeat."""

FEWEST_TOGETHER: Final = 16
"""New words from which on they go to the tokenizer as one batch, which several threads work on."""

_PROBE_WORDS: Final = ("a", "the", "in", "x", "1", "The")
_PROBE_TEXTS: Final = ("the cat sat on a mat", "In 2019 I saw John")
_SPACE_MARKS: Final = ("▁", " ", "Ġ")


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The sub-words of one sentence, without special tokens.

    Attributes:
        input_ids: int32 (n_subwords,), token ids.
        word_first: int32 (n_words,), position of the first sub-word of each word. A sub-word that holds nothing but
            the gap before a word (a lone "▁") stands in `input_ids` but is not part of the word.
        word_last: int32 (n_words,), position of the last sub-word of each word, inclusive.
        n_placeholders: how many words the tokenizer turned into nothing, so that a placeholder stands for them.
    """

    input_ids: Ids
    word_first: Ids
    word_last: Ids
    n_placeholders: int = 0

    def __post_init__(self) -> None:
        if self.word_first.shape != self.word_last.shape or bool((self.word_first > self.word_last).any()):
            raise ValueError("each word needs a first and a last sub-word, in this order")

    @property
    def n_words(self) -> int:
        """Number of words."""
        return len(self.word_first)

    def __len__(self) -> int:
        """Number of sub-words."""
        return len(self.input_ids)


class _Piece(NamedTuple):
    """What one word with its gap becomes: ids, how many of them are only the gap, whether they are a placeholder."""

    ids: tuple[int, ...]
    n_gap: int
    placeholder: bool


_Pieces = dict[str, _Piece]

_ids, _n_gap, _placeholder = itemgetter(0), itemgetter(1), itemgetter(2)


class SubwordEncoder:
    """Turns sentences into sub-words with one tokenizer. A pure function after it is made; threads may share it.

    Attributes:
        prefix_ids: special tokens that the model expects before a sequence (BOS, [CLS], ...), as the tokenizer's own
            post-processing puts them.
        suffix_ids: special tokens that the model expects after a sequence.
        pad_id: id that fills up rows, always masked: the pad token; where there is none EOS, else BOS, else 0.
        placeholder_id: id that stands for a word that the tokenizer turns into nothing (U+FE0F alone under BERT's
            normalisation, say): the unknown token; where there is none, or it is EOS too (GPT-2), "_", else the pad id.
        prefix_space: whether the first word of a text gets a space before it, as the tokenizer itself does it.

    Args:
        tokenizer: a fast tokenizer of `transformers`. It is only read.

    Raises:
        UnsupportedModelError: for a tokenizer without a fast backend.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        if not isinstance(backend, Tokenizer):
            raise UnsupportedModelError(
                f"tokenizer {name!r} ({type(tokenizer).__name__}) has no fast backend, expected one of the library "
                "'tokenizers': only those tell which characters a sub-word covers. Save it with a tokenizer.json"
            )
        state: dict[str, Any] = json.loads(backend.to_str())
        state["truncation"] = state["padding"] = None
        own = Tokenizer.from_str(json.dumps(state))
        own.encode_special_tokens = True
        self._backend = Tokenizer.from_str(json.dumps(_glued_state(state)))
        self._splits_at_spaces = "WhitespaceSplit" in json.dumps(state["pre_tokenizer"])
        self.prefix_ids, self.suffix_ids = _special_ends(own)
        self.pad_id = _first_id(tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, 0)
        unknown = tokenizer.unk_token_id
        self._special = frozenset(token for token in tokenizer.all_special_ids if token != unknown)
        self._prepare()
        underscore = self._backend.encode("_", add_special_tokens=False).ids
        ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
        self.placeholder_id = _first_id(None if unknown in ends else unknown, *underscore[:1], self.pad_id)
        self.prefix_space = self._adds_space(own)
        self._compare_with(own, name)

    def _prepare(self) -> None:
        self._backend.encode_special_tokens = True
        self._remembered: tuple[_Pieces, _Pieces] = ({}, {})  # without and with a space before the word

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_remembered"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def encode(self, sentence: Sentence, glued: Sequence[bool] | None = None, *, continues: bool = False) -> Encoded:
        """Return the sub-words of a sentence: n words in, n words out.

        Args:
            sentence: the words.
            glued: per word, whether it follows the word before it without a space. By default as in the sentence's
                text, where it has one; else single spaces everywhere. The first entry does not matter.
            continues: the sentence goes on a text (a document), so that its first word gets a space in any case.
        """
        if glued is not None and len(glued) != len(sentence.words):
            raise ValueError(f"{len(glued)} gaps for {len(sentence.words)} words: expected one per word")
        return self._encode([sentence], [true_gaps(sentence) if glued is None else glued], [continues])[0]

    def encode_many(self, sentences: Sequence[Sentence]) -> list[Encoded]:
        """Return what `encode` gives for each sentence, much faster: words that are new go to the tokenizer at once."""
        return self._encode(sentences, [true_gaps(one) for one in sentences], [False] * len(sentences))

    def encode_document(self, sentences: Sequence[Sentence]) -> list[Encoded]:
        """Return the sub-words of sentences that follow each other: only the first one begins a text."""
        return self._encode(
            sentences, [true_gaps(one) for one in sentences], [index > 0 for index in range(len(sentences))]
        )

    def encode_texts(self, texts: Sequence[str], *, continues: bool = False) -> list[Ids]:
        """Return the sub-words of running texts, as the tokenizer itself cuts them: no words, white space and all.

        As for words, text cannot inject special tokens, nothing is truncated, and what the tokenizer turns into nothing
        (an empty text) is a placeholder.

        Args:
            texts: of any length.
            continues: they go on something, so that none gets the space that a tokenizer puts before a text.
        """
        spaced = self.prefix_space and not continues
        if self._splits_at_spaces:  # such a tokenizer takes any white space for one space
            texts = [" ".join(text.split()) for text in texts]
        pieces = self._new_pieces([(text, spaced) for text in texts])
        return [np.array(piece.ids, np.int32) for piece in pieces]

    def _encode(
        self, sentences: Sequence[Sentence], glued: Sequence[Sequence[bool] | None], continues: Sequence[bool]
    ) -> list[Encoded]:
        """Each sentence's sub-words, given its words' gaps (None: single spaces) and whether it goes on a text."""
        words: list[str] = []
        spaced: list[bool] = []
        for sentence, gaps, goes_on in zip(sentences, glued, continues, strict=True):
            words += sentence.words
            at = len(spaced)
            spaced += [True] * len(sentence.words) if gaps is None else [not glue for glue in gaps]
            spaced[at : at + 1] = [goes_on or self.prefix_space] * bool(sentence.words)
        pieces = self._pieces(words, spaced)
        n_ids = np.fromiter(map(len, map(_ids, pieces)), np.int64, len(pieces))
        n_gap = np.fromiter(map(_n_gap, pieces), np.int64, len(pieces))
        placeholder = np.fromiter(map(_placeholder, pieces), bool, len(pieces))
        ends = np.cumsum(n_ids)
        starts = ends - n_ids
        ids = np.fromiter(chain.from_iterable(map(_ids, pieces)), np.int32, int(n_ids.sum()))
        encoded = []
        word = token = 0
        for sentence in sentences:
            end_word = word + len(sentence.words)
            end_token = int(ends[end_word - 1]) if end_word > word else token
            first = (starts[word:end_word] + n_gap[word:end_word] - token).astype(np.int32)
            last = (ends[word:end_word] - (token + 1)).astype(np.int32)
            n_placeholders = int(np.count_nonzero(placeholder[word:end_word]))
            encoded.append(Encoded(ids[token:end_token].copy(), first, last, n_placeholders))
            word, token = end_word, end_token
        return encoded

    def _pieces(self, words: Sequence[str], spaced: Sequence[bool]) -> list[_Piece]:
        """The piece of each word; those that are not remembered come from the tokenizer together."""
        known = self._remembered  # the same pair throughout, whatever other threads do
        found = [known[space].get(word) for word, space in zip(words, spaced, strict=True)]
        if None not in found:
            return found  # type: ignore[return-value]
        new = list(
            dict.fromkeys(
                key for key, piece in zip(zip(words, spaced, strict=True), found, strict=True) if piece is None
            )
        )
        made = dict(zip(new, self._new_pieces(new), strict=True))
        if len(known[0]) + len(known[1]) + len(made) > CACHE_SIZE:
            known = self._remembered = ({}, {})
        for (word, space), piece in list(made.items())[:CACHE_SIZE]:
            if len(word) <= LONGEST_CACHED:
                known[space][word] = piece
        return [
            made[word, space] if piece is None else piece
            for word, space, piece in zip(words, spaced, found, strict=True)
        ]

    def _new_pieces(self, keys: Sequence[tuple[str, bool]]) -> list[_Piece]:
        """The pieces of words, each with whether a space stands before it, straight from the tokenizer."""
        texts = [" " + word if space else word for word, space in keys]
        if len(texts) < FEWEST_TOGETHER:
            encodings = [self._backend.encode(text, add_special_tokens=False) for text in texts]
        else:
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        return [
            self._piece_of(text, space, encoding)
            for text, (_, space), encoding in zip(texts, keys, encodings, strict=True)
        ]

    def _piece_of(self, text: str, spaced: bool, encoding: Encoding) -> _Piece:
        """What the tokenizer made of a word, whose text begins with a space where it is `spaced`."""
        ids, offsets = encoding.ids, encoding.offsets
        if not self._special.isdisjoint(ids):
            ids, offsets = self._respelled(text, ids, offsets)
        n_gap = 0
        if spaced:
            while n_gap < len(ids) and offsets[n_gap] == (0, 1):
                n_gap += 1
        if n_gap < len(ids):
            return _Piece(tuple(ids), n_gap, False)
        if ids:  # Nothing is left of the word but its gap: the gap's own sub-word stands for it.
            return _Piece(tuple(ids), len(ids) - 1, True)
        return _Piece((self.placeholder_id,), 0, True)

    def _respelled(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Spell out, character by character, what the model itself reads as a special token.

        A Unigram model has its special tokens in its vocabulary, and finds "</s>" in text even where the backend was
        told not to look for special tokens.
        """
        new_ids: list[int] = []
        new_offsets: list[tuple[int, int]] = []
        for token, (start, end) in zip(ids, offsets, strict=True):
            if token not in self._special:
                new_ids.append(token)
                new_offsets.append((start, end))
                continue
            for at in range(start, end):
                spelled = [
                    i for i in self._backend.encode(text[at], add_special_tokens=False).ids if i not in self._special
                ]
                new_ids.extend(spelled)
                new_offsets.extend([(at, at + 1)] * len(spelled))
        return new_ids, new_offsets

    def _adds_space(self, own: Tokenizer) -> bool:
        """Whether the tokenizer puts a space before a text: seen from what it does, not from how it is set up."""
        for word in _PROBE_WORDS:
            whole = own.encode(word, add_special_tokens=False).ids
            bare, spaced = (list(piece.ids) for piece in self._new_pieces([(word, False), (word, True)]))
            if bare != spaced and whole in (bare, spaced):
                return whole == spaced
        return False

    def _compare_with(self, own: Tokenizer, name: str) -> None:
        """Warn when pieces differ from what the tokenizer makes of running text though it keeps to word borders."""
        for text in _PROBE_TEXTS:
            whole = own.encode(text, add_special_tokens=False)
            crosses = any(" " in text[start:end].strip() for start, end in whole.offsets)
            pieces = self.encode(Sentence(tuple(text.split()))).input_ids.tolist()
            if not crosses and whole.ids != pieces:
                warnings.warn(
                    f"tokenizer {name!r} cuts {text!r} into other sub-words than its words one by one: the model will "
                    "see sub-words that it rarely saw in pretraining, and may score lower",
                    LookRightWarning,
                    stacklevel=4,
                )
                return


def _special_ends(own: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that post-processing puts before and after a single text."""
    encoding = own.encode("a", add_special_tokens=True)
    mask = encoding.special_tokens_mask
    n_before = next((index for index, special in enumerate(mask) if not special), len(mask))
    n_after = next((index for index, special in enumerate(reversed(mask)) if not special), 0)
    return tuple(encoding.ids[:n_before]), tuple(encoding.ids[len(mask) - n_after :])


def _first_id(*candidates: int | None) -> int:
    return next(int(candidate) for candidate in candidates if candidate is not None)


def _glued_state(state: dict[str, Any]) -> dict[str, Any]:
    """The backend as JSON, with everything switched off that treats the start of a text in a special way."""
    return {
        **state,
        "post_processor": None,
        "normalizer": _glued_normalizer(state["normalizer"]),
        "pre_tokenizer": _glued_pre_tokenizer(state["pre_tokenizer"]),
    }


def _glued_normalizer(part: dict[str, Any] | None) -> dict[str, Any] | None:
    if part is None or part["type"] == "Strip":  # Strip would take the gap.
        return None
    if part["type"] == "Prepend" and part["prepend"] in _SPACE_MARKS:
        return None
    if part["type"] == "Sequence":
        inner = [new for old in part["normalizers"] if (new := _glued_normalizer(old)) is not None]
        return {**part, "normalizers": inner} if inner else None
    return part


def _glued_pre_tokenizer(part: dict[str, Any] | None) -> dict[str, Any] | None:
    if part is None:
        return None
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if part["type"] == "Sequence":
        inner = part["pretokenizers"]
        if any(new["type"] in ("Metaspace", "ByteLevel") for new in inner):
            # Splitting at white space first (XLM-R) drops every space, and the next step marks what begins a part:
            # without the splitting it marks the spaces themselves, which is the same for a single word and its gap.
            inner = [new for new in inner if new["type"] != "WhitespaceSplit"]
        return {**part, "pretokenizers": [_glued_pre_tokenizer(new) for new in inner]}
    return part
