"""Time span scoring against seqeval on a million tags, in one run, and check that the figures agree.

    python -m benchmarks.foundation.scoring

Each timing is the best of several, the two libraries taking turns, single thread, strings in and scores out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.results import record
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2

from lookright.inference.viterbi import decode
from lookright.metrics import approximate_randomization, bootstrap_interval, evaluate_tags
from lookright.tags import Scheme, Span, label_set, to_tags, transitions

SEED = 0
SENTENCES, WORDS = 40_000, 25
TYPES = ["LOC", "MISC", "ORG", "PER"]


def random_tags(generator: np.random.Generator) -> list[list[str]]:
    """Tags drawn one by one: many of them ill-formed, every second word or so in a span."""
    labels = np.array(label_set(TYPES, Scheme.IOB2))
    return [labels[row].tolist() for row in generator.integers(0, len(labels), (SENTENCES, WORDS))]


def entity_like_tags(generator: np.random.Generator) -> list[list[str]]:
    """Well-formed tags: two spans of one to three words in a sentence, as in news text."""
    sentences = []
    for first, second, lengths, kinds in zip(
        generator.integers(0, 9, SENTENCES),
        generator.integers(12, 22, SENTENCES),
        generator.integers(1, 4, (SENTENCES, 2)),
        generator.integers(0, len(TYPES), (SENTENCES, 2)),
        strict=True,
    ):
        spans = [Span(TYPES[k], int(s), int(s + n)) for s, n, k in zip((first, second), lengths, kinds, strict=True)]
        sentences.append(to_tags(spans, WORDS, Scheme.IOB2))
    return sentences


def take_turns(*calls: Callable[[], Any], rounds: int) -> list[tuple[float, Any]]:
    """(best seconds, last result) of each call."""
    best = [float("inf")] * len(calls)
    results: list[Any] = [None] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            began = time.perf_counter()
            results[index] = call()
            best[index] = min(best[index], time.perf_counter() - began)
    return list(zip(best, results, strict=True))


def main() -> None:
    generator = np.random.default_rng(SEED)
    for kind, make in (("random", random_tags), ("entity-like", entity_like_tags)):
        gold, predicted = make(generator), make(generator)
        (ours, scores), (theirs, f1), (report_s, report) = take_turns(
            lambda gold=gold, predicted=predicted: evaluate_tags(gold, predicted, Scheme.IOB2),
            lambda gold=gold, predicted=predicted: f1_score(gold, predicted, mode="strict", scheme=IOB2),
            lambda gold=gold, predicted=predicted: classification_report(
                gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
            ),
            rounds=3,
        )
        assert abs(scores.f1 - f1) < 1e-12
        assert abs(scores.macro_f1 - report["macro avg"]["f1-score"]) < 1e-12
        assert all(abs(score.f1 - report[name]["f1-score"]) < 1e-12 for name, score in scores.per_type.items())
        what = f"scoring 1,000,000 {kind} tags, strict IOB2"
        record("foundation", f"{what}: lookright evaluate_tags", round(ours, 3), "s", goal=1.0, seeds=[SEED])
        record("foundation", f"{what}: seqeval f1_score", round(theirs, 3), "s", seeds=[SEED])
        record("foundation", f"{what}: seqeval classification_report", round(report_s, 3), "s", seeds=[SEED])
        record("foundation", f"{what}: seqeval f1_score / lookright", round(theirs / ours, 1), "times", seeds=[SEED])

    other = evaluate_tags(gold, entity_like_tags(generator), Scheme.IOB2)
    ((interval, _), (shuffles, _)) = take_turns(
        lambda: bootstrap_interval(scores), lambda: approximate_randomization(scores, other), rounds=3
    )
    record("foundation", "bootstrap interval, 1,000 samples of 40,000 sentences", round(interval, 3), "s", seeds=[SEED])
    record(
        "foundation",
        "approximate randomization, 10,000 shuffles of 40,000 sentences",
        round(shuffles, 3),
        "s",
        seeds=[SEED],
    )
    labels = label_set(TYPES, Scheme.IOB2)
    log_probs = list(generator.normal(size=(SENTENCES, WORDS, len(labels))).astype(np.float32))
    ((viterbi, _),) = take_turns(lambda: decode(log_probs, transitions(labels, Scheme.IOB2)), rounds=3)
    record(
        "foundation", "Viterbi over 1,000,000 words, 9 labels, sentences of 25", round(viterbi, 3), "s", seeds=[SEED]
    )


if __name__ == "__main__":
    main()
