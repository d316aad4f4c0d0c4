"""The benchmark of speed: systems as processes, the shared model, and what LookRight's own worker answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from benchmarks.speed import cases, rounds, steady
from benchmarks.speed.environments import Environments
from benchmarks.speed.material import Material
from benchmarks.speed.workers import Failed

from lookright import Tagger
from toys import llama_folder


def test_layouts_are_what_was_asked_for(tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(llama_folder(tmp_path / "base"), labels=["PER"], device="cpu")
    texts = ["one text", "another text of several words"]

    def predict(packed: bool) -> object:
        tagger._predictor = None
        with steady.layout(packed=packed):
            return [[span.to_dict() for span in spans] for spans in tagger.predict(texts)]

    assert [len(spans) for spans in predict(True)] == [len(spans) for spans in predict(False)]  # type: ignore[union-attr]
    with pytest.raises(Failed, match="no model was called"), steady.layout(packed=True):
        pass
    tagger._predictor = None
    tagger.predict(texts)  # its predictor is packed, and stays so
    with pytest.raises(Failed, match="to be padded, and some were packed"), steady.layout(packed=False):
        tagger.predict(texts)


@pytest.mark.slow
def test_lookright_computes_the_sub_words_that_the_shared_tokenizer_counts(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    material = Material.make(tmp_path / "material", None, seed=0)
    file, rows = material.sentences(40, "sentences")
    environments = Environments(tmp_path, {"current": Path(sys.executable)})
    bench = rounds.Bench(environments, tmp_path, 1, "cpu", material.model("tiny"), "01", 1, 0)
    wanted = ["LookRight float32", "transformers pipeline, 8", "paper's loop, 16"]
    chosen = [case for case in cases.PREDICTION if case.name in wanted]
    kept: list[rounds.Round] = []
    assert rounds.run(bench, chosen, file, 1, kept.append) == {}
    assert {row["tokens"] for row in kept} == {sum(row["n_subwords"] for row in rows)}
    assert all(row["roof_seconds"] > 0 for row in kept)
    trained = [case for case in cases.TRAINING if case.name in ("LookRight float32, 16", "transformers Trainer, 8")]
    kept.clear()
    assert rounds.run(bench, trained, file, 1, kept.append) == {}
    assert {row["tokens"] for row in kept} == {sum(row["n_subwords"] for row in rows)}
