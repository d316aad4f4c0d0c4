"""Made-up counts of test sentences, whose answer is known."""

from __future__ import annotations

import numpy as np

from lookright.study.rows import Counts

N_SENTENCES = 600


def gold(n: int = N_SENTENCES, seed: int = 0) -> np.ndarray:
    """Spans of each sentence of a made-up test set."""
    return np.random.default_rng(seed).poisson(1.5, size=n)


def counts_of(quality: float, seed: int, spans: np.ndarray | None = None) -> Counts:
    """Counts (n_sentences, 3) of a system that finds a span with this chance, and makes as many errors as it misses."""
    spans = gold() if spans is None else spans
    correct = np.random.default_rng(1000 + seed).binomial(spans, quality)
    return np.stack([spans, spans, correct], axis=1)


def figure(counts: Counts) -> float:
    """F1 of counts."""
    total = counts.sum(axis=0)
    return float(2 * total[2] / (total[0] + total[1]))
