"""Folders in the form of the `datasets` package."""

from __future__ import annotations

import sys

import pytest

from lookright.data import read_dataset, read_hub
from lookright.errors import DataError, MissingExtraError
from lookright.tags import Scheme


@pytest.fixture(scope="module")
def hf():
    return pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def folder(hf, tmp_path_factory):
    """Two splits, tags as class numbers."""
    names = ["O", "B-PER", "I-PER"]
    features = hf.Features(
        {
            "id": hf.Value("string"),
            "tokens": hf.List(hf.Value("string")),
            "ner_tags": hf.List(hf.ClassLabel(names=names)),
        }
    )
    rows = {"id": ["1", "2"], "tokens": [["Ana", "Bo", "x"], ["y"]], "ner_tags": [[1, 2, 0], [0]]}
    table = hf.Dataset.from_dict(rows, features=features)
    path = tmp_path_factory.mktemp("hub") / "saved"
    hf.DatasetDict({"train": table, "test": table.select([1])}).save_to_disk(str(path))
    return path


def test_class_numbers_become_names(folder):
    dataset = read_hub(folder, split="train")
    assert [s.words for s in dataset] == [("Ana", "Bo", "x"), ("y",)]
    assert [s.tags for s in dataset] == [("B-PER", "I-PER", "O"), ("O",)]
    assert dataset.scheme is Scheme.IOB2
    assert dataset.path == f"{folder}:train"
    assert dataset[1].line == 2


def test_one_door_reads_folders_too(folder):
    assert len(read_dataset(f"hub:{folder}:test")) == 1
    assert len(read_dataset(folder / "train")) == 2  # one split, saved alone
    for path in (folder, f"hub:{folder}", f"hub:{folder}:dev"):
        with pytest.raises(DataError, match=r"no split.*: expected one of train, test"):
            read_dataset(path)


def test_text_tags_and_a_column_by_name(hf, tmp_path):
    rows = {"words": [["a", "b"]], "ner": [["B-X", "O"]], "pos": [["N", "V"]]}
    hf.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "d"))
    assert read_hub(tmp_path / "d", tag_key="pos")[0].tags == ("N", "V")
    assert read_hub(tmp_path / "d")[0].tags is None
    with pytest.raises(DataError, match="no column 'x': expected one of words, ner, pos"):
        read_hub(tmp_path / "d", tag_key="x")


def test_numbers_without_names_and_rows_that_do_not_fit(hf, tmp_path):
    hf.Dataset.from_dict({"tokens": [["a"], ["b"]], "tags": [[0], [1]]}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"d:1: tags\[0\] is 0, expected a string; numbers need the label names"):
        read_hub(tmp_path / "d")
    hf.Dataset.from_dict({"tokens": [["a"], ["b"]], "tags": [["O"], ["O", "O"]]}).save_to_disk(str(tmp_path / "e"))
    with pytest.raises(DataError, match="e:2: 1 words and 2 tags"):
        read_hub(tmp_path / "e")
    hf.Dataset.from_dict({"tokens": [], "tags": []}).save_to_disk(str(tmp_path / "f"))
    with pytest.raises(DataError, match=r"no rows|cannot be loaded"):
        read_hub(tmp_path / "f")


def test_what_cannot_be_loaded(folder, tmp_path):
    (tmp_path / "state.json").write_text("nonsense")
    with pytest.raises(DataError, match="cannot be loaded as a data set"):
        read_hub(tmp_path)
    with pytest.raises(DataError, match="cannot be loaded as a data set"):
        read_dataset("hub:nobody/has-this")


def test_without_the_package_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lookright\[datasets\]'"):
        read_dataset(folder)
