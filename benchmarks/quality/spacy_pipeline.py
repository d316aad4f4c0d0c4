"""The second peer: spaCy's own training of a blank English pipeline, `ner` for spans, `tagger` for plain tags.

The configuration is the one that `spacy init config --lang en --pipeline ner --optimize efficiency` writes: hash
embeddings and a convolutional encoder of width 96 and depth 4, no vectors; only the most steps are changed. spaCy
itself evaluates on dev every 200 steps, keeps the best model, and stops early by its own patience (1,600 steps).
Words are given as they are in the files: a sentence is a `Doc` of its words, so nothing is tokenised again.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.runs import Answer
from benchmarks.quality.sets import Split

from lookright.data import Dataset
from lookright.tags import Scheme

MODULES: Final = ("spacy",)
"""What must be installed."""

STEPS: Final = 4000
"""Updates at most."""

EVERY: Final = 200
"""Updates between two evaluations, spaCy's default; more often only in runs that are shorter than five of these."""


def settings(steps: int = STEPS) -> dict[str, Any]:
    """All that decides a run besides the data and the seed."""
    return {"config": "blank en, efficiency", "max_steps": steps, "version": version("spacy")}


def config_of(component: str, seed: int, steps: int, folder: Path) -> Any:
    """The configuration of a run.

    Args:
        component: `ner` or `tagger`.
        seed: of spaCy's random numbers.
        steps: at most.
        folder: holds train.spacy and dev.spacy.
    """
    from spacy.cli.init_config import init_config

    config = init_config(lang="en", pipeline=[component], optimize="efficiency", gpu=False)
    config["paths"]["train"], config["paths"]["dev"] = str(folder / "train.spacy"), str(folder / "dev.spacy")
    config["system"]["seed"] = seed
    config["training"]["max_steps"] = steps
    config["training"]["eval_frequency"] = min(EVERY, max(1, steps // 5))
    return config


def write_docs(nlp: Any, data: Dataset, scheme: Scheme, file: Path) -> None:
    """Write labeled sentences in spaCy's format.

    No spaces are given: then spaCy knows that it has no text to tokenise again, and takes the words.
    """
    from spacy.tokens import Doc, DocBin

    key = "tags" if scheme is Scheme.PLAIN else "ents"
    docs = (Doc(nlp.vocab, words=list(one.words), **{key: list(one.tags or ())}) for one in data)
    DocBin(docs=docs).to_disk(file)


def tags_of(doc: Any, scheme: Scheme) -> list[str]:
    """The tags of a `Doc` that a pipeline annotated, in IOB2 for spans."""
    if scheme is Scheme.PLAIN:
        return [token.tag_ for token in doc]
    return [f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O" for token in doc]


def predict(nlp: Any, sentences: Sequence[Sequence[str]], scheme: Scheme) -> list[list[str]]:
    """Tag sentences of words."""
    from spacy.tokens import Doc

    docs = (Doc(nlp.vocab, words=list(words)) for words in sentences)
    return [tags_of(doc, scheme) for doc in nlp.pipe(docs)]


def run(split: Split, seed: int, steps: int = STEPS) -> Answer:
    """Train on train, let spaCy choose on dev, tag test."""
    import spacy
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train

    component = "tagger" if split.scheme is Scheme.PLAIN else "ner"
    with tempfile.TemporaryDirectory(prefix="quality-spacy-") as temporary:
        folder = Path(temporary)
        blank = spacy.blank("en")
        write_docs(blank, split.train, split.scheme, folder / "train.spacy")
        write_docs(blank, split.dev, split.scheme, folder / "dev.spacy")
        out = folder / "out"
        out.mkdir()
        began = time.perf_counter()
        nlp = init_nlp(config_of(component, seed, steps, folder))
        train(nlp, out, stdout=io.StringIO(), stderr=io.StringIO())
        trained = time.perf_counter()
        best = spacy.load(out / "model-best")
        performance = json.loads((out / "model-best" / "meta.json").read_text())["performance"]
    loaded = time.perf_counter()
    tags = predict(best, [sentence.words for sentence in split.test], split.scheme)
    ended = time.perf_counter()
    chosen = performance["tag_acc" if component == "tagger" else "ents_f"]
    return Answer(tags, trained - began, ended - loaded, chosen, {"component": component})
