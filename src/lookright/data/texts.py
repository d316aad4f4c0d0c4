"""The values of whole texts to classify: a text, and a data set of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lookright.data.sentence import Note, check_encodable
from lookright.errors import DataError


class Target(StrEnum):
    """What is said about a text: one label, any number of labels, or a number."""

    SINGLE = "single-label"
    MULTI = "multi-label"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Text:
    """A text, or a pair of texts, with what is known about it.

    Attributes:
        text: the text; it may be empty.
        text_pair: the second one of a pair.
        labels: its labels, each once: exactly one where the target is a single label; None where there is no gold.
        value: its number, where the target is a regression.
        path: the file it came from.
        line: the line in it, counted from 1.

    Raises:
        DataError: half a surrogate pair, an empty or repeated label, a number that is none.
    """

    text: str
    text_pair: str | None = None
    labels: tuple[str, ...] | None = None
    value: float | None = None
    path: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        for name in ("text", "text_pair"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "text_pair" and value is None):
                raise self._error(f"{name} is a {type(value).__name__}, expected a string")
            check_encodable(value or "", path=self.path, line=self.line)
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
            self._check_labels(self.labels)
        if self.value is not None and not math.isfinite(self.value):
            raise self._error(f"the number is {self.value}, expected a finite one")

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        odd = next((label for label in labels if not isinstance(label, str) or not label.strip()), None)
        if odd is not None:
            raise self._error(f"a label is {odd!r}, expected a name")
        twice = next((label for label, count in Counter(labels).items() if count > 1), None)
        if twice is not None:
            raise self._error(f"the label {twice!r} stands there twice, expected each once")
        check_encodable("".join(labels), path=self.path, line=self.line)

    def _error(self, message: str) -> DataError:
        return DataError(message, path=self.path, line=self.line)

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, or the two of a pair."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    @property
    def is_empty(self) -> bool:
        """Whether nothing but white space is in it."""
        return not any(part.strip() for part in self.parts)


@dataclass(frozen=True, slots=True, repr=False)
class TextDataset:
    """Texts in order, and what is known about them.

    Attributes:
        texts: all of them, in file order.
        target: what is said about each of them; None where there is no gold.
        path: the file or folder they came from.
        notes: what the reader found, with counts.

    Raises:
        DataError: a text whose gold is not of this target.
    """

    texts: tuple[Text, ...]
    target: Target | None = None
    path: str | None = None
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "notes", tuple(self.notes))
        for number, text in enumerate(self.texts):
            if not self._fits(text):
                where = f"text {number}: " if text.line is None else ""
                raise DataError(
                    f"{where}no gold of the kind {self.target}: labels {text.labels}, number {text.value}",
                    path=text.path or self.path,
                    line=text.line,
                )

    def _fits(self, text: Text) -> bool:
        if self.target is None:
            return True
        if self.target is Target.REGRESSION:
            return text.value is not None
        return text.labels is not None and (self.target is Target.MULTI or len(text.labels) == 1)

    def __repr__(self) -> str:
        return f"TextDataset({len(self)} texts, {self.target or 'no gold'}, path={self.path!r})"

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    def __iter__(self) -> Iterator[Text]:
        return iter(self.texts)

    def __getitem__(self, index: int) -> Text:
        return self.texts[index]

    def label_counts(self) -> Counter[str]:
        """How many texts have each label."""
        return Counter(label for text in self.texts for label in text.labels or ())

    def labels(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted(self.label_counts()))

    def note(self, kind: str) -> Note | None:
        """The first note of this kind, if there is one."""
        return next((note for note in self.notes if note.kind == kind), None)

    def content_hash(self) -> str:
        """SHA-256 (hex) of texts and gold; not of paths and notes."""
        digest = hashlib.sha256(json.dumps(self.target).encode())
        for text in self.texts:
            digest.update(b"\n" + json.dumps((text.text, text.text_pair, text.labels, text.value)).encode())
        return digest.hexdigest()


def one_line(text: str) -> str:
    """The text with line ends, control characters and the like as escapes: what can stand in a table's row."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_hash(text: Text) -> int:
    """A number in 0 .. 2**64 - 1 that depends on the text alone, and is the same on every machine and in every run."""
    digest = hashlib.sha256(json.dumps(text.parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")
