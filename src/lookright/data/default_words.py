r"""The default rule by which running text is cut into words, stated once:

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
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_PIECE: Final = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|\S")
_ZERO_WIDTH_JOINER: Final = "\u200d"


def default_words(text: str) -> list[tuple[int, int]]:
    """The character borders `(start, end)` of the words of a text by the default rule."""
    pieces = [match.span() for match in _PIECE.finditer(text)]
    return pieces if text.isascii() else _joined(text, pieces)


def _joined(text: str, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Rule 3: pieces that touch, put together where one only changes the other."""
    words: list[tuple[int, int]] = []
    base = ""  # the kind of the word so far: "letters", "symbol", "flag" (one regional indicator), or "" (closed)
    joining = False  # whether the last character was a joiner or a mark, so that the word may go on
    joiner = False  # whether it was the zero-width joiner
    for start, end in pieces:
        kind = kind_of(text[start])
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
def kind_of(character: str) -> str:
    """What a word that begins with this character is: "letters" (and digits), "han", "symbol" (emoji among them),
    "flag", "extends" (changes the one before it), or "other" (marks)."""
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
