"""The best permitted sequence of labels for every sentence.

Viterbi's algorithm (Viterbi 1967; Rabiner 1989, section III.B) over independent word scores and hard constraints: a
step between labels is permitted or not, and has no weight of its own. All sentences of a batch move forward together,
one word a step; longer ones go on alone, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookright.errors import SchemeError
from lookright.tags import Transitions

# Stands in for minus infinity (and NaN) in word scores, so that a permitted path through impossible words still beats
# every forbidden one. 1e30 times any number of words is finite, and swallows every real log-probability.
_IMPOSSIBLE = -1e30
# Scores held at a time (32 MB of float64); a longer sentence is decoded by itself.
_GROUP_SIZE = 4_000_000


def decode(
    log_probs: Sequence[NDArray[np.floating[Any]]],
    transitions: Transitions,
    *,
    method: Literal["viterbi", "argmax"] = "viterbi",
) -> list[NDArray[np.int64]]:
    """Decode sentences, each on its own whatever its company.

    Args:
        log_probs: for each sentence (n_words, n_labels): log-probabilities, or any scores that add up. Minus infinity
            and NaN count as all but impossible.
        transitions: which labels may begin, follow one another and end.
        method: "viterbi" for the best permitted path; "argmax" for the best label of each word, permitted or not.

    Returns:
        For each sentence (n_words,) label indices. Among equal paths the one whose last label has the lowest index,
        then the last but one, and so on. A permitted path comes back even where none has a finite score.

    Raises:
        SchemeError: scores over another number of labels; transitions that permit no path of the sentence's length.
    """
    n_labels = len(transitions.start)
    for index, scores in enumerate(log_probs):
        if scores.ndim != 2 or scores.shape[1] != n_labels:
            raise SchemeError(f"sentence {index + 1}: scores of shape {scores.shape}, expected (n_words, {n_labels})")
    if method not in ("viterbi", "argmax"):
        raise SchemeError(f"unknown decoding {method!r}: expected 'viterbi' or 'argmax'")
    free = all(transitions.start) and all(transitions.end) and all(all(row) for row in transitions.step)
    if method == "argmax" or free:
        return [_finite(scores).argmax(axis=1) if len(scores) else _no_labels() for scores in log_probs]
    decoded = [_no_labels() for _ in log_probs]
    for group in _groups([len(scores) for scores in log_probs], n_labels):
        for index, labels in zip(group, _decode_group([log_probs[i] for i in group], transitions), strict=True):
            decoded[index] = labels
    return decoded


def _no_labels() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


def _finite(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """In float64, so that a sum does not depend on the precision of the model's output."""
    wide = scores.astype(np.float64)
    return np.nan_to_num(wide, copy=False, nan=_IMPOSSIBLE, neginf=_IMPOSSIBLE, posinf=-_IMPOSSIBLE)


def _groups(lengths: Sequence[int], n_labels: int) -> Iterator[list[int]]:
    """Sentences with words, the longest first, in groups of bounded size."""
    group: list[int] = []
    words = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[index] == 0:
            break
        # The second bound is on the scores of one step, (sentences, n_labels, n_labels).
        full = (words + lengths[index]) * n_labels > _GROUP_SIZE or (len(group) + 1) * n_labels**2 > _GROUP_SIZE
        if group and full:
            yield group
            group, words = [], 0
        group.append(index)
        words += lengths[index]
    if group:
        yield group


def _decode_group(log_probs: Sequence[NDArray[np.floating[Any]]], transitions: Transitions) -> list[NDArray[np.int64]]:
    """Decode sentences of one word or more, the longest first."""
    lengths = np.array([len(scores) for scores in log_probs])
    offsets = np.cumsum(lengths) - lengths
    emissions = np.concatenate([_finite(scores) for scores in log_probs])  # (all words, n_labels)
    n_labels = emissions.shape[1]
    # How many sentences have a word at each position; they are the first ones, since the longest come first.
    alive = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left").tolist()

    start, end, step = (
        np.where(np.array(part), 0.0, -np.inf) for part in (transitions.start, transitions.end, transitions.step)
    )
    into = np.ascontiguousarray(step.T)  # (to, from): the label to choose, "from", lies along the last axis
    best = emissions[offsets] + start  # (sentences, n_labels): the best path up to here that ends in the label
    backs = np.zeros(emissions.shape, dtype=np.min_scalar_type(n_labels))
    for position in range(1, int(lengths[0])):
        n = alive[position]
        rows = offsets[:n] + position
        paths = best[:n, None, :] + into  # (sentences, to, from)
        backs[rows] = paths.argmax(axis=2)
        best[:n] = paths.max(axis=2) + emissions[rows]
    best += end
    labels = best.argmax(axis=1)
    if np.isneginf(best.max(axis=1)).any():
        raise SchemeError("the transitions permit no path of a sentence's length: is 'O' among the labels?")

    decoded = np.zeros(len(emissions), dtype=np.int64)
    decoded[offsets + lengths - 1] = labels
    for position in range(int(lengths[0]) - 1, 0, -1):
        rows = offsets[: alive[position]] + position
        decoded[rows - 1] = backs[rows, decoded[rows]]
    return np.split(decoded, offsets[1:])
