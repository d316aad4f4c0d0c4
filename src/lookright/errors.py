"""Every error that LookRight raises on purpose.

    LookRightError
    ├── PlanError               a mask plan that cannot be read, or does not fit the model
    ├── UnsupportedModelError   an architecture that the plan mechanism must refuse, with the reason
    ├── PlanNotHeldError        the probe measured another right context than the plan asks for
    ├── DataError               labeled data that cannot be used as it is (carries path and line)
    │   ├── SchemeError         tags that do not fit the tagging scheme
    │   └── LabelError          label sets that do not fit each other, or the model
    ├── ModelFolderError        a model folder that is missing, incomplete, unsafe or altered
    ├── RecipeError             an option or a combination of options that cannot work
    ├── OutputError             an output place that cannot be written, or that holds something else
    ├── MissingExtraError       an optional package that the request needs
    └── WorkerError             a process that worked for this one failed or died

    LookRightWarning            what a user should know, and can silence

A message says what was found, where, what was expected, and what to do next, on one line.
"""

from __future__ import annotations

from pathlib import Path


class LookRightError(Exception):
    """Base class of all errors of this package; its text is one line meant for people."""

    exit_code = 1


class PlanError(LookRightError, ValueError):
    """A mask plan that cannot be read, or that does not fit the number of layers."""

    exit_code = 2


class UnsupportedModelError(LookRightError, ValueError):
    """An architecture that cannot carry the plan asked of it."""


class PlanNotHeldError(LookRightError):
    """The measured right contexts of a model differ from its plan."""


class DataError(LookRightError, ValueError):
    """Labeled data that cannot be used as it is.

    Attributes:
        path: the file, where there is one.
        line: the line in it, counted from 1, where there is one.
    """

    def __init__(self, message: str, *, path: str | Path | None = None, line: int | None = None) -> None:
        self.path = None if path is None else str(path)
        self.line = line
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)


class SchemeError(DataError):
    """Tags that do not fit the tagging scheme."""


class LabelError(DataError):
    """Label sets that do not fit each other, or the model."""


class ModelFolderError(LookRightError):
    """A model folder that is missing, incomplete, unsafe or altered."""


class RecipeError(LookRightError, ValueError):
    """An option, or a combination of options, that cannot work."""

    exit_code = 2


class OutputError(LookRightError):
    """An output place that cannot be written, or that holds something else."""


class MissingExtraError(LookRightError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(
            f"{why} needs the package {package!r}, which is not installed: pip install 'lookright[{extra}]'"
        )


class WorkerError(LookRightError):
    """A process that worked for this one failed or died."""


class LookRightWarning(UserWarning):
    """What a user should know and may silence."""
