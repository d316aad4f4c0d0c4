"""The first peer: a linear-chain CRF over word shapes (sklearn-crfsuite), as one trains it from scratch.

It has nothing to choose on dev, so dev is not looked at; it trains on the same train as the others. L-BFGS from zero
weights is deterministic, so one run is enough.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from benchmarks.quality.runs import Answer
from benchmarks.quality.sets import Split

MODULES: Final = ("sklearn_crfsuite",)
"""What must be installed."""

PARAMETERS: Final = {
    "algorithm": "lbfgs",
    "c1": 0.1,
    "c2": 0.1,
    "max_iterations": 100,
    "all_possible_transitions": True,
}

REACH: Final = 2
"""Neighbours that a word sees, on both sides."""

LONGEST_AFFIX: Final = 4


def settings() -> dict[str, Any]:
    """All that decides a run besides the data."""
    return {**PARAMETERS, "features": "word shapes, 1", "version": version("sklearn-crfsuite")}


def shape(word: str) -> str:
    """`McDonald's-3` -> `XxXxxxxx'x-d`."""
    text = re.sub(r"[^\W\d_]", lambda found: "X" if found[0].isupper() else "x", word)
    return re.sub(r"\d", "d", text)


def short_shape(text: str) -> str:
    """A shape with its runs shortened to one character: `XxXxxxxx'x-d` -> `XxXx'x-d`."""
    return re.sub(r"(.)\1+", r"\1", text)


def word_features(word: str) -> list[str]:
    """What a word tells about itself."""
    lower, full = word.lower(), shape(word)
    found = [f"word={word}", f"lower={lower}", f"shape={full}", f"short={short_shape(full)}"]
    for size in range(1, min(LONGEST_AFFIX, len(word)) + 1):
        found += [f"prefix{size}={lower[:size]}", f"suffix{size}={lower[-size:]}"]
    tests = {
        "digits": word.isdigit(),
        "has-digit": any(char.isdigit() for char in word),
        "title": word.istitle(),
        "upper": word.isupper(),
        "hyphen": "-" in word,
    }
    return [*found, *(name for name, holds in tests.items() if holds)]


def neighbour_features(word: str) -> list[str]:
    """What a word tells its neighbours."""
    found = [f"lower={word.lower()}", f"short={short_shape(shape(word))}"]
    if word.istitle():
        found.append("title")
    if word.isupper():
        found.append("upper")
    return found


def sentence_features(words: Sequence[str]) -> list[list[str]]:
    """The features of each word of a sentence: its own, those of two neighbours on both sides, bigrams, the ends."""
    own = [word_features(word) for word in words]
    told = [neighbour_features(word) for word in words]
    lower = [word.lower() for word in words]
    rows = []
    for index in range(len(words)):
        row = ["bias", *own[index]]
        for step in (*range(-REACH, 0), *range(1, REACH + 1)):
            if 0 <= index + step < len(words):
                row += [f"{step:+d}:{feature}" for feature in told[index + step]]
        row.append(f"-1|0={lower[index - 1]}|{lower[index]}" if index else "BOS")
        row.append(f"0|+1={lower[index]}|{lower[index + 1]}" if index + 1 < len(words) else "EOS")
        rows.append(row)
    return rows


def run(split: Split, seed: int) -> Answer:
    """Train on train, tag test. The seed decides nothing."""
    from sklearn_crfsuite import CRF

    began = time.perf_counter()
    model = CRF(**PARAMETERS)
    model.fit(
        [sentence_features(sentence.words) for sentence in split.train],
        [list(sentence.tags or ()) for sentence in split.train],
    )
    trained = time.perf_counter()
    tags = [model.predict_single(sentence_features(sentence.words)) for sentence in split.test]
    ended = time.perf_counter()
    account = {"iterations": len(model.training_log_.iterations), "features": model.num_attributes_}
    return Answer(tags, trained - began, ended - trained, None, account)
