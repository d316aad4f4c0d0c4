"""`Tagger`: a base and labeled sentences in, a tagger out; text in, spans out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import torch
from transformers import PreTrainedTokenizerBase

from lookright.api.card import model_card
from lookright.api.fine_tuned import FineTuned, account_for_card, refuse_settled
from lookright.api.inputs import Labeled, as_dataset, as_sentences, reading_options
from lookright.api.report import Report, check_gold, make_report
from lookright.data import Dataset, Document, Sentence, WordSplitter, trained_part
from lookright.data.words import SplitFunction
from lookright.errors import LabelError, RecipeError
from lookright.inference.device import number_format, resolve_device
from lookright.inference.labeler import tag_with_workers
from lookright.inference.predictor import Predictor, Span, Tagging
from lookright.metrics import Convention
from lookright.models.base import Base, build_settings_window, load_base, resolve_folder
from lookright.models.lora import has_lora
from lookright.models.settings import LONGEST_WINDOW, TaggerSettings
from lookright.models.store import build_tagger, is_tagger_folder, load_tagger
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.plan import PlanSpec
from lookright.tags import OUTSIDE, Scheme, label_set, transitions
from lookright.training.labels import scheme_of
from lookright.training.recipe import Recipe

if TYPE_CHECKING:
    from lookright.training.fit import FitResult


class Tagger(FineTuned[LookRightForTokenClassification]):
    """A sequence labeler: any decoder under a mask plan, or an encoder, with a head on top.

    Make one with `Tagger.from_pretrained`. A `str` or a list of `str` is always text; words come as `Sentence` or as
    `words=[[...], ...]`.

    Attributes:
        model: the model with its head; None until a bare base without labels is fitted.
        tokenizer: its tokenizer.
        device: where it runs.
        search_result: see `FineTuned`.

    Args:
        model: a tagger model.
        tokenizer: its tokenizer.
        device: `auto`, `cpu`, `cuda`, `mps`, or a torch device.
        token_budget: sub-words computed at once; by default what suits the device.
        word_split: how running text is cut into words, in place of the rule saved with the model: a rule's name, a
            `WordSplitter`, or a callable.
        compile: predict with compiled layers.
    """

    KIND = "tagger"

    def __init__(
        self,
        model: LookRightForTokenClassification | None,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device = "auto",
        token_budget: int | None = None,
        word_split: WordSplitter | SplitFunction | str | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(model, tokenizer, device=device, token_budget=token_budget, compile=compile)
        self._word_split = word_split if isinstance(word_split, WordSplitter | None) else WordSplitter(word_split)
        self._saved_rule: tuple[dict[str, Any], WordSplitter] | None = None
        self._predictor: Predictor | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        labels: Iterable[str] | None = None,
        plan: PlanSpec | None = None,
        scheme: Scheme | str | None = None,
        subword: str | None = None,
        window: int | None = None,
        context: str | None = None,
        decode: str | None = None,
        word_split: WordSplitter | SplitFunction | str | None = None,
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
        """Load a saved tagger, or make a new one on a base.

        Args:
            source: a folder, or a name on a hub: of a saved tagger, or of any decoder or encoder.
            labels: for a new tagger: the span types (`["PER", "LOC"]`), or the whole tag set with "O" in it. Without
                them, `fit` takes the types of its training data.
            plan: for a new tagger: how far to the right each layer may look; see `MaskPlan.parse`.
            scheme: for a new tagger: the tagging scheme of its labels; IOB2 where none is given.
            subword: for a new tagger: which sub-word speaks for its word: `first`, `last`, `mean`.
            window: for a new tagger: the longest input in sub-words.
            context: for a new tagger: `sentence` or `document`.
            decode: `viterbi` or `argmax`; a saved tagger's own where none is given.
            word_split: how running text is cut into words; a saved tagger's own rule where none is given.
            device: `auto`, `cpu`, `cuda`, `mps`, or a torch device.
            backend: attention implementation: `auto`, `sdpa` or `eager`.
            dtype: of the backbone: `float32`, `bfloat16`, `float16`; `auto` is the saved one for a tagger, and float32
                for a base, which is to be trained. `int8` is for the prediction of a saved tagger on a processor: 8-bit
                weights, and the rest in bfloat16 where that is fast, else in float32; such a tagger cannot be saved.
            quantization: `4bit` for a base on CUDA (extra `qlora`).
            revision: branch, tag or commit on a hub.
            trust_remote_code: run the Python code that comes with the base.
            token_budget: sub-words computed at once.
            base: for a saved adapter: where its base is, if it is not where it was.
            compile: predict with compiled layers: the first batch takes seconds to a minute longer, the others less.

        Raises:
            ModelFolderError: no such folder, no weights, a pickle instead of safetensors.
            RecipeError: a saved tagger is asked for what was decided when it was made; int8 weights for a base, or for
                a GPU.
            PlanNotHeldError: the plan is not what the model does.
        """
        where = resolve_device(device)
        folder = resolve_folder(source, revision=revision, trust_remote_code=trust_remote_code)
        running: dict[str, Any] = {"device": where, "token_budget": token_budget, "compile": compile}
        fixed = {"labels": labels, "plan": plan, "scheme": scheme, "subword": subword, "window": window}
        if is_tagger_folder(folder):
            refuse_settled(source, cls.KIND, {**fixed, "context": context})
            dtype, int8 = number_format(dtype, where)
            loaded = load_tagger(
                source, backend=backend, dtype=dtype, base=base, revision=revision, trust_remote_code=trust_remote_code,
                int8=int8,
            )  # fmt: skip
            if decode is not None:
                loaded.model.settings = replace(loaded.settings, decode=decode)
            return cls(loaded.model, loaded.tokenizer, word_split=word_split, **running)
        if base is not None:
            raise RecipeError(f"base is {base!r}, but {source} is no saved adapter; leave that out")
        if dtype == "int8":
            raise RecipeError(f"dtype is 'int8', which is for prediction, but {source} is not a saved tagger")
        loaded_base = load_base(
            source, plan=plan, backend=backend, dtype="float32" if dtype == "auto" else dtype,
            quantization=quantization, revision=revision, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        tagger = cls(None, loaded_base.tokenizer, word_split=word_split, **running)
        return tagger._begin(loaded_base, {**fixed, "context": context, "decode": decode})

    def _begin(self, base: Base, chosen: Mapping[str, Any]) -> Self:
        """A new tagger on a base, with what was chosen of its settings, plan left out, and its labels if they are."""
        self._base = base
        self._chosen = {n: v for n, v in chosen.items() if v is not None and n not in ("labels", "plan", "scheme")}
        if chosen["scheme"] is not None:
            self._chosen["scheme"] = Scheme.parse(chosen["scheme"])
        if chosen["labels"] is not None:
            self.model = build_tagger(base, self._new_settings(chosen["labels"]))
        return self

    def _new_settings(self, labels: Iterable[str]) -> TaggerSettings:
        """The settings of a new tagger on the base."""
        assert self._base is not None
        chosen = dict(self._chosen)
        scheme = chosen.pop("scheme", Scheme.IOB2)
        longest = build_settings_window(self._base.backbone.config, LONGEST_WINDOW)
        chosen["window"] = min(chosen.get("window", longest), longest)
        word_rule = (self._word_split or WordSplitter()).to_dict()
        return TaggerSettings(labels=complete_labels(labels, scheme), scheme=scheme, word_rule=word_rule, **chosen)

    # ------------------------------------------------------------------------------------------------------ facts

    @property
    def settings(self) -> TaggerSettings:
        """What the tagger remembers besides its weights.

        Raises:
            LabelError: a base without labels, before `fit`.
        """
        return self._ready().settings

    @property
    def splitter(self) -> WordSplitter:
        """How running text is cut into words.

        Raises:
            DataError: the words of the training data were cut by a callable, which must be given again.
        """
        if self._word_split is not None:
            return self._word_split
        saved = self.settings.word_rule  # training may change it
        if self._saved_rule is None or self._saved_rule[0] != saved:
            self._saved_rule = (saved, WordSplitter.from_dict(saved))
        return self._saved_rule[1]

    def _text_splitter(self) -> WordSplitter | None:
        """How the text of labeled files is cut: as the tagger's, where it has a rule that can be had."""
        known = self.model is not None and self.settings.word_rule.get("rule") != "callable"
        return self.splitter if known else self._word_split

    def __repr__(self) -> str:
        types = "no labels yet" if self.model is None else ", ".join(self.settings.types)
        return f"Tagger({types}; plan {self.plan}; {self.device})"

    def _predicting(self) -> Predictor:
        model = self._ready()
        if self._predictor is None:
            self._predictor = Predictor(
                model, self.tokenizer, device=self.device, token_budget=self._token_budget, compile=self._compile
            )
        return self._predictor

    @property
    def predictor(self) -> Predictor:
        """What runs the model over sentences.

        Raises:
            LabelError: a base without labels, before `fit`.
        """
        return self._predicting()

    # --------------------------------------------------------------------------------------------------- predicting

    @overload
    def predict(self, inputs: str | Sentence) -> list[Span]: ...
    @overload
    def predict(
        self,
        inputs: list[str] | list[Sentence] | tuple[str, ...] | Document | Dataset,
        *,
        progress: bool = False,
        workers: int = 1,
    ) -> list[list[Span]]: ...
    @overload
    def predict(
        self, *, words: Sequence[Sequence[str]], progress: bool = False, workers: int = 1
    ) -> list[list[Span]]: ...

    def predict(self, inputs: Any = None, *, words: Any = None, progress: bool = False, workers: int = 1) -> Any:
        """The spans in a text, in texts, or in sentences of words.

        Args:
            inputs: one text (`str`) or `Sentence`; or a list of texts or of `Sentence`s, a `Document`, a `Dataset`. A
                list of `str` is always a list of texts. With `context="document"`, texts are documents of their own,
                and a list of sentences is one document.
            words: sentences that are words already: `[["Angela", "Merkel"], ...]`; one sentence's words for one
                sentence. Characters are counted in the words joined by single spaces.
            progress: show a bar on stderr.
            workers: processes that share the work, as in `tag`.

        Returns:
            The spans of the one text, or one list of spans for each text or sentence.

        Raises:
            DataError: the input is none of these.
        """
        splitter = self.splitter if words is None and not _has_words(inputs) else WordSplitter()
        sentences, starts, one = as_sentences(inputs, words, splitter)
        taggings = self.tag(sentences, document_starts=starts, progress=progress, workers=workers)
        found = [list(tagging.spans) for tagging in taggings]
        return found[0] if one else found

    def tag(
        self,
        sentences: Sequence[Sentence],
        *,
        document_starts: Sequence[int] | None = None,
        progress: bool = False,
        workers: int = 1,
    ) -> list[Tagging]:
        """Tag sentences of words: tags, probabilities and spans of each; see `Predictor.tag`.

        With more than one of `workers`, that many new processes share the work, and no bar is shown. They take seconds
        to start, and a script that calls this must do so under `if __name__ == "__main__":`. Results are those of one
        process, probabilities to 1e-5.
        """
        if workers != 1:
            return tag_with_workers(self._predicting(), sentences, document_starts, workers)
        return self._predicting().tag(sentences, document_starts=document_starts, progress=progress)

    def tag_iter(self, sentences: Iterable[Sentence | str]) -> Iterator[Tagging]:
        """Tag a stream of sentences or texts in bounded memory; results come in the same order."""
        return self._predicting().tag_iter(
            self.splitter.sentence(item) if isinstance(item, str) else item for item in sentences
        )

    @property
    def n_long_words(self) -> int:
        """Words so far that were longer than the window, and tagged from their first part."""
        return 0 if self._predictor is None else self._predictor.n_long_words

    def evaluate(
        self,
        data: Labeled,
        *,
        convention: Convention = "strict",
        level: float = 0.95,
        samples: int = 1000,
        seed: int = 0,
        progress: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> Report:
        """Score the tagger on labeled sentences, over their full gold.

        Args:
            data: a `Dataset`, the path of a file, or sentences with tags.
            convention: `strict` (as seqeval in strict mode) or `conlleval`.
            level, samples, seed: of the bootstrap interval.
            progress: show a bar on stderr.
            name: keep the report for the model card under this name (`dev`, `test`).
            options: of `read_dataset`, where a path is given.

        Raises:
            DataError: no gold; LabelError: not one type in common.
        """
        settings = self.settings
        dataset = as_dataset(data, **{"splitter": self._text_splitter(), **options})
        check_gold(dataset, settings)
        taggings = self.tag(dataset.sentences, document_starts=dataset.document_starts or (), progress=progress)
        report = make_report(
            dataset, [tagging.tags for tagging in taggings], settings,
            convention=convention, level=level, samples=samples, seed=seed,
        )  # fmt: skip
        if name is not None:
            self._reports[name] = report
        return report

    # ----------------------------------------------------------------------------------------------------- training

    def fit(
        self,
        train: Labeled,
        dev: Labeled | float | None = None,
        *,
        out: str | Path | None = None,
        recipe: Recipe | None = None,
        progress: bool = True,
        **options: Any,
    ) -> FitResult:
        """Train the tagger on labeled sentences, in place.

        Args:
            train: a `Dataset`, the path of a file, or sentences with tags. Types that the tagger does not know yet are
                added to its labels.
            dev: the same, to choose the checkpoint by; or a share of `train` to hold out by content, such as 0.1.
            out: a folder to save the trained tagger in, with its log, its recipe, and the checkpoints that a run can be
                resumed from.
            recipe: the options of the run.
            progress: show a table on stderr.
            options: the fields of `Recipe` by name (`epochs=3`, `method="lora"`, ...), on top of `recipe`. Base and
                plan were decided when the tagger was made, unless `plan="auto"` searches for another plan (see
                `lookright.search_plan`; `search_result` then says how); test data belongs to `evaluate`.

        Returns:
            The account of the run.

        Raises:
            RecipeError: an unknown option, or one that does not belong here.
            DataError: data without tags; LabelError: train and dev share no type.
        """
        from lookright.training.fit import FitResult, fit  # loads the Trainer, which prediction does not need

        chosen = self._recipe(recipe or Recipe(), options, out)
        if self._word_split is not None and isinstance(self._word_split.rule, str) and chosen.word_split is not None:
            self._word_split = None  # what is chosen is saved with the model
        reading = reading_options(
            chosen, self._text_splitter() if chosen.word_split in (None, "learned") else self._word_split
        )
        train_data = as_dataset(train, **reading)
        dev_data = None if dev is None or isinstance(dev, int | float) else as_dataset(dev, **reading)
        if isinstance(dev, int | float):
            chosen = chosen.replace(dev=float(dev))
        if self.model is None:
            assert self._base is not None
            self._chosen["scheme"] = scheme_of(train_data, "train")
            part = train_data if dev_data is not None else trained_part(train_data, chosen.dev)
            self.model = build_tagger(self._base, self._new_settings(part.types()))
        self._predictor = None
        self._reports.clear()
        if chosen.plan == "auto":
            from lookright.api.searching import fit_with_search

            found = fit_with_search(self, train_data, dev_data, chosen, out, progress=progress)
            assert isinstance(found, FitResult)
            return found
        result = fit(self.model, self.tokenizer, train_data, dev_data, chosen, out, progress=progress)
        data = {"train": train_data} if dev_data is None else {"train": train_data, "dev": dev_data}
        self._training = account_for_card(result.recipe, result.outcome, data)
        self._keep(out)
        return result

    def _recipe(self, recipe: Recipe, options: dict[str, Any], out: str | Path | None) -> Recipe:
        """The recipe of a run, without what is not decided there."""
        recipe = self._settle_recipe(recipe, options, out)
        rule = None if self._word_split is None or self._word_split.learned else self._word_split.rule
        if isinstance(rule, str) and recipe.word_split is None:
            recipe = recipe.replace(word_split=rule)
        return recipe

    # ------------------------------------------------------------------------------------------------------- saving

    def card(self, name: str = "tagger") -> str:
        """The model card, as it would be saved now."""
        model = self._ready()
        return model_card(
            model.settings,
            base=model.config.base,
            plan=self.plan,
            adapter=model.config.adapter if has_lora(model.backbone) else None,
            reports=self._reports,
            training=self._training,
            name=name,
        )

    def _forget_predictor(self) -> None:
        self._predictor = None


def complete_labels(labels: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """The tag set that a user's labels stand for.

    Args:
        labels: span types, or a whole tag set, which has "O" in it; under PLAIN the tags themselves, in their order.
        scheme: of the tags.

    Raises:
        LabelError: none, or one string in place of a list.
    """
    given = tuple(labels) if not isinstance(labels, str) else ()
    if not given:
        raise LabelError(f"labels are {labels!r}; expected a list of span types, such as ['PER', 'LOC']")
    if scheme is Scheme.PLAIN:
        return given
    if OUTSIDE in given:
        transitions(given, scheme)  # raises for tags that are not the scheme's
        return given
    return label_set(given, scheme)


def _has_words(inputs: Any) -> bool:
    """Whether no text has to be cut into words."""
    if isinstance(inputs, Sentence | Document | Dataset):
        return True
    return isinstance(inputs, list | tuple) and bool(inputs) and isinstance(inputs[0], Sentence)
