"""What dev shares with train is said before anything is chosen by it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from lookright.data import Dataset, Sentence, Text, TextDataset
from lookright.tags import Scheme
from lookright.training.overlap import say_overlap


def sentences(numbers: range) -> Dataset:
    return Dataset(tuple(Sentence(("sentence", str(n)), ("O", "B-X")) for n in numbers), scheme=Scheme.IOB2)


def texts(numbers: range) -> TextDataset:
    return TextDataset(tuple(Text(f"text {n}", labels=("even" if n % 2 == 0 else "odd",)) for n in numbers))


@pytest.mark.parametrize(
    ("first", "level", "told"),
    [
        (0, logging.WARNING, r"100 \w+ of dev \(100.0%\) also in train"),
        (70, logging.WARNING, r"30 \w+ of dev \(30.0%\) also in train"),
        (98, logging.INFO, r"2 \w+ of dev \(2.0%\) also in train"),
        (99, None, ""),  # one in a hundred is chance
        (100, None, ""),
    ],
)
@pytest.mark.parametrize("make", [sentences, texts])
def test_much_is_a_warning_and_some_is_a_note(
    caplog: pytest.LogCaptureFixture, make: Any, first: int, level: int | None, told: str
) -> None:
    with caplog.at_level(logging.INFO, "lookright"):
        say_overlap(make(range(100)), make(range(first, first + 100)))
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])
    assert all(re.match(told, message) for message in caplog.messages)


def test_of_test_it_is_said_as_well(caplog: pytest.LogCaptureFixture) -> None:
    say_overlap(texts(range(100)), texts(range(50, 150)), "test")
    [message] = caplog.messages
    assert re.match(r"50 \w+ of test \(50.0%\) also in train", message)
    assert message.endswith("figures on test flatter; give data that nothing was trained on")
