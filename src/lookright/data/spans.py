"""JSON Lines with running text and character spans, as annotation tools write them.

Shapes, told apart record by record:

    doccano     {"text": "...", "label": [[0, 6, "LOC"]]}          also "labels"
                {"text": "...", "entities": [{"start_offset": 0, "end_offset": 6, "label": "LOC"}]}
    spaCy       {"text": "...", "entities": [[0, 6, "LOC"]]}       or a list of {"start": 0, "end": 6, "label": "LOC"}
    Prodigy     {"text": "...", "spans": [{"start": 0, "end": 6, "label": "LOC", "text": "Zagreb"}]}
    no gold     {"text": "..."}

`text[start:end]` is the span. Offsets count characters, or UTF-16 units where the file shows it (see `offsets.py`):
those are converted, and a note says so. A surface string ("text" in a span) must be what stands there. Every record is
a document of its own, unless `document_id` (or `doc_id`) says which belong together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from lookright.data.alignment import POLICIES, Misfit, align, count_fitting
from lookright.data.collect import Read, collect
from lookright.data.jsonl import with_documents
from lookright.data.lines import name_of, text_target
from lookright.data.offsets import CHARACTERS, UNITS, UTF16, GoldSpan, find_unit, to_characters
from lookright.data.records import SPAN_KEYS, DocumentBorders, Record, Records, iter_records, record_source
from lookright.data.sentence import Dataset, Note, Place, Sentence
from lookright.data.words import WordSplitter
from lookright.errors import DataError
from lookright.tags import Scheme, to_spans, to_tags

_START_KEYS: Final = ("start", "start_offset", "start_char")
_END_KEYS: Final = ("end", "end_offset", "end_char")
_TYPE_KEYS: Final = ("label", "type", "entity_group")

Problem = tuple[Place, Misfit]


def read_spans_jsonl(
    path: str | Path,
    *,
    splitter: WordSplitter | None = None,
    unaligned: str = "error",
    offset_unit: str = "auto",
    scheme: Scheme | str = "auto",
) -> Dataset:
    """Read a file of texts with character spans whole; see the top of this module.

    Args:
        path: the file, or "-" for standard input.
        splitter: cuts the texts into words; by default the default rule.
        unaligned: what to do with gold spans that do not lie on word borders, or that overlap: "error", "snap" (move
            them to the borders of the words they touch; of overlapping ones the longest stays) or "drop".
        offset_unit: "auto", "characters" or "utf-16".
        scheme: the scheme of the tags to make; "auto" is IOB2.

    Raises:
        DataError: with file and line, for whatever is not such a record, and for misfits where the policy is "error".
    """
    return read_span_records(record_source(path), name_of(path), splitter, unaligned, offset_unit, scheme)


def read_span_records(
    records: Records,
    name: str,
    splitter: WordSplitter | None = None,
    unaligned: str = "error",
    offset_unit: str = "auto",
    scheme: Scheme | str = "auto",
) -> Dataset:
    """As `read_spans_jsonl`, from records; `name` is how messages call their source."""
    notes: list[Note] = []
    problems: list[Problem] = []
    unit = _unit(records, name, splitter, offset_unit, notes)
    wanted = _scheme(scheme)
    reads = list(span_reads(records(), name, splitter, unaligned, unit, wanted, problems))
    n_spans = sum(len(read.sentence.char_spans or ()) for read in reads)
    if problems:
        if unaligned == "error":
            raise _misfit_error(problems, f"{len(problems)} of {n_spans} gold spans do")
        notes.append(_misfit_note(problems, n_spans))
    return collect(reads, path=name, scheme=wanted, scheme_source="made from character spans", notes=notes)


def iter_spans_jsonl(
    path: str | Path,
    *,
    splitter: WordSplitter | None = None,
    unaligned: str = "error",
    offset_unit: str = "auto",
    scheme: Scheme | str = "auto",
    notes: list[Note] | None = None,
) -> Iterator[Read]:
    """Read such a file record by record; the arguments are those of `read_spans_jsonl`.

    With "auto" the file is read twice, as its unit is known at its end only; from standard input that needs all of it
    in memory. `notes` is filled, at the end, with what there is to say. "error" raises at the first misfit.
    """
    name = name_of(path)
    said: list[Note] = [] if notes is None else notes
    problems: list[Problem] = []
    records = record_source(path) if offset_unit == "auto" else (lambda: iter_records(path))
    unit = _unit(records, name, splitter, offset_unit, said)
    n_spans = 0
    for read in span_reads(records(), name, splitter, unaligned, unit, _scheme(scheme), problems):
        n_spans += len(read.sentence.char_spans or ())
        if problems and unaligned == "error":
            raise _misfit_error(problems, "a gold span does")
        yield read
    if problems:
        said.append(_misfit_note(problems, n_spans))


def _scheme(scheme: Scheme | str) -> Scheme:
    wanted = Scheme.IOB2 if scheme == "auto" else Scheme.parse(scheme)
    if wanted is Scheme.PLAIN:
        raise DataError("character spans cannot be written as plain tags: expected IOB2, IOBES, BILOU, IOB1 or IO")
    return wanted


def _unit(records: Records, name: str, splitter: WordSplitter | None, asked: str, notes: list[Note]) -> str:
    """The unit of the file's offsets; where it is UTF-16, that is said."""
    if asked not in UNITS:
        raise DataError(f"offset unit {asked!r}: expected one of {', '.join(UNITS)}")
    if asked != "auto":
        return asked
    splitter = splitter or WordSplitter()
    texts = ((line, *_text_and_spans(record, name, line)) for line, record in records())
    unit = find_unit(
        ((line, text, spans or ()) for line, text, spans, _ in texts),
        name,
        lambda text, spans: count_fitting(splitter.split(text), spans),
    )
    if unit.name == UTF16:
        notes.append(Note("utf-16", f"offsets count UTF-16 units ({unit.reason}); converted to characters"))
    return unit.name


