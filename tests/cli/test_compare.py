"""`lookright compare`: terminal, JSON Lines and a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.conftest import Run

TEST = "Angela\tB-PER\nvisited\tO\nZagreb\tB-LOC\n\n<b>\tO\nParis\tB-LOC\n\nIt\tO\nrains\tO\n\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A test file and two files of predictions: one misses Paris, one misses Angela and finds too much."""
    (tmp_path / "test.conll").write_text(TEST)
    (tmp_path / "a.conll").write_text(TEST.replace("Paris\tB-LOC", "Paris\tO"))
    (tmp_path / "b.conll").write_text(TEST.replace("Angela\tB-PER", "Angela\tO").replace("<b>\tO", "<b>\tB-PER"))
    return tmp_path


def test_the_terminal_shows_figures_and_sentences(run: Run, place: Path) -> None:
    done = run("compare", place / "a.conll", place / "b.conll", "--test", place / "test.conll", "--samples", "100")
    assert done.code == 0, done.err
    assert "strict span F1, IOB2, micro, x 100, on 3 sentences" in done.out
    assert re.search(r"^difference +\+13\.33$", done.out, re.MULTILINE)
    assert (
        "2 of 3 sentences are tagged differently: 1 right in a.conll alone, 0 in b.conll alone, 1 in neither."
        in done.out
    )
    assert "sentence 1, line 1: a.conll is right" in done.out
    assert "  gold     [Angela PER] visited [Zagreb LOC]" in done.out
    assert "  b.conll  Angela visited [Zagreb LOC]" in done.out
    assert "  b.conll  [<b> PER] [Paris LOC]" in done.out
    flags = ["--test", place / "test.conll", "--samples", "100", "--show"]
    fewer = run("compare", place / "a.conll", place / "b.conll", *flags, "1")
    assert "1 more: --show 2" in fewer.out
    assert "sentence 5" not in fewer.out
    assert "sentence" not in run("compare", place / "a.conll", place / "b.conll", *flags, "0").out.split("neither.")[1]


def test_json_lines_hold_the_comparison_and_each_sentence(run: Run, place: Path) -> None:
    flags = ["--test", place / "test.conll", "--samples", "100", "--format", "jsonl"]
    done = run("compare", place / "a.conll", place / "b.conll", *flags)
    head, *sentences = [json.loads(line) for line in done.out.splitlines()]
    assert head["comparison"]["n_different"] == len(sentences) == 2
    assert sentences[0]["gold"][0] == {"type": "PER", "start": 0, "end": 6}
    assert sentences[0]["right"] == "a.conll"
    assert sentences[1]["right"] is None


def test_the_page_stands_alone_and_escapes(run: Run, place: Path) -> None:
    flags = ["--test", place / "test.conll", "--samples", "100", "--format", "html", "--out", place / "page.html"]
    done = run("compare", place / "a.conll", place / "b.conll", *flags)
    assert (done.code, done.out) == (0, "")
    assert "2 sentences differ" in done.err
    text = (place / "page.html").read_text(encoding="utf-8")
    tags: list[str] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Page().feed(text)
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert "&lt;b&gt;" in text
    assert text.count('<div class="pair"') == 2
    assert text.count("<h3>gold</h3>") == 2
    assert text.count('class="odd"') == 3  # Angela and Paris in gold, which one side lacks; <b>, which gold has not
    assert 'section class="right"' in text


def test_two_taggers(run: Run, files: Path) -> None:
    flags = ["--test", files / "test.conll", "--samples", "100"]
    done = run("compare", files / "tagger", files / "test.conll", *flags)
    assert done.code == 0
    assert "test.conll" in done.out
    same = run("compare", files / "tagger", files / "tagger", *flags)
    assert "0 of 12 sentences are tagged differently" in same.out


def test_mistakes_are_one_line(fails: Run, place: Path, files: Path) -> None:
    test = ["--test", place / "test.conll"]
    assert (
        "has 12 sentences, and the test set 3" in fails("compare", files / "test.conll", place / "a.conll", *test).err
    )
    assert "no saved tagger" in fails("compare", files / "base", place / "a.conll", *test).err
    assert "nowhere" in fails("compare", place / "a.conll", place / "b.conll", "--test", place / "nowhere.conll").err
    assert "--samples" in fails("compare", place / "a.conll", place / "b.conll", *test, "--samples", "1", code=2).err
    assert "did you mean" in fails("compare", place / "a.conll", place / "b.conll", *test, "--sampels", "9", code=2).err
