"""What 8-bit weights cost: strict F1 on dev of one tagger in float32, bfloat16 and int8.

    python benchmarks/speed/int8_loss.py [--data FOLDER ...] [--epochs 8] [--seeds 0 1 2] [--record]

A tagger is trained on the bundled base with each set (train.conll; dev.conll where there is one, else a tenth of train,
held out by content), saved, and loaded anew in each number format. Without --data: the bundled WNUT-17.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lookright import Tagger  # noqa: E402
from lookright.data import Dataset, hold_out, read_dataset  # noqa: E402
from lookright.data.samples import sample  # noqa: E402
from lookright.models.bundled import BUNDLED  # noqa: E402
from lookright.tags import Scheme  # noqa: E402

GOAL = -0.2
FORMATS = ("float32", "bfloat16", "int8")
HELD_OUT = 0.1


def split_of(folder: Path | None) -> tuple[str, Dataset, Dataset]:
    """Name, train and dev of a set."""
    if folder is None:
        return "wnut17", read_dataset(sample()["train"]), read_dataset(sample()["dev"])
    train = read_dataset(folder / "train.conll")
    if (folder / "dev.conll").exists():
        return folder.name, train, read_dataset(folder / "dev.conll")
    return folder.name, *hold_out(train, HELD_OUT)


def scores(train: Dataset, dev: Dataset, seed: int, epochs: int, batch_size: int) -> dict[str, float]:
    """Strict F1 (or accuracy) on dev x 100, by number format."""
    with tempfile.TemporaryDirectory() as folder:
        tagger = Tagger.from_pretrained(BUNDLED, plan="0011", device="cpu")
        tagger.fit(train, out=folder, seed=seed, epochs=epochs, batch_size=batch_size, progress=False)
        found = {}
        for dtype in FORMATS:
            report = Tagger.from_pretrained(folder, dtype=dtype, device="cpu").evaluate(dev)
            found[dtype] = 100 * (report.scores.headline[1] or 0.0)
    return found


def main() -> None:
    """Train, score, and print or record a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, default=[None])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sentences", type=int, help="train on so many sentences only")
    parser.add_argument("--record", action="store_true", help="append the figures to benchmarks/results/speed.jsonl")
    args = parser.parse_args()
    from benchmarks.results import record

    for folder in args.data:
        name, train, dev = split_of(folder)
        if args.sentences:
            train = Dataset(train.sentences[: args.sentences], scheme=train.scheme)
        rows = [scores(train, dev, seed, args.epochs, args.batch_size) for seed in args.seeds]
        for seed, row in zip(args.seeds, rows, strict=True):
            print(f"{name}, seed {seed}: " + ", ".join(f"{dtype} {row[dtype]:.2f}" for dtype in FORMATS), flush=True)
        for dtype in FORMATS[1:]:
            lost = statistics.mean(row[dtype] - row["float32"] for row in rows)
            print(f"{name}: {dtype} minus float32: {lost:+.2f}", flush=True)
            if args.record:
                unit = f"points of {tagged_by(train)}, dev, mean of {len(rows)} seeds"
                goal = GOAL if dtype == "int8" else None
                record("speed", f"{name}, {dtype} minus float32", round(lost, 2), unit, goal=goal, seeds=args.seeds)


def tagged_by(train: Dataset) -> str:
    """The headline figure of a set."""
    return "accuracy" if train.scheme is Scheme.PLAIN else "strict span F1"


if __name__ == "__main__":
    main()
