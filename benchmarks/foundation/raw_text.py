"""Strict span F1 when test sentences are given as running text instead of as the words of the data set.

The gold words are joined as people write ("Zagreb." for "Zagreb ."), the tagger splits the text by its own word rule,
and its character spans are compared with the gold ones: same type, same first and same last character.
"""

from __future__ import annotations

from typing import Any

from lookright.encoding import joins
from lookright.tags import Scheme, to_spans


def score_raw_text(tagger: Any, dataset: Any) -> float | None:
    """Micro F1 (0 to 100) over character spans of the detokenised sentences; none for tags without spans."""
    if dataset.scheme is Scheme.PLAIN:
        return None
    texts, gold = [], []
    for sentence in dataset.sentences:
        text, offsets = joins.join(sentence.words, joins.detokenize(sentence.words))
        texts.append(text)
        spans = to_spans(sentence.tags, dataset.scheme)
        gold.append({(s.type, offsets[s.start][0], offsets[s.end - 1][1]) for s in spans})
    predicted = [{(s.type, s.start, s.end) for s in spans} for spans in tagger.predict(texts)]
    correct = sum(len(a & b) for a, b in zip(gold, predicted, strict=True))
    total = sum(map(len, gold)) + sum(map(len, predicted))
    return 200 * correct / total if total else 0.0
