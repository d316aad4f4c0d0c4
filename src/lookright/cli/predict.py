"""`lookright predict`: text, words or labeled files in, spans out, in order and in bounded memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from lookright.cli.output import say
from lookright.cli.recipe_flags import add_some_recipe_arguments
from lookright.cli.tagger_flags import add_machine_arguments, load_tagger, reading_options

if TYPE_CHECKING:
    from lookright.api.tagger import Tagger
    from lookright.data import Read, Sentence
    from lookright.inference.predictor import Tagging
    from lookright.inference.render import Example

    Pairs = Iterable[tuple[Sentence, Tagging]]

EXAMPLES = """
lookright predict my-tagger notes.txt
echo "Angela Merkel visited Zagreb." | lookright predict my-tagger -
lookright predict my-tagger notes.txt --format jsonl > spans.jsonl
lookright predict my-tagger test.conll --format conll --out tagged.conll
lookright predict my-tagger articles.jsonl --format html --out page.html
"""

CHUNK = 512
"""Sentences that are tagged together: enough to make batches of equal lengths of, few enough to hold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is tagged, with what, and how the result looks."""
    parser.add_argument("model", metavar="MODEL", help="folder of a saved tagger, or its name on the model hub")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="what to tag; - or nothing is stdin")
    parser.add_argument(
        "--input",
        choices=("text", "conll", "jsonl"),
        help="what FILE holds: a text on each line, CoNLL columns, or JSON Lines (default: by its name and content)",
    )
    parser.add_argument(
        "--format",
        dest="output_format",
        choices=tuple(WRITERS),
        help="what to write (default: terminal where stdout is one, else jsonl)",
    )
    parser.add_argument("--out", dest="output", metavar="FILE", default="-", help="where to write (default: stdout)")
    add_some_recipe_arguments(parser, "What is read", ("columns",))
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tag everything, in order."""
    from lookright.data import iter_input
    from lookright.data.lines import text_target

    interactive = args.file == "-" and sys.stdin.isatty()
    source: dict[str, Any] = {"format": args.input or "auto", "columns": reading_options(args)["columns"]}
    if interactive:
        source["format"] = args.input or "text"
        say("reading from the keyboard: a text on each line, Ctrl-D ends", quiet=args.quiet)
    if args.file != "-":
        next(iter_input(args.file, **source), None)  # a file that cannot be read is said before the model is loaded
    tagger = load_tagger(args)
    to_screen = args.output == "-" and sys.stdout.isatty()
    write = WRITERS[args.output_format or ("terminal" if to_screen else "jsonl")]
    reads = iter_input(args.file, splitter=tagger.splitter, **source)
    with text_target(args.output) as stream:
        write(tagged(tagger, reads, 1 if interactive else CHUNK), tagger, stream)
    if args.output != "-":
        say(f"written to {args.output}", quiet=args.quiet)
    return 0


def tagged(tagger: Tagger, reads: Iterable[Read], size: int = CHUNK) -> Iterator[tuple[Sentence, Tagging]]:
    """Yield each sentence with what the tagger says about it, in order."""
    whole_documents = tagger.settings.context == "document"
    for chunk in chunks(reads, size, whole_documents=whole_documents):
        sentences = [read.sentence for read in chunk]
        starts = [i for i, read in enumerate(chunk) if read.starts_document or i == 0] if whole_documents else None
        yield from zip(sentences, tagger.tag(sentences, document_starts=starts), strict=True)


def chunks(reads: Iterable[Read], size: int, *, whole_documents: bool) -> Iterator[list[Read]]:
    """Cut a stream into lists of about `size`; never inside a document where `whole_documents` is asked."""
    chunk: list[Read] = []
    for read in reads:
        if whole_documents and read.starts_document and len(chunk) >= size:
            yield chunk
            chunk = []
        chunk.append(read)
        # Full lists go on at once: the next sentence may be long in coming, from a keyboard.
        if not whole_documents and len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def write_records(pairs: Pairs, tagger: Tagger, stream: TextIO) -> None:
    """Write one JSON object per sentence: its text and spans; its words and tags too where words were given."""
    for sentence, tagging in pairs:
        text, _ = sentence.surface()
        spans = [
            {"type": s.type, "start": s.start, "end": s.end, "text": s.text, "score": round(s.score, 4)}
            for s in tagging.spans
        ]
        record: dict[str, Any] = {"text": text, "spans": spans}
        if sentence.text is None:
            record |= {"tokens": sentence.words, "tags": tagging.tags}
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()


def write_columns(pairs: Pairs, tagger: Tagger, stream: TextIO) -> None:
    """Write words and tags as CoNLL columns; texts without words have no place there."""
    from lookright.data import write_conll

    write_conll((sentence.with_tags(tagging.tags) for sentence, tagging in pairs if sentence.words), stream)


def write_page(pairs: Pairs, tagger: Tagger, stream: TextIO) -> None:
    """Write an HTML page that stands alone."""
    from lookright.inference.render import html_example, html_foot, html_head, hues_of

    hues = hues_of(kind for kind in tagger.settings.types if kind != "O")
    stream.write(html_head("LookRight", "", hues))
    for example in _examples(pairs):
        stream.write(html_example(example, hues))
    stream.write(html_foot())


def write_screen(pairs: Pairs, tagger: Tagger, stream: TextIO) -> None:
    """Write highlighted text: in colour on a terminal, in brackets elsewhere."""
    from rich.console import Console

    from lookright.inference.render import print_examples

    print_examples(_examples(pairs), Console(file=stream, highlight=False), types=tagger.settings.types)


WRITERS: dict[str, Callable[[Pairs, Tagger, TextIO], None]] = {
    "jsonl": write_records,
    "conll": write_columns,
    "html": write_page,
    "terminal": write_screen,
}
"""How a result is written, by the name of its format."""


def _examples(pairs: Pairs) -> Iterator[Example]:
    from lookright.inference.render import Example, Highlight

    for sentence, tagging in pairs:
        text, _ = sentence.surface()
        yield Example(text, [Highlight(s.type, s.start, s.end, s.score) for s in tagging.spans])
