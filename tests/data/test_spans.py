from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data import (
    CharSpan,
    Dataset,
    Sentence,
    WordSplitter,
    iter_spans_jsonl,
    lost_spans,
    read_spans_jsonl,
    write_spans_jsonl,
)
from lookright.errors import DataError, SchemeError
from lookright.tags import Scheme, Span, to_spans

from . import strategies as own


def read(tmp_path, *records, **options):
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return read_spans_jsonl(file, **options)


TEXT = "Zagreb, in Croatia."


@pytest.mark.parametrize(
    "gold",
    [
        {"label": [[0, 6, "LOC"], [11, 18, "LOC"]]},
        {"labels": [[0, 6, "LOC"], [11, 18, "LOC"]]},
        {"label": [], "entities": [[0, 6, "LOC"], [11, 18, "LOC"]]},
        {"spans": [{"start": 0, "end": 6, "label": "LOC", "text": "Zagreb"}, {"start": 11, "end": 18, "label": "LOC"}]},
        {"entities": [{"start": 0, "end": 6, "type": "LOC"}, {"start": 11, "end": 18, "type": "LOC", "score": 0.5}]},
        {
            "entities": [
                {"id": 1, "start_offset": 0, "end_offset": 6, "label": "LOC"},
                {"id": 2, "start_offset": 11, "end_offset": 18, "label": "LOC"},
            ],
            "relations": [],
        },
    ],
)
def test_shapes_of_annotation_tools(tmp_path, gold):
    sentence = read(tmp_path, {"text": TEXT, **gold})[0]
    assert sentence.words == ("Zagreb", ",", "in", "Croatia", ".")
    assert sentence.tags == ("B-LOC", "O", "O", "B-LOC", "O")
    assert sentence.char_spans == (CharSpan("LOC", 0, 6), CharSpan("LOC", 11, 18))


def test_texts_without_gold_have_no_tags(tmp_path):
    dataset = read(tmp_path, {"text": TEXT}, {"text": ""})
    assert [s.tags for s in dataset] == [None, None]
    assert dataset[1].words == ()
    assert dataset.scheme is None
    assert dataset.document_starts == (0, 1)


def test_the_scheme_is_a_choice(tmp_path):
    record = {"text": "a b c", "spans": [{"start": 0, "end": 5, "label": "X"}]}
    assert read(tmp_path, record, scheme="BILOU")[0].tags == ("B-X", "I-X", "L-X")
    with pytest.raises(DataError, match="plain tags"):
        read(tmp_path, record, scheme="none")
    with pytest.raises(SchemeError, match="unknown scheme"):
        read(tmp_path, record, scheme="XYZ")


def test_every_record_is_a_document_unless_an_id_says_otherwise(tmp_path):
    assert read(tmp_path, {"text": "a"}, {"text": "b"}).document_starts == (0, 1)
    records = [{"text": "a", "document_id": key} for key in (1, 1, 2, 2)]
    assert read(tmp_path, *records, {"text": "b"}, {"text": "b"}).document_starts == (0, 2, 4, 5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"text": TEXT, "label": "LOC"}, "'label' is the string \"LOC\": one class per text, which is for --task text"),
        ({"text": TEXT, "label": 3}, "'label' is 3, expected"),
        ({"text": TEXT, "label": [[0, 6]]}, r"label\[0\] is \[0, 6\], expected \[start, end, type\]"),
        ({"text": TEXT, "label": [[0, "6", "X"]]}, "expected whole numbers"),
        ({"text": TEXT, "label": [[0, 6.0, "X"]]}, "expected whole numbers"),
        ({"text": TEXT, "label": [[False, 6, "X"]]}, "expected whole numbers"),
        ({"text": TEXT, "label": [[0, 6, ""]]}, "expected whole numbers as start and end, and a type"),
        ({"text": TEXT, "label": [{"start": 0, "label": "X"}]}, "expected whole numbers"),
        ({"text": TEXT, "label": [[0, 6, "X"]], "entities": [[0, 6, "X"]]}, "spans under 'entities' and 'label'"),
        ({"text": TEXT, "label": [[0, 20, "X"]]}, "span 0 to 20 .X. is outside the text; the text has 19 characters"),
        ({"text": TEXT, "label": [[-1, 6, "X"]]}, "span -1 to 6 .X. is outside the text"),
        ({"text": TEXT, "label": [[6, 6, "X"]]}, "span 6 to 6 .X. is empty or backwards"),
        ({"text": TEXT, "label": [[6, 2, "X"]]}, "span 6 to 2 .X. is empty or backwards"),
        (
            {"text": TEXT, "spans": [{"start": 0, "end": 6, "label": "X", "text": "Croatia"}]},
            "'Zagreb' is at 0 to 6 .X., while the record says 'Croatia'",
        ),
        ({"text": TEXT, "spans": [{"start": 0, "end": 6, "label": "X", "text": 5}]}, "the 'text' of .* is 5"),
        ({"text": TEXT}, "no spans in this record, while the first one has some"),
        ({"text": 3, "label": []}, "'text' is 3, expected a string"),
        ({"txt": "a"}, "no 'text', expected a string"),
        (r'{"text": "\ud83d", "label": []}', "half a surrogate pair"),
    ],
)
def test_malformed_records_name_the_line(tmp_path, bad, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, {"text": TEXT, "label": [[0, 6, "LOC"]]}, "", bad)
    assert str(caught.value).startswith(f"{tmp_path / 'f.jsonl'}:3: ")
    assert "\n" not in str(caught.value)


