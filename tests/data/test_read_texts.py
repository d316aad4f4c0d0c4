"""Readers of labeled texts: what the gold is, where it is, and what is wrong with a file."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data import TextColumns, check_text_files, hold_out_texts, iter_texts, read_texts, task_in
from lookright.data.lines import iter_lines
from lookright.data.read_texts import texts_of_table
from lookright.data.texts import Target, Text, TextDataset
from lookright.errors import DataError


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("golds", "target", "expected"),
    [
        (["a", "b"], "single-label", [("a",), ("b",)]),
        ([1, 0], "single-label", [("1",), ("0",)]),
        ([True, False], "single-label", [("true",), ("false",)]),
        ([["a", "b"], []], "multi-label", [("a", "b"), ()]),
        ([1, 2.5], "regression", [1.0, 2.5]),
        ([1.0, 2.0], "regression", [1.0, 2.0]),
        ([2, 1e-3], "regression", [2.0, 0.001]),
        (["1.5", "2"], "single-label", [("1.5",), ("2",)]),
    ],
)
def test_what_the_gold_is(tmp_path: Path, golds: list[Any], target: str, expected: list[Any]) -> None:
    found = read_texts(lines(tmp_path / "a.jsonl", *({"text": "x", "label": gold} for gold in golds)))
    assert found.target == target
    assert [text.value if target == "regression" else text.labels for text in found] == expected
    assert target in str(found.note("target"))


def test_codes_with_an_underscore_are_names(tmp_path: Path) -> None:
    found = read_texts(written(tmp_path / "a.csv", "text,label\na,1_1\nb, 2_1\nc,2_1\nd,3.5\n"))
    assert [text.labels for text in found] == [("1_1",), ("2_1",), ("2_1",), ("3.5",)]
    assert "3 labels" in str(found.note("target"))


def test_where_one_of_both_names_is_null_the_other_is_read(tmp_path: Path) -> None:
    found = read_texts(lines(tmp_path / "a.jsonl", *({"text": "x", "labels": None, "label": v} for v in "ab")))
    assert [text.labels for text in found] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("content", "packer"),
    [(lzma.compress(b"x"), "xz"), (bz2.compress(b"x"), "bzip2"), (b"\x28\xb5\x2f\xfd\0\1", "zstd"), (b"PK\3\4", "zip")],
)
def test_what_is_packed_otherwise_is_said(tmp_path: Path, content: bytes, packer: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.jsonl: packed by {packer}, expected text or gzip"):
        read_texts(tmp_path / "a.jsonl")


def test_what_is_asked_for_wins(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"text": "x", "label": 1}, {"text": "y", "label": 3})
    assert [text.value for text in read_texts(file, target="regression")] == [1.0, 3.0]
    assert [text.labels for text in read_texts(file, target="multi-label")] == [("1",), ("3",)]
    with pytest.raises(DataError, match="target 'rank': expected one of single-label"):
        read_texts(file, target="rank")


def test_tables(tmp_path: Path) -> None:
    rows = 'text,label,id\n"a, ""b""\nand c",x,1\nplain,y,2\n'
    for path in (written(tmp_path / "a.csv", rows), written(tmp_path / "b.csv", rows.replace(",", ";"))):
        found = read_texts(path)
        assert [text.text.replace(";", ",") for text in found] == ['a, "b"\nand c', "plain"]
        assert [text.line for text in found] == [2, 4]
    tabs = written(tmp_path / "a.tsv", 'text\tlabels\n"said" it\tx|y\n"a ""b"""\t\n')
    found = read_texts(tabs)
    assert [(text.text, text.labels) for text in found] == [('"said" it', ("x", "y")), ('a "b"', ())]
    numbers = written(tmp_path / "n.csv", "text,label\na,1\nb,2.5\n")
    assert read_texts(numbers).target is Target.REGRESSION
    pairs = written(tmp_path / "p.csv", "premise,hypothesis,gold\na,b,yes\nc,d,no\n")
    found = read_texts(pairs, columns=TextColumns("premise", "hypothesis", "gold"))
    assert [text.parts for text in found] == [("a", "b"), ("c", "d")]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(cells, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_the_csv_module_writes_is_read(texts: list[str]) -> None:
    import tempfile

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["text", "label"])
    writer.writerows((text, f"l{index}") for index, text in enumerate(texts))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
        assert [text.text for text in read_texts(path)] == texts


def test_a_long_cell_is_read_and_the_limit_of_the_process_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = written(tmp_path / "a.csv", "text,label\n" + "a b " * 100_000 + ",x\n")
    assert len(read_texts(path)[0].text) == 400_000
    assert csv.field_size_limit() == before


