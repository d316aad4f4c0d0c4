"""What one option of a recipe is: its help, its group, and how a value for it is read and checked.

Pure Python. An `Option` is the metadata of a dataclass field (under the key `OPTION`), and everything that shows or
reads options is made from it: the keyword arguments, the command line flags, the TOML file, the table in the docs.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from lookright.errors import RecipeError

OPTION: Final = "lookright_option"

Kind = Literal[
    "text",
    "path",
    "paths",
    "path-or-share",
    "int",
    "float",
    "flag",
    "choice",
    "plan",
    "plan-or-auto",
    "targets",
    "pair",
]


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a recipe.

    Attributes:
        name: the field's name; its flag is `--name` with dashes.
        help: one sentence for people, without a full stop.
        group: the heading under which it is listed.
        kind: how a value is read and checked.
        default: the value when nothing is given; None means `auto`, or "not given".
        auto: what None stands for, in words; None when the option has no automatic value.
        choices: the allowed values of a choice.
        low: the smallest value of a number.
        high: the largest value of a number.
        open_low: whether `low` itself is not allowed.
        metavar: the stand-in for the value in a usage line.
        in_toml: whether a TOML file may set it and a written one shows it.
    """

    name: str
    help: str
    group: str
    kind: Kind
    default: Any = None
    auto: str | None = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    metavar: str = ""
    in_toml: bool = True

    @property
    def flag(self) -> str:
        """The command line flag, e.g. `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> Any:
        """Return `value` in the one form that the recipe keeps, or raise `RecipeError` naming the option."""
        if value is None:
            if self.default is None:
                return None
            raise self._error(value)
        return _CHECKS[self.kind](self, value)

    def from_text(self, text: str) -> Any:
        """Read the value from a command line argument."""
        text = text.strip()
        if text == "auto" and self.auto is not None and self.kind != "plan-or-auto":
            return None
        try:
            return self.check(_FROM_TEXT[self.kind](text))
        except RecipeError:
            raise
        except ValueError:
            raise self._error(text) from None

    def expected(self) -> str:
        """The allowed values, in words."""
        words = {
            "text": "a text",
            "path": "a path",
            "paths": "paths",
            "path-or-share": "a path, or a share between 0 and 1",
            "flag": "true or false",
            "plan": "a plan such as '0011', 'causal', 'top:8', or one right context per layer",
            "plan-or-auto": "a plan such as '0011', 'causal', 'top:8', right contexts per layer, or 'auto' (a search)",
            "targets": "'paper', 'attention', 'all-linear', or names of linear layers",
            "pair": "two numbers from 0 up to but not including 1, such as 0.9,0.95",
        }
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind in words:
            return words[self.kind]
        noun = "a whole number" if self.kind == "int" else "a number"
        bounds = []
        if self.low is not None:
            bounds.append(f"{'above' if self.open_low else 'of at least'} {self.low:.10g}")
        if self.high is not None:
            bounds.append(f"at most {self.high:.10g}")
        return " ".join([noun, " and ".join(bounds)]).strip()

    def _error(self, value: Any) -> RecipeError:
        hint = ""
        if self.kind == "choice" and isinstance(value, str):
            hint = did_you_mean(value, self.choices)
        return RecipeError(f"{self.name} is {value!r}, expected {self.expected()}{hint}")


def option(help: str, group: str, kind: Kind, default: Any = None, **rest: Any) -> Any:
    """A dataclass field that carries an `Option`; its name is filled in by `options_of`."""
    return dataclasses.field(
        default=default,
        metadata={OPTION: Option(name="", help=help, group=group, kind=kind, default=default, **rest)},
    )


def options_of(cls: type[Any]) -> dict[str, Option]:
    """The options of a dataclass by name, in the order of their fields."""
    return {
        f.name: dataclasses.replace(f.metadata[OPTION], name=f.name)
        for f in dataclasses.fields(cls)
        if OPTION in f.metadata
    }


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or an empty text."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_text(opt: Option, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise opt._error(value)
    return value


def _check_path(opt: Option, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return _check_text(opt, value)


def _check_paths(opt: Option, value: Any) -> tuple[str, ...]:
    several = [value] if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(several, (list, tuple)) or not several:
        raise opt._error(value)
    return tuple(_check_path(opt, path) for path in several)


def _check_path_or_share(opt: Option, value: Any) -> str | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise opt._error(value)
        return float(value)
    return _check_path(opt, value)


def _check_number(opt: Option, given: Any) -> int | float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise opt._error(given)
    value = int(given) if opt.kind == "int" else float(given)
    if value != given:
        raise opt._error(given)
    if opt.low is not None and (value < opt.low or (opt.open_low and value == opt.low)):
        raise opt._error(value)
    if opt.high is not None and value > opt.high:
        raise opt._error(value)
    return value


def _check_flag(opt: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise opt._error(value)
    return value


def _check_choice(opt: Option, value: Any) -> str:
    if not isinstance(value, str) or value not in opt.choices:
        raise opt._error(value)
    return value


def _check_plan(opt: Option, value: Any) -> str | tuple[int | str | None, ...]:
    value = getattr(value, "right_contexts", value)  # a MaskPlan
    if isinstance(value, str):
        return _check_text(opt, value)
    if not isinstance(value, (list, tuple)) or not value:
        raise opt._error(value)
    if any(isinstance(v, bool) or not (v is None or isinstance(v, (int, str))) for v in value):
        raise opt._error(value)
    return tuple("*" if v is None else v for v in value)


def _check_targets(opt: Option, value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return _check_text(opt, value)
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(v, str) and v for v in value):
        raise opt._error(value)
    return tuple(value)


def _check_pair(opt: Option, value: Any) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise opt._error(value)
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not 0 <= v < 1 for v in value):
        raise opt._error(value)
    return float(value[0]), float(value[1])


_CHECKS: Final[dict[str, Callable[[Option, Any], Any]]] = {
    "text": _check_text,
    "path": _check_path,
    "paths": _check_paths,
    "path-or-share": _check_path_or_share,
    "int": _check_number,
    "float": _check_number,
    "flag": _check_flag,
    "choice": _check_choice,
    "plan": _check_plan,
    "plan-or-auto": _check_plan,
    "targets": _check_targets,
    "pair": _check_pair,
}


def _share_or_path(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _true_or_false(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _names(text: str) -> str | tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    return names if len(names) > 1 else text


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "text": str,
    "path": str,
    "paths": str,
    "path-or-share": _share_or_path,
    "int": lambda text: float(text) if "e" in text.lower() else int(text),
    "float": float,
    "flag": _true_or_false,
    "choice": str,
    "plan": str,
    "plan-or-auto": str,
    "targets": _names,
    "pair": lambda text: tuple(float(part) for part in text.split(",")),
}
