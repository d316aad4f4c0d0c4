"""The study file: which models, plans, seeds, data sets and recipes are crossed. Pure Python.

    name = "mine"
    plans = ["0000", "0011", "1111"]       # or "all:4", the sixteen plans of four groups
    seeds = [0, 1, 2]

    [model.nano]
    base = "lookright-nano"

    [dataset.notes]
    train = "notes/train.conll"
    test = "notes/test.conll"

    [recipe.short]
    updates = 240

Paths are relative to the study file. Everything else that a recipe can say may stand in `[recipe.X]`, and how a file is
read in `[dataset.X]`. Whether a data set is of sentences or of whole texts is read from it; `task` says it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from lookright.data.samples import SAMPLES, sample
from lookright.errors import PlanError, RecipeError
from lookright.models.bundled import BUNDLED
from lookright.plan import MaskPlan
from lookright.study.plans import LAYERS, OWN, all_plans, is_causal, layers_of
from lookright.training.options import did_you_mean
from lookright.training.recipe import OPTIONS, Recipe

DEV_SHARE: Final = 0.1
"""How much of train is held out, by content, for sets without dev."""
DEFAULT_RECIPE: Final = "default"
OF_DATA: Final = (
    "format", "columns", "scheme", "repair", "unaligned", "target", "text_column", "pair_column", "label_column",
)  # fmt: skip
"""Options of a recipe that belong to a data set."""
READING: Final = ("task", *OF_DATA)
"""Those that a data set may have; the task may stand in a recipe, too."""
DECIDED: Final = {
    "base": "it is the base of a [model.X]",
    "revision": "it belongs to a [model.X]",
    "plan": "give the list plans",
    "seed": "give the list seeds",
    "train": "it belongs to a [dataset.X]",
    "dev": "it belongs to a [dataset.X]",
    "test": "it belongs to a [dataset.X]",
    "out": "it is the flag --out",
    "device": "it is the flag --device",
    "report_to": "a study keeps rows of its own",
    **dict.fromkeys(OF_DATA, "it belongs to a [dataset.X]"),
}
"""Options of a recipe that a study decides elsewhere, and where."""
ROOT_KEYS: Final = (
    "name", "description", "runs", "models", "plans", "seeds", "datasets", "recipes", "baseline",
    "model", "dataset", "recipe",
)  # fmt: skip
_NAME: Final = re.compile(r"[\w.-]+")
T = TypeVar("T")


@dataclass(frozen=True)
class StudyModel:
    """A base under a name.

    Attributes:
        name: in tables and cells.
        base: a folder, or a name on the model hub.
        revision: of a base on the model hub.
        plans: those of this model; None for the study's.
    """

    name: str
    base: str
    revision: str | None = None
    plans: tuple[str, ...] | None = None

    def definition(self) -> dict[str, Any]:
        """What decides the numbers of a run."""
        return {"base": self.base, "revision": self.revision}


@dataclass(frozen=True)
class StudyData:
    """Labeled sets under a name.

    Attributes:
        name: in tables and cells.
        train, test: files.
        dev: a file, or the share of train that is held out by content.
        reading: how they are read: options of a recipe.
    """

    name: str
    train: str
    test: str
    dev: str | float = DEV_SHARE
    reading: Mapping[str, Any] = field(default_factory=dict)

    def definition(self) -> dict[str, Any]:
        """What decides the numbers of a run."""
        return {"train": self.train, "dev": self.dev, "test": self.test, "reading": dict(self.reading)}


@dataclass(frozen=True)
class StudyRecipe:
    """A recipe under a name.

    Attributes:
        name: in tables and cells.
        options: of `Recipe`.
        updates: of each run, in place of epochs; None where the recipe says epochs.
        evals: evaluations on dev in a run, about, where `updates` is given; the last update is always one.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    updates: int | None = None
    evals: int = 3

    def definition(self) -> dict[str, Any]:
        """What decides the numbers of a run."""
        evals = None if self.updates is None else self.evals
        return {"options": dict(self.options), "updates": self.updates, "evals": evals}


