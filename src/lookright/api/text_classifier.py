"""`TextClassifier`: a base and labeled texts in, a classifier out; texts in, labels or numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from transformers import PreTrainedTokenizerBase

from lookright.api.fine_tuned import FineTuned, account_for_card, refuse_settled
from lookright.api.text_card import text_model_card
from lookright.api.text_inputs import LabeledTexts, as_text, as_text_dataset, as_texts, reading_options
from lookright.api.text_report import TextReport, make_text_report
from lookright.data.split import trained_part
from lookright.data.texts import Target, Text, TextDataset
from lookright.encoding import TextEncoder
from lookright.errors import LabelError, RecipeError
from lookright.inference.device import number_format, resolve_device
from lookright.inference.text_predictor import Classification, TextPredictor
from lookright.models.base import Base, build_settings_window, load_base, resolve_folder
from lookright.models.lora import has_lora
from lookright.models.settings import LONGEST_WINDOW
from lookright.models.store import build_model, is_tagger_folder, load_model
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.models.text_settings import TextSettings
from lookright.plan import PlanSpec
from lookright.training.defaults import default_pooling
from lookright.training.recipe import Recipe
from lookright.training.text_labels import check_text_labels, text_settings_for

if TYPE_CHECKING:
    import torch

    from lookright.training.text_fit import TextFitResult


@dataclass(frozen=True, slots=True)
class TextPrediction:
    """What is said about one text.

    Attributes:
        label: the likeliest of the labels given; None where there is none, and for a regression.
        score: its probability.
        labels: the labels given, likeliest first: exactly one where the classifier gives one.
        scores: probability by label, likeliest first: of the labels given, or of all where they were asked for.
        value: the number, for a regression.
        n_windows: in how many windows the text was read.
    """

    label: str | None
    score: float | None
    labels: tuple[str, ...]
    scores: Mapping[str, float]
    value: float | None = None
    n_windows: int = 1


class TextClassifier(FineTuned[LookRightForSequenceClassification]):
    """A text classifier: any decoder under a mask plan, or an encoder, with pooling and a head on top.

    The twin of `Tagger`, for whole texts: one label each, any number of labels, or a number. Make one with
    `TextClassifier.from_pretrained`.

    Attributes:
        model: the model with its head; None until a bare base without labels is fitted.
        tokenizer: its tokenizer.
        device: where it runs.
        search_result: see `FineTuned`.

    Args:
        model: a text classifier's model.
        tokenizer: its tokenizer.
        options: of `FineTuned`: device, token_budget, compile.
    """

    KIND = "text classifier"

    def __init__(
        self, model: LookRightForSequenceClassification | None, tokenizer: PreTrainedTokenizerBase, **options: Any
    ) -> None:
        super().__init__(model, tokenizer, **options)
        self._predictor: TextPredictor | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        labels: Iterable[str] | None = None,
        target: str | None = None,
        plan: PlanSpec | None = None,
        pooling: str | None = None,
        window: int | None = None,
        device: str | torch.device = "auto",
        backend: str = "auto",
        dtype: str = "auto",
        quantization: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        token_budget: int | None = None,
        base: str | Path | None = None,
        compile: bool = False,
    ) -> Self:
        """Load a saved text classifier, or make a new one on a base.

        Args:
            source: a folder, or a name on a hub: of a saved text classifier, or of any decoder or encoder.
            labels: for a new one: its labels. Without them, `fit` takes those of its training data.
            target: for a new one with labels: `single-label` (the default) or `multi-label`.
            plan: for a new one: how far to the right each layer may look; see `MaskPlan.parse`.
            pooling: for a new one: how the vectors of a text's sub-words become one: `last`, `mean`, `max`,
                `attention`.
            window: for a new one: the longest input in sub-words.
            device, backend, dtype, quantization, revision, trust_remote_code, token_budget, base, compile: as for
                `Tagger.from_pretrained`.

        Raises:
            ModelFolderError: no such folder, no weights, a pickle instead of safetensors, or a saved tagger.
            RecipeError: a saved classifier is asked for what was decided when it was made.
            PlanNotHeldError: the plan is not what the model does.
        """
        where = resolve_device(device)
        folder = resolve_folder(source, revision=revision, trust_remote_code=trust_remote_code)
        running: dict[str, Any] = {"device": where, "token_budget": token_budget, "compile": compile}
        fixed = {"labels": labels, "target": target, "plan": plan, "pooling": pooling, "window": window}
        if is_tagger_folder(folder):
            refuse_settled(source, cls.KIND, fixed)
            dtype, int8 = number_format(dtype, where)
            loaded = load_model(
                source, LookRightForSequenceClassification, backend=backend, dtype=dtype, base=base, revision=revision,
                trust_remote_code=trust_remote_code, int8=int8,
            )  # fmt: skip
            return cls(loaded.model, loaded.tokenizer, **running)
        if base is not None:
            raise RecipeError(f"base is {base!r}, but {source} is no saved adapter; leave that out")
        if dtype == "int8":
            raise RecipeError(f"dtype is 'int8', which is for prediction, but {source} is not a saved text classifier")
        loaded_base = load_base(
            source, plan=plan, backend=backend, dtype="float32" if dtype == "auto" else dtype,
            quantization=quantization, revision=revision, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        classifier = cls(None, loaded_base.tokenizer, **running)
        classifier._base = loaded_base
        classifier._chosen = {n: fixed[n] for n in ("pooling", "window") if fixed[n] is not None}
        if labels is not None:
            classifier._begin(TextSettings(labels=given_labels(labels), target=target or Target.SINGLE.value))
        elif target is not None:
            raise RecipeError("target is given without labels; fit reads both from its training data")
        return classifier

    def begin(self, train: TextDataset) -> None:
        """Put a fresh head on the base for the labels of `train`, where there is none yet.

        Raises:
            DataError: no gold; LabelError: one label only.
        """
        if self.model is None:
            self._begin(text_settings_for(Recipe(), train))

    def _begin(self, settings: TextSettings) -> None:
        assert self._base is not None
        longest = build_settings_window(self._base.backbone.config, LONGEST_WINDOW)
        chosen: dict[str, Any] = {"pooling": pooling_for(self._base), **self._chosen}
        chosen["window"] = min(chosen.get("window", longest), longest)
        chosen["ends"] = TextEncoder(self.tokenizer).ends
        model = build_model(self._base, replace(settings, **chosen))
        assert isinstance(model, LookRightForSequenceClassification)
        self.model = model

    # -------------------------------------------------------------------------------------------------------- facts

    @property
    def settings(self) -> TextSettings:
        """What the classifier remembers besides its weights.

        Raises:
            LabelError: a base without labels, before `fit`.
        """
        return self._ready().settings

    @property
    def predictor(self) -> TextPredictor:
        """What runs the model over texts.

        Raises:
            LabelError: a base without labels, before `fit`.
        """
        model = self._ready()
        if self._predictor is None:
            self._predictor = TextPredictor(
                model, self.tokenizer, device=self.device, token_budget=self._token_budget, compile=self._compile
            )
        return self._predictor

    def _forget_predictor(self) -> None:
        self._predictor = None

    def __repr__(self) -> str:
        if self.model is None:
            about = "no labels yet"
        elif self.settings.target == Target.REGRESSION:
            about = "a number"
        else:
            about = f"{len(self.labels)} labels, {self.settings.target}"
        return f"TextClassifier({about}; plan {self.plan}; {self.device})"

    # --------------------------------------------------------------------------------------------------- predicting

    @overload
    def predict(self, inputs: str | Text, *, all_scores: bool = False) -> TextPrediction: ...
    @overload
    def predict(
        self,
        inputs: list[str] | list[tuple[str, str]] | list[Text] | tuple[str, ...] | TextDataset,
        *,
        all_scores: bool = False,
        progress: bool = False,
    ) -> list[TextPrediction]: ...

    def predict(self, inputs: Any, *, all_scores: bool = False, progress: bool = False) -> Any:
        """What the classifier says about a text, or about texts.

        Args:
            inputs: one text (`str` or `Text`); or a list of texts, of pairs of texts `(text, text)`, or of `Text`s; or
                a `TextDataset`. Texts of any length: what is longer than a window runs in several.
            all_scores: give the probability of every label, and not only of those that are given.
            progress: show a bar on stderr.

        Raises:
            DataError: the input is none of these.
        """
        texts, one = as_texts(inputs)
        found = [
            self.in_words(said) for said in self.predictor.classify(texts, all_scores=all_scores, progress=progress)
        ]
        return found[0] if one else found

    def predict_iter(
        self, texts: Iterable[str | tuple[str, str] | Text], *, all_scores: bool = False
    ) -> Iterator[TextPrediction]:
        """Classify a stream of texts in bounded memory; results come in the same order."""
        stream = (as_text(text, index) for index, text in enumerate(texts))
        return map(self.in_words, self.predictor.classify_iter(stream, all_scores=all_scores))

    def in_words(self, said: Classification) -> TextPrediction:
        """What the predictor said, with the names of the labels."""
        return prediction(said, self.settings)

    def evaluate(
        self,
        data: LabeledTexts,
        *,
        level: float = 0.95,
        samples: int = 1000,
        seed: int = 0,
        progress: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> TextReport:
        """Score the classifier on labeled texts, over their full gold.

        Args:
            data: a `TextDataset`, the path of a file, or texts with gold.
            level, samples, seed: of the bootstrap intervals.
            progress: show a bar on stderr.
            name: keep the report for the model card under this name (`dev`, `test`).
            options: of `read_texts`, where a path is given.

        Raises:
            DataError: no gold; LabelError: another target, or not one label in common.
        """
        dataset = as_text_dataset(data, **{"target": self.settings.target, **options})
        unknown = check_text_labels(dataset, self.settings, dataset.path or "the data")
        logits = self.predictor.logits(dataset.texts, progress=progress)
        report = make_text_report(
            dataset, logits, self.settings, unknown=unknown, level=level, samples=samples, seed=seed
        )
        if name is not None:
            self._reports[name] = report
        return report

    # ----------------------------------------------------------------------------------------------------- training

    def fit(
        self,
        train: LabeledTexts,
        dev: LabeledTexts | float | None = None,
        *,
        out: str | Path | None = None,
        recipe: Recipe | None = None,
        progress: bool = True,
        **options: Any,
    ) -> TextFitResult:
        """Train the classifier on labeled texts, in place.

        Args:
            train: a `TextDataset`, the path of a file, or texts with gold. Labels that the classifier does not know yet
                are added to its own.
            dev: the same, to choose the checkpoint by, and to tune thresholds (and the temperature, where
                `calibrate=True`) on; or a share of `train` to hold out by content, such as 0.1.
            out: a folder to save the trained classifier in, with its log, its recipe, and the checkpoints that a run
                can be resumed from.
            recipe: the options of the run.
            progress: show a table on stderr.
            options: the fields of `Recipe` by name (`epochs=3`, `pooling="mean"`, ...), on top of `recipe`;
                `plan="auto"` searches for a plan, as for `Tagger.fit`.

        Returns:
            The account of the run.

        Raises:
            RecipeError: an unknown option, or one that does not belong here.
            DataError: data without gold, or one label only; LabelError: train and dev share no label.
        """
        from lookright.training.text_fit import (  # loads the Trainer, which prediction does not need
            TextFitResult,
            fit_texts,
        )

        options = {"task": "text", **options}
        chosen = self._settle_recipe(recipe or Recipe(), options, out)
        reading = reading_options(chosen)
        train_data = as_text_dataset(train, **reading)
        if train_data.target is not None:
            reading["target"] = train_data.target.value
        dev_data = None if dev is None or isinstance(dev, int | float) else as_text_dataset(dev, **reading)
        if isinstance(dev, int | float):
            chosen = chosen.replace(dev=float(dev))
        self.begin(train_data if dev_data is not None else trained_part(train_data, chosen.dev))
        self._predictor = None
        self._reports.clear()
        assert self.model is not None
        if chosen.plan == "auto":
            from lookright.api.searching import fit_with_search

            if chosen.pooling is None and "pooling" not in self._chosen:  # it was that of the plan it was made with
                chosen = chosen.replace(pooling=default_pooling(open_plan=True))
            found = fit_with_search(self, train_data, dev_data, chosen, out, progress=progress)
            assert isinstance(found, TextFitResult)
            return found
        result = fit_texts(self.model, self.tokenizer, train_data, dev_data, chosen, out, progress=progress)
        data = {"train": train_data} if dev_data is None else {"train": train_data, "dev": dev_data}
        scale = 1 if train_data.target is Target.REGRESSION else 100
        self._training = account_for_card(result.recipe, result.outcome, data, scale=scale)
        self._keep(out)
        return result

    def card(self, name: str = "classifier") -> str:
        """The model card, as it would be saved now."""
        model = self._ready()
        return text_model_card(
            model.settings,
            base=model.config.base,
            plan=self.plan,
            adapter=model.config.adapter if has_lora(model.backbone) else None,
            reports=self._reports,
            training=self._training,
            name=name,
        )


def prediction(said: Classification, settings: TextSettings) -> TextPrediction:
    """What a predictor said, with the names of the labels."""
    return TextPrediction(
        label=said.label,
        score=said.score,
        labels=said.labels,
        scores=said.by_label(settings.labels),
        value=said.value,
        n_windows=said.n_windows,
    )


def pooling_for(base: Base) -> str:
    """The pooling of a new classifier on a base, where nobody says."""
    return default_pooling(open_plan=base.plan is None or not base.plan.is_causal)


def given_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """A user's labels.

    Raises:
        LabelError: none, or one string in place of a list.
    """
    found = tuple(labels) if not isinstance(labels, str) else ()
    if not found or not all(isinstance(label, str) and label.strip() for label in found):
        raise LabelError(f"labels are {labels!r}; expected a list of names, such as ['sport', 'weather']")
    return found
