"""Highlighting: every character is shown once, nothing is interpreted, colours only where they are wanted."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from lookright.errors import DataError
from lookright.inference.render import (
    Example,
    Highlight,
    html_page,
    layers_of,
    pieces_of,
    print_examples,
    to_brackets,
)

TEXT = "Angela Merkel visited Zagreb."
SPANS = [Highlight("PER", 0, 13, 0.987), Highlight("LOC", 22, 28, 0.5)]
NASTY = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The texts of paragraphs, the elements, and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.paragraphs: list[str] = []
        self._inside = self._badge = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "p" and ("class", "text") in attrs:
            self._inside = True
            self.paragraphs.append("")
        self._badge = tag == "b"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "p"
        self._badge = self._badge and tag != "b"

    def handle_data(self, data: str) -> None:
        if self._inside and not self._badge:
            self.paragraphs[-1] += data


def terminal(color_system: str | None = "truecolor", **options: object) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=color_system is not None, color_system=color_system, width=30, **options
    )  # type: ignore[arg-type]


def printed(console: Console, *examples: Example) -> str:
    print_examples(examples, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_brackets() -> None:
    assert to_brackets(TEXT, SPANS) == "[Angela Merkel PER] visited [Zagreb LOC]."
    assert to_brackets("I love Berlin.", []) == "I love Berlin."


def test_a_terminal_gets_colours_and_a_file_brackets() -> None:
    coloured = printed(terminal(), Example(TEXT, SPANS))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "Angela Merkel PER visited Zagreb LOC.\n"  # not wrapped at 30
    assert printed(terminal(None), Example(TEXT, SPANS)) == "[Angela Merkel PER] visited [Zagreb LOC].\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(terminal(), Example(TEXT, SPANS)) == "[Angela Merkel PER] visited [Zagreb LOC].\n"


def test_gold_is_shown_where_it_differs() -> None:
    assert printed(terminal(None), Example(TEXT, SPANS, SPANS)).count("\n") == 1
    shown = printed(terminal(None), Example(TEXT, SPANS, SPANS[:1]))
    assert shown.splitlines()[1] == "gold: [Angela Merkel PER] visited Zagreb."


@pytest.mark.parametrize("color_system", ["truecolor", None])
def test_a_text_cannot_drive_the_terminal(color_system: str | None) -> None:
    text = "a\x1b]0;owned\x07 [bold]b[/bold] \x9b2J\r:smile:"
    shown = printed(terminal(color_system), Example(text, [Highlight("\x1b[31mX", 0, 1)]))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain)
    assert "[bold]b[/bold]" in plain
    assert ":smile:" in plain
    assert "␛]0;owned␇" in plain


def test_the_page_escapes_everything() -> None:
    example = Example(NASTY, [Highlight(f'{NASTY}"', 0, 8)], [Highlight("'\"><img src=x>", 8, 20)], title=NASTY)
    page = html_page([example], title=NASTY, note=NASTY, types=[NASTY])
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name in ("src", "href")]
    assert parsed.paragraphs == [NASTY, NASTY]


def test_the_page_stands_alone_with_a_legend() -> None:
    page = html_page([Example(TEXT, SPANS)], title="Tagged", note="3 sentences")
    parsed = Page(page)
    assert page.startswith("<!doctype html>")
    assert "http://" not in page
    assert "https://" not in page
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert page.count("PER") == page.count("LOC") == 2  # in the legend and in the text
    assert 'title="score 0.987"' in page


def test_gold_stands_beside_the_prediction_and_differences_are_marked() -> None:
    wrong = html_page([Example(TEXT, SPANS, [SPANS[0], Highlight("ORG", 22, 28)])])
    assert Page(wrong).paragraphs == [TEXT, TEXT]
    assert '<section class="wrong">' in wrong
    assert wrong.count('<mark class="odd"') == 2
    right = html_page([Example(TEXT, SPANS, SPANS)])
    assert '<section class="right">' in right
    assert '<mark class="odd"' not in right


def test_each_type_has_a_colour_of_its_own() -> None:
    types = [f"T{i}" for i in range(20)]
    page = html_page([Example("x" * 20, [Highlight(t, i, i + 1) for i, t in enumerate(types)])])
    assert len(set(re.findall(r"--hue:(\d+)", page))) == 20


def test_half_a_surrogate_pair_does_not_stop_the_page() -> None:
    html_page([Example("a\ud83d", [Highlight("X\udc00", 0, 2)])]).encode("utf-8")


def test_a_span_outside_the_text_is_an_error() -> None:
    for start, end in ((0, 99), (-1, 2), (3, 3)):
        with pytest.raises(DataError, match="does not fit a text of 29"):
            to_brackets(TEXT, [Highlight("X", start, end)])


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(min_size=1, max_size=30),
    borders=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 8)), max_size=8),
)
def test_every_layer_holds_every_character_and_all_spans_are_shown_once(
    text: str, borders: list[tuple[int, int]]
) -> None:
    spans = [Highlight("T", s, min(s + n, len(text))) for s, n in borders if s < len(text)]
    layers = layers_of(text, spans)
    assert sorted(span for layer in layers for span in layer) == sorted(spans)
    for layer in layers:
        pieces = list(pieces_of(text, layer))
        assert "".join(piece for piece, _ in pieces) == text
        assert [span for _, span in pieces if span] == layer
        assert all(text[span.start : span.end] == piece for piece, span in pieces if span)
