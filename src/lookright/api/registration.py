"""Make transformers know our model type, whichever of the two packages is imported first.

After `import lookright`, `AutoConfig`, `AutoModelForTokenClassification` and `pipeline("token-classification")` read a
saved tagger, and `AutoModelForSequenceClassification` and `pipeline("text-classification")` a saved text classifier.
Where transformers is not loaded yet, nothing is imported: a finder on `sys.meta_path` waits for the three transformers
modules concerned and adds our entries right after each has been loaded. Nothing else is touched, and a failure of ours
never breaks the import of transformers.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

AUTO_CONFIG: Final = "transformers.models.auto.configuration_auto"
AUTO_MODEL: Final = "transformers.models.auto.modeling_auto"
PIPELINES: Final = "transformers.pipelines"
OUR_CONFIG: Final = "lookright.models.config"
OUR_MODELS: Final = ("lookright.models.tagger_model", "lookright.models.text_model")
OUR_PIPELINES: Final = {
    "token-classification": "lookright.api.pipelines.TaggerOrStockPipeline",
    "text-classification": "lookright.api.text_pipelines.ClassifierOrStockPipeline",
}

logger = logging.getLogger("lookright")


def _import(*names: str) -> Callable[[ModuleType], None]:
    """Have classes of ours registered, which their modules do at their own ends."""

    def after_import(_: ModuleType) -> None:
        # Where our module is loading already, in this thread or another, it will register by itself: to import it here
        # would be to wait for a lock whose holder may wait for the transformers module that we are in.
        for name in names:
            if name not in sys.modules:
                importlib.import_module(name)

    return after_import


def _register_pipelines(pipelines: ModuleType) -> None:
    """Put our classes, which hand every foreign model to those that were there, in the places of the tasks' classes."""
    tasks: dict[str, dict[str, Any]] = pipelines.PIPELINE_REGISTRY.supported_tasks
    for task, path in OUR_PIPELINES.items():
        entry = tasks[task]
        # Newer versions keep the dotted path of the class, to load it only when it is used; older ones the class.
        ours: Any = path
        if not isinstance(entry["impl"], str):
            module, name = path.rsplit(".", 1)
            ours = getattr(importlib.import_module(module), name)
        if entry["impl"] != ours:
            tasks[task] = {**entry, "impl": ours}


_AFTER_IMPORT: Final[dict[str, Callable[[ModuleType], None]]] = {
    AUTO_CONFIG: _import(OUR_CONFIG),
    AUTO_MODEL: _import(*OUR_MODELS),
    PIPELINES: _register_pipelines,
}


def _run(name: str, module: ModuleType) -> None:
    try:
        _AFTER_IMPORT[name](module)
    except Exception as error:  # transformers must stay importable, whatever is wrong with us
        logger.warning(
            "lookright could not register itself with %s (%s: %s): AutoModelForTokenClassification and pipeline() "
            "will not know its folders; lookright.Tagger.from_pretrained does",
            name,
            type(error).__name__,
            error,
        )


class _LoaderWithCallback(Loader):
    """A module's own loader, with our callback after it."""

    def __init__(self, name: str, loader: Any) -> None:
        self._name = name
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module must look as if we had never been here.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _run(self._name, module)


class _Finder(MetaPathFinder):
    """Finds the transformers modules concerned with the finders after it, and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _AFTER_IMPORT:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _LoaderWithCallback(fullname, spec.loader)
                return spec
        return None


def install() -> None:
    """Register now with what is loaded, and later with what is not. A second call does nothing new."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in _AFTER_IMPORT:
        if name in sys.modules:
            # Waits where another thread is still loading it.
            _run(name, importlib.import_module(name))
