"""In which unit a file counts its offsets: characters (code points), or UTF-16 units.

JavaScript, Java and C# count UTF-16 units, and so do many annotation tools; an emoji is one character and two of those
units. The two agree in texts without such characters, so only the others can tell. The evidence, strongest first:

1. the surface string that a span carries is found at its offsets in one reading only;
2. an offset lies beyond the text in characters, or in the middle of a surrogate pair in UTF-16;
3. read as UTF-16 every span lies on word borders, and read in characters some do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lookright.data.sentence import CharSpan
from lookright.errors import DataError

CHARACTERS: Final = "characters"
UTF16: Final = "utf-16"
UNITS: Final = ("auto", CHARACTERS, UTF16)

Fits = Callable[[str, Sequence[CharSpan]], int]
"""How many of the spans lie on the borders of words of the text."""


class GoldSpan(NamedTuple):
    """A span as a file gives it: offsets in an unknown unit, with its surface string where the file has one."""

    type: str
    start: int
    end: int
    surface: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit found, and why (a clause for people)."""

    name: str
    reason: str


def utf16_length(text: str) -> int:
    """Length of a text in UTF-16 units."""
    return len(text) + sum(character > "\uffff" for character in text)


def from_utf16(text: str) -> list[int | None]:
    """Character position for each UTF-16 position 0 .. length; None in the middle of a surrogate pair."""
    positions: list[int | None] = []
    for index, character in enumerate(text):
        positions.append(index)
        if character > "\uffff":
            positions.append(None)
    positions.append(len(text))
    return positions


def find_unit(texts: Iterable[tuple[int, str, Sequence[GoldSpan]]], name: str, fits: Fits) -> Unit:
    """Find the unit of a file.

    Args:
        texts: `(line, text, spans)`.
        name: the file, for messages.
        fits: counts the spans (in characters) that lie on word borders of a text.

    Raises:
        DataError: when two lines prove two different units.
    """
    proof: dict[str, tuple[int, str]] = {}
    n_spans = n_characters = n_utf16 = 0
    for line, text, spans in texts:
        if not spans or text.isascii() or max(text) <= "\uffff":
            continue
        positions = from_utf16(text)
        for span in spans:
            evidence = _evidence(text, positions, span)
            if evidence is not None:
                proof.setdefault(evidence[0], (line, evidence[1]))
        n_spans += len(spans)
        n_characters += fits(text, [CharSpan(*span[:3]) for span in spans])
        converted = [_convert(positions, span) for span in spans]
        n_utf16 += fits(text, [CharSpan(*span[:3]) for span in converted if span is not None])
    if len(proof) == 2:
        (first, why), (second, why_not) = proof[CHARACTERS], proof[UTF16]
        raise DataError(
            f"offsets count characters in line {first} ({why}) and UTF-16 units in line {second} ({why_not}): "
            "expected one unit per file; split the file, or give the unit",
            path=name,
            line=max(first, second),
        )
    for unit, (line, why) in proof.items():
        return Unit(unit, f"{why} in line {line}")
    if n_utf16 == n_spans > n_characters:
        return Unit(
            UTF16,
            f"so all {n_spans} spans in texts with emoji and the like lie on word borders, else only {n_characters}",
        )
    return Unit(CHARACTERS, "nothing speaks against it")


def _evidence(text: str, positions: Sequence[int | None], span: GoldSpan) -> tuple[str, str] | None:
    """The unit that this span proves, with the reason; None where it fits both or neither."""
    converted = _convert(positions, span)
    if span.surface is not None:
        as_characters = span.start >= 0 and text[span.start : span.end] == span.surface
        as_utf16 = converted is not None and text[converted.start : converted.end] == span.surface
        if as_characters != as_utf16:
            return (CHARACTERS if as_characters else UTF16), f"{span.surface!r} is found there"
        return None
    if len(text) < span.end < len(positions):
        return UTF16, f"offset {span.end} in a text of {len(text)} characters"
    if span.end < len(positions) and span.start >= 0 and converted is None:
        return CHARACTERS, f"{span.start} to {span.end} would cut a surrogate pair"
    return None


def _convert(positions: Sequence[int | None], span: GoldSpan) -> GoldSpan | None:
    """The span in characters, read as UTF-16; None where that is outside the text or within a surrogate pair."""
    if not 0 <= span.start < len(positions) or not 0 <= span.end < len(positions):
        return None
    start, end = positions[span.start], positions[span.end]
    return None if start is None or end is None else span._replace(start=start, end=end)


def to_characters(text: str, spans: Sequence[GoldSpan], unit: str, name: str, line: int) -> list[CharSpan]:
    """The spans with offsets in characters, checked against the text and their surface strings.

    Raises:
        DataError: offsets outside the text, empty spans, offsets within a surrogate pair, another surface string.
    """
    astral = unit == UTF16 and not text.isascii()
    positions = from_utf16(text) if astral else None
    length = len(text) if positions is None else len(positions) - 1
    checked = []
    for span in spans:
        if not 0 <= span.start < span.end <= length:
            counted = "characters" if positions is None else "UTF-16 units"
            why = "is empty or backwards" if 0 <= span.end <= span.start else "is outside the text"
            raise DataError(
                f"span {span.start} to {span.end} ({span.type}) {why}; the text has {length} {counted}: expected "
                "0 <= start < end <= length",
                path=name,
                line=line,
            )
        found: GoldSpan | None = span if positions is None else _convert(positions, span)
        if found is None:
            message = f"span {span.start} to {span.end} ({span.type}) cuts a surrogate pair: not UTF-16 offsets"
            raise DataError(message, path=name, line=line)
        surface = text[found.start : found.end]
        if span.surface is not None and surface.strip() != span.surface.strip():
            raise DataError(
                f"{surface!r} is at {span.start} to {span.end} ({span.type}), while the record says {span.surface!r}: "
                "the offsets are wrong, or belong to another text",
                path=name,
                line=line,
            )
        checked.append(CharSpan(found.type, found.start, found.end))
    return checked
