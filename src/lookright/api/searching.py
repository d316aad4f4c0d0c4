"""`search_plan`: a base, labeled data and a budget in; the plan that suits it, and a model trained under it, out."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lookright.api.card import Training
from lookright.api.fine_tuned import recipe_shown
from lookright.api.inputs import Labeled
from lookright.api.tagger import Tagger
from lookright.api.tasks import FineTunedModel, LabeledData, Reader, class_of, held_out, task_of
from lookright.api.text_classifier import TextClassifier
from lookright.api.text_inputs import LabeledTexts
from lookright.attention import is_encoder
from lookright.data import Dataset, TextDataset
from lookright.errors import OutputError, RecipeError, UnsupportedModelError
from lookright.models.base import fingerprint, install_plan, load_config, load_tokenizer, resolve_folder
from lookright.models.bundled import BUNDLED
from lookright.models.compare import compare_logits
from lookright.models.headed import HeadedModel
from lookright.models.store import is_tagger_folder
from lookright.plan import MaskPlan, PlanSpec
from lookright.search.candidates import CAUSAL_OR_OPEN, GROUPS, Candidates
from lookright.search.folder import SearchFolder
from lookright.search.judging import LEVEL, MARGIN
from lookright.search.result import SearchResult
from lookright.search.search import check_possible, run_search
from lookright.search.strategies import DEFAULT, Ladder, Strategy, account_of, strategy_of
from lookright.search.tasks import task_for
from lookright.training.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from lookright.training.fit import Trained

log = logging.getLogger("lookright")


@dataclass(frozen=True, eq=False)
class Searched:
    """What `search_plan` returns.

    Attributes:
        model: the tagger or text classifier that was trained under the plan that was chosen.
        result: the plan, why it, what was tried, and what that cost.
    """

    model: FineTunedModel
    result: SearchResult

    @property
    def tagger(self) -> Tagger:
        """The model, of a search over sentences."""
        if not isinstance(self.model, Tagger):
            raise RecipeError("the search was over whole texts: take .classifier")
        return self.model

    @property
    def classifier(self) -> TextClassifier:
        """The model, of a search over whole texts."""
        if not isinstance(self.model, TextClassifier):
            raise RecipeError("the search was over sentences: take .tagger")
        return self.model


def search_plan(
    base: str | Path | None,
    train: Labeled | LabeledTexts,
    dev: Labeled | LabeledTexts | float | None,
    *,
    out: str | Path | None = None,
    strategy: str | Strategy = DEFAULT,
    budget: float | None = None,
    groups: int | None = None,
    contexts: Sequence[int] = CAUSAL_OR_OPEN,
    plans: Sequence[PlanSpec] | None = None,
    most_look_ahead: int | None = None,
    level: float = LEVEL,
    margin: float = MARGIN,
    recipe: Recipe | None = None,
    progress: bool = True,
    **options: Any,
) -> Searched:
    """Find the mask plan that suits a task, and train a tagger or a text classifier under it.

    Args:
        base: a decoder: a folder, or a name on a hub; the bundled base where none is given.
        train: a `Dataset` or `TextDataset`, the path of a file, or sentences with tags or texts with gold. The task is
            read from it, where `task` does not say it.
        dev: the same, to choose the plan and the checkpoint by; or a share of `train` to hold out by content.
        out: a folder for the model, the report and the rows of the search, which it can be resumed from.
        strategy: `shared`, `ladder`, `halving`, `exhaustive`; or one of `lookright.search.strategies` with options.
        budget: in multiples of one fine-tuning; by default the strategy's own.
        groups: of layers; by default 4, or as many as there are layers.
        contexts: the right contexts that a group may have: 0 is causal, -1 open, k > 0 a look-ahead of k sub-words.
        plans: the plans to search, one by one, in place of all those of the groups.
        most_look_ahead: leave out plans that look further ahead than so many sub-words in all.
        level: of the intervals by which plans are told apart, between 0 and 1.
        margin: how far below the best on dev (from 0 to 1) a plan that is not told apart from it may be to tie with
            it; of those that tie, the plan with the fewest open layers is taken.
        recipe: the options of one fine-tuning.
        progress: show a table on stderr.
        options: the fields of `Recipe` by name, on top of `recipe`.

    Raises:
        RecipeError: no dev, a saved model as base, a folder of another search, a regression, an option out of range.
        UnsupportedModelError: an encoder, which has no plan.
        PlanError: fewer layers than groups, or plans that cannot be read.
        DataError: a dev set that is too small to tell plans apart.
        OutputError: `out` holds something else, or a search that is done.
    """
    recipe = (recipe or Recipe()).replace(**options)
    if recipe.plan not in (None, "auto"):
        raise RecipeError(f"plan is {recipe.plan!r}, but it is the plan that is searched; give plans=[...]")
    given, chosen = base or recipe.base or BUNDLED, strategy_of(strategy)
    out = None if (place := out or recipe.out) is None else Path(place)
    check_out(out, resume=recipe.resume)
    labeled: Any = train if isinstance(train, Dataset | TextDataset | str | os.PathLike) else list(train)
    recipe = recipe.replace(task=task_of(recipe, labeled))
    read = Reader(str(recipe.task), recipe)
    train_data, dev_data = with_dev(read(labeled, "train"), dev if dev is not None else recipe.dev, read)
    task = task_for(train_data, dev_data)
    check_possible(recipe, task)
    folder = resolve_folder(given, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    if is_tagger_folder(folder):
        raise RecipeError(f"{given} is a saved model, which has its own plan; search from its base")
    config = load_config(folder, trust_remote_code=recipe.trust_remote_code)
    candidates = candidates_of(layers_of(config), chosen, groups, contexts, plans, most_look_ahead)
    tokenizer = load_tokenizer(folder, trust_remote_code=recipe.trust_remote_code)
    trained = class_of(str(recipe.task))(None, tokenizer, device=recipe.device, token_budget=recipe.token_budget)

    def make(plan: MaskPlan) -> HeadedModel:
        return _new_model(given, plan, train_data, recipe)

    def save(result: SearchResult) -> None:
        _give(trained, result, train_data, dev_data)
        if out is not None:
            _save(trained, out, result)

    result = run_search(
        make, tokenizer, task, recipe.replace(base=str(given)), candidates, chosen,
        device=trained.device, budget=budget, level=level, margin=margin, out=out, save=save,
        progress=progress,
    )  # fmt: skip
    return Searched(trained, result)


def fit_with_search(
    trained: FineTunedModel,
    train: LabeledData,
    dev: LabeledData | None,
    recipe: Recipe,
    out: str | Path | None,
    *,
    progress: bool,
) -> Trained:
    """What `fit(plan="auto")` of a tagger or a text classifier does: the default strategy, on its own model.

    Raises:
        RecipeError: no dev, or a model that was trained already.
    """
    model = trained.model
    assert model is not None
    where = None if out is None else Path(out)
    check_out(where, resume=recipe.resume)
    read = Reader(task_of(recipe, train), recipe)
    train, dev_data = with_dev(train, dev if dev is not None else recipe.dev, read)
    task = task_for(train, dev_data)
    check_possible(recipe, task)
    if bool(model.score.bias.any()):
        raise RecipeError(
            f"plan is 'auto', but this {trained.KIND} was trained under the plan {trained.plan} already; search from "
            "its base"
        )
    strategy = strategy_of(DEFAULT)
    candidates = candidates_of(layers_of(model.backbone.config), strategy, None, CAUSAL_OR_OPEN, None, None)

    def make(plan: MaskPlan) -> HeadedModel:
        install_plan(model.backbone, plan, recipe.backend)
        return model

    def save(result: SearchResult) -> None:
        _give(trained, result, train, dev_data)
        if where is not None:
            _save(trained, where, result)

    result = run_search(
        make, trained.tokenizer, task, recipe, candidates, strategy, device=trained.device, out=where, save=save,
        progress=progress,
    )  # fmt: skip
    assert result.fit is not None
    return result.fit


def check_out(out: Path | None, *, resume: bool) -> None:
    """Refuse an out folder that cannot be searched in, before anything is read or loaded.

    Raises:
        OutputError: it holds something else, or a search that is done.
        RecipeError: nothing to resume from.
    """
    if out is None:
        if resume:
            raise RecipeError("resume is asked for, but there is no out folder to resume from; give out")
        return
    folder = SearchFolder(out)
    folder.check(resume=resume)
    if folder.report() is not None:
        raise OutputError(f"the search in {out} is done, and its model is there; give a new folder for another one")


def layers_of(config: PreTrainedConfig) -> int:
    """How many layers a decoder has.

    Raises:
        UnsupportedModelError: an encoder.
    """
    if is_encoder(config):
        raise UnsupportedModelError(
            f"{config.model_type} is an encoder: each of its layers already sees everything, so there is no "
            "plan to search; train it as it is (`lookright train`), or take a decoder"
        )
    return int(config.get_text_config().num_hidden_layers)


def candidates_of(
    n_layers: int,
    strategy: Strategy,
    groups: int | None,
    contexts: Sequence[int],
    plans: Sequence[PlanSpec] | None,
    most_look_ahead: int | None,
) -> Candidates:
    """The plans of a search over a base.

    Args:
        n_layers: of the base.
        strategy: which may choose among the plans of the groups.
        groups: of layers; None: the usual number, or as many as there are layers.
        contexts, plans, most_look_ahead: as for `search_plan`.

    Raises:
        RecipeError: plans one by one for a ladder, which makes its own.
        PlanError: plans that cannot be read or do not fit.
    """
    if plans is None:
        usual = min(GROUPS, n_layers) if groups is None else groups
        if groups is None and usual < GROUPS:
            log.info("the base has fewer than %d layers: each one is a group of its own (%d)", GROUPS, usual)
        return strategy.candidates(n_layers, usual, contexts, most_look_ahead)
    if isinstance(strategy, Ladder):
        raise RecipeError("the ladder has plans of its own; leave out the list of plans, or take another strategy")
    return Candidates.of_specs(plans, n_layers, most_look_ahead=most_look_ahead)


def check_done(
    out: Path,
    recipe: Recipe,
    *,
    strategy: str | Strategy = DEFAULT,
    budget: float | None = None,
    groups: int | None = None,
    contexts: Sequence[int] = CAUSAL_OR_OPEN,
    plans: Sequence[PlanSpec] | None = None,
    most_look_ahead: int | None = None,
) -> None:
    """Hold what is asked for against a search that is done, as a resumption does with one that is not.

    Automatic values, which only the model settles, are taken to be what they were.

    Args:
        out: the folder of the search.
        recipe: of one fine-tuning; base, train and dev as paths.
        strategy, budget, groups, contexts, plans, most_look_ahead: as for `search_plan`.

    Raises:
        RecipeError: it is another search; what differs is named.
        DataError, ModelFolderError, OutputError: data, base or folder cannot be read.
    """
    folder, chosen = SearchFolder(out), strategy_of(strategy)
    before = folder.about()
    candidates = candidates_of(int(before["layers"]), chosen, groups, contexts, plans, most_look_ahead)
    asked: dict[str, Any] = {
        "strategy": account_of(chosen),
        "plans": list(candidates.names),
        "budget": chosen.budget_for(len(candidates)) if budget is None else budget,
        "recipe": before["recipe"] | options_asked(recipe, before["recipe"]),
    }
    folder.compare(asked)
    read = Reader(task_of(recipe, recipe.train), recipe)
    train, dev = with_dev(read(recipe.train, "train"), recipe.dev, read)
    base = resolve_folder(str(recipe.base), revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    folder.compare({
        "train data": train.content_hash(), "dev data": dev.content_hash(), "base": {"weights": fingerprint(base)}
    })  # fmt: skip


def options_asked(recipe: Recipe, before: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe that can be held against those of a search: not those that are automatic or files."""
    options, elsewhere = recipe.options(), ("plan", "train", "dev")
    return {
        name: value
        for name, value in recipe.to_dict().items()
        if name in before and name not in elsewhere and not (value is None and options[name].auto is not None)
    }


