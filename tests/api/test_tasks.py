"""Sentences or texts: told from options and data, and read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lookright import Dataset, Recipe, Sentence, Text, TextDataset
from lookright.api.tasks import Reader, task_of
from lookright.data.texts import Target
from lookright.errors import DataError
from lookright.tags import Scheme

WORDS = (["It", "rains"], ["O", "O"])


@pytest.mark.parametrize(
    ("data", "task"),
    [
        ([("it rains", "weather")], "text"),
        ([("it rains", ["weather", "water"])], "text"),
        ([(("it rains", "it is wet"), 0.8)], "text"),
        ([(("it rains", "it is wet"), "yes")], "text"),
        ([Text("it rains", labels=("weather",))], "text"),
        (TextDataset((Text("it rains", labels=("weather",)),), Target.SINGLE), "text"),
        ([WORDS], "tags"),
        ([tuple(map(tuple, WORDS))], "tags"),
        ([Sentence(("It", "rains"), ("O", "O"))], "tags"),
        (Dataset((), scheme=Scheme.IOB2), "tags"),
        ([], "tags"),
    ],
)
def test_the_task_is_told_from_values(data: Any, task: str) -> None:
    assert task_of(Recipe(), data) == task


def test_the_task_is_told_from_files_and_options(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "it rains", "label": "weather"}\n')
    (tmp_path / "b.conll").write_text("It\tO\n")
    assert task_of(Recipe(), tmp_path / "a.jsonl") == "text"
    assert task_of(Recipe(), str(tmp_path / "b.conll")) == "tags"
    assert task_of(Recipe(task="tags"), tmp_path / "a.jsonl") == "tags"
    assert task_of(Recipe(pooling="max"), tmp_path / "b.conll") == "text"


def test_what_comes_later_is_read_as_what_came_first() -> None:
    read = Reader("text", Recipe())
    assert isinstance(first := read([("a", ["x", "y"]), ("b", [])], "train"), TextDataset)
    assert isinstance(second := read([("c", ["x"])], "dev"), TextDataset)
    assert first.target is second.target is Target.MULTI
    with pytest.raises(DataError, match="test has no text"):
        read([], "test")
    with pytest.raises(DataError, match="dev has no sentence"):
        Reader("tags", Recipe())([], "dev")
