"""What `Tagger` and `TextClassifier` share: a model with its tokenizer, its recipe, its card, and its folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from lookright.api.card import Training
from lookright.attention import current_plan
from lookright.errors import LabelError, OutputError, RecipeError
from lookright.inference.device import resolve_device
from lookright.models.base import Base
from lookright.models.compare import compare_logits
from lookright.models.headed import HeadedModel
from lookright.models.int8 import has_int8_weights
from lookright.models.lora import has_lora, merge_lora
from lookright.models.store import save_model, writing
from lookright.plan import MaskPlan
from lookright.training.checkpoints import write_whole
from lookright.training.defaults import DEVICES
from lookright.training.processes import is_first_process, wait_for_all
from lookright.training.recipe import Recipe

if TYPE_CHECKING:
    from lookright.search.result import SearchResult
    from lookright.training.run import Outcome

Model = TypeVar("Model", bound=HeadedModel)

DECIDED_ELSEWHERE: Final = {
    "base": "it is the first argument of {name}.from_pretrained",
    "plan": "give it to {name}.from_pretrained",
    "trust_remote_code": "give it to {name}.from_pretrained",
    "revision": "give it to {name}.from_pretrained",
    "test": "score test data with evaluate(...) afterwards, so that nothing is chosen by it",
}

UNPUBLISHED: Final = ("base", "train", "dev", "test", "out", "resume")
"""Options of a recipe that a model card does not list: paths of one machine."""


class FineTuned(ABC, Generic[Model]):
    """A base with a head: what it is, its training, its saving.

    Attributes:
        model: the model with its head; None until a bare base without labels is fitted.
        tokenizer: its tokenizer.
        device: where it runs.
        search_result: how its plan was found, where `fit(plan="auto")` or `lookright.search_plan` has just found it.

    Args:
        model, tokenizer: as above.
        device: `auto`, `cpu`, `cuda`, `mps`, or a torch device.
        token_budget: sub-words computed at once; by default what suits the device.
        compile: predict with compiled layers.
    """

    KIND: ClassVar[str]
    """What messages call it."""

    def __init__(
        self,
        model: Model | None,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device = "auto",
        token_budget: int | None = None,
        compile: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = resolve_device(device)
        self._token_budget = token_budget
        self._compile = compile
        self._base: Base | None = None
        self._chosen: dict[str, Any] = {}
        self._reports: dict[str, Any] = {}
        self._training: Training | None = None
        self._run_folder: Path | None = None
        self.search_result: SearchResult | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each output of the head."""
        return self._ready().settings.labels

    @property
    def plan(self) -> MaskPlan | None:
        """How far to the right each layer looks; None for an encoder, which sees everything."""
        if self.model is not None:
            return current_plan(self.model.backbone)
        return None if self._base is None else self._base.plan

    @abstractmethod
    def card(self, name: str = "model") -> str:
        """The model card, as it would be saved now."""

    @abstractmethod
    def _forget_predictor(self) -> None:
        """The model has changed: what was made to run it must be made anew."""

    def _ready(self) -> Model:
        if self.model is None:
            raise LabelError(
                f"this {self.KIND} has no labels yet: train it with fit(...), or give labels=... to from_pretrained"
            )
        return self.model

    # ----------------------------------------------------------------------------------------------------- training

    def _settle_recipe(self, recipe: Recipe, options: dict[str, Any], out: str | Path | None) -> Recipe:
        """The recipe of a run, without what is not decided there.

        Raises:
            RecipeError: an option that does not belong there, or weights that cannot be trained.
        """
        if self.model is not None and has_int8_weights(self.model):
            raise RecipeError(
                f"this {self.KIND} has 8-bit weights (int8), which cannot be trained; load it without int8"
            )
        for name, instead in DECIDED_ELSEWHERE.items():
            if name in options and (name, options[name]) != ("plan", "auto"):
                raise RecipeError(f"{name} is no option of fit; {instead.format(name=type(self).__name__)}")
        if recipe.device == "auto" and "device" not in options and self.device.type in DEVICES:
            options = {**options, "device": self.device.type}
        if out is not None:
            options = {**options, "out": str(out)}
        return recipe.replace(**options)

    def take(self, model: Model, training: Training) -> None:
        """Go on with a model that was trained elsewhere, and with what its card says about that."""
        self.model, self._training = model, training
        self._forget_predictor()
        self._reports.clear()

    def _keep(self, out: str | Path | None) -> None:
        """Save what was trained, and compare what was saved; the first process of several does so for all."""
        if out is not None:
            self._run_folder = Path(out).resolve()
            if is_first_process():
                self.save_pretrained(out)
                compare_logits(out, self._ready())
            wait_for_all()

    # ------------------------------------------------------------------------------------------------------- saving

    def save_card(self, folder: str | Path) -> None:
        """Write the model card anew into a folder that this was saved in.

        Raises:
            OutputError: it cannot be written; the old card stays.
        """
        with writing(Path(folder)):
            write_whole(Path(folder) / "README.md", self.card(Path(folder).name))

    def save_pretrained(self, folder: str | Path, *, merged: bool = False) -> Path:
        """Save as a Hugging Face folder with a model card; nothing is replaced before all is written.

        Args:
            folder: a new, an empty, or a saved model's folder.
            merged: add an adapter to the weights, in memory too, and save the whole; otherwise it is saved apart,
                beside the name and the fingerprint of its base.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        model = self._ready()
        if (Path(folder) / "run.json").exists() and Path(folder).resolve() != self._run_folder:
            raise OutputError(
                f"{folder} holds the record of another training run, which would no longer fit; give a new one"
            )
        if merged and has_lora(model.backbone):
            merge_lora(model.backbone)
            model.config.adapter = None
            self._forget_predictor()
        return save_model(folder, model, self.tokenizer, extra_files={"README.md": self.card(Path(folder).name)})


def account_for_card(recipe: Recipe, outcome: Outcome, data: Mapping[str, Any], *, scale: float = 100) -> Training:
    """What the model card says about a run.

    Args:
        recipe: of the run.
        outcome: of the run.
        data: data sets by their role.
        scale: what the score on dev is shown times.
    """
    if outcome.best_score is not None:
        note = f"The checkpoint was chosen by {outcome.score_name} on dev: {scale * outcome.best_score:.2f}."
    else:
        note = "There was no dev set to choose a checkpoint by: it is the last one."
    hashes = {role: (dataset.path, dataset.content_hash()) for role, dataset in data.items()}
    return Training(data=hashes, recipe=recipe_shown(recipe), notes=(note,))


def recipe_shown(recipe: Recipe) -> dict[str, Any]:
    """The options of a recipe that a model card lists: what is not as it is by default, and no place of one machine."""
    default = Recipe().to_dict()
    return {k: v for k, v in recipe.to_dict().items() if v != default[k] and k not in UNPUBLISHED}


def refuse_settled(source: str | Path, kind: str, asked: Mapping[str, Any]) -> None:
    """Raise where something is asked of a saved model that was settled when it was made.

    Raises:
        RecipeError: naming it.
    """
    given = [name for name, value in asked.items() if value is not None]
    if given:
        raise RecipeError(
            f"{source} is a saved {kind}, which has its own {', '.join(given)}; leave that out, or start from its base"
        )
