"""The recipe: everything that decides what a training run does, as one frozen value.

Pure Python: importing this module loads neither torch nor transformers. The same dataclass is the keyword arguments of
`Tagger.fit`, the flags of `lookright train`, and the TOML file; `resolved` turns every automatic value into a figure,
and the resolved recipe is written beside every result.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar, Final

from lookright.errors import RecipeError, SchemeError
from lookright.training.defaults import ONLY_TAGS, ONLY_TEXT, PRESETS, Facts, automatic_values
from lookright.training.opening import SUDDEN, Opening
from lookright.training.options import Option, option
from lookright.training.recipe_form import RecipeForm
from lookright.training.shared_options import adapters_given, check_machine, shared

GROUPS: Final = {
    "base": "What is fine-tuned",
    "data": "What it is trained on",
    "result": "Where the result goes",
    "method": "Which weights are trained",
    "optimisation": "How they are trained",
    "encoding": "How words become sub-words, and tags come back",
    "texts": "How whole texts are classified (--task text)",
    "selection": "How the checkpoint is chosen",
    "machine": "Where it runs",
}
"""The groups of options, in the order in which they are listed, with their headings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(RecipeForm):
    """A training run. Every field is a keyword argument, a flag and a TOML key; None is an automatic value.

    Raises:
        RecipeError: a value, or a combination of values, that cannot work.
    """

    COMMAND: ClassVar[str] = "train"
    GROUPS: ClassVar[Mapping[str, str]] = GROUPS
    # Where a run is written, whether it is a resumption, the test file and the tracker; and the task, which labels and
    # data decide, and which earlier runs do not name.
    FREE: ClassVar[frozenset[str]] = frozenset(
        {"task", "out", "resume", "test", "token_budget", "compile", "report_to", "trust_remote_code"}
    )

    # base
    base: str | None = option(
        "model to fine-tune: a folder, a saved tagger, or a name on the model hub",
        "base",
        "path",
        auto="lookright-nano, the small base that is bundled",
        metavar="MODEL",
    )
    plan: str | tuple[int | str, ...] | None = option(
        "how far to the right each layer may look: '0011', '0,0,2,*', 'causal', 'bidirectional', 'top:8'; or 'auto', "
        "which searches for a plan (see `lookright search`)",
        "base",
        "plan-or-auto",
        auto="the plan that the base was saved with, else the upper half of the layers unmasked",
        metavar="PLAN",
    )
    task: str | None = option(
        "what is learned: tags of words, or labels or a number for whole texts",
        "base",
        "choice",
        auto="read from train",
        choices=("tags", "text"),
    )
    revision: str | None = shared("revision")
    trust_remote_code: bool = shared("trust_remote_code")
    # data
    train: str | None = option("labeled file to train on", "data", "path", metavar="FILE")
    dev: str | float | None = option(
        "labeled file that chooses the checkpoint, or a share of train held out by content",
        "data",
        "path-or-share",
        metavar="FILE|SHARE",
    )
    test: str | None = option("labeled file scored once, after training", "data", "path", metavar="FILE")
    format: str = option("format of the labeled files", "data", "text", "auto", metavar="FORMAT")
    columns: str | None = option(
        "columns of a CoNLL file that hold the word and the tag, counted from 0, as in '0,3'",
        "data",
        "text",
        auto="the first and the last",
        metavar="WORD,TAG",
    )
    scheme: str | None = option(
        "tagging scheme of the files: IOB1, IOB2 (BIO), IOBES, BILOU, IO, or PLAIN for tags without spans",
        "data",
        "text",
        auto="detected, and said",
        metavar="SCHEME",
    )
    repair: bool = option("repair ill-formed tags instead of leaving them as they are", "data", "flag", False)
    unaligned: str = option(
        "what to do with a gold span that does not lie on word borders, or overlaps another",
        "data",
        "choice",
        "error",
        choices=("error", "snap", "drop"),
    )
    strict_labels: bool = option("stop when dev or test has a type that train has not", "data", "flag", False)
    # result
    out: str | None = shared("out")
    resume: bool = shared("resume")
    # method
    preset: str | None = option(
        "settings of a publication; single options still win", "method", "choice", choices=tuple(PRESETS)
    )
    method: str | None = option(
        "train all weights, or adapters (qlora: over 4-bit weights, CUDA only)",
        "method",
        "choice",
        auto="full below 100 million parameters, lora above",
        choices=("full", "lora", "qlora"),
    )
    train_layers: str = option(
        "layers that are trained: 'all', 'unmasked' (those that look right), or 'top:N'; the head always is",
        "method",
        "text",
        "all",
        metavar="LAYERS",
    )
    opening: str = option(
        "how the layers of the plan are opened: 'sudden', or 'soft:0.3', over that share of the updates, in which the "
        "weight of what lies ahead grows",
        "method",
        "text",
        SUDDEN,
        metavar="HOW",
    )
    lora_r: int | None = shared("lora_r")
    lora_alpha: float | None = shared("lora_alpha")
    lora_dropout: float | None = shared("lora_dropout")
    lora_targets: str | tuple[str, ...] | None = shared("lora_targets")
    # optimisation
    epochs: float | None = option(
        "passes over train",
        "optimisation",
        "float",
        auto="from 3 to 20, by the number of sentences",
        low=0,
        open_low=True,
        metavar="X",
    )
    batch_size: int | None = option(
        "sentences per update, over all processes", "optimisation", "int", auto="8 or 16", low=1, metavar="N"
    )
    optimizer: str | None = shared("optimizer", auto="adamw")
    learning_rate: float | None = shared("learning_rate")
    head_learning_rate: float | None = option(
        "highest learning rate of the new layers on top",
        "optimisation",
        "float",
        auto="as the rest; five times with adapters",
        low=0,
        open_low=True,
        metavar="X",
    )
    schedule: str | None = shared("schedule", auto="linear")
    warmup_ratio: float | None = shared("warmup_ratio", auto="0.1")
    weight_decay: float | None = shared("weight_decay", auto="0.01")
    max_grad_norm: float | None = shared("max_grad_norm")
    adam_betas: tuple[float, float] | None = shared("adam_betas", auto="0.9,0.999")
    adam_epsilon: float | None = shared("adam_epsilon")
    dropout: float | None = option(
        "dropout in front of the new layers on top", "optimisation", "float", auto="0.1", low=0, high=0.9, metavar="X"
    )
    detokenize: float | None = option(
        "share of training sentences shown with the joins of running text ('Zagreb.' for 'Zagreb .')",
        "optimisation",
        "float",
        auto="0.5",
        low=0,
        high=1,
        metavar="X",
    )
    seed: int = shared("seed")
    accumulation_fault: int = option(
        "reproduce a fault: of every N batches only the last one's gradient is used, divided by N, and the schedule "
        "counts the others, too, as the released code of arXiv 2401.14556 does with N = 4; 0: no fault",
        "optimisation",
        "int",
        0,
        low=0,
        high=1024,
        metavar="N",
    )
    # encoding
    subword: str | None = option(
        "which sub-words of a word speak for it", "encoding", "choice", auto="mean", choices=("first", "last", "mean")
    )
    window: int | None = option(
        "longest stretch of sub-words seen at once",
        "encoding",
        "int",
        auto="512, or what the base takes",
        low=8,
        metavar="N",
    )
    context: str | None = option(
        "unit that is seen at once: the sentence, or the sentence among its neighbours",
        "encoding",
        "choice",
        auto="sentence",
        choices=("sentence", "document"),
    )
    word_split: str | None = option(
        "how running text is split into words, saved with the tagger",
        "encoding",
        "choice",
        auto="learned from the words of train; a saved tagger keeps its own",
        choices=("default", "whitespace", "learned"),
    )
    decode: str | None = option(
        "how tags are chosen: the best valid sequence, or the best tag of each word",
        "encoding",
        "choice",
        auto="viterbi",
        choices=("viterbi", "argmax"),
    )
    # texts
    text_column: str | None = option("key or column that holds the text", "texts", "text", auto="text", metavar="NAME")
    pair_column: str | None = option(
        "key or column that holds the second text of a pair", "texts", "text", auto="text_pair", metavar="NAME"
    )
    label_column: str | None = option(
        "key or column that holds the gold", "texts", "text", auto="labels, else label", metavar="NAME"
    )
    target: str | None = option(
        "what the gold is: one label, any number of labels, or a number",
        "texts",
        "choice",
        auto="read from train",
        choices=("single-label", "multi-label", "regression"),
    )
    pooling: str | None = option(
        "how the vectors of a text's sub-words become one",
        "texts",
        "choice",
        auto="mean, and last under a causal plan",
        choices=("last", "mean", "max", "attention"),
    )
    calibrate: bool = option("fit a temperature for the probabilities on dev, after training", "texts", "flag", False)
    # selection
    evals_per_epoch: int = option(
        "evaluations on dev, and checkpoints, per epoch; 0: one, at the end", "selection", "int", 1, low=0, metavar="N"
    )
    patience: int = option(
        "evaluations without a better score before stopping; 0: never stop early",
        "selection",
        "int",
        0,
        low=0,
        metavar="N",
    )
    # machine
    device: str = shared("device")
    precision: str | None = shared("precision", auto="bfloat16 where the machine computes it fast, else float32")
    backend: str = shared("backend")
    token_budget: int | None = shared("token_budget", auto="2048 on a CPU, 16384 else")
    compile: bool | None = shared("compile", auto="no")
    gradient_checkpointing: bool = shared("gradient_checkpointing")
    report_to: str = shared("report_to")

    def __post_init__(self) -> None:
        """Bring every value into its one form and check the combinations."""
        super().__post_init__()
        if self.scheme is not None:
            object.__setattr__(self, "scheme", _scheme(self.scheme))
        if not re.fullmatch(r"all|unmasked|top:[1-9]\d*", self.train_layers):
            raise RecipeError(f"train_layers is {self.train_layers!r}; expected 'all', 'unmasked', or 'top:N'")
        Opening.parse(self.opening)
        adapters_given(self)
        check_machine(self)
        self._check_task()

    def _check_task(self) -> None:
        """Refuse options of the other task."""
        if self.task is None:
            return
        foreign, what = (ONLY_TAGS, "--task tags") if self.task == "text" else (ONLY_TEXT, "--task text")
        default = self.options()
        given = [name for name in foreign if getattr(self, name) != default[name].default]
        if given:
            raise RecipeError(f"{given[0]} is given, which is for {what}, but the task is {self.task!r}; drop one")

    def resolved(self, facts: Facts) -> Recipe:
        """This recipe with a figure in place of every automatic value that `facts` decide.

        Explicit options win over the preset, the preset over the defaults. `base`, `plan`, `train`, `dev`, `test`,
        `out`, `scheme`, `columns` and `revision` are left as they are: they are decided where the files are read.
        """
        chosen = {name: getattr(self, name) for name in self.options() if getattr(self, name) is not None}
        filled = automatic_values(chosen, facts)
        return dataclasses.replace(
            self, **{name: value for name, value in filled.items() if getattr(self, name) is None}
        )


OPTIONS: Final[dict[str, Option]] = Recipe.options()
"""Every option of a recipe by name, in the order of the fields."""


def _scheme(text: str) -> str | None:
    from lookright.tags import Scheme

    if text.lower() == "auto":
        return None
    try:
        return str(Scheme.parse(text).value)
    except SchemeError as error:
        raise RecipeError(f"scheme: {error}") from None
