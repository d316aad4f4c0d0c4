"""How many words of a data set's test file the word rules find again in its running text.

    python benchmarks/foundation/word_rule.py DATA --sets wnut17 conll2000-chunk [--record]

DATA holds one folder per set with train.conll and test.conll. The test words are joined as people write, by the
detokenisation of the training data; a word is found when both its borders are. The learned rule is learned on train;
the rule that a tagger gets is chosen between the two by dev.conll, where there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.results import record  # noqa: E402

from lookright.data import Dataset, WordSplitter, read_dataset  # noqa: E402
from lookright.encoding import detokenize, join, running_texts, splits_inner_marks  # noqa: E402
from lookright.training.recipe import Recipe  # noqa: E402
from lookright.training.word_rule import word_rule_for  # noqa: E402


def found(splitter: WordSplitter, test: Dataset, *, inner_marks: bool) -> float:
    """The share of the test words, in per cent, that the rule cuts out of the running text."""
    hits = 0
    for sentence in test:
        text, offsets = join(sentence.words, detokenize(sentence.words, inner_marks=inner_marks))
        hits += len(set(offsets) & set(splitter.split(text)))
    return 100 * hits / test.n_words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--record", action="store_true", help="add the figures to the result file")
    args = parser.parse_args()
    for name in args.sets:
        train, test = (read_dataset(args.data / name / f"{part}.conll") for part in ("train", "test"))
        inner_marks = splits_inner_marks(train)
        texts = list(running_texts(train.sentences))
        began = time.perf_counter()
        learned = WordSplitter.like(texts)
        seconds = time.perf_counter() - began
        default_share = found(WordSplitter(), test, inner_marks=inner_marks)
        learned_share = found(learned, test, inner_marks=inner_marks)
        dev = args.data / name / "dev.conll"
        chosen = word_rule_for(Recipe(), train, read_dataset(dev) if dev.exists() else None)["rule"]
        print(
            f"{name}: default {default_share:.2f} %, learned {learned_share:.2f} % ({len(learned.learned)} exceptions, "
            f"{seconds:.2f} s for {train.n_words:,} words); a tagger gets the rule {chosen!r}"
        )
        if args.record:
            for rule, share in (("default", default_share), ("learned", learned_share)):
                record("foundation", f"{name}: test words found in running text, {rule} rule", round(share, 2), "%")
            record("foundation", f"{name}: word rule of a tagger trained on it", chosen, "rule")
            speed = round(train.n_words / seconds)
            record("foundation", f"{name}: learning the word rule from train", speed, "words/s")


if __name__ == "__main__":
    main()
