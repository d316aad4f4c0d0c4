"""The peers of the benchmark of texts: TF-IDF with logistic regression, and spaCy's text categorizer, two ways.

Each gets texts and labels, chooses on dev what it has to choose, and is asked about test.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.runs import Answer

STRENGTHS: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse strengths of regularisation that dev chooses from."""
STEPS: Final = 6000
"""Updates of spaCy at most; its own patience (1,600) ends most runs earlier."""

Run = Callable[[Sequence[str], Sequence[str], Sequence[str], Sequence[str], Sequence[str], int], Answer]


@dataclass(frozen=True)
class Peer:
    """A peer: its name in tables, the package and module it needs, what it is in words, whether seeds matter."""

    name: str
    package: str
    module: str
    about: str
    random: bool
    run: Run


def tfidf(
    texts: Sequence[str],
    labels: Sequence[str],
    dev: Sequence[str],
    dev_labels: Sequence[str],
    test: Sequence[str],
    seed: int,
) -> Answer:
    """Words and pairs of words, and parts of words of 2 to 5 characters, weighted by TF-IDF; logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    began = time.perf_counter()
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\S+"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    train = features.fit_transform(texts)
    held_out = features.transform(dev)
    models = [LogisticRegression(C=strength, max_iter=2000).fit(train, labels) for strength in STRENGTHS]
    scores = [float(model.score(held_out, dev_labels)) for model in models]
    best = max(range(len(models)), key=scores.__getitem__)
    trained = time.perf_counter()
    given = [[str(label)] for label in models[best].predict(features.transform(test))]
    return Answer(given, trained - began, time.perf_counter() - trained, scores[best], {"C": STRENGTHS[best]})


def spacy_config(architecture: str, seed: int, folder: Path) -> Any:
    """What `spacy init config --lang en --pipeline textcat` writes, with another architecture where asked."""
    from spacy.cli.init_config import init_config

    config = init_config(lang="en", pipeline=["textcat"], optimize="efficiency", gpu=False)
    if architecture == "ensemble":
        import spacy

        nlp = spacy.blank("en")
        nlp.add_pipe("textcat")  # its default: a bag of words beside a convolutional encoder with attention
        config["components"]["textcat"]["model"] = nlp.config["components"]["textcat"]["model"]
    config["paths"]["train"], config["paths"]["dev"] = str(folder / "train.spacy"), str(folder / "dev.spacy")
    config["system"]["seed"] = seed
    config["training"]["max_steps"] = STEPS
    return config


def spacy_textcat(architecture: str) -> Run:
    """A run of spaCy's own training loop, which evaluates every 200 steps and keeps the best model on dev."""

    def run(
        texts: Sequence[str], labels: Sequence[str], dev: Sequence[str], dev_labels: Sequence[str], test: Sequence[str],
        seed: int,
    ) -> Answer:  # fmt: skip
        import spacy
        from spacy.tokens import DocBin
        from spacy.training.initialize import init_nlp
        from spacy.training.loop import train

        every = sorted(set(labels))
        with tempfile.TemporaryDirectory(prefix="quality-texts-") as temporary:
            folder = Path(temporary)
            blank = spacy.blank("en")
            for name, part, gold in (("train", texts, labels), ("dev", dev, dev_labels)):
                docs = []
                for text, label in zip(part, gold, strict=True):
                    doc = blank.make_doc(text)
                    doc.cats = {one: float(one == label) for one in every}
                    docs.append(doc)
                DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}.spacy")
            out = folder / "out"
            out.mkdir()
            began = time.perf_counter()
            nlp = init_nlp(spacy_config(architecture, seed, folder))
            train(nlp, out, stdout=io.StringIO(), stderr=io.StringIO())
            trained = time.perf_counter()
            best = spacy.load(out / "model-best")

            def given(part: Sequence[str]) -> list[str]:
                return [max(doc.cats, key=doc.cats.__getitem__) for doc in best.pipe(part)]

            right = sum(a == b for a, b in zip(given(dev), dev_labels, strict=True)) / len(dev)
            loaded = time.perf_counter()
            answers = [[label] for label in given(test)]
            return Answer(answers, trained - began, time.perf_counter() - loaded, right, {"architecture": architecture})

    return run


PEERS: Final = {
    "tfidf": Peer(
        "TF-IDF + logistic regression", "scikit-learn", "sklearn",
        f"words 1-2, characters 2-5, C of {STRENGTHS} on dev", random=False, run=tfidf,
    ),
    "spacy": Peer(
        "spaCy textcat (bag of words)", "spacy", "spacy",
        f"init config --optimize efficiency, {STEPS} steps", random=True, run=spacy_textcat("bow"),
    ),
    "spacy-ensemble": Peer(
        "spaCy textcat (ensemble)", "spacy", "spacy", f"default model, {STEPS} steps", random=True,
        run=spacy_textcat("ensemble"),
    ),
}  # fmt: skip
