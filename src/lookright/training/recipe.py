"""The recipe: everything that decides what a training run does, as one frozen value.

Pure Python: importing this module loads neither torch nor transformers. The same dataclass is the keyword arguments of
`Tagger.fit`, the flags of `lookright train`, and the TOML file; `resolved` turns every automatic value into a figure,
and the resolved recipe is written beside every result.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lookright.errors import RecipeError, SchemeError
from lookright.training.defaults import DEVICES, PRESETS, Facts, automatic_values
from lookright.training.options import Option, did_you_mean, option, options_of

GROUPS: Final = {
    "base": "What is fine-tuned",
    "data": "What it is trained on",
    "result": "Where the result goes",
    "method": "Which weights are trained",
    "optimisation": "How they are trained",
    "encoding": "How words become sub-words, and tags come back",
    "selection": "How the checkpoint is chosen",
    "machine": "Where it runs",
}
"""The groups of options, in the order in which they are listed, with their headings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run. Every field is a keyword argument, a flag and a TOML key; None is an automatic value.

    Raises:
        RecipeError: a value, or a combination of values, that cannot work.
    """

    # base
    base: str | None = option(
        "model to fine-tune: a folder, a saved tagger, or a name on the model hub", "base", "path", metavar="MODEL"
    )
    plan: str | tuple[int | str, ...] | None = option(
        "how far to the right each layer may look: '0011', '0,0,2,*', 'causal', 'bidirectional', 'top:8'",
        "base",
        "plan",
        auto="the plan that the base was saved with, else the upper half of the layers unmasked",
        metavar="PLAN",
    )
    revision: str | None = option("revision of a base on the model hub", "base", "text", metavar="REV")
    trust_remote_code: bool = option(
        "run Python code that comes with the base; never read from a file", "base", "flag", False, in_toml=False
    )
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
    out: str | None = option("folder for the result; new, empty, or a run to resume", "result", "path", metavar="DIR")
    resume: bool = option(
        "go on from the newest whole checkpoint in the out folder", "result", "flag", False, in_toml=False
    )
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
    lora_r: int | None = option("rank of the adapters", "method", "int", auto="16", low=1, metavar="N")
    lora_alpha: float | None = option(
        "scale of the adapters (applied as alpha / r)",
        "method",
        "float",
        auto="twice the rank",
        low=0,
        open_low=True,
        metavar="X",
    )
    lora_dropout: float | None = option(
        "dropout in front of the adapters", "method", "float", auto="0.05", low=0, high=0.9, metavar="X"
    )
    lora_targets: str | tuple[str, ...] | None = option(
        "layers that get adapters: paper (queries and values), attention, all-linear, or names",
        "method",
        "targets",
        auto="all-linear",
        metavar="NAMES",
    )
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
    learning_rate: float | None = option(
        "highest learning rate", "optimisation", "float", auto="by method and size", low=0, open_low=True, metavar="X"
    )
    head_learning_rate: float | None = option(
        "highest learning rate of the new layers on top",
        "optimisation",
        "float",
        auto="as the rest; five times with adapters",
        low=0,
        open_low=True,
        metavar="X",
    )
    schedule: str | None = option(
        "how the learning rate falls after the warm-up",
        "optimisation",
        "choice",
        auto="linear",
        choices=("linear", "cosine", "constant"),
    )
    warmup_ratio: float | None = option(
        "share of the updates over which the learning rate rises",
        "optimisation",
        "float",
        auto="0.1",
        low=0,
        high=1,
        metavar="X",
    )
    weight_decay: float | None = option(
        "decay of weights; never of biases and norms", "optimisation", "float", auto="0.01", low=0, metavar="X"
    )
    max_grad_norm: float | None = option(
        "largest norm of the gradient of an update",
        "optimisation",
        "float",
        auto="1.0",
        low=0,
        open_low=True,
        metavar="X",
    )
    adam_betas: tuple[float, float] | None = option(
        "decay rates of the moments in AdamW", "optimisation", "pair", auto="0.9,0.999", metavar="X,X"
    )
    adam_epsilon: float | None = option(
        "epsilon of AdamW", "optimisation", "float", auto="1e-8", low=0, open_low=True, metavar="X"
    )
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
    seed: int = option("seed of everything random", "optimisation", "int", 0, low=0, high=2**32 - 1, metavar="N")
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
    # selection
    evals_per_epoch: int = option(
        "evaluations on dev, and checkpoints, per epoch", "selection", "int", 1, low=1, metavar="N"
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
    device: str = option("where to run", "machine", "choice", "auto", choices=DEVICES)
    precision: str | None = option(
        "number format of the computation",
        "machine",
        "choice",
        auto="bfloat16 on CUDA where the machine has it, else float32",
        choices=("float32", "bfloat16"),
    )
    backend: str = option("attention implementation", "machine", "choice", "auto", choices=("auto", "sdpa", "eager"))
    token_budget: int | None = option(
        "sub-words computed at once; an update that needs more is cut, with the same gradient",
        "machine",
        "int",
        auto="2048 on a CPU, 16384 else",
        low=1,
        metavar="N",
    )
    gradient_checkpointing: bool = option(
        "compute activations twice instead of keeping them: slower, less memory", "machine", "flag", False
    )
    report_to: str = option(
        "experiment tracker that also gets the log, e.g. tensorboard or wandb",
        "machine",
        "text",
        "none",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        """Bring every value into its one form and check the combinations."""
        for name, opt in OPTIONS.items():
            object.__setattr__(self, name, opt.check(getattr(self, name)))
        if self.scheme is not None:
            object.__setattr__(self, "scheme", _scheme(self.scheme))
        if self.method == "full":
            given = [n for n in OPTIONS if n.startswith("lora_") and getattr(self, n) is not None]
            if given:
                raise RecipeError(
                    f"method is 'full', which has no adapters, but {given[0]} is given; drop one of the two"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe from a mapping of field names (dashes count as underscores).

        Raises:
            RecipeError: an unknown name (with the nearest known one), or a value that does not fit.
        """
        return cls(**_known(values))

    @classmethod
    def from_toml(cls, path: str | Path, **overrides: Any) -> Recipe:
        """Read a recipe from a TOML file; `overrides` win over what the file says.

        Args:
            path: the file: one top-level key per option, as `to_toml` writes it.
            overrides: options by name.

        Raises:
            RecipeError: a file that cannot be read, is not TOML, or holds an unknown or wrong option.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"{path}: the recipe cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML file ({error})") from error
        try:
            known = _known(values)
            for name in known:
                if not OPTIONS[name].in_toml:
                    raise RecipeError(f"{name} cannot be set in a file; pass it as the flag {OPTIONS[name].flag}")
                OPTIONS[name].check(known[name])
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None
        return cls(**{**known, **_known(overrides)})

    def replace(self, **changes: Any) -> Recipe:
        """The same recipe with some options changed."""
        return dataclasses.replace(self, **_known(changes))

    def to_dict(self) -> dict[str, Any]:
        """Every option by name, in JSON types (tuples become lists)."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_toml(self) -> str:
        """The recipe as a TOML file, grouped, with the help as comments. Reads back equal, but for the options
        that a file may not set (`resume`, `trust_remote_code`).
        """
        lines = ["# A LookRight recipe: lookright train --recipe THIS_FILE"]
        for group, heading in GROUPS.items():
            lines += ["", f"# {heading}"]
            for name, opt in OPTIONS.items():
                if opt.group != group or not opt.in_toml:
                    continue
                value = getattr(self, name)
                shown = f"{name} = {_toml_value(value)}" if value is not None else f"# {name} ="
                lines.append(f"{shown}  # {opt.help}" + (f" (auto: {opt.auto})" if value is None and opt.auto else ""))
        return "\n".join(lines) + "\n"

    def resolved(self, facts: Facts) -> Recipe:
        """This recipe with a figure in place of every automatic value that `facts` decide.

        Explicit options win over the preset, the preset over the defaults. `base`, `plan`, `train`, `dev`, `test`,
        `out`, `scheme`, `columns` and `revision` are left as they are: they are decided where the files are read.
        """
        chosen = {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}
        filled = automatic_values(chosen, facts)
        return dataclasses.replace(
            self, **{name: value for name, value in filled.items() if getattr(self, name) is None}
        )

    def differences(self, other: Recipe) -> list[str]:
        """The names of the options that differ and that decide the numbers of a run.

        Where a run is written, whether it is a resumption, the test file and the tracker do not.
        """
        free = {"out", "resume", "test", "report_to", "trust_remote_code"}
        return [n for n in OPTIONS if n not in free and getattr(self, n) != getattr(other, n)]


