from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data import Dataset, Sentence, iter_tokens_jsonl, read_tokens_jsonl, write_jsonl
from lookright.data.jsonl import find_words
from lookright.errors import DataError
from lookright.tags import Scheme

from . import strategies as own

GOOD = '{"tokens": ["a"], "tags": ["O"]}\n'


def read(tmp_path, content, **options):
    file = tmp_path / "f.jsonl"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_tokens_jsonl(file, **options)


def test_keys_of_words_and_tags(tmp_path):
    for words in ("tokens", "words"):
        for tags in ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags", "upos"):
            dataset = read(tmp_path, json.dumps({"id": 1, words: ["a", "b"], tags: ["B-X", "O"]}))
            assert dataset[0].tags == ("B-X", "O")
    both = '{"tokens": ["a"], "tags": ["O"], "deps": ["root"]}'
    assert read(tmp_path, both)[0].tags == ("O",)
    assert read(tmp_path, both, tag_key="deps")[0].tags == ("root",)
    untagged = read(tmp_path, '\n\n{"tokens": ["a"]}\r\n{"tokens": []}')
    assert untagged[0].tags is None
    assert untagged.scheme is None
    assert [s.line for s in untagged] == [3, 4]


def test_the_text_is_used_when_it_holds_the_words(tmp_path):
    rows = [
        {"tokens": ["Zagreb", "."], "tags": ["O", "O"], "text": " Zagreb. "},
        {"tokens": ["``", "x"], "tags": ["O", "O"], "text": '" x'},
        {"tokens": ["a", "a"], "tags": ["O", "O"], "text": "a a", "offsets": [[0, 1], [2, 3]]},
    ]
    dataset = read(tmp_path, "\n".join(map(json.dumps, rows)))
    assert dataset[0].offsets == ((1, 7), (7, 8))
    assert dataset[1].text is None
    assert dataset.note("text").count == 1
    assert dataset.note("text").places[0].line == 2
    assert dataset[2].offsets == ((0, 1), (2, 3))


@given(st.lists(own.words, max_size=6), st.lists(st.sampled_from(["", " ", "\n "]), min_size=7, max_size=7))
@settings(deadline=None, max_examples=100)
def test_words_are_found_where_they_are(words, gaps):
    text = "".join(gap + word for gap, word in zip(gaps, [*words, ""], strict=False))
    found = find_words(text, words)
    assert found is not None
    assert [text[start:end] for start, end in found] == words
    assert find_words(text + "!", words) is None
    assert find_words("!" + text, words) is None or words[0].startswith("!")