BAD = [
    ("a.jsonl", '{"text": "x"}', r"a\.jsonl:1: no 'label' or 'labels' here, only 'text'.*--label-column"),
    ("a.jsonl", '{"body": "x", "label": "a"}', r"a\.jsonl:1: no 'text' here, only 'body', 'label'.*--text-column"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "x"}', r"a\.jsonl:2: no 'label' in this record"),
    ("a.jsonl", '{"text": "x", "label": "a"}\n{"label": "a"}', r"a\.jsonl:2: no 'text' in this record"),
    ("a.jsonl", '{"text": "x", "label": ""}', r"a\.jsonl:1: 'label' is \"\", expected a label; it is empty"),
    ("a.jsonl", '{"text": "x", "label": null}', r"a\.jsonl:1: 'label' is null in this record, expected its gold"),
    ("a.jsonl", '{"text": 3, "label": "a"}', r"a\.jsonl:1: text is a int, expected a string"),
    ("a.jsonl", '{"text": "x", "label": {"a": 1}}', r"a\.jsonl:1: 'label' is \{\"a\": 1\}, expected one label"),
    ("a.jsonl", '{"text": "x", "label": ["a", "a"]}', r"a\.jsonl:1: the label 'a' stands there twice"),
    ("a.jsonl", '{"text": "x", "label": ["a"]}\n{"text": "y", "label": "a"}', r"a\.jsonl:2: some texts have a list"),
    ("a.jsonl", '{"text": "x", "label": 1.5}\n{"text": "y", "label": "a"}', r"a\.jsonl:1: 'label' is 1\.5, expected"),
    ("a.jsonl", '{"text": "\\ud800", "label": "a"}', r"a\.jsonl:1: half a surrogate pair"),
    ("a.csv", "text,label\na,b,c\n", r"a\.csv:2: 3 cells for the 2 columns text, label"),
    ("a.csv", "x,y\na,b\n", r"a\.csv:1: no 'text' here, only 'x', 'y'"),
    ("a.csv", "text,label\n", r"a\.csv: no row below the names"),
    ("a.csv", "text,text\na,b\n", r"a\.csv:1: the first line names the columns 'text', 'text'; expected different"),
    ("a.csv", 'text,label\n"a,b\n', r"a\.csv:2: not CSV: unexpected end of data; the row begins here"),
    ("a.csv", "text,label\na,\n", r"a\.csv:2: 'label' is \"\", expected a label; it is empty"),
    ("a.tsv", "text\tlabel\na b\n", r"a\.tsv:2: 1 cells for the 2 columns text, label; expected one tab"),
    ("a.csv", "", r"a\.csv: the file is empty"),
    ("a.csv", "text;label\na;2\nb;3,14\n", r"a\.csv:3: the gold is '3,14': numbers .* write 3\.14.*single-label"),
    (
        "a.jsonl",
        '{"text": "x", "label": 0.5}\n{"text": "y", "label": ' + "9" * 400 + "}",
        r"a\.jsonl:1: 'label' is 0\.5",
    ),
    ("a.csv", 'text,label\na,"3,14"\n', r"a\.csv:2: the gold is '3,14': numbers are read with a decimal point"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD, ids=range(len(BAD)))
def test_bad_files_are_one_clear_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_texts(written(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_decimal_commas_are_refused_as_numbers_only(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "text;label\na;2,5\nb;3,14\n")
    with pytest.raises(DataError, match=r"a\.csv:2: 'label' is \"2,5\", expected a number; .* write 3\.14 for 3,14"):
        read_texts(file, target="regression")
    assert read_texts(file, target="single-label").labels() == ("2,5", "3,14")
    for gold in ("x", "1,2,3", "1,234.5"):
        mixed = written(tmp_path / "b.csv", f"text;label\na;2,5\nb;{gold}\n")
        assert read_texts(mixed).labels() == tuple(sorted(("2,5", gold)))


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "text,label\na,b\n")
    with pytest.raises(DataError, match=r"no 'second' here.*--pair-column"):
        read_texts(file, columns=TextColumns(pair="second"))
    with pytest.raises(DataError, match=r"no 'gold' here, only 'text', 'label'"):
        read_texts(file, columns=TextColumns(label="gold"))


def test_empty_texts_are_kept_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_texts(lines(tmp_path / "a.jsonl", {"text": " ", "label": "a"}, {"text": "x", "label": "b"}))
    assert len(found) == 2
    assert "1 empty text: read as a text of one placeholder; the first is" in caplog.text
    assert caplog.messages[-1].endswith("a.jsonl:1")


def test_what_is_said_about_records_that_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = ({"text": "x", "label": "a", "labels": ["a"]}, {"text": "y", "text_pair": "z", "label": "b", "labels": []})
    found = read_texts(lines(tmp_path / "a.jsonl", *both))
    assert [text.labels for text in found] == [("a",), ()]
    assert "the gold is read from 'labels', and 'label' is left aside (--label-column decides)" in caplog.text
    assert "1 of 2 texts have no second text, and the others have; the first is" in caplog.text


def test_white_space_around_the_cells_of_a_table_is_no_part_of_a_label(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path / "a.csv", "text,label\nx, a\ny,a \nz,b\n")).labels() == ("a", "b")


def test_texts_to_classify_keep_their_records(tmp_path: Path) -> None:
    records = ({"id": 7, "text": "x", "label": "old", "value": 1}, {"text": "y", "text_pair": "z", "labels": []})
    file = lines(tmp_path / "a.jsonl", *records)
    found = [(text.parts, rest) for text, rest in iter_texts(file)]
    assert found == [(("x",), records[0]), (("y", "z"), records[1])]
    plain = written(tmp_path / "a.txt", "one\n\nthree\n")
    assert [(text.text, rest["text"]) for text, rest in iter_texts(plain)] == [(t, t) for t in ("one", "", "three")]
    table = written(tmp_path / "a.csv", "text,body,gold\n1,x,y\n")
    [(text, rest)] = iter_texts(table, columns=TextColumns("body", label="gold"))
    assert (text.text, rest) == ("x", {"text": "1", "body": "x", "gold": "y"})


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("a.conll", "a O\n", "tags"),
        ("a.tsv", "a\tO\nb\tO\n", "tags"),
        ("a.jsonl", '{"sentence": "x", "label": "a"}\n', "text"),
        ("a.jsonl", '{"words": ["x"], "label": "a"}\n', "tags"),
        ("a.tsv", "text\tlabel\na\tb\n", "text"),
        ("a.csv", "x,y\n", "text"),
        ("a.jsonl", '{"text": "a", "label": "x"}', "text"),
        ("a.jsonl", '{"text": "a", "label": 3}', "text"),
        ("a.jsonl", '{"text": "a", "labels": []}\n{"text": "a", "labels": ["x"]}', "text"),
        ("a.jsonl", '{"text": "a", "label": []}\n{"text": "a", "label": [[0, 1, "X"]]}', "tags"),
        ("a.jsonl", '{"text": "a", "labels": [1, 5]}', "text"),
        ("a.jsonl", '{"text": "a", "labels": [{"start": 0, "end": 1, "label": "X"}]}', "tags"),
        ("a.jsonl", '{"text": "a", "spans": []}', "tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}', "tags"),
        ("a.jsonl", '{"tokens": ["a"], "labels": ["O"], "text": "a"}', "tags"),
    ],
)
def test_the_task_of_a_file(tmp_path: Path, name: str, content: str, task: str) -> None:
    assert task_in(written(tmp_path / name, content)) == task


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs names for pipes")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "task"),
    [
        ('{"text": "a", "label": "x"}\n', "text"),
        ('{"text": "a", "labels": []}\n{"text": "b", "labels": ["x"]}\n', "text"),
        ('{"tokens": ["a"], "tags": ["O"]}\n', "tags"),
        ("a O\n", "tags"),
        ("", "tags"),
    ],
)
def test_the_task_of_a_pipe(content: str, task: str, packed: bool) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(gzip.compress(content.encode()) if packed else content.encode())
    assert task_in(f"/dev/fd/{reader}") == task
    if content:  # nothing was taken
        assert [line for _, line in iter_lines(f"/dev/fd/{reader}")] == content.splitlines()
    os.close(reader)


