r"""How running text is cut into words.

The default rule, stated once and saved with every tagger:

1. A run of letters and digits is a word ("Zagreb", "2nd", "größer"). An underscore is no letter here.
2. Every other character that is no white space is a word of its own (".", "@", "€", an emoji).
3. A character that only changes the one before it stays with it: combining marks, variation selectors, the zero-width
   joiner and non-joiner, emoji skin tones, emoji tag sequences. Letters go on after such a mark ("cafe" + U+0301 + "s"
   is one word); an emoji joined to the next one by a zero-width joiner is one word with it; two regional indicators
   are one word (a flag).
4. A Han ideograph is a word of its own, as names in Chinese and Japanese do not end at spaces. Other scripts written
   without spaces (Thai, Lao, Khmer, kana) give long words: pass words that are split already, or a callable.

Nothing that is not white space is ever left out, and no character is in two words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lookright.data.sentence import Sentence
from lookright.errors import DataError

SplitFunction = Callable[[str], Sequence[tuple[int, int]]]

RULES: Final = ("default", "whitespace")
RULE_VERSION: Final = 1
"""Raised when a rule changes what it gives, so that a saved tagger is never read with another rule in silence."""

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_PIECE: Final = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|\S")
_NON_SPACE: Final = re.compile(r"\S+")
_ZERO_WIDTH_JOINER: Final = "\u200d"


@dataclass(frozen=True, slots=True)
class WordSplitter:
    """Cuts running text into words, by a named rule or by a callable.

    Attributes:
        rule: "default" (see the top of this module), "whitespace" (runs of what is not white space), or a callable
            that takes a text and returns the character borders `(start, end)` of its words in order.

    Raises:
        DataError: for a rule that does not exist.
    """

    rule: str | SplitFunction = "default"

    def __post_init__(self) -> None:
        if not callable(self.rule) and self.rule not in RULES:
            raise DataError(f"no word rule {self.rule!r}: expected one of {', '.join(RULES)}, or a callable")

    def split(self, text: str) -> list[tuple[int, int]]:
        """The character borders `(start, end)` of the words of `text`, in order and without overlap.

        Raises:
            DataError: when a callable gives borders outside the text, empty, overlapping or out of order.
        """
        if callable(self.rule):
            return _checked(self.rule(text), text)
        if self.rule == "whitespace":
            return [match.span() for match in _NON_SPACE.finditer(text)]
        pieces = [match.span() for match in _PIECE.finditer(text)]
        return pieces if text.isascii() else _joined(text, pieces)

    def sentence(self, text: str, *, path: str | None = None, line: int | None = None) -> Sentence:
        """`text` as a sentence of words with their offsets."""
        offsets = tuple(self.split(text))
        words = tuple(text[start:end] for start, end in offsets)
        return Sentence(words, text=text, offsets=offsets, path=path, line=line)

    def to_dict(self) -> dict[str, Any]:
        """What a saved tagger keeps. Of a callable only its name can be kept: `from_dict` then refuses."""
        if callable(self.rule):
            return {"rule": "callable", "name": getattr(self.rule, "__qualname__", type(self.rule).__qualname__)}
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
        if rule not in RULES or version != RULE_VERSION:
            raise DataError(
                f"word rule {rule!r}, version {version!r}, is not known here: expected one of {', '.join(RULES)}, "
                f"version {RULE_VERSION}; a newer LookRight may know it"
            )
        return cls(str(rule))


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


def _joined(text: str, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Rule 3: pieces that touch, put together where one only changes the other."""
    words: list[tuple[int, int]] = []
    base = ""  # the kind of the word so far: "letters", "symbol", "flag" (one regional indicator), or "" (closed)
    joining = False  # whether the last character was a joiner or a mark, so that the word may go on
    joiner = False  # whether it was the zero-width joiner
    for start, end in pieces:
        kind = _kind(text[start])
        touches = bool(words) and words[-1][1] == start
        if touches and kind == "extends":
            words[-1] = (words[-1][0], end)
            joining, joiner = True, text[start] == _ZERO_WIDTH_JOINER
            continue
        goes_on = touches and (
            (joining and base == kind == "letters")
            or (joiner and base == kind == "symbol")
            or (base == kind == "flag" and not joining)
        )
        if goes_on:
            words[-1] = (words[-1][0], end)
            base = "" if kind == "flag" else base
        else:
            words.append((start, end))
            base = kind
        joining = joiner = False
    return words


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    """What a piece that begins with this character is, for rule 3."""
    code = ord(character)
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    if code in (0x200C, 0x200D) or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:
        return "extends"
    category = unicodedata.category(character)
    if category[0] == "M":
        return "extends"
    if category[0] in "LN":
        return "han" if _is_han(code) else "letters"
    return "symbol" if category == "So" else "other"


def _is_han(code: int) -> bool:
    return (
        0x3400 <= code <= 0x4DBF or 0x4E00 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFD
    )
