"""Spans made visible: highlighted in an HTML page that stands alone, coloured or bracketed in a terminal.

Everything is escaped: texts, types, titles and notes come from users and from downloaded files. An HTML page holds no
script and loads nothing. In a terminal, control characters are shown as symbols, so that a text cannot drive it.
Pure functions; neither torch nor transformers is loaded.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Console
from rich.style import Style
from rich.text import Text

from lookright.errors import DataError

TITLE: Final = "LookRight"
TERMINAL_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")
GOLDEN_ANGLE: Final = 137.508
"""Degrees: successive hues this far apart stay apart however many there are."""


class Highlight(NamedTuple):
    """One span to show: its type, its character offsets in the text (end exclusive), its score where it has one."""

    type: str
    start: int
    end: int
    score: float | None = None


class Example(NamedTuple):
    """One text with its spans; `gold` where the right answer is known, `title` where there is one."""

    text: str
    spans: Sequence[Highlight]
    gold: Sequence[Highlight] | None = None
    title: str = ""


def layers_of(text: str, spans: Iterable[Highlight]) -> list[list[Highlight]]:
    """The spans in as few layers as a left-to-right pass needs, so that no two of one layer overlap.

    A tagger's spans fill one layer; gold from a file may overlap. At least one layer, possibly empty.

    Raises:
        DataError: a span that is empty or outside the text.
    """
    layers: list[list[Highlight]] = [[]]
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not 0 <= span.start < span.end <= len(text):
            raise DataError(
                f"span {span.type!r} from character {span.start} to {span.end} does not fit a text of {len(text)}"
            )
        for layer in layers:
            if not layer or layer[-1].end <= span.start:
                layer.append(span)
                break
        else:
            layers.append([span])
    return layers


def pieces_of(text: str, layer: Sequence[Highlight]) -> Iterator[tuple[str, Highlight | None]]:
    """The text cut at the spans of one layer: every character is in exactly one piece, in order."""
    at = 0
    for span in layer:
        if span.start > at:
            yield text[at : span.start], None
        yield text[span.start : span.end], span
        at = span.end
    if at < len(text):
        yield text[at:], None


# ---------------------------------------------------------------------------------------------------------- terminal


def visible(text: str) -> str:
    """The text with control characters (but tab and newline) as the symbols that stand for them."""
    return "".join(_symbol(ord(c)) if (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 else c for c in text)


def _symbol(code: int) -> str:
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"


def to_brackets(text: str, spans: Sequence[Highlight]) -> str:
    """The text with its spans as `[Angela Merkel PER]`, one line of text for each layer of overlapping spans."""
    lines = []
    for layer in layers_of(text, spans):
        parts = [p if s is None else f"[{p} {s.type}]" for p, s in pieces_of(text, layer)]
        lines.append(visible("".join(parts)))
    return "\n".join(lines)


def to_rich(text: str, spans: Sequence[Highlight], colours: dict[str, str]) -> Text:
    """The text with its spans as rich styles: the span in bold colour, its type after it, dimmed."""
    result = Text()
    for number, layer in enumerate(layers_of(text, spans)):
        if number:
            result.append("\n")
        for piece, span in pieces_of(text, layer):
            if span is None:
                result.append(visible(piece))
                continue
            colour = colours.get(span.type, "default")
            result.append(visible(piece), Style(color=colour, bold=True))
            result.append(" " + visible(span.type), Style(color=colour, dim=True))
    return result


def print_examples(examples: Iterable[Example], console: Console | None = None, *, types: Sequence[str] = ()) -> None:
    """Write examples to a terminal, in colour; in bracket notation where there is no terminal or no colour wanted.

    Args:
        examples: what to show. Gold is shown under the prediction where it differs.
        console: where to write; standard output where none is given. `NO_COLOR` and dumb terminals are honoured.
        types: all span types, to give each a colour of its own; types met later get the next ones.
    """
    console = Console(highlight=False) if console is None else console
    plain = console.color_system is None or console.no_color
    colours = {kind: TERMINAL_COLOURS[i % len(TERMINAL_COLOURS)] for i, kind in enumerate(types)}
    for example in examples:
        lines = [("", example.spans)]
        if example.gold is not None and not _same(example.spans, example.gold):
            lines.append(("gold: ", example.gold))
        for prefix, spans in lines:
            for span in spans:
                colours.setdefault(span.type, TERMINAL_COLOURS[len(colours) % len(TERMINAL_COLOURS)])
            if plain:
                console.out(prefix + to_brackets(example.text, spans), highlight=False)
            else:
                console.print(Text.assemble((prefix, "dim"), to_rich(example.text, spans, colours)), soft_wrap=True)


# -------------------------------------------------------------------------------------------------------------- HTML


def hues_of(types: Iterable[str]) -> dict[str, int]:
    """A hue in degrees for each type, apart from each other."""
    return {kind: round(index * GOLDEN_ANGLE + 200) % 360 for index, kind in enumerate(dict.fromkeys(types))}


def html_page(examples: Iterable[Example], *, title: str = TITLE, note: str = "", types: Sequence[str] = ()) -> str:
    """A whole page of examples, with a legend of all types that occur."""
    examples = list(examples)
    met = {span.type for example in examples for span in (*example.spans, *(example.gold or ()))}
    hues = hues_of((*types, *sorted(met)))
    body = (html_example(example, hues) for example in examples)
    return "".join(itertools.chain([html_head(title, note, hues)], body, [html_foot()]))


def html_head(title: str, note: str, hues: dict[str, int]) -> str:
    """The opening of a page: title, note, and the legend of the types with their hues."""
    legend = " ".join(_mark(html.escape(_clean(kind)), hue) for kind, hue in hues.items())
    note_html = f"<p>{html.escape(_clean(note))}</p>\n" if note else ""
    legend_html = f'<p class="legend">{legend}</p>\n' if legend else ""
    return _HEAD.replace("@TITLE@", html.escape(_clean(title))) + note_html + legend_html


def html_example(example: Example, hues: dict[str, int]) -> str:
    """One example as a block of the page: the tagged text, beside its gold where there is one."""
    title = f"<h2>{html.escape(_clean(example.title))}</h2>\n" if example.title else ""
    if example.gold is None:
        return f"<section>{title}{_column('', example.text, example.spans, hues, ())}</section>\n"
    same = _same(example.spans, example.gold)
    predicted = _column("predicted", example.text, example.spans, hues, _missing(example.spans, example.gold))
    gold = _column("gold", example.text, example.gold, hues, _missing(example.gold, example.spans))
    return (
        f'<section class="{"right" if same else "wrong"}">{title}<div class="pair">{predicted}{gold}</div></section>\n'
    )


def html_columns(
    text: str,
    columns: Sequence[tuple[str, Sequence[Highlight]]],
    hues: dict[str, int],
    *,
    title: str = "",
    kind: str = "",
) -> str:
    """A text with the spans of several sides, side by side; the first side is the right one.

    Args:
        text: the text.
        columns: name and spans of each side; what another side has too much, or lacks, has a dashed border.
        hues: of the types.
        title: above it.
        kind: `right`, `wrong`, or neither, for the colour of its edge.
    """
    head = f"<h2>{html.escape(_clean(title))}</h2>\n" if title else ""
    gold = columns[0][1]
    shown = [_column(columns[0][0], text, gold, hues, set().union(*(_missing(gold, s) for _, s in columns[1:])))]
    shown += [_column(name, text, spans, hues, _missing(spans, gold)) for name, spans in columns[1:]]
    style = f"grid-template-columns:repeat({len(columns)},1fr)"
    return f'<section class="{kind}">{head}<div class="pair" style="{style}">{"".join(shown)}</div></section>\n'


def print_sides(
    text: str,
    sides: Sequence[tuple[str, Sequence[Highlight]]],
    console: Console,
    colours: dict[str, str],
) -> None:
    """Write a text with the spans of several sides to a terminal, a line for each; see `print_examples`."""
    plain = console.color_system is None or console.no_color
    width = max(len(name) for name, _ in sides)
    for name, spans in sides:
        for span in spans:
            colours.setdefault(span.type, TERMINAL_COLOURS[len(colours) % len(TERMINAL_COLOURS)])
        prefix = f"  {visible(name).ljust(width)}  "
        if plain:
            console.out(prefix + to_brackets(text, spans), highlight=False)
        else:
            console.print(Text.assemble((prefix, "dim"), to_rich(text, spans, colours)), soft_wrap=True)


def html_foot() -> str:
    """The end of a page."""
    return "</main></body></html>\n"


def _column(
    name: str, text: str, spans: Sequence[Highlight], hues: dict[str, int], odd: Iterable[tuple[str, int, int]]
) -> str:
    """A text with its spans marked; those in `odd` (the other side lacks them) with a dashed border."""
    different = set(odd)
    head = f"<h3>{name}</h3>" if name else ""
    lines = []
    for layer in layers_of(text, spans):
        parts = []
        for piece, span in pieces_of(text, layer):
            shown = html.escape(_clean(piece))
            if span is None:
                parts.append(shown)
                continue
            tip = "" if span.score is None else f"score {span.score:.3f}"
            shown = f"{shown}<b>{html.escape(_clean(span.type))}</b>"
            parts.append(_mark(shown, hues.get(span.type, 0), tip, odd=span[:3] in different))
        lines.append(f'<p class="text" dir="auto">{"".join(parts)}</p>')
    return f"<div>{head}{''.join(lines)}</div>"


def _mark(inner: str, hue: int, tip: str = "", *, odd: bool = False) -> str:
    kind = ' class="odd"' if odd else ""
    title = f' title="{tip}"' if tip else ""
    return f'<mark{kind} style="--hue:{hue}"{title}>{inner}</mark>'


def _clean(text: str) -> str:
    """Half surrogate pairs, which UTF-8 cannot hold, and control characters replaced."""
    return visible(text.encode("utf-8", "replace").decode("utf-8"))


def _same(one: Sequence[Highlight], other: Sequence[Highlight]) -> bool:
    return {span[:3] for span in one} == {span[:3] for span in other}


def _missing(one: Sequence[Highlight], other: Sequence[Highlight]) -> set[tuple[str, int, int]]:
    return {span[:3] for span in one} - {span[:3] for span in other}


_HEAD: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>@TITLE@</title>
<style>
:root{color-scheme:light dark;--page:#f6f6f4;--card:#fff;--ink:#1c1c1c;--soft:#5b5b5b;--back:88%;--line:45%}
@media(prefers-color-scheme:dark){:root{--page:#17181a;--card:#222427;--ink:#ececec;--soft:#a5a5a5;--back:28%;--line:62%}}
body{font:17px/1.75 system-ui,sans-serif;margin:0;background:var(--page);color:var(--ink)}
main{max-width:64rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.4rem;margin:0 0 .4rem}h2,h3{font-size:.8rem;font-weight:600;color:var(--soft);margin:0}
section{background:var(--card);border-left:4px solid #9a9a9a;border-radius:6px;padding:.6rem 1rem;margin:.7rem 0}
.right{border-color:#3a9d5d}.wrong{border-color:#d08a2e}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 2rem}
@media(max-width:50rem){.pair{grid-template-columns:1fr}}
.text{margin:.2rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
mark{background:hsl(var(--hue) 75% var(--back));color:inherit;border-radius:4px;padding:.1em .3em;
border:1px solid hsl(var(--hue) 55% var(--line))}
mark b{font-size:.62em;letter-spacing:.03em;margin-left:.45em;opacity:.75}
mark.odd{border-style:dashed;border-width:2px}
</style></head><body><main>
<h1>@TITLE@</h1>
"""
