"""The examples of docs/formats.md run, and the shapes it shows are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lookright.data import iter_conll, read_jsonl

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def blocks(language):
    if not PAGE.is_file():
        pytest.skip("the documentation is not here")
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_python_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(compile(block, "formats.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "3394 sentences" in printed
    assert "('O', 'B-LOC', 'O', 'O')" in printed
    assert "1 snapped to word borders" in printed


def test_shown_shapes_are_read(tmp_path):
    (conll,) = blocks("text")
    (tmp_path / "f.conll").write_text(conll)
    assert [read.sentence.tags for read in iter_conll(tmp_path / "f.conll")] == [("B-PER", "I-PER", "O", "B-LOC")]
    shapes = [line for block in blocks("json") for line in block.splitlines()]
    assert len(shapes) == 5
    for line in shapes:
        (tmp_path / "f.jsonl").write_text(line)
        assert "B-LOC" in read_jsonl(tmp_path / "f.jsonl")[0].tags
