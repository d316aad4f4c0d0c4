"""The values of labeled data: a sentence, a document, a data set.

All of them are frozen and check themselves when made, so that whatever holds one need not check again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from lookright.errors import DataError
from lookright.tags import Scheme, label_set, types_of


class CharSpan(NamedTuple):
    """A span over the characters of a text: `text[start:end]`, with its type."""

    type: str
    start: int
    end: int


class Place(NamedTuple):
    """Where something was found: a file, a line in it (from 1), and the text found there."""

    path: str | None
    line: int | None
    text: str

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return ": ".join(part for part in (where, self.text) if part)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a reader found or did and that people should know.

    Attributes:
        kind: a short stable key ("scheme", "ill-formed", "unaligned", "utf-16", ...).
        message: one line for people, with the count in it.
        count: how many cases.
        places: every case, with file, line and text.
    """

    kind: str
    message: str
    count: int = 0
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A list of words, with what is known about them.

    Attributes:
        words: the words, none of them empty.
        tags: one tag per word, or None where there is no gold.
        text: the running text that the words were cut from, or None for words that came without one.
        offsets: character borders `(start, end)` of each word in `text`; there exactly when `text` is,
            ordered, and `text[start:end]` is the word.
        path: the file it came from.
        line: the line in it, counted from 1.
        char_spans: the gold as a file of text and spans gave it (offsets in characters), with the spans that the
            tags cannot carry, so that a score can be over the full gold.

    Raises:
        DataError: when the parts do not fit each other.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] | None = None
    path: str | None = None
    line: int | None = None
    char_spans: tuple[CharSpan, ...] | None = None

    def __post_init__(self) -> None:
        # Lists are welcome, and become tuples: the value must be hashable and must not change.
        object.__setattr__(self, "words", _strings(self, "words", self.words))
        if self.tags is not None:
            object.__setattr__(self, "tags", _strings(self, "tags", self.tags))
            if len(self.tags) != len(self.words):
                raise self._error(f"{len(self.words)} words and {len(self.tags)} tags, expected one tag per word")
        if (self.text is None) != (self.offsets is None):
            raise self._error(
                "a text needs the offsets of its words, and offsets need their text: give both or neither"
            )
        if self.text is not None and self.offsets is not None:
            object.__setattr__(self, "offsets", tuple((int(start), int(end)) for start, end in self.offsets))
            self._check_offsets(self.text, self.offsets)
        if self.char_spans is not None:
            object.__setattr__(self, "char_spans", tuple(CharSpan(*span) for span in self.char_spans))

    def _check_offsets(self, text: str, offsets: Sequence[tuple[int, int]]) -> None:
        check_encodable(text, path=self.path, line=self.line)
        if len(offsets) != len(self.words):
            raise self._error(f"{len(self.words)} words and {len(offsets)} offsets, expected one pair per word")
        last = 0
        for word, (start, end) in zip(self.words, offsets, strict=True):
            if not last <= start < end <= len(text) or text[start:end] != word:
                raise self._error(f"word {word!r} is not at characters {start} to {end} of its text, in order")
            last = end

    def _error(self, message: str) -> DataError:
        return DataError(message, path=self.path, line=self.line)

    def __len__(self) -> int:
        """Number of words."""
        return len(self.words)

    def with_tags(self, tags: Sequence[str] | None) -> Sentence:
        """The same sentence with other tags (one per word), or with none."""
        return replace(self, tags=None if tags is None else tuple(tags))

    def surface(self) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The text and the character offsets of the words in it.

        A sentence without a text of its own has its words joined with single spaces.
        """
        if self.text is not None and self.offsets is not None:
            return self.text, self.offsets
        offsets = []
        start = 0
        for word in self.words:
            offsets.append((start, start + len(word)))
            start += len(word) + 1
        return " ".join(self.words), tuple(offsets)


def _strings(sentence: Sentence, name: str, values: Iterable[str]) -> tuple[str, ...]:
    """`values` as a tuple of non-empty strings that can be written as UTF-8."""
    if isinstance(values, str):
        raise DataError(f"{name} is one string, expected a list of strings", path=sentence.path, line=sentence.line)
    checked = tuple(values)
    for index, value in enumerate(checked):
        if not isinstance(value, str) or not value:
            found = "empty" if value == "" else repr(value)
            message = f"{name}[{index}] is {found}, expected a string of at least one character"
            raise DataError(message, path=sentence.path, line=sentence.line)
    check_encodable("".join(checked), path=sentence.path, line=sentence.line)
    return checked


def check_encodable(text: str, *, path: str | None = None, line: int | None = None) -> None:
    r"""Refuse a text with half a surrogate pair (JSON can hold `"\ud83d"` alone): no tokenizer can read it.

    Raises:
        DataError: naming the character's position.
    """
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"half a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}: not valid text"
        raise DataError(message, path=path, line=line) from None


@dataclass(frozen=True, slots=True)
class Document:
    """Sentences that follow each other in one text."""

    sentences: tuple[Sentence, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(self.sentences))

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def __iter__(self) -> Iterator[Sentence]:
        return iter(self.sentences)


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """Sentences in order, with the borders of their documents and what is known about their tags.

    Attributes:
        sentences: all of them, in file order.
        document_starts: indices of the sentences that begin a document, ascending, the first one 0
            (by default one document).
        path: the file or folder it came from.
        scheme: the tagging scheme, or None when there are no tags.
        notes: what the reader found and did (scheme detected, spans snapped or dropped, ...), with counts.

    Raises:
        DataError: when the document starts do not fit the sentences.
    """

    sentences: tuple[Sentence, ...]
    document_starts: tuple[int, ...] | None = None
    path: str | None = None
    scheme: Scheme | None = None
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(self.sentences))
        object.__setattr__(self, "notes", tuple(self.notes))
        starts = self.document_starts
        starts = ((0,) if self.sentences else ()) if starts is None else tuple(int(start) for start in starts)
        object.__setattr__(self, "document_starts", starts)
        ascending = all(left < right for left, right in pairwise(starts))
        fits = (starts[:1] == (0,) and starts[-1] < len(self.sentences)) if self.sentences else not starts
        if not (ascending and fits):
            raise DataError(
                f"document starts {starts[:5]} do not fit {len(self.sentences)} sentences: expected ascending sentence "
                "indices, the first one 0",
                path=self.path,
            )

    def __repr__(self) -> str:
        scheme = None if self.scheme is None else self.scheme.value
        documents = len(self.document_starts or ())
        return f"Dataset({len(self)} sentences, {documents} documents, scheme={scheme}, path={self.path!r})"

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def __iter__(self) -> Iterator[Sentence]:
        return iter(self.sentences)

    def __getitem__(self, index: int) -> Sentence:
        return self.sentences[index]

    @property
    def n_words(self) -> int:
        """Number of words in all sentences."""
        return sum(len(sentence.words) for sentence in self.sentences)

    @property
    def tagged(self) -> bool:
        """Whether every sentence has tags (an empty data set has not)."""
        return bool(self.sentences) and all(sentence.tags is not None for sentence in self.sentences)

    def documents(self) -> tuple[Document, ...]:
        """The sentences, grouped by document."""
        starts = self.document_starts or ()
        return tuple(Document(self.sentences[start:end]) for start, end in pairwise((*starts, len(self.sentences))))

    def tag_counts(self) -> Counter[str]:
        """How often each tag occurs."""
        return Counter(tag for sentence in self.sentences for tag in sentence.tags or ())

    def types(self) -> tuple[str, ...]:
        """The span types in the tags, sorted; under the scheme PLAIN (or none known) the tags themselves."""
        return types_of(self.tag_counts(), self.scheme or Scheme.PLAIN)

    def labels(self) -> tuple[str, ...]:
        """The label set to train on: every prefix of the scheme for every type, "O" first."""
        return label_set(self.types(), self.scheme or Scheme.PLAIN)

    def note(self, kind: str) -> Note | None:
        """The first note of this kind, if there is one."""
        return next((note for note in self.notes if note.kind == kind), None)

    def content_hash(self) -> str:
        """SHA-256 (hex) of words, tags, texts, gold spans and document borders; not of paths and notes."""
        digest = hashlib.sha256()
        scheme = None if self.scheme is None else self.scheme.value
        digest.update(json.dumps([scheme, self.document_starts]).encode())
        for sentence in self.sentences:
            parts = (sentence.words, sentence.tags, sentence.text, sentence.offsets, sentence.char_spans)
            digest.update(b"\n" + json.dumps(parts).encode())
        return digest.hexdigest()


def words_hash(sentence: Sentence) -> int:
    """A number in 0 .. 2**64 - 1 that depends on the words alone, and is the same on every machine and in every run."""
    digest = hashlib.sha256(json.dumps(sentence.words).encode()).digest()
    return int.from_bytes(digest[:8], "big")