def test_data_sets_of_the_datasets_package(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "set")
    found = read_texts(f"hub:{tmp_path / 'set'}:train")
    assert [(text.text, text.labels) for text in found] == [("a", ("yes",)), ("b", ("no",))]
    assert task_in(f"hub:{tmp_path / 'set'}:train") == task_in(tmp_path / "set") == "text"


def test_tables_in_memory(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = TextColumns("body", label="topic")
    features = datasets.Features({"body": datasets.Value("string"), "topic": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"body": ["a", "b"], "topic": [1, 0]}, features=features)
    named = table.to_pandas().assign(topic=["yes", "no"])
    for data in (table, named):
        assert [(text.text, text.labels) for text in texts_of_table(data, columns=columns)] == [
            ("a", ("yes",)), ("b", ("no",)),
        ]  # fmt: skip
    several = texts_of_table(datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [["x", "y"], []]}).to_pandas())
    assert [text.labels for text in several] == [("x", "y"), ()]
    with pytest.raises(DataError, match="the DataFrame: no 'text' here, only 'body', 'topic'"):
        texts_of_table(named)
    with pytest.raises(DataError, match="the DataFrame:2: 'topic' is null"):
        texts_of_table(named.assign(topic=["yes", float("nan")]), columns=columns)


def test_what_is_no_table_or_a_strange_one() -> None:
    datasets = pytest.importorskip("datasets")
    pyarrow = pytest.importorskip("pyarrow")
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"], "features": [1, 2]})
    frame = table.to_pandas()  # frame.features is a column
    assert [text.labels for text in texts_of_table(frame)] == [text.labels for text in texts_of_table(table)]
    assert len(texts_of_table(table.to_iterable_dataset())) == 2
    with pytest.raises(DataError, match="the DatasetDict: several splits, train, test: give one of them"):
        texts_of_table(datasets.DatasetDict(train=table, test=table))
    with pytest.raises(DataError, match="the IterableDataset: a stream that does not know its columns"):
        texts_of_table(datasets.IterableDataset.from_generator(lambda: iter(table)))
    with pytest.raises(DataError, match="the Table: expected a data frame of pandas"):
        texts_of_table(pyarrow.Table.from_pandas(frame))


