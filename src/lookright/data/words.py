"""How running text is cut into words: by a rule that is saved with every tagger.

The default rule is stated in `default_words`, the exceptions to it that training words show in `borders`. Nothing that
is not white space is ever left out, and no character is in two words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lookright.data.borders import Borders, TextWithWords
from lookright.data.default_words import default_words
from lookright.data.sentence import Sentence
from lookright.errors import DataError

SplitFunction = Callable[[str], Sequence[tuple[int, int]]]

RULES: Final = ("default", "whitespace")
RULE_VERSION: Final = 1
"""Raised when a rule changes what it gives, so that a saved tagger is never read with another rule in silence."""

_NON_SPACE: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class WordSplitter:
    """Cuts running text into words, by a named rule or by a callable.

    Attributes:
        rule: "default" (see `default_words`), "whitespace" (runs of what is not white space), or a callable
            that takes a text and returns the character borders `(start, end)` of its words in order.
        learned: exceptions to the default rule (see `like`).

    Raises:
        DataError: for a rule that does not exist.
    """

    rule: str | SplitFunction = "default"
    learned: Borders = field(default_factory=Borders)

    def __post_init__(self) -> None:
        if not callable(self.rule) and self.rule not in RULES:
            raise DataError(f"no word rule {self.rule!r}: expected one of {', '.join(RULES)}, or a callable")
        if len(self.learned) and self.rule != "default":
            raise DataError(f"exceptions were learned to the default rule, and the rule is {self.rule!r}; drop one")

    @classmethod
    def like(cls, texts: Sequence[TextWithWords]) -> WordSplitter:
        """The default rule, with the exceptions to it that the words of data show.

        Args:
            texts: texts, each with the character borders of its words; `lookright.encoding.running_texts` gives them
                for sentences.
        """
        return cls(learned=Borders.learn(texts))

    def split(self, text: str) -> list[tuple[int, int]]:
        """The character borders `(start, end)` of the words of `text`, in order and without overlap.

        Raises:
            DataError: when a callable gives borders outside the text, empty, overlapping or out of order.
        """
        if callable(self.rule):
            return _checked(self.rule(text), text)
        if self.rule == "whitespace":
            return [match.span() for match in _NON_SPACE.finditer(text)]
        return self.learned.split(text) if len(self.learned) else default_words(text)

    def sentence(self, text: str, *, path: str | None = None, line: int | None = None) -> Sentence:
        """`text` as a sentence of words with their offsets."""
        offsets = tuple(self.split(text))
        words = tuple(text[start:end] for start, end in offsets)
        return Sentence(words, text=text, offsets=offsets, path=path, line=line)

    def to_dict(self) -> dict[str, Any]:
        """What a saved tagger keeps. Of a callable only its name can be kept: `from_dict` then refuses."""
        if callable(self.rule):
            return {"rule": "callable", "name": getattr(self.rule, "__qualname__", type(self.rule).__qualname__)}
        if len(self.learned):
            return {"rule": "learned", "version": RULE_VERSION, **self.learned.to_dict()}
        return {"rule": self.rule, "version": RULE_VERSION}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> WordSplitter:
        """The splitter that `to_dict` described.

        Raises:
            DataError: for a callable (only its name was saved) and for a rule or version unknown here.
        """
        if saved.get("rule") == "callable":
            raise DataError(
                f"the words were split by the callable {saved.get('name')!r}, which cannot be saved: pass it again "
                "(word_split=...), or pass words that are split already"
            )
        rule, version = saved.get("rule"), saved.get("version", RULE_VERSION)
        if rule not in (*RULES, "learned") or version != RULE_VERSION:
            raise DataError(
                f"word rule {rule!r}, version {version!r}, is not known here: expected one of {', '.join(RULES)}, "
                f"learned, version {RULE_VERSION}; a newer LookRight may know it"
            )
        return cls(learned=Borders.from_dict(saved)) if rule == "learned" else cls(str(rule))


def _checked(borders: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    last = 0
    checked = []
    for start, end in borders:
        if not last <= start < end <= len(text):
            raise DataError(
                f"the word splitter gave ({start}, {end}) after {last} in a text of {len(text)} characters: expected "
                "non-empty borders in order, without overlap, inside the text"
            )
        checked.append((int(start), int(end)))
        last = end
    return checked
