"""The labeled sets of the benchmark, and the splits that all systems get alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from lookright.data import Dataset, hold_out, read_dataset
from lookright.metrics import Scores, evaluate_tags
from lookright.tags import Scheme

HELD_OUT: Final = 0.1
"""The share of train that chooses the model where a set has no dev file, for every system."""


@dataclass(frozen=True)
class LabeledSet:
    """A set of the benchmark.

    Attributes:
        name: of its folder.
        what: is tagged in it, in words.
        scheme: of its files.
        given: earlier figures of untuned peers on this test set, 100 x the headline figure, by system.
    """

    name: str
    what: str
    scheme: Scheme = Scheme.IOB2
    given: Mapping[str, float] = field(default_factory=dict)


SETS: Final = {
    one.name: one
    for one in (
        LabeledSet("wnut17", "emerging entities, social media", given={"crf": 15.5, "spacy": 14.7}),
        LabeledSet("ncbi-disease", "diseases, abstracts", given={"crf": 80.3, "spacy": 79.7}),
        LabeledSet("phee-events", "event triggers, case reports", given={"crf": 55.1, "spacy": 58.4}),
        LabeledSet("snips", "slots, voice commands", given={"crf": 93.2, "spacy": 90.4}),
        LabeledSet("restaurant8k", "slots, restaurant booking", given={"crf": 92.5}),
        LabeledSet("conll2000-chunk", "chunks, news", given={"crf": 92.1, "spacy": 92.2}),
        LabeledSet("ud-en-ewt-upos", "part of speech, web", Scheme.PLAIN, given={"crf": 94.9}),
    )
}


@dataclass(frozen=True)
class Split:
    """The three parts of a set.

    Attributes:
        name: of the set.
        scheme: of its tags.
        train, dev, test: labeled sentences; dev is what chooses a model, test only scores it.
        dev_is_held_out: whether dev was held out of train by content, because the set has no dev file.
        fingerprint: a hash of all three; runs on other sentences are other runs.
    """

    name: str
    scheme: Scheme
    train: Dataset
    dev: Dataset
    test: Dataset
    dev_is_held_out: bool
    fingerprint: str

    def score(self, tags: Sequence[Sequence[str]]) -> Scores:
        """The score of predicted tags of the test sentences: strict span F1, accuracy for plain tags; full gold."""
        return evaluate_tags([sentence.tags or () for sentence in self.test], tags, self.scheme)


def load_split(data: Path, name: str, limit: int | None = None) -> Split:
    """Read a set.

    Args:
        data: holds one folder per set with train.conll, test.conll and, where there is one, dev.conll.
        name: a key of `SETS`.
        limit: the first so many sentences of each file only, to try things out.

    Raises:
        DataError: a file that is not there, or cannot be read.
    """
    scheme = SETS[name].scheme

    def read(part: str) -> Dataset:
        dataset = read_dataset(data / name / f"{part}.conll", scheme=scheme)
        if limit is None or limit >= len(dataset):
            return dataset
        starts = tuple(start for start in dataset.document_starts or () if start < limit)
        return replace(dataset, sentences=dataset.sentences[:limit], document_starts=starts)

    train, test = read("train"), read("test")
    held_out = not (data / name / "dev.conll").exists()
    train, dev = hold_out(train, HELD_OUT) if held_out else (train, read("dev"))
    hashes = " ".join(part.content_hash() for part in (train, dev, test))
    return Split(name, scheme, train, dev, test, held_out, hashlib.sha256(hashes.encode()).hexdigest()[:16])
