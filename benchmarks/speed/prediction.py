"""What stands around the model in prediction: start-up, tokenisation, and how the stream of `predict` is run.

    OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 python benchmarks/speed/prediction.py [--sentences 10000] [--workers 2]

Each row is the median of several rounds, in turn. `seconds` is the clock, `processor` what the process itself computed:
where the clock is much longer, the machine was busy, and the figures are worth little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COMMAND = [sys.executable, "-m", "lookright.cli.main"]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor by this process and those that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock, own = time.perf_counter(), time.process_time()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - clock, time.process_time() - own + children


def lookright(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)


def save_tagger(folder: Path) -> None:
    """A tagger on the bundled base whose head is random: it computes as much as any other."""
    from lookright import Tagger

    Tagger.from_pretrained("lookright-nano", labels=["PER", "LOC", "ORG"], plan="0011").save_pretrained(folder)


def sentences(n: int) -> list[list[str]]:
    """The bundled training sentences, over and over in another order, with numbers in them that are always new."""
    from lookright.data import read_conll, sample

    words = [list(sentence.words) for sentence in read_conll(sample()["train"])]
    order = random.Random(0)
    return [[*order.choice(words), str(order.randrange(10**6))] for _ in range(n)]


def tokenisation(rows: list[list[str]]) -> Iterator[tuple[str, Callable[[], object]]]:
    from lookright.data import Sentence
    from lookright.encoding import SubwordEncoder, windows_of
    from lookright.models.base import load_tokenizer
    from lookright.models.bundled import bundled_folder

    tokenizer = load_tokenizer(bundled_folder())
    given = [Sentence(tuple(row)) for row in rows]
    yield "tokenise: sentence after sentence", lambda: [*map(SubwordEncoder(tokenizer).encode, given)]
    yield "tokenise: together", lambda: SubwordEncoder(tokenizer).encode_many(given)
    encoded = SubwordEncoder(tokenizer).encode_many(given)
    yield "windows", lambda: [windows_of(one, index, size=256) for index, one in enumerate(encoded)]


def stream(folder: Path, file: Path, workers: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """The stream without its start: one stage after the other, overlapped, and in processes that are started."""
    from lookright import Tagger
    from lookright.data import iter_input
    from lookright.inference.formats import JsonLines
    from lookright.inference.labeler import AsText, Labeler
    from lookright.inference.workers import Workers

    tagger = Tagger.from_pretrained(folder)
    labeler = Labeler(tagger.predictor, AsText(JsonLines()))

    def chunks() -> Iterator[list]:
        return labeler.chunks(iter_input(file, splitter=tagger.splitter))

    yield "predict: one stage after the other", lambda: [labeler(chunk) for chunk in chunks()]
    yield "predict: overlapped", lambda: [*labeler.run(chunks())]
    with Workers(labeler, workers, model=tagger.predictor.model) as processes:
        list(labeler.run(labeler.chunks(iter_input(file, splitter=tagger.splitter)), workers=processes))
        yield f"predict: {workers} workers", lambda: [*labeler.run(chunks(), workers=processes)]


def report(name: str, figures: list[tuple[float, float]]) -> None:
    seconds, processor = (statistics.median(column) for column in zip(*figures, strict=True))
    spread = f"{min(f[0] for f in figures):.2f} to {max(f[0] for f in figures):.2f}"
    print(f"{name:40s} {seconds:8.2f} s ({spread})   processor {processor:7.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "tagger"
        save_tagger(folder)
        (Path(place) / "one.txt").write_text("Angela Merkel visited Zagreb.\n")
        rows = sentences(args.sentences)
        file = Path(place) / "many.jsonl"
        file.write_text("".join(json.dumps({"text": " ".join(row)}) + "\n" for row in rows))
        starts: list[tuple[str, Callable[[], object]]] = [
            ("import torch", lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)),
            ("lookright --help", lambda: lookright("--help")),
            ("lookright predict --help", lambda: lookright("predict", "--help")),
            ("lookright predict, one text", lambda: lookright("predict", str(folder), str(Path(place) / "one.txt"))),
        ]
        for part in (starts, [*tokenisation(rows)]):
            figures = {name: [timed(work) for _ in range(args.rounds)] for name, work in part}
            for name, found in figures.items():
                report(name, found)
        for name, work in stream(folder, file, args.workers):
            report(name, [timed(work) for _ in range(max(1, args.rounds // 2))])


if __name__ == "__main__":
    main()
