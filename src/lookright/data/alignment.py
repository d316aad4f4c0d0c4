"""Gold spans over characters, laid onto words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lookright.data.sentence import CharSpan, Sentence
from lookright.errors import DataError
from lookright.tags import Scheme, Span, to_spans

POLICIES: Final = ("error", "snap", "drop")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A gold span that the words cannot carry as it is.

    Attributes:
        span: the span, in characters.
        reason: why ("cuts a word", "has white space at its edge", "overlaps ...", "holds no word").
        snapped: whether it was moved to the borders of the words it touches; otherwise no tag carries it.
    """

    span: CharSpan
    reason: str
    snapped: bool


def align(
    text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[CharSpan], policy: str
) -> tuple[list[Span], list[Misfit]]:
    """Lay character spans onto words.

    Spans on word borders are taken as they are. One that is not is moved to the borders of the words that it touches
    (policy "snap") or left out ("drop", and also "error", where the caller raises). Of spans that overlap then, the
    longest is kept, and of equal ones those that needed no moving, then the first. A span given twice counts once.

    Args:
        text: the text.
        offsets: the words' borders in it, `(start, end)` in characters.
        spans: the gold spans, in characters, inside the text.
        policy: "error", "snap" or "drop".

    Returns:
        the spans over words, in order, and every span that did not fit.
    """
    starts = {start: index for index, (start, _) in enumerate(offsets)}
    ends = {end: index for index, (_, end) in enumerate(offsets)}
    candidates: list[tuple[CharSpan, Span, str]] = []
    misfits: list[Misfit] = []
    for span in dict.fromkeys(spans):
        first, last = starts.get(span.start), ends.get(span.end)
        if first is not None and last is not None:
            candidates.append((span, Span(span.type, first, last + 1), ""))
            continue
        reason = _reason(text, offsets, span)
        touched = touched_words(offsets, span)
        if policy == "snap" and touched is not None:
            candidates.append((span, Span(span.type, *touched), reason))
        else:
            misfits.append(Misfit(span, reason, snapped=False))
    kept: list[Span] = []
    taken: dict[int, CharSpan] = {}
    for span, over, reason in sorted(candidates, key=lambda c: (c[1].start - c[1].end, bool(c[2]), c[1].start)):
        other = next((taken[word] for word in range(over.start, over.end) if word in taken), None)
        if other is not None:
            clash = f"overlaps {text[other.start : other.end]!r} ({other.type})"
            misfits.append(Misfit(span, clash, snapped=False))
            continue
        kept.append(over)
        taken.update(dict.fromkeys(range(over.start, over.end), span))
        if reason:
            misfits.append(Misfit(span, reason, snapped=True))
    kept.sort(key=lambda over: over.start)
    misfits.sort(key=lambda misfit: (misfit.span.start, misfit.span.end))
    return kept, misfits


def touched_words(offsets: Sequence[tuple[int, int]], span: CharSpan) -> tuple[int, int] | None:
    """First and last (exclusive) of the words that share a character with the span; None where there is none."""
    first = bisect_right(offsets, span.start, key=lambda word: word[1])
    beyond = bisect_left(offsets, span.end, key=lambda word: word[0])
    return (first, beyond) if first < beyond else None


def _reason(text: str, offsets: Sequence[tuple[int, int]], span: CharSpan) -> str:
    if touched_words(offsets, span) is None:
        return "holds no word"
    if text[span.start].isspace() or text[span.end - 1].isspace():
        return "has white space at its edge"
    return "cuts a word"


def count_fitting(offsets: Sequence[tuple[int, int]], spans: Sequence[CharSpan]) -> int:
    """How many of the spans lie on word borders."""
    starts, ends = {start for start, _ in offsets}, {end for _, end in offsets}
    return sum(span.start in starts and span.end in ends and span.start < span.end for span in spans)


def lost_spans(sentence: Sentence, scheme: Scheme) -> list[CharSpan]:
    """The gold spans of a sentence that its tags do not carry, neither as they are nor snapped to word borders.

    A score over the full gold counts each of them as missed.

    Raises:
        DataError: when the sentence has gold spans and no tags.
    """
    if not sentence.char_spans:
        return []
    if sentence.tags is None:
        raise DataError("gold spans without tags", path=sentence.path, line=sentence.line)
    _, offsets = sentence.surface()
    carried = set(to_spans(sentence.tags, scheme))
    lost = []
    for span in dict.fromkeys(sentence.char_spans):
        touched = touched_words(offsets, span)
        over = None if touched is None else Span(span.type, *touched)
        if over in carried:
            carried.discard(over)  # two gold spans that fall on the same words: the tags carry one
        else:
            lost.append(span)
    return lost