def test_holding_out_goes_by_content() -> None:
    texts = tuple(Text(f"text {index % 50}", labels=("a",)) for index in range(100))
    train, dev = hold_out_texts(TextDataset(texts, Target.SINGLE), 0.2)
    assert len(train) + len(dev) == 100
    assert 5 < len(dev) < 35
    assert not {text.text for text in train} & {text.text for text in dev}
    more = hold_out_texts(TextDataset(texts[::-1], Target.SINGLE), 0.2)[1]
    assert {text.text for text in more} == {text.text for text in dev}
    pairs = TextDataset(tuple(Text("same", str(index), labels=("a",)) for index in range(50)), Target.SINGLE)
    assert 0 < len(hold_out_texts(pairs, 0.2)[1]) < 50
    with pytest.raises(DataError, match="1 different texts"):
        hold_out_texts(TextDataset(texts[:1], Target.SINGLE), 0.2)


def test_gold_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="text 1: no gold of the kind single-label"):
        TextDataset((Text("a", labels=("x",)), Text("b", labels=("x", "y"))), Target.SINGLE)
    with pytest.raises(DataError, match="number is inf"):
        Text("a", value=float("inf"))


# -------------------------------------------------------------------------------------------------------------- check


def items(report: Any, kind: str) -> list[tuple[str, str]]:
    return [(item.level.value, item.message) for item in report.items if item.kind == kind]


def test_the_check_reads_all_files_as_the_first_one(tmp_path: Path) -> None:
    train = lines(tmp_path / "train.jsonl", {"text": "a", "label": 0.5}, {"text": "b", "label": 1})
    dev = lines(tmp_path / "dev.jsonl", {"text": "c", "label": 1}, {"text": "d", "label": 2})
    report = check_text_files([train, dev])
    assert report.exit_code == 0
    assert [stats.target for stats in report.splits.values()] == ["regression"] * 2


def test_the_check_finds_what_is_odd(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": "a" if n < 60 else "b"} for n in range(61)]
    odd = [{"text": "text 1", "label": "b"}, {"text": "", "label": "a"}, {"text": "long " * 60, "label": "a"}]
    train = lines(tmp_path / "train.jsonl", *rows, *odd)
    test = lines(tmp_path / "test.jsonl", {"text": "text 2", "label": "a"}, {"text": "new", "label": "c"})
    report = check_text_files([train, test], encoder=lambda text: len(text.text.split()), window=50)
    assert items(report, "duplicates")[0] == ("good", "train: 1 repeated text (1.6%)")
    assert items(report, "contradictions") == [("warn", "train: 1 text that repeat an earlier one with other gold")]
    assert items(report, "empty") == [("warn", "train: 1 empty text")]
    assert items(report, "overlap") == [("fail", "1 text of test (50.0%) also in train")]
    assert ("warn", "test: 1 label not in train: no prediction can find them") in items(report, "labels")
    assert items(report, "rare") == [("warn", "train: 1 label with fewer than 10 cases")]
    assert items(report, "balance") == [("good", "train: 2 labels, from b (2) to a (62)")]
    assert items(report, "long-subwords")[0][0] == "warn"
    assert report.exit_code == 1
    assert [row.label for row in report.labels] == ["a", "b", "c"]
    assert json.loads(json.dumps(report.to_dict()))["splits"]["train"]["n_texts"] == 64
    assert any("label" in line for line in report.lines())


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"text": "a", "label": "x"}], "1 label (x), expected 2 at least"),
        ([{"text": "a", "label": 1.5}, {"text": "b", "label": 1.5}], "every text has the same number"),
        ([{"text": "a"}], "no 'label' or 'labels' here"),
    ],
)
def test_the_check_fails_where_training_would(tmp_path: Path, records: list[Any], words: str) -> None:
    report = check_text_files([lines(tmp_path / "train.jsonl", *records)])
    assert report.exit_code == 1
    assert any(words in item.message for item in report.items if item.level == "fail")
