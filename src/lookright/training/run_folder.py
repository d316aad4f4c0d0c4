"""The folder of a run: recipe.toml, run.json, log.jsonl and the checkpoints; what it may hold, what is left in it."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from safetensors import SafetensorError

from lookright.errors import OutputError, RecipeError
from lookright.training.checkpoints import Checkpoints, write_whole
from lookright.training.recipe_form import RecipeForm

RECIPE_FILE: Final = "recipe.toml"
RUN_FILE: Final = "run.json"
LOG_FILE: Final = "log.jsonl"
CHECKPOINTS: Final = "checkpoints"

_HALF_WRITTEN: Final = tuple(f".{name}.part" for name in (RECIPE_FILE, RUN_FILE, LOG_FILE))

Form = TypeVar("Form", bound=RecipeForm)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What writers say that have no error number: torch.save, numpy.save.
_SIGNS_OF_FULL: Final = ("No space left", "File too large", "PytorchStreamWriter", "unexpected pos", "requested and")
# What must be the same for a run to go on, besides the recipe: keys of run.json and what to call them.
_IDENTITY: Final = {
    "train": "the training data",
    "dev": "the dev data",
    "labels": "the labels",
    "plan": "the plan",
    "base": "the base",
    "tokenizer": "the tokenizer",
}


class RunFolder:
    """The folder of one run.

    Args:
        path: of the folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / CHECKPOINTS)
        self.log = path / LOG_FILE
        self._made = self._began = False

    def check(self, *, resume: bool) -> None:
        """Refuse a place that holds something else, before any work is done.

        Raises:
            OutputError: a file, a folder with other things in it, or (unless `resume`) an earlier run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; expected a folder to write to")
        if not self.path.is_dir():
            return
        found = sorted(entry.name for entry in self.path.iterdir())
        if (self.path / RUN_FILE).is_file():
            if not resume:
                raise OutputError(f"{self.path} holds an earlier run; go on with it by --resume, or give a new folder")
        elif any(name not in _HALF_WRITTEN for name in found):
            raise OutputError(f"{self.path} holds something else ({found[0]}); give a new or an empty folder")

    def as_before(self, recipe: Form) -> Form:
        """The recipe of a resumption, its automatic values as the run in this folder settled them.

        Another version, or another machine, may settle them otherwise; a run goes on as it began.
        """
        if not (self.path / RECIPE_FILE).is_file():
            return recipe
        self._check_command(recipe)
        earlier = type(recipe).from_toml(self.path / RECIPE_FILE)
        automatic = [  # the plan is a fact of the model that was loaded
            name
            for name, opt in recipe.options().items()
            if opt.auto is not None and name != "plan" and getattr(recipe, name) is None
        ]
        try:
            return recipe.replace(**{name: getattr(earlier, name) for name in automatic})
        except RecipeError:  # what is given does not go with what was: then that it differs is the news
            given = [name for name in recipe.options() if name not in automatic and name not in recipe.FREE]
            self._refuse_another(recipe, earlier, [n for n in given if getattr(recipe, n) != getattr(earlier, n)])
            raise

    def begin(self, recipe: RecipeForm, account: Mapping[str, Any], *, resume: bool) -> Path | None:
        """Write recipe and account of a new run; or find the checkpoint from which an earlier one goes on.

        Returns:
            The newest whole checkpoint of the run that is resumed; None to begin at the beginning.

        Raises:
            RecipeError: the earlier run had another recipe, other data, labels, plan or base.
            OutputError: the folder cannot be written.
        """
        if resume and (self.path / RUN_FILE).is_file() and not self._only_began():
            before = self._compare(recipe, account)
            newest = self.checkpoints.newest()
            if newest is None and "outcome" in before:
                raise OutputError(
                    f"the run in {self.path} is finished, and its checkpoints are gone: nothing can be gone on with; "
                    "give a new folder"
                )
            return newest
        self._made, self._began = not self.path.exists(), True
        try:
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self.write_account(account)  # first: it is what tells a run's folder from any other
                self.write_recipe(recipe)
        except BaseException:
            self.tidy()
            raise
        return None

    def write_recipe(self, recipe: RecipeForm) -> None:
        """Write recipe.toml."""
        with writing(self.path):
            write_whole(self.path / RECIPE_FILE, recipe.to_toml())

    def write_account(self, account: Mapping[str, Any]) -> None:
        """Write run.json."""
        with writing(self.path):
            write_whole(self.path / RUN_FILE, json.dumps(account, indent=1, ensure_ascii=False) + "\n")

    def result(self) -> dict[str, Any]:
        """What the account of an earlier run says that came of it; nothing where there is none."""
        try:
            account: dict[str, Any] = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(account.get("result") or {})

    def tidy(self) -> None:
        """After a failure: remove what is half-written, and all that this run began where nothing can be resumed."""
        self.checkpoints.clear_partial()
        if not self._began or self.checkpoints.updates() or not self.path.is_dir():
            return
        for name in (RECIPE_FILE, RUN_FILE, LOG_FILE, *_HALF_WRITTEN):
            (self.path / name).unlink(missing_ok=True)
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _only_began(self) -> bool:
        """Whether a kill came before there was more than an account."""
        return all(entry.name in (RUN_FILE, *_HALF_WRITTEN) for entry in self.path.iterdir())

    def _check_command(self, recipe: RecipeForm) -> dict[str, Any]:
        """The account of the earlier run, which must be one of the same command."""
        try:
            before: dict[str, Any] = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path / RUN_FILE} cannot be read ({error}); give a new folder") from error
        if (kind := before.get("command", "train")) != recipe.COMMAND:
            raise RecipeError(f"{self.path} holds a run of `lookright {kind}`; give a new folder")
        return before

    def _refuse_another(self, recipe: RecipeForm, earlier: RecipeForm, names: list[str]) -> None:
        """Raise where options differ from those of the earlier run."""
        if names:
            raise RecipeError(
                f"the run in {self.path} cannot go on with another recipe: {names[0]} was "
                f"{getattr(earlier, names[0])!r} and is {getattr(recipe, names[0])!r} now"
                + (f" ({', '.join(names[1:])} differ, too)" if names[1:] else "")
            )

    def _compare(self, recipe: RecipeForm, account: Mapping[str, Any]) -> dict[str, Any]:
        """The account of the earlier run, which must be the same run."""
        before = self._check_command(recipe)
        earlier = type(recipe).from_toml(self.path / RECIPE_FILE)
        self._refuse_another(recipe, earlier, recipe.differences(earlier))
        for key, words in _IDENTITY.items():
            if before.get(key) != account.get(key):
                raise RecipeError(f"the run in {self.path} cannot go on: {words} changed since; give a new folder")
        return before


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Within: what goes wrong in writing becomes one clear `OutputError`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise write_error(place, error) from error


def write_error(place: Path, error: BaseException) -> OutputError:
    """The one line for a failure to write below `place`."""
    number = next((e.errno for e in _chain(error) if isinstance(e, OSError) and e.errno is not None), None)
    texts = " ".join(str(e) for e in _chain(error))
    if number in _FULL or any(sign in texts for sign in _SIGNS_OF_FULL):
        return OutputError(f"{place}: the disk is full; free some space, then run it again with --resume")
    reason = next((e.strerror for e in _chain(error) if isinstance(e, OSError) and e.strerror), None)
    return OutputError(f"{place}: cannot be written: {reason or str(error).splitlines()[0]}")


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and what caused it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