def test_documents_change_where_the_id_changes(tmp_path):
    ids = ["x", "x", 1, "1", None, None, "x"]
    rows = [{"tokens": ["a"], "tags": ["O"]} | ({} if key is None else {"doc_id": key}) for key in ids]
    assert read(tmp_path, "\n".join(map(json.dumps, rows))).document_starts == (0, 2, 3, 4, 6)
    assert read(tmp_path, GOOD * 3).document_starts == (0,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON: Expecting property name"),
        ("nonsense", "not JSON: Expecting value"),
        ('{"tokens": ["a"], "tags": ["O"]', "not JSON: Expecting ',' delimiter at character"),
        ("[" * 100_000, "JSON nested too deeply"),
        ("[1]", "JSON list, expected one JSON object per line"),
        ("3", "JSON int, expected one JSON object"),
        ('{"tokens": ["a"], "tags": ["O"], "x": NaN}', "NaN is not JSON"),
        ('{"tokens": ["a"], "tags": ["O"], "x": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit"),
        ("{}", "keys none: expected 'tokens'"),
        ('{"tokens": ["a"]}', "no 'tags' in this record, expected one tag per word as line 1 has it"),
        ('{"tokens": "a", "tags": ["O"]}', """'tokens' is "a", expected a list of strings"""),
        ('{"tokens": [1], "tags": ["O"]}', r"tokens\[0\] is 1, expected a string"),
        ('{"tokens": ["a"], "tags": [3]}', r"tags\[0\] is 3, expected a string; numbers need the label names"),
        ('{"tokens": ["a"], "tags": [null]}', r"tags\[0\] is null"),
        ('{"tokens": ["a"], "tags": ["O", "O"]}', "1 words and 2 tags"),
        ('{"tokens": ["a", ""], "tags": ["O", "O"]}', r"words\[1\] is empty"),
        (r'{"tokens": ["\ud83d"], "tags": ["O"]}', "half a surrogate pair"),
        ('{"tokens": ["a"], "tags": ["O"], "offsets": [[0, 1]]}', "'offsets' without 'text'"),
        ('{"tokens": ["a"], "tags": ["O"], "text": 5}', "'text' is 5, expected a string"),
        ('{"tokens": ["a"], "tags": ["O"], "text": "a", "offsets": [[0]]}', "expected .*start, end"),
        ('{"tokens": ["a"], "tags": ["O"], "text": "a", "offsets": [[0, true]]}', "expected .*start, end"),
        ('{"tokens": ["a"], "tags": ["O"], "text": "b", "offsets": [[0, 1]]}', "word 'a' is not at characters 0 to 1"),
        (b"\xff", "not UTF-8 at byte 33"),
    ],
)
def test_malformed_records_name_the_line(tmp_path, bad, message):
    content = GOOD.encode() + (bad if isinstance(bad, bytes) else bad.encode()) + b"\n" + GOOD.encode()
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert caught.value.line == 2
    assert str(caught.value).startswith(f"{tmp_path / 'f.jsonl'}:2: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", ['[{"tokens": ["a"]}]', "[", '[\n {"tokens": ["a"]}\n]'])
def test_a_json_array_says_what_to_do(tmp_path, content):
    with pytest.raises(DataError, match=r"f.jsonl:1: one JSON array.*jq -c"):
        read(tmp_path, content)


def test_no_record_at_all(tmp_path):
    with pytest.raises(DataError, match="the file is empty"):
        read(tmp_path, "")
    with pytest.raises(DataError, match="no record in the file"):
        read(tmp_path, "\n \n")
    with pytest.raises(DataError, match="no 'x' in this record, expected one tag per word as asked for"):
        read(tmp_path, GOOD, tag_key="x")


def test_reading_is_streaming(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text(GOOD * 2 + "broken")
    stream = iter_tokens_jsonl(file)
    assert [next(stream).sentence.line for _ in range(2)] == [1, 2]
    with pytest.raises(DataError, match=":3: not JSON"):
        next(stream)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read_back(tmp_path_factory, data):
    scheme = data.draw(st.sampled_from(own.SPAN_SCHEMES))
    whole = st.one_of(
        own.tagged_sentences(scheme, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)),
        own.text_sentences(scheme).map(lambda s: Sentence(s.words, s.tags, s.text, s.offsets)),
    )
    dataset = data.draw(own.datasets(whole, scheme))
    file = tmp_path_factory.mktemp("jsonl") / "f.jsonl"
    write_jsonl(dataset, file)
    again = read_tokens_jsonl(file, scheme=scheme)
    assert own.bare(again) == own.bare(dataset)
    assert again.document_starts == dataset.document_starts
    assert again.content_hash() == dataset.content_hash()


def test_sentences_without_tags_are_written_without(tmp_path):
    write_jsonl([Sentence(("a",))], tmp_path / "f.jsonl")
    assert json.loads((tmp_path / "f.jsonl").read_text()) == {"tokens": ["a"]}


def test_standard_output(capsys):
    write_jsonl(Dataset([Sentence(("é",), ("O",))], scheme=Scheme.IOB2), "-")
    assert capsys.readouterr().out == '{"tokens": ["é"], "tags": ["O"]}\n'
