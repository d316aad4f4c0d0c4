"""The bar: what is counted, how fast, and only on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from lookright.inference.progress import progress_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("total", "words"), [(1500, "1,200 of 1,500 texts"), (None, "1,200 texts")])
def test_items_and_their_rate_are_shown(monkeypatch: pytest.MonkeyPatch, total: int | None, words: str) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress_bar(total, "classifying", "texts", shown=True) as advance:
        for _ in range(4):
            advance(300)
    assert words in stream.getvalue()
    assert " a second" in stream.getvalue()


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO(), True), (Terminal(), False)])
def test_nothing_is_shown_elsewhere_or_unasked(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3, "classifying", "texts", shown=shown) as advance:
        advance(3)
    assert stream.getvalue() == ""
