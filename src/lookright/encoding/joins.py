"""How words stand in running text: which of them follow the word before without a space.

A word is *glued* when there is no space before it, as "." in "Zagreb.". Where a sentence has its text, that is known;
pre-split words are joined with single spaces ("Zagreb ."), or as people write, by the rules of `detokenize`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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

    def __post_init__(self) -> None:
        if not (self.left or self.right):
            raise ValueError(f"the rule for {self.word!r} closes no gap: expected left, right or both")


RULES: Final = (
    JoinRule(r":", left=True, right=True, before=r"\d+", after=r"\d\d.*"),
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

INNER_MARK_RULES: Final = (
    JoinRule(r"-", left=True, right=True, before=r".*\w", after=r"\w.*"),
    JoinRule(r"\.", left=True, right=True, before=r"\d+", after=r"\d+"),
    JoinRule(r",", left=True, right=True, before=r"\d{1,3}", after=r"\d{3}"),
    JoinRule(r"['’]", left=True, right=True, before=r".*\w", after=r"s|t|m|d|re|ve|ll"),
)
"""For data in which words are split at every mark ("single - strand", "3 . 5"), beside `RULES`."""


_Compiled = tuple[JoinRule, re.Pattern[str], re.Pattern[str], re.Pattern[str]]


def _compiled(rule: JoinRule) -> _Compiled:
    word, before, after = (re.compile(p or r"(?s:.*)", re.I) for p in (rule.word, rule.before, rule.after))
    return rule, word, before, after


_PLAIN_RULES: Final = tuple(_compiled(rule) for rule in RULES)
_ALL_RULES: Final = (*(_compiled(rule) for rule in INNER_MARK_RULES), *_PLAIN_RULES)
_ANY_RULE: Final = re.compile("|".join(rule.word for rule in (*INNER_MARK_RULES, *RULES)), re.I)
_INNER_HYPHEN: Final = re.compile(r"[^\W_]-[^\W_]")


def splits_inner_marks(sentences: Iterable[Sentence]) -> bool:
    """Whether the words of a data set are split at every mark inside them ("single - strand", never "single-strand").

    Told by hyphens: there are some between letters or digits that are words of their own, and (but for one in a
    hundred) none inside words.
    """
    apart = inside = 0
    for sentence in sentences:
        words = sentence.words
        inside += sum(_INNER_HYPHEN.search(word) is not None for word in words)
        apart += sum(
            word == "-" and words[index - 1][-1].isalnum() and words[index + 1][0].isalnum()
            for index, word in enumerate(words[1:-1], start=1)
        )
    return apart > 100 * inside


def detokenize(words: Sequence[str], *, inner_marks: bool = False) -> tuple[bool, ...]:
    """Return per word whether English typography writes it without a space before it.

    "Zagreb ." becomes "Zagreb.", "do n't" "don't", "( twice )" "(twice)", "$ 3" "$3"; straight quotes are paired in the
    order in which they stand. The words themselves are never altered, and the first one is never glued.

    Args:
        words: the words of one sentence.
        inner_marks: their data set splits words at every mark (`splits_inner_marks`), so that "single - strand" becomes
            "single-strand". Elsewhere a lone hyphen may as well be a dash, and stays spaced.
    """
    rules = _ALL_RULES if inner_marks else _PLAIN_RULES
    glued = [False] * (len(words) + 1)  # one more, for what stands to the right of the last word
    for index, word in enumerate(words):
        if _ANY_RULE.fullmatch(word) is None:
            continue
        before = words[index - 1] if index else ""
        after = words[index + 1] if index + 1 < len(words) else ""
        for rule, is_word, is_before, is_after in rules:
            if is_word.fullmatch(word) and is_before.fullmatch(before) and is_after.fullmatch(after):
                glued[index] |= rule.left
                glued[index + 1] |= rule.right
    _pair_quotes(words, glued, '"')
    _pair_quotes(words, glued, "'")
    return (False, *glued[1 : len(words)]) if words else ()


def running_texts(sentences: Sequence[Sentence]) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """The text of every sentence, with the character offsets of its words: its own, or as people would write it."""
    inner_marks = splits_inner_marks(sentences)
    for sentence in sentences:
        if sentence.text is not None:
            yield sentence.surface()
        else:
            yield join(sentence.words, detokenize(sentence.words, inner_marks=inner_marks))


def _pair_quotes(words: Sequence[str], glued: list[bool], mark: str) -> None:
    """Close the gaps inside pairs of straight quotes; an odd one out stays spaced, but for the one of "the dogs '"."""
    places = [
        index for index, word in enumerate(words) if word == mark and not (glued[index] and glued[index + 1])
    ]  # not those that a rule has read as apostrophes
    if len(places) % 2:
        if mark == "'":
            for index in places:
                glued[index] |= index > 0 and words[index - 1][-1:] in ("s", "S")
            return
        places.pop()
    for number, index in enumerate(places):
        glued[index if number % 2 else index + 1] = True
