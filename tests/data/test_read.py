from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from lookright.data import Sentence, iter_input, lines, read_dataset, write_jsonl
from lookright.errors import DataError
from lookright.tags import Scheme

CONLL = "a\tB-X\nb\tO\n"
TOKENS = '{"tokens": ["a", "b"], "tags": ["B-X", "O"]}\n'
SPANS = '{"text": "a b", "spans": [{"start": 0, "end": 1, "label": "X"}]}\n'


@pytest.fixture
def stdin(monkeypatch):
    def given(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode()))))

    return given


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs names for pipes")
@pytest.mark.parametrize("content", [CONLL + "\n", TOKENS, SPANS])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["/dev/fd/N", "-"])
def test_a_pipe_is_read_from_its_first_byte(monkeypatch, content, packed, name):
    """Its format is told by a look at its first bytes, which must not be lost by that."""
    n = 3_000  # more than a buffer holds
    data = (content * n).encode()
    if packed:
        data = gzip.compress(data, compresslevel=0)
    reader, writer = os.pipe()
    thread = threading.Thread(target=write_all, args=[writer, data])
    thread.start()
    try:
        with os.fdopen(reader, "rb") as stream:
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
            assert len(read_dataset(name.replace("N", str(reader)))) == n
    finally:
        thread.join(30)
    assert not lines._pipes


def write_all(descriptor, data):
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


@pytest.mark.parametrize("content", [CONLL, TOKENS, SPANS])
@pytest.mark.parametrize("place", ["suffix", "no suffix", "gzip", "stdin", "blank lines"])
def test_the_format_is_told_from_name_and_content(tmp_path, stdin, content, place):
    suffix = ".conll" if content == CONLL else ".jsonl"
    path = tmp_path / ("file" + {"suffix": suffix, "gzip": suffix + ".gz"}.get(place, ""))
    if place == "stdin":
        stdin(content)
        path = "-"
    else:
        data = ("\n \n" if place == "blank lines" else "") + content
        path.write_bytes(gzip.compress(data.encode()) if place == "gzip" else data.encode())
    dataset = read_dataset(path)
    assert [s.words for s in dataset] == [("a", "b")]
    assert [s.tags for s in dataset] == [("B-X", "O")]
    assert dataset.scheme is Scheme.IOB2
    assert dataset.path == ("<stdin>" if place == "stdin" else str(path))


def test_the_format_can_be_given(tmp_path):
    file = tmp_path / "odd.txt"
    file.write_text("{ O\n} O\n")
    with pytest.raises(DataError, match=r"odd.txt:1: not JSON"):
        read_dataset(file)
    assert read_dataset(file, format="conll")[0].words == ("{", "}")
    with pytest.raises(DataError, match="format 'brat': expected one of auto, conll, jsonl, hub"):
        read_dataset(file, format="brat")


def test_what_is_no_file(tmp_path):
    for path in (tmp_path / "none", tmp_path / "none.jsonl", tmp_path / "none.conll"):
        with pytest.raises(DataError, match="no such file"):
            read_dataset(path)
    with pytest.raises(DataError, match="this is a directory, expected a file"):
        read_dataset(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="the file is empty"):
        read_dataset(tmp_path / "empty")


def test_tokens_and_text_together(tmp_path):
    file = tmp_path / "f.jsonl"
    write_jsonl([Sentence(("a-b",), text="a-b", offsets=((0, 3),))], file)
    assert read_dataset(file)[0].words == ("a-b",)
    record = {"text": "a-b", "tokens": [{"text": "a"}], "spans": [{"start": 0, "end": 3, "label": "X"}]}
    file.write_text(json.dumps(record))
    assert read_dataset(file)[0].tags == ("B-X", "I-X", "I-X")
    file.write_text('{"id": 3}')
    with pytest.raises(DataError, match=r"f.jsonl:1: keys 'id': expected 'tokens' and 'tags', or 'text' and 'spans'"):
        read_dataset(file)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.txt", "Hi, Ana.\n\nb", [("Hi", ",", "Ana", "."), (), ("b",)]),
        ("f", "a\tb\n", [("a", "b")]),
        ("f.conll", "a\tO\nb\tO\n\nc\tO\n", [("a", "b"), ("c",)]),
        ("f.conll", "a\nb\n\n# c\n#\n", [("a", "b"), ("#",)]),
        ("f.conllu", "1\ta" + "\t_" * 8 + "\n", [("a",)]),
        ("f.jsonl", TOKENS + '{"tokens": ["c"]}', [("a", "b"), ("c",)]),
        ("f.jsonl", SPANS + '{"text": "c.", "label": "x"}', [("a", "b"), ("c", ".")]),
        ("f.jsonl", '{"text": "a-b", "tokens": ["a-b"]}', [("a-b",)]),
    ],
)
def test_input_to_be_tagged_has_no_gold(tmp_path, stdin, name, content, words):
    (tmp_path / name).write_text(content)
    reads = list(iter_input(tmp_path / name))
    assert [read.sentence.words for read in reads] == words
    assert all(read.sentence.tags is None and read.sentence.char_spans is None for read in reads)
    if "conll" not in name:
        stdin(content)
        assert [read.sentence.words for read in iter_input("-")] == words


def test_documents_of_input(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text("".join(json.dumps({"text": "a", "doc_id": key}) + "\n" for key in (1, 1, 2)))
    assert [read.starts_document for read in iter_input(file)] == [True, False, True]
    file.write_text("".join(json.dumps({"tokens": ["a"], "doc_id": key}) + "\n" for key in (1, 1, 2)))
    assert [read.starts_document for read in iter_input(file)] == [True, False, True]
    with pytest.raises(DataError, match="a data set folder cannot be tagged"):
        next(iter_input("hub:x"))


def test_lines_keep_what_is_no_line_end(tmp_path):
    file = tmp_path / "f.txt"
    file.write_bytes("a\u2028b\x0bc\x85d\re\r\n".encode())
    (read,) = iter_input(file)
    assert read.sentence.text == "a\u2028b\x0bc\x85d\re"


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lookright.data.lines.MAX_LINE_BYTES", 2**20)
    file = tmp_path / "f.conll"
    file.write_bytes(b"a O\n" + b"x" * (2**20 + 1))
    with pytest.raises(DataError, match=r"f.conll:2: a line of more than 1 MiB"):
        read_dataset(file)
