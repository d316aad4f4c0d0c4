"""LookRight, through what its users call: `Tagger.fit`, `Tagger.predict`, `evaluate_tags`; and the roof.

Training shows sentences as they are in the file (`detokenize=0`), so that all systems compute the same sub-words.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import child

TIMINGS = 3
"""Timings of a product, of which the median counts."""


def tagger_of(case: dict[str, Any], **options: Any) -> Any:
    """A tagger on the shared base with the shared head; its window may be longer than the product's longest."""
    import torch
    from safetensors.torch import load_file

    from lookright import Tagger

    tagger = Tagger.from_pretrained(
        case["model"],
        labels=child.labels_of(case),
        scheme="IOB2",
        plan=case["plan"],
        subword="first",
        word_split="whitespace",
        device=case["device"],
        **options,
    )
    head = load_file(Path(case["model"]) / "head.safetensors")
    with torch.no_grad():
        tagger.model.score.weight.copy_(head["score.weight"])
        tagger.model.score.bias.copy_(head["score.bias"])
    if case.get("window"):
        tagger.model.settings = replace(tagger.model.settings, window=case["window"])
    return tagger


def about(model: Any) -> dict[str, Any]:
    import transformers

    from lookright import __version__

    return {
        "lookright": __version__,
        "transformers": transformers.__version__,
        "weights": child.weights_sum(model),
    }


def prepare_training(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    from transformers import TrainerCallback, trainer

    from lookright.data import Dataset, Sentence
    from lookright.tags import Scheme

    adapters = case.get("adapters")
    loading = {"dtype": "bfloat16"} if adapters else {}
    if case.get("quantization"):
        loading["quantization"] = case["quantization"]
    tagger = tagger_of(case, **loading)
    facts = about(tagger.model)
    batches = child.watch_batches(tagger.model, tagger.tokenizer.pad_token_id)
    sentences = tuple(Sentence(tuple(row["tokens"]), tuple(row["tags"])) for row in child.read_sentences(case))
    method: dict[str, Any] = {"method": "full"}
    if adapters:
        names = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
        method = {names[name]: value for name, value in adapters.items() if name in names}
        method |= {
            "method": "qlora" if case.get("quantization") else "lora",
            "lora_targets": adapters["target_modules"],
        }
    epochs = 2 if case.get("compile") else 1

    def once(sentences: tuple[Any, ...] = sentences, n: int | None = None) -> dict[str, Any]:
        clock = child.training_clock(TrainerCallback)
        clock.on_epoch = batches.clear
        trainer.DEFAULT_CALLBACKS.append(clock)  # `fit` makes its own Trainer
        try:
            tagger.fit(
                Dataset(sentences[:n], scheme=Scheme.IOB2),
                epochs=epochs,
                batch_size=case["batch_size"],
                precision=case["precision"],
                compile=bool(case.get("compile")),
                detokenize=0.0,
                learning_rate=1e-4,
                seed=case["seed"],
                progress=False,
                **method,
            )
        finally:
            trainer.DEFAULT_CALLBACKS.remove(clock)
        return child.clocked(clock, batches)

    once(n=4 * case["batch_size"])
    return once, facts


def prepare_prediction(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    precision = case["precision"]
    options = {"compile": bool(case.get("compile"))}
    tagger = tagger_of(case, dtype="float32" if precision == "int8" else precision, **options)
    facts = about(tagger.model)
    if precision == "int8":
        tagger = in_int8(tagger, **options)
    texts = [row["text"] for row in child.read_sentences(case)]
    batches = child.watch_batches(tagger.model, tagger.tokenizer.pad_token_id)

    def once(sentences: int | None = None) -> dict[str, Any]:
        batches.clear()
        with child.timed() as timer:
            found = tagger.predict(texts[:sentences])
        spans = sum(map(len, found))
        return {**child.result(timer.seconds, timer.cpu_seconds, batches), "spans": spans}

    began = time.perf_counter()
    once()
    return once, {**facts, "first": time.perf_counter() - began}


def in_int8(tagger: Any, **options: Any) -> Any:
    """A tagger loaded anew with 8-bit weights, which a base cannot be."""
    from lookright import Tagger

    with tempfile.TemporaryDirectory(prefix="speed-int8-") as folder:
        tagger.save_pretrained(folder)
        return Tagger.from_pretrained(folder, dtype="int8", word_split="whitespace", device="cpu", **options)


def prepare_scoring(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    from lookright import __version__
    from lookright.metrics import evaluate_tags
    from lookright.tags import Scheme

    tags = json.loads(Path(case["tags"]).read_text(encoding="utf-8"))

    def once() -> dict[str, Any]:
        with child.timed() as timer:
            scores = evaluate_tags(tags["gold"], tags["predicted"], Scheme.IOB2)
        return {**child.result(timer.seconds, timer.cpu_seconds, [case["n_tokens"]]), "f1": scores.f1}

    return once, {"lookright": __version__}


def prepare_roof(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    """Bare products of one layer's linear parts, times the number of layers, at the batches that a round had."""
    import torch
    from benchmarks.speed.roof import products, shapes_of

    config = json.loads((Path(case["model"]) / "config.json").read_text(encoding="utf-8"))
    layer, n_layers = shapes_of(config)

    def seconds(m: int, k: int, n: int, dtype: torch.dtype) -> float:
        left = torch.randn(m, k, dtype=dtype, device=case["device"])
        right = torch.randn(n, k, dtype=dtype, device=case["device"]).t()
        out = torch.empty(m, n, dtype=dtype, device=case["device"])
        taken = []
        for _ in range(TIMINGS + 1):
            child._wait()
            began = time.perf_counter()
            torch.mm(left, right, out=out)
            child._wait()
            taken.append(time.perf_counter() - began)
        return sorted(taken[1:])[TIMINGS // 2]

    def once(
        precision: str,
        batches: Sequence[int] = (),
        work: str = "forward",
        rank: int | None = None,
        product: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        dtype = getattr(torch, precision)
        if product is not None:
            m, k, n = product
            return child.result(seconds(m, k, n, dtype), 0.0, [])
        known: dict[tuple[int, int, int], float] = {}
        total = 0.0
        for m in batches:
            for shape in products(m, layer, work, rank):
                if shape not in known:
                    known[shape] = seconds(*shape, dtype)
                total += known[shape] * n_layers
        return child.result(total, 0.0, batches)

    return once, {"torch": torch.__version__}


def prepare_saving(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    """Save a tagger, for the command line."""
    tagger_of(case, dtype=case["precision"]).save_pretrained(case["out"])
    return dict, {}


PREPARE = {
    "save": prepare_saving,
    "train": prepare_training,
    "predict": prepare_prediction,
    "score": prepare_scoring,
    "roof": prepare_roof,
}

if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    child.serve(lambda case: PREPARE[case["activity"]](case))
