"""How predictions are written: as JSON Lines, as CoNLL columns, as a page, as text for a terminal.

A format turns some sentences with their taggings into text, and knows nothing of what came before, so that several
processes can do it at once; `joined` puts the texts together.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from lookright.data import Read
from lookright.data.conll import begun, conll_text
from lookright.data.records import json_line
from lookright.inference.predictor import Tagging

Pairs = Iterable[tuple[Read, Tagging]]


class Format(Protocol):
    """How predictions are written."""

    def head(self) -> str:
        """What stands before the first sentence."""
        ...

    def body(self, pairs: Pairs) -> str:
        """Sentences with what the tagger says about them."""
        ...

    def first(self, body: str) -> str:
        """The first text that is not empty, as it must begin."""
        ...

    def foot(self) -> str:
        """What stands after the last sentence."""
        ...


class Plain:
    """What most formats share: nothing before, nothing after, and the first text like the others."""

    def head(self) -> str:
        """Nothing."""
        return ""

    def first(self, body: str) -> str:
        """The text as it is."""
        return body

    def foot(self) -> str:
        """Nothing."""
        return ""


def joined(form: Format, bodies: Iterable[str]) -> Iterator[str]:
    """The texts of a format's bodies, in order, with what belongs before and after them."""
    yield form.head()
    begins = True
    for body in bodies:
        yield form.first(body) if begins and body else body
        begins = begins and not body
    yield form.foot()


def prediction(read: Read, tagging: Tagging) -> dict[str, Any]:
    """What is said about a sentence: its text and spans; its words and tags too where words were given."""
    text, _ = read.sentence.surface()
    spans = [
        {"type": s.type, "start": s.start, "end": s.end, "text": s.text, "score": round(s.score, 4)}
        for s in tagging.spans
    ]
    said: dict[str, Any] = {"text": text, "spans": spans}
    if read.words_given or read.sentence.text is None:
        said |= {"tokens": read.sentence.words, "tags": tagging.tags}
    return said


class JsonLines(Plain):
    """One JSON object per sentence, with all that its own record held besides its gold."""

    def body(self, pairs: Pairs) -> str:
        """One line for each sentence."""
        return "".join([_line(read, tagging) for read, tagging in pairs])


def _line(read: Read, tagging: Tagging) -> str:
    record = {**(read.rest or {}), **prediction(read, tagging)}
    return json_line(record, path=read.sentence.path, line=read.sentence.line)


class Columns(Plain):
    """Words and tags as CoNLL columns; texts without words have no place there."""

    def body(self, pairs: Pairs) -> str:
        """A line for each word, an empty one after each sentence."""
        return "".join(
            [conll_text(read.sentence.with_tags(tagging.tags)) for read, tagging in pairs if read.sentence.words]
        )

    def first(self, body: str) -> str:
        """Safe from being read as a byte order mark."""
        return begun(body)


@dataclass(frozen=True)
class Page:
    """An HTML page that stands alone.

    Attributes:
        types: of the spans, for the legend.
    """

    types: Sequence[str]

    def _hues(self) -> dict[str, int]:
        from lookright.inference.render import hues_of

        return hues_of(kind for kind in self.types if kind != "O")

    def head(self) -> str:
        """The top of the page, with the legend."""
        from lookright.inference.render import html_head

        return html_head("LookRight", "", self._hues())

    def body(self, pairs: Pairs) -> str:
        """A block for each sentence."""
        from lookright.inference.render import html_example

        hues = self._hues()
        return "".join([html_example(_example(read, tagging), hues) for read, tagging in pairs])

    def first(self, body: str) -> str:
        """The text as it is."""
        return body

    def foot(self) -> str:
        """The end of the page."""
        from lookright.inference.render import html_foot

        return html_foot()


@dataclass(frozen=True)
class Screen(Plain):
    """Highlighted text: in colour on a terminal, in brackets elsewhere.

    Attributes:
        types: of the spans, to give each a colour of its own.
        terminal: whether it is for a terminal.
    """

    types: Sequence[str]
    terminal: bool

    def body(self, pairs: Pairs) -> str:
        """A line for each sentence."""
        from rich.console import Console

        from lookright.inference.render import print_examples

        stream: TextIO = _Terminal() if self.terminal else io.StringIO()
        examples = [_example(read, tagging) for read, tagging in pairs]
        print_examples(examples, Console(file=stream, highlight=False), types=self.types)
        return stream.getvalue()  # type: ignore[attr-defined, no-any-return]


class _Terminal(io.StringIO):
    """Text that is going to a terminal: what a terminal shows is said by the environment."""

    def isatty(self) -> bool:
        return True


def _example(read: Read, tagging: Tagging) -> Any:
    from lookright.inference.render import Example, Highlight

    text, _ = read.sentence.surface()
    return Example(text, [Highlight(s.type, s.start, s.end, s.score) for s in tagging.spans])