def test_gold_in_a_later_record_only_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"f.jsonl:2: 'label' in this record, while the first one has no spans"):
        read(tmp_path, {"text": "a"}, {"text": "a", "label": []})


MISFITS = [
    {"text": TEXT, "label": [[0, 6, "LOC"]]},
    {"text": TEXT, "label": [[0, 4, "LOC"], [10, 18, "LOC"], [18, 19, "X"]]},
    {"text": TEXT, "label": [[0, 18, "ORG"], [11, 18, "LOC"]]},
    {"text": TEXT, "label": [[7, 8, "X"]]},
]


def test_misfits_are_an_error_by_default_that_counts_them_and_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, *MISFITS)
    assert str(caught.value) == (
        f"{tmp_path / 'f.jsonl'}:2: 4 of 7 gold spans do not fit the words; the first is 'Zagr' (LOC, characters 0 to "
        "4) cuts a word; move them to word borders (unaligned='snap'), leave them out ('drop') or split words "
        "otherwise; `lookright check FILE` lists all"
    )
    with pytest.raises(DataError, match="policy 'snip'"):
        read(tmp_path, *MISFITS, unaligned="snip")


def test_misfits_are_snapped_or_dropped_counted_and_listed(tmp_path):
    snapped = read(tmp_path, *MISFITS, unaligned="snap")
    assert [s.tags for s in snapped] == [
        ("B-LOC", "O", "O", "O", "O"),
        ("B-LOC", "O", "O", "B-LOC", "B-X"),
        ("B-ORG", "I-ORG", "I-ORG", "I-ORG", "O"),
        ("O", "O", "O", "O", "O"),
    ]
    note = snapped.note("unaligned")
    assert note.count == 4
    assert "4 of 7 gold spans do not fit the words: 2 snapped to word borders, 2 dropped" in note.message
    assert [(place.line, place.text) for place in note.places] == [
        (2, "'Zagr' (LOC, characters 0 to 4) cuts a word: snapped"),
        (2, "' Croatia' (LOC, characters 10 to 18) has white space at its edge: snapped"),
        (3, "'Croatia' (LOC, characters 11 to 18) overlaps 'Zagreb, in Croatia' (ORG): dropped"),
        (4, "' ' (X, characters 7 to 8) holds no word: dropped"),
    ]
    dropped = read(tmp_path, *MISFITS, unaligned="drop")
    assert dropped[1].tags == ("O", "O", "O", "O", "B-X")
    assert "0 snapped to word borders, 4 dropped" in dropped.note("unaligned").message


def test_the_full_gold_stays_on_the_sentence(tmp_path):
    snapped = read(tmp_path, *MISFITS, unaligned="snap")
    dropped = read(tmp_path, *MISFITS, unaligned="drop")
    assert sum(len(s.char_spans) for s in snapped) == sum(len(s.char_spans) for s in dropped) == 7
    assert [lost_spans(s, Scheme.IOB2) for s in snapped] == [[], [], [CharSpan("LOC", 11, 18)], [CharSpan("X", 7, 8)]]
    assert [len(lost_spans(s, Scheme.IOB2)) for s in dropped] == [0, 2, 1, 1]
    assert lost_spans(Sentence(("a",), ("O",)), Scheme.IOB2) == []
    with pytest.raises(DataError, match="gold spans without tags"):
        lost_spans(snapped[0].with_tags(None), Scheme.IOB2)