def span_reads(
    records: Iterable[tuple[int, Record]],
    name: str,
    splitter: WordSplitter | None = None,
    unaligned: str = "drop",
    unit: str = CHARACTERS,
    scheme: Scheme = Scheme.IOB2,
    problems: list[Problem] | None = None,
) -> Iterator[Read]:
    """Sentences from `(line, record)` pairs. `problems` gets every gold span that did not fit; nothing is raised."""
    if unaligned not in POLICIES:
        raise DataError(f"policy {unaligned!r} for gold spans off word borders: expected one of {', '.join(POLICIES)}")
    splitter = splitter or WordSplitter()
    borders = DocumentBorders(each_record=True)
    gold_since: int | None = None
    first = True
    for line, record in records:
        text, given, key = _text_and_spans(record, name, line)
        if first and given is not None:
            gold_since = line
        if (given is None) != (gold_since is None):
            here, there = ("no spans", "has some") if given is None else (f"{key!r}", "has no spans")
            raise DataError(
                f"{here} in this record, while the first one {there}: expected all or none (an empty list is fine)",
                path=name,
                line=line,
            )
        first = False
        sentence = splitter.sentence(text, path=name, line=line)
        if given is not None:
            spans = to_characters(text, given, unit, name, line)
            over, misfits = align(text, sentence.offsets or (), spans, unaligned)
            if problems is not None:
                problems.extend((_place(text, misfit, name, line), misfit) for misfit in misfits)
            tags = tuple(to_tags(over, len(sentence.words), scheme))
            sentence = Sentence(sentence.words, tags, text, sentence.offsets, name, line, tuple(dict.fromkeys(spans)))
        yield Read(sentence, borders.starts(record))


def _place(text: str, misfit: Misfit, name: str, line: int) -> Place:
    kind, start, end = misfit.span
    return Place(name, line, f"{text[start:end]!r} ({kind}, characters {start} to {end}) {misfit.reason}")


def _misfit_error(problems: Sequence[Problem], subject: str) -> DataError:
    place, _ = problems[0]
    return DataError(
        f"{subject} not fit the words; the first is {place.text}; move them to word borders (unaligned='snap'), leave "
        "them out ('drop') or split words otherwise; `lookright check FILE` lists all",
        path=place.path,
        line=place.line,
    )


