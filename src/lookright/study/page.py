"""The report of a study: one HTML page that stands alone.

Everything is escaped; it holds no script and loads nothing.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any, Final

from lookright.study.plots import Picture
from lookright.study.results import StudyResults
from lookright.study.tables import Block, Heading, Paragraph, Table


def html_page(results: StudyResults, blocks: Sequence[Block], pictures: Sequence[Picture]) -> str:
    """The page.

    Args:
        results: of the study.
        blocks: the document, as for the other formats.
        pictures: the plots; their SVG goes into the page.
    """
    title = html.escape(f"Study {results.study.name}")
    first, rest = _until_heading(blocks)
    drawn = "".join(_figure(picture) for picture in pictures)
    if not pictures:
        drawn = "<p><em>No plots: they were left out.</em></p>\n"
    body = "".join(map(_block, first)) + drawn + "".join(map(_block, rest)) + _definitions(results)
    return f"{_HEAD.replace('@TITLE@', title)}{body}</main></body></html>\n"


def _until_heading(blocks: Sequence[Block]) -> tuple[Sequence[Block], Sequence[Block]]:
    at = next((index for index, block in enumerate(blocks) if isinstance(block, Heading)), len(blocks))
    return blocks[:at], blocks[at:]


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{html.escape(block.text)}</h2>\n"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>\n"
    return _table(block)


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        parts = [
            f"<{tag}{' class=name' if column < table.left else ''}>{html.escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(parts)}</tr>\n"

    head, *rest = table.rows
    body = "".join(row(cells, "td") for cells in rest)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f"<div class=wide><table>{caption}<thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table></div>\n"


def _figure(picture: Picture) -> str:
    svg = next(file for file in picture.files if file.suffix == ".svg")
    data = base64.b64encode(svg.read_bytes()).decode("ascii")
    title = html.escape(picture.title)
    image = f'<img alt="{title}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{title}</figcaption></figure>\n"


def _definitions(results: StudyResults) -> str:
    """What the study file says of each part."""
    lines = []
    for name, definition in results.study.definitions().items():
        flat: dict[str, Any] = {}
        for key, value in definition.items():
            flat |= value if isinstance(value, dict) else {key: value}
        words = ", ".join(f"{key} = {value}" for key, value in flat.items() if value is not None)
        lines.append(f"<tr><td class=name>{html.escape(name)}</td><td class=name>{html.escape(words)}</td></tr>\n")
    return f"<h2>What was crossed</h2>\n<div class=wide><table><tbody>{''.join(lines)}</tbody></table></div>\n"


_HEAD: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>@TITLE@</title>
<style>
:root{color-scheme:light dark;--page:#f6f6f4;--card:#fff;--ink:#1c1c1c;--soft:#5b5b5b;--line:#deded8}
@media(prefers-color-scheme:dark){:root{--page:#17181a;--card:#222427;--ink:#ececec;--soft:#a5a5a5;--line:#3a3d41}}
body{font:16px/1.6 system-ui,sans-serif;margin:0;background:var(--page);color:var(--ink)}
main{max-width:72rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0 0 .6rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}
p{max-width:50rem}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:6px;margin:.8rem 0;
padding:.4rem .9rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;color:var(--soft);padding:.3rem 0}
th,td{text-align:right;padding:.2rem .8rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}.name{text-align:left;white-space:normal;overflow-wrap:anywhere}
figure{margin:1rem 0;background:#fff;border:1px solid var(--line);border-radius:6px;padding:.8rem}
figure img{max-width:100%;height:auto;display:block;margin:0 auto}
figcaption{color:#5b5b5b;font-size:.9rem;text-align:center}
</style></head><body><main>
<h1>@TITLE@</h1>
"""
