"""The recipe of pretraining: everything that decides what `lookright pretrain` does, as one frozen value.

Pure Python. Its fields are the keyword arguments of `pretrain`, the flags of the command and the keys of its TOML file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from lookright.errors import RecipeError
from lookright.training.defaults import SMALL_MODEL
from lookright.training.options import option
from lookright.training.recipe_form import RecipeForm
from lookright.training.shared_options import adapters_given, check_machine, shared

GROUPS: Final = {
    "base": "What is trained",
    "shape": "The shape of a new model",
    "data": "What it is trained on",
    "result": "Where the result goes",
    "objective": "What is predicted",
    "method": "Which weights are trained",
    "optimisation": "How they are trained",
    "machine": "Where it runs",
}
BATCH_TOKENS: Final = 16_384
"""Sub-words per update where nothing else is asked for."""
SHAPE: Final = ("layers", "hidden", "heads", "kv_heads", "intermediate", "tied")
"""Options that describe a new model, and that a base has already."""


@dataclasses.dataclass(frozen=True)
class PretrainFacts:
    """What the automatic values depend on.

    Attributes:
        n_parameters: weights of the model.
        fresh: whether the model is new.
        takes: the most sub-words that a base takes at once; None without a bound.
        device: the kind of device in use: cpu, cuda or mps.
        bfloat16: whether it computes bfloat16 fast.
        compiles: whether the run is long enough for compiled layers, and the machine can compile.
        sharded: whether several processes share the weights.
    """

    n_parameters: int
    fresh: bool
    takes: int | None = None
    device: str = "cpu"
    bfloat16: bool = False
    compiles: bool = False
    sharded: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainRecipe(RecipeForm):
    """A pretraining run. Every field is a keyword argument, a flag and a TOML key; None is an automatic value.

    Raises:
        RecipeError: a value, or a combination of values, that cannot work.
    """

    COMMAND: ClassVar[str] = "pretrain"
    GROUPS: ClassVar[Mapping[str, str]] = GROUPS
    # The text is compared by its content, wherever it lies.
    FREE: ClassVar[frozenset[str]] = frozenset(
        {"text", "out", "resume", "cache", "token_budget", "compile", "report_to"}
    )

    # base
    base: str | None = option(
        "model to go on from: a folder, or a name on the model hub; without one a small Llama is made",
        "base",
        "path",
        metavar="MODEL",
    )
    plan: str | tuple[int | str, ...] | None = option(
        "how far to the right each layer may look in training: '0011', 'causal', 'bidirectional', 'top:8'",
        "base",
        "plan",
        auto="causal for clm, bidirectional for mlm; for mntp as in fine-tuning",
        metavar="PLAN",
    )
    tokenizer: str | None = option(
        "folder of a tokenizer for a new model; without one a byte-level BPE is trained on the text",
        "base",
        "path",
        metavar="DIR",
    )
    revision: str | None = shared("revision")
    # shape
    layers: int | None = option("decoder layers", "shape", "int", auto="8", low=1, metavar="N")
    hidden: int | None = option("width", "shape", "int", auto="256", low=2, metavar="N")
    heads: int | None = option(
        "attention heads", "shape", "int", auto="32 dimensions each, 64 from a width of 512", low=1, metavar="N"
    )
    kv_heads: int | None = option(
        "heads of keys and values, shared by groups of attention heads", "shape", "int", auto="heads", low=1,
        metavar="N",
    )  # fmt: skip
    intermediate: int | None = option(
        "width of the feed-forward layers", "shape", "int", auto="11/4 of hidden", low=1, metavar="N"
    )
    tied: bool | None = option(
        "one matrix for embeddings and language-model head", "shape", "flag", auto="yes", in_toml=True
    )
    vocab_size: int | None = option(
        "most entries of a trained tokenizer", "shape", "int", auto="16000", low=300, metavar="N"
    )
    # data
    text: tuple[str, ...] | None = option(
        "plain text files or folders of them, also .xz, .gz and .zst; a blank line ends a document",
        "data",
        "paths",
        metavar="FILE",
    )
    held_out: float = option(
        "share of the documents, chosen by their content, that is scored and never trained on",
        "data",
        "float",
        0.005,
        low=0,
        high=0.5,
        metavar="X",
    )
    held_out_tokens: int = option("most sub-words that are scored at once", "data", "int", 200_000, low=1, metavar="N")
    length: int | None = option(
        "longest sequence, in sub-words; a new model takes no longer ones later",
        "data",
        "int",
        auto="512, or what the base takes",
        low=8,
        metavar="N",
    )
    cache: str | None = option(
        "folder where tokenised text is kept for other runs",
        "data",
        "path",
        auto="lookright in the user's cache folder",
        metavar="DIR",
    )
    # result
    out: str | None = shared("out")
    resume: bool = shared("resume")
    checkpoints: int = option(
        "how often the run is saved and scored on held-out text", "result", "int", 10, low=1, metavar="N"
    )
    save_dtype: str = option(
        "number format of the saved weights", "result", "choice", "float32", choices=("float32", "bfloat16")
    )
    # objective
    objective: str = option(
        "clm: each next sub-word; mlm: masked ones, every layer open; mntp: masked ones, from the place before",
        "objective",
        "choice",
        "clm",
        choices=("clm", "mlm", "mntp"),
    )
    mask_rate: float | None = option(
        "share of sub-words that are predicted under mlm and mntp",
        "objective",
        "float",
        auto="0.15",
        low=0,
        high=0.9,
        open_low=True,
        metavar="X",
    )
    masking: str | None = option(
        "what stands in their place: bert (80% mask, 10% a random one, 10% themselves), or the mask always",
        "objective",
        "choice",
        auto="bert",
        choices=("bert", "always"),
    )
    mask_token: str | None = option(
        "token that stands for a masked one: one that the tokenizer has, or a new one",
        "objective",
        "text",
        auto="the tokenizer's own; else for mntp '_', for mlm a new '<mask>'",
        metavar="TOKEN",
    )
    # method
    method: str | None = option(
        "train all weights, or adapters that are merged at the end",
        "method",
        "choice",
        auto="full for a new model and below 100 million weights, else lora",
        choices=("full", "lora"),
    )
    lora_r: int | None = shared("lora_r")
    lora_alpha: float | None = shared("lora_alpha")
    lora_dropout: float | None = shared("lora_dropout")
    lora_targets: str | tuple[str, ...] | None = shared("lora_targets")
    # optimisation
    epochs: float = option("passes over the text", "optimisation", "float", 1.0, low=0, open_low=True, metavar="X")
    updates: int | None = option(
        "updates in all", "optimisation", "int", auto="as many as the epochs have", low=1, metavar="N"
    )
    batch_tokens: int | None = option(
        "sub-words per update, on average and over all processes", "optimisation", "int", auto="16384", low=1,
        metavar="N",
    )  # fmt: skip
    optimizer: str | None = shared("optimizer", auto="muon for a new model, else adamw")
    learning_rate: float | None = shared("learning_rate")
    schedule: str | None = shared("schedule", auto="cosine")
    warmup_ratio: float | None = shared("warmup_ratio", auto="0.02")
    weight_decay: float | None = shared("weight_decay", auto="0.1")
    max_grad_norm: float | None = shared("max_grad_norm")
    adam_betas: tuple[float, float] | None = shared("adam_betas", auto="0.9,0.95")
    adam_epsilon: float | None = shared("adam_epsilon")
    seed: int = shared("seed")
    # machine
    device: str = shared("device")
    precision: str | None = shared("precision", auto="bfloat16 where the machine computes it fast, else float32")
    backend: str = shared("backend")
    token_budget: int | None = shared("token_budget", auto="4096 on a CPU, 32768 else")
    compile: bool | None = shared("compile", auto="yes for a long run on a CPU that has a C++ compiler")
    gradient_checkpointing: bool = shared("gradient_checkpointing")
    report_to: str = shared("report_to")

    def __post_init__(self) -> None:
        """Bring every value into its one form and check the combinations."""
        super().__post_init__()
        self._check_method()
        check_machine(self)
        if self.objective == "clm" and self.masks_given():
            raise RecipeError(f"{self.masks_given()[0]} is given, but clm masks nothing; drop it, or take mlm or mntp")
        if self.base is None and self.revision is not None:
            raise RecipeError(f"revision is {self.revision!r}, but no base is given that it could be of")
        if self.base is not None:
            if given := [name for name in (*SHAPE, "tokenizer", "vocab_size") if getattr(self, name) is not None]:
                raise RecipeError(f"{given[0]} is given, but the base {self.base} has its own; drop one of the two")
            return
        if self.tokenizer is not None and self.vocab_size is not None:
            raise RecipeError("vocab_size is given, but so is a tokenizer, which has its own; drop one of the two")
        self.shape()

    def _check_method(self) -> None:
        given = adapters_given(self)
        if self.base is None and (self.method == "lora" or given):
            raise RecipeError("adapters are for a base that is trained already: give one with base, or drop the lora")

    def masks_given(self) -> list[str]:
        """The options of masking that are given."""
        return [name for name in ("mask_rate", "masking", "mask_token") if getattr(self, name) is not None]

    def shape(self) -> dict[str, Any]:
        """The shape of a new model, automatic values filled in.

        Raises:
            RecipeError: heads that do not divide the width, or each other.
        """
        hidden = self.hidden or 256
        heads = self.heads or max(1, hidden // (64 if hidden >= 512 else 32))
        kv_heads = self.kv_heads or heads
        if hidden % heads:
            raise RecipeError(
                f"hidden is {hidden}, which {heads} heads do not divide; take hidden={_near(hidden, heads)}"
            )
        if hidden // heads % 2:
            raise RecipeError(
                f"hidden is {hidden}, so that each of {heads} heads has {hidden // heads} dimensions; rotary positions "
                f"need an even number; take hidden={_near(hidden, 2 * heads)}"
            )
        if heads % kv_heads:
            raise RecipeError(f"heads is {heads}, which {kv_heads} heads of keys and values (kv_heads) do not divide")
        return {
            "layers": self.layers or 8,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads,
            "intermediate": self.intermediate or max(16, hidden * 11 // 4 // 16 * 16),
            "tied": True if self.tied is None else self.tied,
        }

    def resolved(self, facts: PretrainFacts) -> PretrainRecipe:
        """This recipe with a figure in place of every automatic value that `facts` decide.

        `base`, `tokenizer`, `plan`, `text`, `out`, `cache`, `revision`, `updates`, `vocab_size` and `mask_token` are
        left as they are.
        """
        small = facts.fresh or facts.n_parameters < SMALL_MODEL
        adapters = any(getattr(self, name) is not None for name in self.options() if name.startswith("lora_"))
        method = self.method or ("full" if small and not adapters else "lora")
        rank = self.lora_r or 16
        optimizer = self.optimizer or ("muon" if method == "full" and facts.fresh and not facts.sharded else "adamw")
        values: dict[str, Any] = {
            "method": method,
            "length": 512 if facts.takes is None else min(512, facts.takes),
            "batch_tokens": BATCH_TOKENS,
            "optimizer": optimizer,
            "learning_rate": _learning_rate(method, optimizer, facts),
            "schedule": "cosine",
            "warmup_ratio": 0.02,
            "weight_decay": 0.1,
            "max_grad_norm": 1.0,
            "adam_betas": (0.9, 0.95),
            "adam_epsilon": 1e-8,
            "precision": "bfloat16" if facts.bfloat16 else "float32",
            "token_budget": 4_096 if facts.device == "cpu" else 32_768,
            "compile": facts.compiles and not self.gradient_checkpointing,
        }
        if facts.fresh:
            values |= self.shape()
        if self.objective != "clm":
            values |= {"mask_rate": 0.15, "masking": "bert"}
        if method == "lora":
            values |= {"lora_r": rank, "lora_alpha": 2.0 * rank, "lora_dropout": 0.05, "lora_targets": "all-linear"}
        return dataclasses.replace(
            self, **{name: value for name, value in values.items() if getattr(self, name) is None}
        )


def _learning_rate(method: str, optimizer: str, facts: PretrainFacts) -> float:
    if method == "lora":
        return 2e-4
    if not facts.fresh:
        return 2e-4 if facts.n_parameters < SMALL_MODEL else 2e-5
    if facts.n_parameters < 20_000_000:
        return 5e-3 if optimizer == "muon" else 2e-3
    return 1e-3 if optimizer == "muon" else 6e-4


def _near(hidden: int, heads: int) -> int:
    """The nearest width that the heads divide into even parts."""
    step = 2 * heads
    return max(step, round(hidden / step) * step)
