"""Offsets in UTF-16 units are found, converted and said; offsets in characters are left alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lookright.data import CharSpan, read_spans_jsonl
from lookright.data.offsets import from_utf16, utf16_length
from lookright.errors import DataError
from lookright.tags import Scheme

from . import strategies as own


def read(tmp_path, *records, **options):
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    return read_spans_jsonl(file, **options)


def utf16(text, start, end):
    """The offsets as JavaScript counts them."""
    return len(text[:start].encode("utf-16-le")) // 2, len(text[:end].encode("utf-16-le")) // 2


TEXT = "😀 Anna met 👩‍👩‍👧 Bob"
ANNA = CharSpan("PER", TEXT.index("Anna"), TEXT.index("Anna") + 4)
BOB = CharSpan("PER", TEXT.index("Bob"), TEXT.index("Bob") + 3)


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        ([(ANNA, "Anna")], "'Anna' is found there"),
        ([(BOB, None)], "offset 24 in a text of 20 characters"),
        ([(ANNA, None)], "lie on word borders"),
    ],
)
def test_utf16_is_found_by_each_kind_of_evidence(tmp_path, spans, why):
    records = []
    for span, surface in spans:
        start, end = utf16(TEXT, span.start, span.end)
        record = {"start": start, "end": end, "label": "PER"}
        records.append({"text": TEXT, "spans": [record if surface is None else record | {"text": surface}]})
    records.append({"text": "plain Anna", "spans": [{"start": 6, "end": 10, "label": "PER"}]})
    dataset = read(tmp_path, *records)
    assert [s.char_spans[0] for s in dataset] == [*(span for span, _ in spans), CharSpan("PER", 6, 10)]
    note = dataset.note("utf-16")
    assert note.message.startswith("offsets count UTF-16 units (")
    assert why in note.message


@pytest.mark.parametrize("surface", [{}, {"text": "Anna"}])
def test_offsets_in_characters_are_left_alone(tmp_path, surface):
    dataset = read(
        tmp_path,
        {"text": TEXT, "spans": [{"start": ANNA.start, "end": ANNA.end, "label": "PER"} | surface]},
        {"text": TEXT, "spans": [{"start": BOB.start, "end": BOB.end, "label": "PER"}]},
    )
    assert [s.char_spans for s in dataset] == [(ANNA,), (BOB,)]
    assert dataset.note("utf-16") is None


def test_an_offset_within_a_surrogate_pair_proves_characters(tmp_path):
    text = "😀😀x Anna"
    # As characters "😀x"; read as UTF-16 the span would begin in the middle of the first emoji.
    dataset = read(tmp_path, {"text": text, "label": [[1, 3, "A"]]}, unaligned="drop")
    assert dataset[0].char_spans == (CharSpan("A", 1, 3),)
    assert dataset.note("utf-16") is None
    with pytest.raises(DataError, match=r":1: span 1 to 3 .A. cuts a surrogate pair: not UTF-16 offsets"):
        read(tmp_path, {"text": text, "label": [[1, 3, "A"]]}, offset_unit="utf-16")


def test_proof_of_both_units_is_an_error_that_names_both_lines(tmp_path):
    start, end = utf16(TEXT, *ANNA[1:])
    with pytest.raises(DataError, match=r":2: offsets count characters in line 1 .* UTF-16 units in line 2"):
        read(
            tmp_path,
            {"text": TEXT, "spans": [{"start": ANNA.start, "end": ANNA.end, "label": "PER", "text": "Anna"}]},
            {"text": TEXT, "spans": [{"start": start, "end": end, "label": "PER", "text": "Anna"}]},
        )


def test_the_unit_can_be_given(tmp_path):
    start, end = utf16(TEXT, *ANNA[1:])
    record = {"text": TEXT, "spans": [{"start": start, "end": end, "label": "PER"}]}
    assert read(tmp_path, record, offset_unit="utf-16")[0].char_spans == (ANNA,)
    with pytest.raises(DataError, match="do not fit the words"):
        read(tmp_path, record, offset_unit="characters")
    with pytest.raises(DataError, match="offset unit 'bytes'"):
        read(tmp_path, record, offset_unit="bytes")
    with pytest.raises(DataError, match="is outside the text; the text has 24 UTF-16 units"):
        read(tmp_path, {"text": TEXT, "spans": [{"start": 0, "end": 26, "label": "PER"}]}, offset_unit="utf-16")


@given(st.text(st.one_of(st.sampled_from("a😀"), own.characters)))
@settings(deadline=None, max_examples=200)
def test_positions_agree_with_the_utf16_encoder(text):
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2
    positions = from_utf16(text)
    assert len(positions) == utf16_length(text) + 1
    for index in range(len(text) + 1):
        assert positions[utf16_length(text[:index])] == index
    assert sum(position is None for position in positions) == utf16_length(text) - len(text)


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_surfaces_decide_for_every_text(tmp_path_factory, data):
    """With surface strings both readings of a file give the same spans, wherever the two units differ at all."""
    sentence = data.draw(own.text_sentences(Scheme.IOB2).filter(lambda s: s.char_spans))
    text, gold = sentence.text, sentence.char_spans
    positions = from_utf16(text)
    for _, start, end in gold:
        surface = text[start:end]
        if utf16(text, start, end) != (start, end):  # the same string at both places proves nothing
            assume(text[slice(*utf16(text, start, end))] != surface)
            assume(None in (positions[start], positions[end]) or text[positions[start] : positions[end]] != surface)
    folder = tmp_path_factory.mktemp("units")
    for convert in (utf16, lambda _, start, end: (start, end)):
        spans = []
        for kind, first, last in gold:
            start, end = convert(text, first, last)
            spans.append({"start": start, "end": end, "label": kind, "text": text[first:last]})
        assert read(folder, {"text": text, "spans": spans})[0].char_spans == gold
