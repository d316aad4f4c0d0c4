"""Share of the roof: how much of a forward pass is products of linear layers, by number format.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 python benchmarks/speed/forward.py [--record]

The same sentences of CoNLL-2003's lengths (14.5 words on average, a tail to 110) go through `Predictor._log_probs` in
every variant, in turn and in random order, several rounds; a variant is a number format, with or without compiled
layers. The roof of a variant is the summed time of the bare products of the backbone's linear layers with the run's
real sub-words, batch by batch, in the same rounds, with the same threads: padding, attention, norms and everything
else count as loss. 8-bit weights are held against the roof of bfloat16. `--profile VARIANT` shows where the time goes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lookright.data import Sentence, read_dataset  # noqa: E402
from lookright.data.samples import sample  # noqa: E402
from lookright.encoding import Window, token_budget  # noqa: E402
from lookright.inference.predictor import Predictor  # noqa: E402
from lookright.models.base import Base, install_plan, load_base  # noqa: E402
from lookright.models.bundled import BUNDLED  # noqa: E402
from lookright.models.int8 import why_no_int8, with_int8_weights  # noqa: E402
from lookright.models.settings import TaggerSettings  # noqa: E402
from lookright.models.store import build_tagger  # noqa: E402
from lookright.plan import MaskPlan  # noqa: E402
from lookright.tags import Scheme, label_set  # noqa: E402

GOAL = 80
PLAN = "0011"
SHAPES = {"nano": None, "4x512": (4, 512, 1408, 8), "12x768": (12, 768, 2048, 12)}
"""Layers, width, width of the feed-forward part, heads; None: the bundled base."""
VARIANTS = ("float32", "bfloat16", "int8", "float32+compile", "bfloat16+compile", "int8+compile")
MEAN_WORDS, LONGEST = 14.5, 110


def conll_lengths(n: int, seed: int = 0) -> list[int]:
    """Words of each sentence: a gamma distribution with the mean and about the spread of CoNLL-2003."""
    drawn = np.random.default_rng(seed).gamma(1.5, MEAN_WORDS / 1.5, n)
    return [int(length) for length in np.clip(np.round(drawn), 1, LONGEST)]


def conll_like(n: int) -> list[Sentence]:
    """Sentences of those lengths, of the words of the bundled sample in their order."""
    words = [word for sentence in read_dataset(sample()["train"]).sentences for word in sentence.words]
    sentences, at = [], 0
    for length in conll_lengths(n):
        at = at if at + length <= len(words) else 0
        sentences.append(Sentence(tuple(words[at : at + length])))
        at += length
    return sentences


def base_of(shape: str, dtype: str) -> Base:
    """The bundled base, or a Llama of some shape with random weights and the bundled tokenizer."""
    base = load_base(BUNDLED, plan=PLAN, dtype=dtype)
    if (sizes := SHAPES[shape]) is None:
        return base
    layers, width, inner, heads = sizes
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=base.backbone.config.vocab_size, hidden_size=width, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512,
    )  # fmt: skip
    model = LlamaModel(config).to(getattr(torch, dtype)).eval()
    plan = MaskPlan.parse(PLAN, layers)
    install_plan(model, plan, "auto")
    return Base(model, base.tokenizer, plan, base.source)


@dataclass
class Runner:
    """One variant, and what it took.

    Attributes:
        name: of the variant.
        predictor: that runs it.
        weights: of the backbone's linear layers, in the roof's number format.
        warm_up: seconds of the first pass.
        seconds: of each pass after it.
    """

    name: str
    predictor: Predictor
    weights: list[torch.Tensor]
    warm_up: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def run(self, batches: Sequence[Sequence[Window]]) -> float:
        """Seconds of a pass over the batches."""
        begin = time.perf_counter()
        for batch in batches:
            self.predictor._log_probs(batch)
        return time.perf_counter() - begin


def make_runner(shape: str, variant: str, budget: int | None) -> Runner:
    """A tagger with nine labels and fresh weights in its head."""
    precision, _, compiled = variant.partition("+")
    base = base_of(shape, "float32" if precision == "float32" else "bfloat16")
    settings = TaggerSettings(labels=label_set(["LOC", "MISC", "ORG", "PER"], Scheme.IOB2), window=256)
    model = build_tagger(base, settings).eval()
    linear = [module for module in model.backbone.modules() if type(module) is torch.nn.Linear]
    weights = [module.weight.detach() for module in linear]
    if precision == "int8":
        with_int8_weights(model.backbone)
    predictor = Predictor(model, base.tokenizer, device="cpu", token_budget=budget, compile=bool(compiled))
    return Runner(variant, predictor, weights)


def batches_of(predictor: Predictor, sentences: Sequence[Sentence]) -> list[list[Window]]:
    """The windows of sentences, batched as the predictor does."""
    batches = []
    for pool in predictor._pools([sentence] for sentence in sentences):
        windows = [window for _, own in pool for window in own]
        groups = token_budget([len(window) for window in windows], predictor.budget, layout=predictor.layout)
        batches += [[windows[index] for index in group] for group in groups]
    return batches


@torch.inference_mode()
def roof(weights: Sequence[torch.Tensor], n_tokens: Sequence[int]) -> float:
    """Seconds of the bare products of all weights with each number of tokens."""
    inputs = {weight.shape[1]: torch.randn(max(n_tokens), weight.shape[1]).to(weight.dtype) for weight in weights}
    begin = time.perf_counter()
    for count in n_tokens:
        for weight in weights:
            functional.linear(inputs[weight.shape[1]][:count], weight)
    return time.perf_counter() - begin


def measure(shape: str, names: Sequence[str], args: argparse.Namespace) -> tuple[list[Runner], dict[str, float], int]:
    """Run all variants and both roofs in turn; also the real sub-words of a pass, and the median seconds of a roof."""
    runners = [make_runner(shape, name, args.token_budget) for name in names]
    batches = batches_of(runners[0].predictor, conll_like(args.sentences))
    n_tokens = [sum(len(window) for window in batch) for batch in batches]
    roofs: dict[str, list[float]] = {}
    jobs: list[Callable[[], None]] = [lambda r=r: r.seconds.append(r.run(batches)) for r in runners]
    for runner in {str(runner.weights[0].dtype): runner for runner in runners}.values():
        dtype = str(runner.weights[0].dtype).removeprefix("torch.")
        jobs.append(lambda w=runner.weights, d=dtype: roofs.setdefault(d, []).append(roof(w, n_tokens)))
    for runner in runners:
        with torch._dynamo.config.patch(suppress_errors=True):
            runner.warm_up = runner.run(batches)
    order = random.Random(0)
    for _ in range(args.rounds):
        order.shuffle(jobs)
        for job in jobs:
            job()
    return runners, {dtype: statistics.median(times) for dtype, times in roofs.items()}, sum(n_tokens)


def report(shape: str, names: Sequence[str], args: argparse.Namespace) -> None:
    """Measure a shape, and print or record a row for each variant."""
    from benchmarks.results import record

    runners, roofs, total = measure(shape, names, args)
    threads = f"{torch.get_num_threads()} threads, median of {args.rounds}"
    for runner in runners:
        taken = statistics.median(runner.seconds)
        share = 100 * roofs[str(runner.weights[0].dtype).removeprefix("torch.")] / taken
        spread = f"{total / max(runner.seconds):,.0f} to {total / min(runner.seconds):,.0f}"
        line = f"{shape}, {runner.name}: {total / taken:,.0f} sub-words/s ({spread}), {share:.0f} % of the roof"
        print(f"{line}, first pass {runner.warm_up:.1f} s", flush=True)
        if args.record:
            name = f"forward pass, {shape}, {runner.name}"
            record("speed", f"{name}, rate", round(total / taken), f"real sub-words/s, {threads}")
            goal = GOAL if runner.name.startswith("bfloat16") else None
            record("speed", f"{name}, share of the roof", round(share, 1), f"%, {threads}", goal=goal)


def show_profile(shape: str, variant: str, args: argparse.Namespace) -> None:
    """Print where the time of a variant goes."""
    from torch.profiler import ProfilerActivity, profile

    runner = make_runner(shape, variant, args.token_budget)
    batches = batches_of(runner.predictor, conll_like(args.sentences))[:8]
    runner.run(batches)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        runner.run(batches)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60))


def main() -> None:
    """Measure the shapes that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=["nano", "4x512"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--sentences", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--token-budget", type=int, default=None)
    parser.add_argument("--profile", choices=VARIANTS, help="show where the time of this variant goes, and stop")
    parser.add_argument("--record", action="store_true", help="append the figures to benchmarks/results/speed.jsonl")
    args = parser.parse_args()
    names = [name for name in args.variants if not name.startswith("int8") or why_no_int8() is None]
    for shape in args.shapes:
        if args.profile:
            show_profile(shape, args.profile, args)
        else:
            report(shape, names, args)


if __name__ == "__main__":
    main()