def test_a_span_given_twice_counts_once(tmp_path):
    dataset = read(tmp_path, {"text": TEXT, "label": [[0, 6, "LOC"], [0, 6, "LOC"]]})
    assert dataset[0].char_spans == (CharSpan("LOC", 0, 6),)
    with pytest.raises(DataError, match="overlaps"):
        read(tmp_path, {"text": TEXT, "label": [[0, 6, "LOC"], [0, 6, "ORG"]]})


def test_another_word_rule_gives_other_words(tmp_path):
    record = {"text": "a-b c", "label": [[0, 3, "X"]]}
    assert read(tmp_path, record)[0].tags == ("B-X", "I-X", "I-X", "O")
    assert read(tmp_path, record, splitter=WordSplitter("whitespace"))[0].tags == ("B-X", "O")


def test_streaming_reads_on_and_stops_at_the_first_misfit(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(map(json.dumps, MISFITS)))
    stream = iter_spans_jsonl(file)
    assert next(stream).sentence.line == 1
    with pytest.raises(DataError, match=":2: a gold span does not fit the words"):
        next(stream)
    notes = []
    assert len(list(iter_spans_jsonl(file, unaligned="drop", notes=notes))) == 4
    assert notes[0].count == 4


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read_back(tmp_path_factory, data):
    scheme = data.draw(st.sampled_from(own.SPAN_SCHEMES))
    dataset = data.draw(own.datasets(own.text_sentences(scheme), scheme, each=True))
    file = tmp_path_factory.mktemp("spans") / "f.jsonl"
    write_spans_jsonl(dataset, file)
    again = read_spans_jsonl(file, scheme=scheme)
    assert own.bare(again) == own.bare(dataset)
    assert again.document_starts == dataset.document_starts
    assert again.content_hash() == dataset.content_hash()
    for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
        record = json.loads(line)
        assert all(record["text"][s["start"] : s["end"]] == s["text"] for s in record["spans"])


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_no_gold_span_is_lost_in_silence(tmp_path_factory, data):
    """Whatever the spans: each is carried by the tags, or in the list of what is not."""
    text = data.draw(own.texts.filter(bool))
    borders = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(borders, borders), max_size=5))
    spans = [[start, end, data.draw(own.types)] for start, end in pairs if start < end]
    file = tmp_path_factory.mktemp("gold") / "f.jsonl"
    file.write_text(json.dumps({"text": text, "label": spans}))
    different = {CharSpan(kind, start, end) for start, end, kind in spans}
    for policy in ("snap", "drop"):
        dataset = read_spans_jsonl(file, unaligned=policy, offset_unit="characters")
        sentence = dataset[0]
        carried = to_spans(sentence.tags, dataset.scheme)
        lost = lost_spans(sentence, dataset.scheme)
        note = dataset.note("unaligned")
        dropped = [] if note is None else [p for p in note.places if p.text.endswith("dropped")]
        assert set(sentence.char_spans) == different
        assert len(carried) + len(lost) == len(different)
        assert len(lost) == len(dropped)
        exact = {Span(s.type, *_exact(sentence, s)) for s in different if _exact(sentence, s) is not None}
        if policy == "drop":
            assert set(carried) <= exact


def _exact(sentence, span):
    first = [i for i, (start, _) in enumerate(sentence.offsets) if start == span.start]
    last = [i for i, (_, end) in enumerate(sentence.offsets) if end == span.end]
    return (first[0], last[0] + 1) if first and last else None


def test_sentences_without_text_are_joined_with_spaces(tmp_path):
    file = tmp_path / "f.jsonl"
    dataset = Dataset([Sentence(("New", "York", "!"), ("B-LOC", "I-LOC", "O"))], scheme=Scheme.IOB2)
    write_spans_jsonl(dataset, file)
    assert json.loads(file.read_text()) == {
        "text": "New York !",
        "spans": [{"start": 0, "end": 8, "label": "LOC", "text": "New York"}],
    }
    write_spans_jsonl([Sentence(("a",))], file)
    assert json.loads(file.read_text()) == {"text": "a"}
    with pytest.raises(DataError, match="the scheme of the tags is not known"):
        write_spans_jsonl(list(dataset), file)
    with pytest.raises(SchemeError, match="plain tags have no spans"):
        write_spans_jsonl([Sentence(("a",), ("NOUN",))], file, Scheme.PLAIN)
    assert json.loads(file.read_text()) == {"text": "a"}
