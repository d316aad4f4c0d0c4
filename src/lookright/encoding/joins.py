"""How words stand in running text: which of them follow the word before without a space.

A word is *glued* when there is no space before it, as "." in "Zagreb.". Where a sentence has its text, that is known;
pre-split words are joined with single spaces ("Zagreb ."), or as people write, by the rules of `detokenize`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lookright.data.sentence import Sentence


def true_gaps(sentence: Sentence) -> tuple[bool, ...] | None:
    """Per word whether it is glued to the word before it in the sentence's own text, or None without a text."""
    if sentence.offsets is None:
        return None
    ends = (-1, *(end for _, end in sentence.offsets))
    return tuple(start == end for (start, _), end in zip(sentence.offsets, ends, strict=False))


def join(words: Sequence[str], glued: Sequence[bool]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return running text with a space before every word that is not glued, and the words' character offsets."""
    parts: list[str] = []
    offsets: list[tuple[int, int]] = []
    at = 0
    for word, glue in zip(words, glued, strict=True):
        if parts and not glue:
            parts.append(" ")
            at += 1
        parts.append(word)
        offsets.append((at, at + len(word)))
        at += len(word)
    return "".join(parts), tuple(offsets)


@dataclass(frozen=True, slots=True)
class JoinRule:
    """One rule of `detokenize`: a word that matches, between neighbours that match, is glued to one or both of them.

    Attributes:
        word: pattern of the whole word.
        left: whether it is glued to the word before.
        right: whether the word after is glued to it.
        before: pattern of the whole word before, or None for any.
        after: pattern of the whole word after, or None for any.
    """

    word: str
    left: bool = False
    right: bool = False
    before: str | None = None
    after: str | None = None


RULES: Final = (
    JoinRule(r"[.,;:!?…]+", left=True),
    JoinRule(r"[)\]}]+", left=True),
    JoinRule(r"[(\[{]+", right=True),
    JoinRule(r"n['’]t", left=True, before=r".*\w"),
    JoinRule(r"['’](s|m|d|re|ve|ll)", left=True, before=r".*[\w.)\]]"),
    JoinRule(r"na", left=True, before=r"gon|wan"),
    JoinRule(r"ta", left=True, before=r"got"),
    JoinRule(r"me", left=True, before=r"gim|lem"),
    JoinRule(r"not", left=True, before=r"can"),
    JoinRule(r"[%‰°]", left=True, before=r".*\d"),
    JoinRule(r"(US|C|A|HK|NZ)?[$£€¥₹]", right=True, after=r"[\d.,]*\d.*"),
    JoinRule(r"``|[“„‘¿¡]", right=True),
    JoinRule(r"''|[”’]", left=True),
    JoinRule(r"/", left=True, right=True, before=r".*\w", after=r"\w.*"),
)
"""English typography; every rule needs a mark or a word form that says so, and leaves all other text spaced. Dashes,
hyphens and guillemets stay spaced: what they do differs between data sets and languages."""

_COMPILED: Final = tuple(
    (
        rule,
        re.compile(rule.word, re.I),
        re.compile(rule.before or r"(?s:.*)", re.I),
        re.compile(rule.after or r"(?s:.*)", re.I),
    )
    for rule in RULES
)
_ANY_RULE: Final = re.compile("|".join(rule.word for rule in RULES), re.I)


def detokenize(words: Sequence[str]) -> tuple[bool, ...]:
    """Return per word whether English typography writes it without a space before it.

    "Zagreb ." becomes "Zagreb.", "do n't" "don't", "( twice )" "(twice)", "$ 3" "$3"; straight quotes are paired in the
    order in which they stand. The words themselves are never altered, and the first one is never glued.
    """
    glued = [False] * (len(words) + 1)  # one more, for what stands to the right of the last word
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        after = words[index + 1] if index + 1 < len(words) else ""
        left, right = _gaps_closed(word, before, after) if _ANY_RULE.fullmatch(word) else (False, False)
        glued[index] |= left
        glued[index + 1] |= right
    _pair_quotes(words, glued, '"')
    _pair_quotes(words, glued, "'")
    return (False, *glued[1 : len(words)]) if words else ()


def _gaps_closed(word: str, before: str, after: str) -> tuple[bool, bool]:
    """Whether the first rule that matches closes the gap to the left and to the right of a word."""
    for rule, is_word, is_before, is_after in _COMPILED:
        if is_word.fullmatch(word) and is_before.fullmatch(before) and is_after.fullmatch(after):
            return rule.left, rule.right
    return False, False


def _pair_quotes(words: Sequence[str], glued: list[bool], mark: str) -> None:
    """Close the gaps inside pairs of straight quotes; an odd one out stays spaced, but for the one of "the dogs '"."""
    places = [index for index, word in enumerate(words) if word == mark]
    if len(places) % 2:
        if mark == "'":
            for index in places:
                glued[index] |= index > 0 and words[index - 1][-1:] in ("s", "S")
            return
        places.pop()
    for number, index in enumerate(places):
        glued[index if number % 2 else index + 1] = True