def with_dev(train: LabeledData, dev: Any, read: Reader) -> tuple[LabeledData, LabeledData]:
    """Train and dev, held out of train where a share is given.

    Raises:
        RecipeError: there is none.
    """
    if dev is None:
        raise RecipeError(
            "a search chooses the plan on dev, and there is none: give dev, or a share of train to hold out, such as "
            "--dev 0.1"
        )
    if isinstance(dev, float):
        return held_out(train, dev)
    return train, read(dev, "dev")


def _new_model(base: str | Path, plan: MaskPlan, train: LabeledData, recipe: Recipe) -> HeadedModel:
    options: dict[str, Any] = {
        "plan": plan,
        "device": recipe.device,
        "backend": recipe.backend,
        "quantization": "4bit" if recipe.method == "qlora" else None,
        "revision": recipe.revision,
        "trust_remote_code": recipe.trust_remote_code,
        "token_budget": recipe.token_budget,
    }
    if isinstance(train, TextDataset):
        classifier = TextClassifier.from_pretrained(base, pooling=recipe.pooling, **options)
        classifier.begin(train)
        assert classifier.model is not None
        return classifier.model
    word_split = None if recipe.word_split == "learned" else recipe.word_split
    tagger = Tagger.from_pretrained(base, labels=train.labels(), scheme=train.scheme, word_split=word_split, **options)
    assert tagger.model is not None
    return tagger.model


def _give(trained: FineTunedModel, result: SearchResult, train: LabeledData, dev: LabeledData) -> None:
    """Make a tagger or text classifier the result's, with an account of the search for its card."""
    trained.take(cast(Any, result.model), _training(result, train, dev))
    trained.search_result = result


def _save(trained: FineTunedModel, out: Path, result: SearchResult) -> None:
    trained.save_pretrained(out)
    compare_logits(out, result.model)


def _training(result: SearchResult, train: LabeledData, dev: LabeledData) -> Training:
    name = result.strategy["name"]
    notes = (
        f"The plan was chosen among {result.n_plans} by a search (strategy {name}, "
        f"{result.cost.fine_tunings:.2f} fine-tunings). {' '.join(result.verdict.lines())}",
        "The recipe is that of one fine-tuning; report.md beside this card says what was trained for how long.",
    )
    data = {"train": (train.path, train.content_hash()), "dev": (dev.path, dev.content_hash())}
    return Training(data=data, recipe=recipe_shown(result.recipe), notes=notes)
