"""The model card of a pretrained base."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lookright.training.pretraining.tokens import TokenisedCorpus

if TYPE_CHECKING:
    from lookright.training.pretraining.pretrain import PretrainResult

OBJECTIVES: Final = {
    "clm": "causal language modelling: each next sub-word",
    "mlm": "masked language modelling, every layer open",
    "mntp": "masked next-token prediction (LLM2Vec, arXiv 2404.05961)",
}


def base_card(result: PretrainResult, corpus: TokenisedCorpus) -> str:
    """The card as Markdown; it holds no clock times, so that the same run writes the same card."""
    recipe = result.recipe
    carries = recipe.objective != "clm"
    kind = "carries its plan, so that it is opened by LookRight only" if carries else "is an ordinary causal decoder"
    lines = [
        "---",
        "library_name: " + ("lookright" if carries else "transformers"),
        "tags: [lookright, pretraining]",
        "---",
        "",
        "# A base pretrained with LookRight",
        "",
        f"A decoder with {result.n_parameters:,} weights, trained on plain text. It {kind}.",
        "",
        "| | |",
        "|---|---|",
        f"| objective | {OBJECTIVES[recipe.objective]} |",
        f"| plan | `{result.plan}`: {result.plan.describe()} |",
        f"| text | {corpus.train.n_documents:,} documents, {len(corpus.train):,} sub-words; "
        f"{corpus.held_out.n_documents:,} documents held out (SHA-256 of the files: `{corpus.sha256}`) |",
        f"| updates | {result.account['outcome']['n_updates']:,} of about {recipe.batch_tokens:,} sub-words |",
        f"| training loss | {_loss(result.loss)} |",
        f"| held-out loss | {_loss(result.held_out_loss)} |",
        "",
        "The whole recipe is in `recipe.toml`, seeds and versions in `run.json`, all losses in `log.jsonl`. The "
        "licence of the weights follows from that of the text.",
        "",
        "    lookright train --base THIS_FOLDER --train train.conll --dev dev.conll --out my-tagger",
        "",
    ]
    return "\n".join(lines)


def _loss(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f} (perplexity {math.exp(min(value, 50)):.2f})"