def _misfit_note(problems: Sequence[Problem], n_spans: int) -> Note:
    snapped = sum(misfit.snapped for _, misfit in problems)
    places = tuple(
        place._replace(text=f"{place.text}: {'snapped' if misfit.snapped else 'dropped'}") for place, misfit in problems
    )
    message = (
        f"{len(problems)} of {n_spans} gold spans do not fit the words: {snapped} snapped to word borders, "
        f"{len(problems) - snapped} dropped; the first is {places[0]}"
    )
    return Note("unaligned", message, len(problems), places)


def _text_and_spans(record: Record, name: str, line: int) -> tuple[str, list[GoldSpan] | None, str | None]:
    """Text, spans (None where the record has no key for them) and the key they were found under."""
    text = record.get("text")
    if not isinstance(text, str):
        found = "no 'text'" if text is None else f"'text' is {_short(text)}"
        raise DataError(f"{found}, expected a string", path=name, line=line)
    keys = [key for key in SPAN_KEYS if record.get(key) is not None]
    if not keys:
        return text, None, None
    # An empty list beside a full one is a leftover of the tool; two full ones are two annotations.
    full = [key for key in keys if record[key]] or keys[:1]
    key = full[0]
    values = record[key]
    if isinstance(values, str):
        message = (
            f"{key!r} is the string {_short(values)}: one class per text, which is for --task text; expected spans "
            "[[start, end, type], ...]"
        )
        raise DataError(message, path=name, line=line)
    if len(full) > 1:
        message = f"spans under {' and '.join(map(repr, full))}: expected one of them"
        raise DataError(message, path=name, line=line)
    if not isinstance(values, list):
        raise DataError(f"{key!r} is {_short(values)}, expected [[start, end, type], ...]", path=name, line=line)
    return text, [_gold_span(value, f"{key}[{index}]", name, line) for index, value in enumerate(values)], key


def _gold_span(value: Any, where: str, name: str, line: int) -> GoldSpan:
    surface = None
    if isinstance(value, list) and len(value) == 3:
        start, end, kind = value
    elif isinstance(value, dict):
        start, end, kind = (_first(value, keys) for keys in (_START_KEYS, _END_KEYS, _TYPE_KEYS))
        surface = value.get("text")
    else:
        raise DataError(f"{where} is {_short(value)}, expected [start, end, type]", path=name, line=line)
    if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind.strip():
        raise DataError(
            f"{where} is {_short(value)}, expected whole numbers as start and end, and a type", path=name, line=line
        )
    if surface is not None and not isinstance(surface, str):
        raise DataError(f"the 'text' of {where} is {_short(surface)}, expected a string", path=name, line=line)
    return GoldSpan(kind, start, end, surface)


def _first(value: Record, keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if key in value), None)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "..."


def write_spans_jsonl(
    dataset: Dataset | Iterable[Sentence], target: str | Path | TextIO, scheme: Scheme | None = None
) -> None:
    """Write `{"text": ..., "spans": [{"start", "end", "label", "text"}, ...]}`, offsets in characters, from the tags.

    Sentences without a text of their own have their words joined with single spaces; those without tags are written
    without spans.

    Args:
        dataset: a `Dataset` (its documents are kept) or sentences.
        target: a file name (written whole or not at all), "-" for standard output, or an open text file.
        scheme: the scheme of the tags; by default the data set's.

    Raises:
        DataError: when the scheme is not known, or has no spans.
        OutputError: when the file cannot be written.
    """
    scheme = scheme or (dataset.scheme if isinstance(dataset, Dataset) else None)
    with text_target(target) as handle:
        for sentence, document in with_documents(dataset, each_record=True):
            record: dict[str, Any] = {} if document is None else {"document_id": document}
            record["text"], offsets = sentence.surface()
            if sentence.tags is not None:
                if scheme is None:
                    raise DataError(
                        "the scheme of the tags is not known: give it", path=sentence.path, line=sentence.line
                    )
                record["spans"] = [
                    {
                        "start": (start := offsets[span.start][0]),
                        "end": (end := offsets[span.end - 1][1]),
                        "label": span.type,
                        "text": record["text"][start:end],
                    }
                    for span in to_spans(sentence.tags, scheme)
                ]
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")
