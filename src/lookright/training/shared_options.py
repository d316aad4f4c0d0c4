"""The options that fine-tuning and pretraining share, each declared once; what differs is given where it is used.

Pure Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lookright.errors import RecipeError
from lookright.training.defaults import DEVICES
from lookright.training.options import option
from lookright.training.recipe_form import RecipeForm

SHARED: Final[Mapping[str, Mapping[str, Any]]] = {
    "revision": {
        "help": "revision of a base on the model hub",
        "group": "base",
        "kind": "text",
        "metavar": "REV",
    },
    "trust_remote_code": {
        "help": "run Python code that comes with the base; never read from a file",
        "group": "base",
        "kind": "flag",
        "default": False,
        "in_toml": False,
    },
    "out": {
        "help": "folder for the result; new, empty, or a run to resume",
        "group": "result",
        "kind": "path",
        "metavar": "DIR",
    },
    "resume": {
        "help": "go on from the newest whole checkpoint in the out folder",
        "group": "result",
        "kind": "flag",
        "default": False,
        "in_toml": False,
    },
    "lora_r": {
        "help": "rank of the adapters",
        "group": "method",
        "kind": "int",
        "auto": "16",
        "low": 1,
        "metavar": "N",
    },
    "lora_alpha": {
        "help": "scale of the adapters (applied as alpha / r)",
        "group": "method",
        "kind": "float",
        "auto": "twice the rank",
        "low": 0,
        "open_low": True,
        "metavar": "X",
    },
    "lora_dropout": {
        "help": "dropout in front of the adapters",
        "group": "method",
        "kind": "float",
        "auto": "0.05",
        "low": 0,
        "high": 0.9,
        "metavar": "X",
    },
    "lora_targets": {
        "help": "layers that get adapters: paper (queries and values), attention, all-linear, or names",
        "group": "method",
        "kind": "targets",
        "auto": "all-linear",
        "metavar": "NAMES",
    },
    "optimizer": {
        "help": "adamw, or muon for the matrices of the layers and adamw for the rest",
        "group": "optimisation",
        "kind": "choice",
        "choices": ("adamw", "muon"),
    },
    "learning_rate": {
        "help": "highest learning rate",
        "group": "optimisation",
        "kind": "float",
        "auto": "by method and size",
        "low": 0,
        "open_low": True,
        "metavar": "X",
    },
    "schedule": {
        "help": "how the learning rate falls after the warm-up",
        "group": "optimisation",
        "kind": "choice",
        "choices": ("linear", "cosine", "constant"),
    },
    "warmup_ratio": {
        "help": "share of the updates over which the learning rate rises",
        "group": "optimisation",
        "kind": "float",
        "low": 0,
        "high": 1,
        "metavar": "X",
    },
    "weight_decay": {
        "help": "decay of weights; never of biases and norms",
        "group": "optimisation",
        "kind": "float",
        "low": 0,
        "metavar": "X",
    },
    "max_grad_norm": {
        "help": "largest norm of the gradient of an update",
        "group": "optimisation",
        "kind": "float",
        "auto": "1.0",
        "low": 0,
        "open_low": True,
        "metavar": "X",
    },
    "adam_betas": {
        "help": "decay rates of the moments in AdamW",
        "group": "optimisation",
        "kind": "pair",
        "metavar": "X,X",
    },
    "adam_epsilon": {
        "help": "epsilon of AdamW",
        "group": "optimisation",
        "kind": "float",
        "auto": "1e-8",
        "low": 0,
        "open_low": True,
        "metavar": "X",
    },
    "seed": {
        "help": "seed of everything random",
        "group": "optimisation",
        "kind": "int",
        "default": 0,
        "low": 0,
        "high": 2**32 - 1,
        "metavar": "N",
    },
    "device": {
        "help": "where to run",
        "group": "machine",
        "kind": "choice",
        "default": "auto",
        "choices": DEVICES,
    },
    "precision": {
        "help": "number format of the computation",
        "group": "machine",
        "kind": "choice",
        "choices": ("float32", "bfloat16"),
    },
    "backend": {
        "help": "attention implementation",
        "group": "machine",
        "kind": "choice",
        "default": "auto",
        "choices": ("auto", "sdpa", "eager"),
    },
    "token_budget": {
        "help": "sub-words computed at once; an update that needs more is cut, with the same gradient",
        "group": "machine",
        "kind": "int",
        "low": 1,
        "metavar": "N",
    },
    "compile": {
        "help": "compile the layers first (torch.compile): seconds to a minute of warm-up, then faster",
        "group": "machine",
        "kind": "flag",
        "in_toml": True,
    },
    "gradient_checkpointing": {
        "help": "compute activations twice instead of keeping them: slower, less memory",
        "group": "machine",
        "kind": "flag",
        "default": False,
    },
    "report_to": {
        "help": "experiment tracker that also gets the log, e.g. tensorboard or wandb",
        "group": "machine",
        "kind": "text",
        "default": "none",
        "metavar": "NAME",
    },
}
"""Arguments of `option` by the name of the field."""


def shared(name: str, **rest: Any) -> Any:
    """The field of a shared option; `rest` is what differs, such as what its automatic value stands for."""
    return option(**SHARED[name], **rest)


def check_machine(recipe: RecipeForm) -> None:
    """Refuse what does not go together on any machine.

    Raises:
        RecipeError: layers that are to be compiled, and computed twice.
    """
    if getattr(recipe, "compile", None) and getattr(recipe, "gradient_checkpointing", False):
        raise RecipeError("compile and gradient_checkpointing cannot be combined: what is checkpointed is not compiled")


def adapters_given(recipe: RecipeForm) -> list[str]:
    """The options of adapters that a recipe gives.

    Raises:
        RecipeError: there are some, though all weights are to be trained.
    """
    given = [name for name in recipe.options() if name.startswith("lora_") and getattr(recipe, name) is not None]
    if given and getattr(recipe, "method", None) == "full":
        raise RecipeError(f"method is 'full', which has no adapters, but {given[0]} is given; drop one of the two")
    adapted = getattr(recipe, "method", None) in ("lora", "qlora") or given
    if adapted and getattr(recipe, "optimizer", None) == "muon":
        raise RecipeError("optimizer is 'muon', which is for whole matrices, not for adapters; take adamw with them")
    return given
