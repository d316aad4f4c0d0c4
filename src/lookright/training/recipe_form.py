"""What every recipe has in common: a frozen dataclass of options that is read from, and written to, TOML.

Pure Python. A recipe's class says which groups its options have; everything else follows from its fields.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from lookright.errors import RecipeError
from lookright.training.options import Option, did_you_mean, options_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeForm:
    """Base class of recipes. Every field is a keyword argument, a flag and a TOML key; None is an automatic value.

    Class attributes that a recipe sets:
        COMMAND: the command that takes it.
        GROUPS: its groups of options, in the order in which they are listed, with their headings.
        FREE: names of the options that do not decide the numbers of a run.
    """

    COMMAND: ClassVar[str]
    GROUPS: ClassVar[Mapping[str, str]]
    FREE: ClassVar[frozenset[str]]

    def __post_init__(self) -> None:
        """Bring every value into its one form."""
        for name, opt in self.options().items():
            object.__setattr__(self, name, opt.check(getattr(self, name)))

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Every option by name, in the order of the fields."""
        return _options(cls)  # type: ignore[arg-type]  # classes are hashable

    @classmethod
    def options_in(cls, group: str) -> list[Option]:
        """The options of one group, in the order of the fields."""
        return [opt for opt in cls.options().values() if opt.group == group]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a recipe from a mapping of field names (dashes count as underscores).

        Raises:
            RecipeError: an unknown name (with the nearest known one), or a value that does not fit.
        """
        return cls(**cls._known(values))

    @classmethod
    def from_toml(cls, path: str | Path, **overrides: Any) -> Self:
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
        options = cls.options()
        try:
            known = cls._known(values)
            for name in known:
                if not options[name].in_toml:
                    raise RecipeError(f"{name} cannot be set in a file; pass it as the flag {options[name].flag}")
                options[name].check(known[name])
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None
        return cls(**{**known, **cls._known(overrides)})

    def replace(self, **changes: Any) -> Self:
        """The same recipe with some options changed."""
        return dataclasses.replace(self, **self._known(changes))

    def to_dict(self) -> dict[str, Any]:
        """Every option by name, in JSON types (tuples become lists)."""
        values = {name: getattr(self, name) for name in self.options()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_toml(self) -> str:
        """The recipe as a TOML file, grouped, with the help as comments. Reads back equal, but for the options
        that a file may not set (`resume`, `trust_remote_code`).
        """
        lines = [f"# A LookRight recipe: lookright {self.COMMAND} --recipe THIS_FILE"]
        for group, heading in self.GROUPS.items():
            lines += ["", f"# {heading}"]
            for opt in self.options_in(group):
                if not opt.in_toml:
                    continue
                value = getattr(self, opt.name)
                shown = f"{opt.name} = {_toml_value(value)}" if value is not None else f"# {opt.name} ="
                lines.append(f"{shown}  # {opt.help}" + (f" (auto: {opt.auto})" if value is None and opt.auto else ""))
        return "\n".join(lines) + "\n"

    def differences(self, other: Self) -> list[str]:
        """The names of the options that differ and that decide the numbers of a run."""
        return [n for n in self.options() if n not in self.FREE and getattr(self, n) != getattr(other, n)]

    @classmethod
    def table(cls) -> str:
        """The reference of all options as Markdown: one table per group."""
        lines: list[str] = []
        for group, heading in cls.GROUPS.items():
            lines += [f"### {heading}", "", "| option | flag | default | what it does |", "|---|---|---|---|"]
            for opt in cls.options_in(group):
                lines.append(f"| `{opt.name}` | `{_usage(opt)}` | {_default_words(opt)} | {_cell(opt)} |")
            lines.append("")
        return "\n".join(lines).rstrip() + "\n"

    @classmethod
    def _known(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same values under field names; `RecipeError` for a name that no option has."""
        options = cls.options()
        result: dict[str, Any] = {}
        for key, value in values.items():
            name = str(key).replace("-", "_")
            if name not in options:
                raise RecipeError(f"{key!r} is not an option of a recipe{did_you_mean(name, options)}")
            result[name] = value
        return result


@cache
def _options(cls: type[Any]) -> dict[str, Option]:
    return options_of(cls)


def _usage(opt: Option) -> str:
    if opt.kind == "flag":
        return opt.flag
    return f"{opt.flag} {'{' + ','.join(opt.choices) + '}' if opt.choices else opt.metavar}".replace("|", "\\|")


def _default_words(opt: Option) -> str:
    if opt.default is None:
        # "auto" is a value of a plan: it is searched for.
        return "none" if not opt.auto else opt.auto if opt.kind == "plan-or-auto" else f"auto: {opt.auto}"
    return f"`{_toml_value(opt.default)}`"


def _cell(opt: Option) -> str:
    note = "" if opt.in_toml else " (flag and keyword only, not in a file)"
    return (opt.help[0].upper() + opt.help[1:]).replace("|", "\\|") + note


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
