"""spaCy without a transformer, for scale: the blank English pipeline that `--optimize efficiency` configures.

It is another, far smaller model, trained on the same sentences; its tokens are counted in the sub-words of the shared
tokenizer, so that the figures are sentences per second in the others' currency.
"""

from __future__ import annotations

from typing import Any

import child


def prepare(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    import spacy
    from spacy.cli.init_config import init_config
    from spacy.schemas import ConfigSchemaTraining
    from spacy.tokens import Doc
    from spacy.training import Example
    from spacy.util import load_model_from_config, registry

    config = init_config(lang="en", pipeline=["ner"], optimize="efficiency", gpu=False)
    config["system"]["seed"] = case["seed"]
    nlp = load_model_from_config(config, auto_fill=True)
    rows = child.read_sentences(case)
    sizes = [int(row["n_subwords"]) for row in rows]

    def examples(some: list[dict[str, Any]]) -> list[Any]:
        labeled = (Doc(nlp.vocab, words=row["tokens"], ents=row["tags"]) for row in some)
        return [Example(Doc(nlp.vocab, words=row["tokens"]), doc) for row, doc in zip(some, labeled, strict=True)]

    nlp.initialize(lambda: examples(rows[:1000]))
    settings = registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)

    def train(sentences: int | None = None) -> dict[str, Any]:
        some = examples(rows[:sentences])
        with child.timed() as timer:
            for batch in settings["batcher"](some):
                nlp.update(batch, drop=settings["dropout"], sgd=settings["optimizer"])
        return child.result(timer.seconds, timer.cpu_seconds, sizes[: len(some)])

    def predict(sentences: int | None = None) -> dict[str, Any]:
        texts = [row["text"] for row in rows[:sentences]]
        with child.timed() as timer:
            spans = sum(len(doc.ents) for doc in nlp.pipe(texts))
        return {**child.result(timer.seconds, timer.cpu_seconds, sizes[: len(texts)]), "spans": spans}

    train(sentences=len(rows))  # so that predictions are not those of random weights
    once = train if case["activity"] == "train" else predict
    return once, {"spacy": spacy.__version__}


if __name__ == "__main__":
    child.serve(prepare)