OPTIONS: Final[dict[str, Option]] = options_of(Recipe)
"""Every option of a recipe by name, in the order of the fields."""


def options_in(group: str) -> list[Option]:
    """The options of one group, in the order of the fields."""
    return [opt for opt in OPTIONS.values() if opt.group == group]


def recipe_table() -> str:
    """The reference of all options as Markdown: one table per group."""
    lines: list[str] = []
    for group, heading in GROUPS.items():
        lines += [f"### {heading}", "", "| option | flag | default | what it does |", "|---|---|---|---|"]
        for opt in options_in(group):
            lines.append(f"| `{opt.name}` | `{_usage(opt)}` | {_default_words(opt)} | {_cell(opt)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _usage(opt: Option) -> str:
    if opt.kind == "flag":
        return opt.flag
    return f"{opt.flag} {'{' + ','.join(opt.choices) + '}' if opt.choices else opt.metavar}".replace("|", "\\|")


def _default_words(opt: Option) -> str:
    if opt.default is None:
        return f"auto: {opt.auto}" if opt.auto else "none"
    return f"`{_toml_value(opt.default)}`"


def _cell(opt: Option) -> str:
    note = "" if opt.in_toml else " (flag and keyword only, not in a file)"
    return (opt.help[0].upper() + opt.help[1:]).replace("|", "\\|") + note


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under field names; `RecipeError` for a name that no option has."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in OPTIONS:
            raise RecipeError(f"{key!r} is not an option of a recipe{did_you_mean(name, OPTIONS)}")
        result[name] = value
    return result


def _scheme(text: str) -> str | None:
    from lookright.tags import Scheme

    if text.lower() == "auto":
        return None
    try:
        return str(Scheme.parse(text).value)
    except SchemeError as error:
        raise RecipeError(f"scheme: {error}") from None


def _toml_value(value: Any) -> str:
    """One value as TOML text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    escaped = "".join(
        f"\\u{ord(c):04x}" if (ord(c) < 0x20 or ord(c) == 0x7F) else "\\" + c if c in '"\\' else c for c in str(value)
    )
    return f'"{escaped}"'