@dataclass(frozen=True)
class Study:
    """What is crossed.

    Attributes:
        name: of the study.
        models, datasets, recipes: by name, in the order of the tables.
        plans: of models that have none of their own.
        seeds: of the runs.
        baseline: the plan that the others are compared with.
        description: for the report.
        folder: that paths are relative to.
        file: that it was read from.

    Raises:
        RecipeError: nothing to run.
    """

    name: str
    models: tuple[StudyModel, ...]
    datasets: tuple[StudyData, ...]
    recipes: tuple[StudyRecipe, ...]
    plans: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str
    description: str = ""
    folder: Path = Path()
    file: Path | None = None

    @classmethod
    def from_toml(cls, path: str | Path) -> Study:
        """Read a study file.

        Raises:
            RecipeError: a file that cannot be read, is not TOML, or says what cannot be run; file and key are named.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"{path}: the study cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML file ({error})") from error
        try:
            return _study(values, path)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None

    def plans_of(self, model: StudyModel) -> tuple[str, ...]:
        """The plans that a model is run under."""
        return self.plans if model.plans is None else model.plans

    @property
    def n_runs(self) -> int:
        """How many runs it is."""
        columns = sum(len(self.plans_of(model)) for model in self.models)
        return columns * len(self.seeds) * len(self.datasets) * len(self.recipes)

    def definitions(self) -> dict[str, dict[str, Any]]:
        """What the study says of each model, data set and recipe, under `model.NAME` and so on; in JSON types."""
        found = {f"model.{m.name}": m.definition() for m in self.models}
        found |= {f"dataset.{d.name}": d.definition() for d in self.datasets}
        found |= {f"recipe.{r.name}": r.definition() for r in self.recipes}
        plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found))
        return plain


# -------------------------------------------------------------------------------------------------------- from a file


def _study(values: Mapping[str, Any], path: Path) -> Study:
    _check_keys("", values, ROOT_KEYS)
    models = _section(values, "model", _model)
    datasets = _section(values, "dataset", _dataset)
    recipes = _section(values, "recipe", _recipe)
    chosen_models = _chosen(values, "models", models, {BUNDLED: lambda: StudyModel(BUNDLED, BUNDLED)})
    if not chosen_models:
        raise RecipeError("there is no model; give [model.NAME] with a base, or models = ['lookright-nano']")
    bundled = {name: lambda name=name: _dataset(name, {"sample": name}) for name in SAMPLES}
    chosen_sets = _chosen(values, "datasets", datasets, bundled)
    if not chosen_sets:
        raise RecipeError("there is no data set; give [dataset.NAME] with train and test, or datasets = ['wnut17']")
    chosen_recipes = _chosen(values, "recipes", recipes, {DEFAULT_RECIPE: lambda: StudyRecipe(DEFAULT_RECIPE)})
    needs_plans = any(model.plans is None for model in chosen_models)
    if needs_plans and "plans" not in values:
        raise RecipeError("plans is missing; expected a list such as ['0000', '0011'], or 'all:4'")
    plans = _plans("plans", values["plans"]) if "plans" in values else ()
    every = dict.fromkeys([*plans, *(plan for model in chosen_models for plan in model.plans or ())])
    study = Study(
        name=_text("name", values.get("name", path.stem)),
        models=chosen_models,
        datasets=chosen_sets,
        recipes=chosen_recipes or (StudyRecipe(DEFAULT_RECIPE),),
        plans=plans,
        seeds=_seeds(values.get("seeds", [0])),
        baseline=_baseline(values.get("baseline"), tuple(every)),
        description=_text("description", values.get("description", "-")).removeprefix("-"),
        folder=path.parent,
        file=path,
    )
    stated = values.get("runs", study.n_runs)
    if stated != study.n_runs:
        raise RecipeError(f"runs is {stated!r}, but its lists make {study.n_runs} runs; mend one of the two")
    return study


def _check_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for key in table:
        if key not in known:
            place = f"[{where}] " if where else ""
            raise RecipeError(f"{place}{key!r} is not a key of it{did_you_mean(key, known) or _listed(known)}")


def _listed(known: Sequence[str]) -> str:
    return f"; expected one of {', '.join(known)}" if len(known) <= 14 else ""


def _section(values: Mapping[str, Any], kind: str, read: Callable[[str, Mapping[str, Any]], T]) -> dict[str, T]:
    """What the tables `[kind.NAME]` say, by name."""
    tables = values.get(kind, {})
    if not isinstance(tables, dict):
        raise RecipeError(f"{kind} is {tables!r}; expected tables [{kind}.NAME]")
    found = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise RecipeError(f"[{kind}.{name!r}]: expected letters, digits, dots and dashes in the name")
        if not isinstance(table, dict):
            raise RecipeError(f"{kind}.{name} is {table!r}; expected a table [{kind}.{name}]")
        found[name] = read(name, table)
    return found


def _chosen(
    values: Mapping[str, Any], key: str, defined: Mapping[str, T], built_in: Mapping[str, Callable[[], T]]
) -> tuple[T, ...]:
    """What a list of names asks for: all that is defined where there is no list."""
    if key not in values:
        return tuple(defined.values())
    found = []
    for name in _texts(key, values[key]):
        if name in defined:
            found.append(defined[name])
        elif name in built_in:
            found.append(built_in[name]())
        else:
            known = [*defined, *built_in]
            raise RecipeError(
                f"{key} names {name!r}, which is not defined{did_you_mean(name, known)}"
                f"{'' if did_you_mean(name, known) else '; known are ' + ', '.join(known)}"
            )
    return tuple(found)


def _model(name: str, table: Mapping[str, Any]) -> StudyModel:
    where = f"model.{name}"
    _check_keys(where, table, ("base", "revision", "plans"))
    if "base" not in table:
        raise RecipeError(f"[{where}] has no base; expected a folder, or a name on the model hub")
    base = _text(f"[{where}] base", table["base"])
    plans = _plans(f"[{where}] plans", table["plans"]) if "plans" in table else None
    revision = _text(f"[{where}] revision", table["revision"]) if "revision" in table else None
    return StudyModel(name, base, revision, plans)


def _dataset(name: str, table: Mapping[str, Any]) -> StudyData:
    where = f"dataset.{name}"
    _check_keys(where, table, ("sample", "train", "dev", "test", *READING))
    if "sample" in table:
        if also := sorted({"train", "dev", "test"} & table.keys()):
            raise RecipeError(f"[{where}] has sample and {also[0]}; drop one of the two")
        which = table["sample"]
        if which not in SAMPLES:
            hint = did_you_mean(str(which), SAMPLES) or f"; expected one of {', '.join(SAMPLES)}"
            raise RecipeError(f"[{where}] sample is {which!r}, which is not bundled{hint}")
        train, test, dev = (f"sample:{which}/{split}" for split in ("train", "test", "dev"))
        return StudyData(name, train, test, dev)
    for key in ("train", "test"):
        if key not in table:
            raise RecipeError(f"[{where}] has no {key}; expected a labeled file, or sample = 'wnut17'")
    try:
        dev = OPTIONS["dev"].check(table.get("dev", DEV_SHARE))
        reading = {key: OPTIONS[key].check(table[key]) for key in READING if key in table}
        Recipe(**reading)
    except RecipeError as error:
        raise RecipeError(f"[{where}] {error}") from None
    return StudyData(
        name, _text(f"[{where}] train", table["train"]), _text(f"[{where}] test", table["test"]), dev, reading
    )


def base_of(study_folder: Path, base: str) -> str:
    """Where a base is: a folder, seen from the study file; else what it is called."""
    folder = study_folder / Path(base).expanduser()
    return str(folder) if base != BUNDLED and folder.is_dir() else base


def file_of(study_folder: Path, name: str) -> Path:
    """The file that a data set names: a bundled one, or a path from the study file.

    Raises:
        RecipeError: there is no such file.
    """
    if name.startswith("sample:"):
        which, split = name.removeprefix("sample:").split("/")
        return sample(which)[split]
    path = study_folder / Path(name).expanduser()
    if not path.exists():
        raise RecipeError(f"{path}: no such file; paths of a study are relative to the study file")
    return path


def _recipe(name: str, table: Mapping[str, Any]) -> StudyRecipe:
    where = f"recipe.{name}"
    options = dict(table)
    counts = {}
    for key in ("updates", "evals"):
        if key in options:
            value = options.pop(key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RecipeError(f"[{where}] {key} is {value!r}; expected a whole number of at least 1")
            counts[key] = value
    if "updates" in counts and "epochs" in options:
        raise RecipeError(f"[{where}] has updates and epochs; drop one of the two")
    if "updates" in counts and "evals_per_epoch" in options:
        raise RecipeError(f"[{where}] has updates and evals_per_epoch; with updates, give evals")
    if "evals" in counts and "updates" not in counts:
        raise RecipeError(f"[{where}] has evals, which goes with updates; with epochs, give evals_per_epoch")
    try:
        for key in options:
            if (instead := DECIDED.get(key)) is not None:
                raise RecipeError(f"{key} is not for a recipe of a study; {instead}")
            if key in OPTIONS and not OPTIONS[key].in_toml:
                raise RecipeError(f"{key} cannot be set in a file")
            if key not in OPTIONS:
                hint = did_you_mean(key, [*OPTIONS, "updates", "evals"])
                raise RecipeError(f"{key!r} is not an option of a recipe{hint}")
        Recipe.from_dict(options)
    except RecipeError as error:
        raise RecipeError(f"[{where}] {error}") from None
    return StudyRecipe(name, options, counts.get("updates"), counts.get("evals", 3))


def _plans(where: str, value: Any) -> tuple[str, ...]:
    """A list of plans, `all:GROUPS` written out; each is read on a deep model, and the base says whether it fits."""
    names: list[str] = []
    for plan in _texts(where, [value] if isinstance(value, str) else value):
        match = re.fullmatch(r"all:(\d+)", plan)
        if match:
            if not 1 <= int(match[1]) <= 8:
                raise RecipeError(f"{where} names {plan!r}; expected from all:1 to all:8")
            names += all_plans(int(match[1]))
            continue
        if plan != OWN:
            try:
                MaskPlan.parse(plan, LAYERS)
            except PlanError as error:
                near = did_you_mean(plan, ["causal", "bidirectional", OWN, "all:4"])
                raise RecipeError(f"{where} names {plan!r}{near or f': {error}'}") from None
        names.append(plan)
    seen: dict[Any, str] = {}
    for plan in names:
        key = layers_of(plan) or plan
        if key in seen:
            same = "twice" if seen[key] == plan else f"and {seen[key]!r}, which are the same plan"
            raise RecipeError(f"{where} names {plan!r} {same}")
        seen[key] = plan
    return tuple(names)


def _baseline(value: Any, plans: tuple[str, ...]) -> str:
    """The plan to compare with: the causal one, or the first, where none is given."""
    if value is None:
        return next((plan for plan in plans if is_causal(plan)), plans[0])
    if value not in plans:
        hint = did_you_mean(str(value), plans)
        raise RecipeError(f"baseline is {value!r}, which is not among the plans{hint}")
    return str(value)


def _seeds(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise RecipeError(f"seeds is {value!r}; expected a list of whole numbers, such as [0, 1, 2]")
    for seed in value:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise RecipeError(f"seeds has {seed!r}; expected whole numbers")
        OPTIONS["seed"].check(seed)
    if len(set(value)) < len(value):
        raise RecipeError(f"seeds is {value}; expected each once")
    return tuple(value)


def _texts(where: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item.strip() for item in value):
        raise RecipeError(f"{where} is {value!r}; expected a list of names")
    names = [item.strip() for item in value]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"{where} names {twice!r} twice")
    return names


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(f"{where} is {value!r}; expected a text")
    return value.strip()
