"""Whatever the bytes, a reader gives a data set or one clear DataError, never another exception."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lookright.data import Dataset, iter_input, read_dataset
from lookright.errors import DataError

from . import strategies as own

WORDS = [b"a", b"\t", b" ", b"\n", b"\r\n", b"B-X", b"O", b"-DOCSTART-", b"# ", b"#", b"1-2", b"1\t" * 9]
BYTES = [b"\xef\xbb\xbf", b"\xff", b"\0", b"\xe2\x80\xa8", b"\x1f\x8b"]
JSON = [b"{", b"}", b"[", b'"text"', b'"tokens"', b":", b",", b'"tags"']
pieces = st.sampled_from([*WORDS, *BYTES, *JSON])
raw = st.one_of(st.binary(max_size=60), st.lists(pieces, max_size=25).map(b"".join))
plain = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.floats(), st.text(max_size=4), own.types)
values = st.recursive(plain, lambda inner: st.one_of(st.lists(inner, max_size=3)), max_leaves=8)
span = st.one_of(
    st.tuples(st.integers(-1, 9), st.integers(-1, 9), own.types).map(list),
    st.fixed_dictionaries(
        {"start": st.integers(-1, 9), "end": st.integers(-1, 9), "label": own.types},
        optional={"text": st.text("ab😀", max_size=3)},
    ),
)
lists = st.one_of(values, st.lists(span, max_size=3), st.lists(st.text(max_size=3), max_size=3))
records = st.dictionaries(
    st.sampled_from(["text", "tokens", "words", "tags", "label", "labels", "spans", "entities", "offsets", "doc_id"]),
    st.one_of(lists, st.text("ab 😀.", max_size=9)),
    max_size=5,
)


def read_input(file, *, format, **_):
    return Dataset(tuple(read.sentence for read in iter_input(file, format=format)))


def attempt(file, content, **options):
    file.write_bytes(content)
    for read in (read_dataset, read_input):
        problem = None
        try:
            dataset = read(file, **options)
        except DataError as error:
            problem = str(error)
        if problem is None:
            assert all(s.path == str(file) and s.line >= 1 for s in dataset)
        else:
            assert "\n" not in problem
            assert problem.startswith(f"{file}:")


@pytest.mark.parametrize("name", ["f.conll", "f.jsonl", "f"])
@given(content=raw, packed=st.booleans(), repair=st.booleans())
@example(content=b"", packed=True, repair=False)
@example(content=b"{" * 100_000, packed=False, repair=False)
@example(content=b'{"a":' * 50_000, packed=False, repair=False)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_bytes(tmp_path_factory, name, content, packed, repair):
    file = tmp_path_factory.getbasetemp() / name
    attempt(file, gzip.compress(content) if packed else content, format="auto", repair=repair)


@given(st.lists(records, min_size=1, max_size=3), st.sampled_from(["error", "snap", "drop"]))
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_records(tmp_path_factory, content, policy):
    file = tmp_path_factory.getbasetemp() / "r.jsonl"
    attempt(file, "\n".join(map(json.dumps, content)).encode(), format="auto", unaligned=policy)
