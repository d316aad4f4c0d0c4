"""Sentences in the shape of CoNLL-2003: invented words, its lengths, its share of entities; or those of a file."""

from __future__ import annotations

import bisect
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

QUANTILES: Final = (
    (0.0, 1), (0.05, 2), (0.25, 6), (0.5, 10), (0.75, 21.5), (0.9, 30), (0.95, 36), (0.99, 48), (0.999, 63), (1.0, 113),
)  # fmt: skip
"""The lengths of CoNLL-2003's sentences in words: share of sentences up to a length, between them straight lines.

An approximation that has the mean (14.5) and the longest sentence (113) of the train file; half are short lines of
tables and headlines.
"""

TYPES: Final = ("LOC", "MISC", "ORG", "PER")
LABELS: Final = ("O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI"))
SPAN_STARTS: Final = 0.128
"""Chance that a word begins a span, where it may: then 11.5 % of all words do (23,499 in 203,621)."""
LONGER: Final = 0.34
"""Chance that a span goes on, where it may: then spans have 1.45 words."""

VOCABULARY: Final = 24_000
UNKNOWN: Final = 0.15
"""Share of words that are in no vocabulary; with it words have 1.3 to 1.4 sub-words, as in news text."""
SYLLABLES: Final = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s", "l")]

Row = dict[str, Any]
"""`tokens`, `tags`."""


def length(share: float) -> int:
    """The length in words of the sentence at a share of all sentences ordered by length."""
    at = max(1, bisect.bisect_left([q for q, _ in QUANTILES], share))
    (q0, low), (q1, high) = QUANTILES[at - 1], QUANTILES[at]
    return max(1, round(low + (high - low) * (share - q0) / (q1 - q0)))


class Words:
    """Draws invented words: frequent ones often, as in any text, and now and then one that is not in the vocabulary."""

    def __init__(self) -> None:
        generator = random.Random("one language, whatever the sentences")
        self.known = [self._new(generator) for _ in range(VOCABULARY)]
        self.totals = list(itertools.accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))

    def _new(self, generator: random.Random) -> str:
        return "".join(generator.choices(SYLLABLES, k=generator.choice((1, 1, 2, 2, 3))))

    def draw(self, generator: random.Random) -> str:
        """A word."""
        if generator.random() < UNKNOWN:
            return self._new(generator)
        return generator.choices(self.known, cum_weights=self.totals)[0]


def generate(n: int, seed: int, *, words: int | None = None) -> Iterator[Row]:
    """Labeled sentences.

    Args:
        n: how many.
        seed: the same seed gives the same sentences.
        words: the length of every sentence; None for lengths as in CoNLL-2003.
    """
    vocabulary = Words()
    generator = random.Random(f"sentences {seed}")
    for _ in range(n):
        size = words or length(generator.random())
        tokens, tags, kind = [], [], None
        for place in range(size):
            last = place == size - 1 and size > 3
            if kind is not None and not last and generator.random() < LONGER:
                tags.append(f"I-{kind}")
            elif not last and generator.random() < SPAN_STARTS:
                kind = generator.choice(TYPES)
                tags.append(f"B-{kind}")
            else:
                kind = None
                tags.append("O")
            word = "." if last else vocabulary.draw(generator)
            tokens.append(word if tags[-1] == "O" else word.capitalize())
        yield {"tokens": tokens, "tags": tags}


def read(path: Path, n: int | None) -> list[Row]:
    """The sentences of a labeled file, tags in IOB2; other types than the four of CoNLL are taken for MISC."""
    from lookright.data import read_dataset
    from lookright.tags import Scheme, convert

    dataset = read_dataset(path)
    scheme = dataset.scheme or Scheme.IOB2
    rows = []
    for sentence in itertools.islice((one for one in dataset if one.words), n):
        tags = convert(list(sentence.tags or ()), scheme, Scheme.IOB2)
        rows.append({"tokens": list(sentence.words), "tags": [_known(tag) for tag in tags]})
    return rows


def _known(tag: str) -> str:
    return tag if tag in LABELS else f"{tag[0]}-MISC"


def write(rows: Sequence[Row], path: Path) -> Path:
    """Write JSON Lines."""
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path
