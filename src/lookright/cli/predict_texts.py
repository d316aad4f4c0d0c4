"""`lookright predict` with a text classifier: texts in, JSON Lines out, in order and in bounded memory."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from lookright.cli.output import say
from lookright.cli.parser import UsageError
from lookright.cli.tagger_flags import load_classifier, own_stdin, text_columns


def run(args: argparse.Namespace) -> int:
    """Classify everything, in order."""
    from lookright.data import iter_texts
    from lookright.data.lines import is_stream, text_target
    from lookright.inference.progress import progress_bar
    from lookright.inference.text_labeler import TextLabeler
    from lookright.inference.workers import Workers

    if args.output_format not in (None, "jsonl"):
        raise UsageError(
            f"{args.model} is a text classifier, whose answers are written as jsonl, not {args.output_format}"
        )
    if args.input == "conll":
        raise UsageError(f"{args.model} is a text classifier: --input conll holds words; give text, jsonl, csv or tsv")
    interactive = args.file == "-" and sys.stdin.isatty()
    source: dict[str, Any] = {"format": args.input or "auto", "columns": text_columns(args)}
    if interactive:
        source["format"] = args.input or "text"
        say("reading from the keyboard: a text on each line, Ctrl-D ends", quiet=args.quiet)
    if not is_stream(args.file):
        next(iter_texts(args.file, **source), None)  # a file that cannot be read is said before the model is loaded
    classifier = load_classifier(args)
    labeler = TextLabeler(classifier.predictor, all_scores=args.all_scores)
    with contextlib.ExitStack() as stack:
        if args.file == "-" and not interactive:
            stack.enter_context(own_stdin())
        chunks = labeler.chunks(iter_texts(args.file, **source), **({"size": 1} if interactive else {}))
        if interactive:
            texts = (labeler(chunk) for chunk in chunks)
        else:
            workers = None
            if args.workers not in (None, 1):
                workers = stack.enter_context(Workers(labeler, args.workers, model=classifier.predictor.model))
            texts = labeler.run(chunks, workers=workers)
        stack.enter_context(contextlib.closing(texts))
        stream = stack.enter_context(text_target(args.output))
        free = not interactive and not (args.output == "-" and sys.stdout.isatty())  # the screen, for a bar
        advance = stack.enter_context(progress_bar(None, "classifying", "texts", shown=free and not args.quiet))
        for text in texts:
            stream.write(text)
            stream.flush()
            advance(text.count("\n"))
    if args.output != "-":
        say(f"written to {args.output}", quiet=args.quiet)
    return 0
