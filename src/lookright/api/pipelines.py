"""`transformers.pipeline("token-classification")` with our models: the Tagger's answers in the pipeline's shape.

`pipeline` finds `TaggerOrStockPipeline` in its registry (see `lookright.api.registration`). Asked to build a pipeline
around one of our models, that class builds a `TaggerPipeline`; around any other model it builds exactly what would have
been built without us, an instance of the stock class.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

from lookright.data import Sentence
from lookright.errors import DataError
from lookright.models.tagger_model import LookRightForTokenClassification

if TYPE_CHECKING:
    from lookright.inference.predictor import Tagging

CHUNK: Final = 256
"""Texts of a stream that are tagged together."""


class TaggerOrStockPipeline(TokenClassificationPipeline):  # type: ignore[misc]
    """Stands in the registry; never has an instance of its own."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A `TaggerPipeline` for a model of ours, the stock pipeline for every other one."""
        model = kwargs["model"] if "model" in kwargs else next(iter(args), None)
        ours = isinstance(model, LookRightForTokenClassification)
        return (TaggerPipeline if ours else TokenClassificationPipeline)(*args, **kwargs)


class TaggerPipeline(TokenClassificationPipeline):  # type: ignore[misc]
    """A token classification pipeline that answers through `Tagger`.

    Words, windows, batches and decoding are the Tagger's, so that the spans are those of `Tagger.predict`. What the
    stock pipeline takes is taken: one text, a list of texts, a generator or a data set of texts, and words with
    `is_split_into_words=True`. Every `aggregation_strategy` but `"none"` (and the default, too) gives the spans;
    `"none"` gives the tag of each word. `stride` changes nothing, as no text is ever cut.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from lookright.api.tagger import Tagger  # loads far more than the pipeline of another model needs

        super().__init__(*args, **kwargs)
        self.tagger = Tagger(self.model, self.tokenizer, device=self.device)

    def _sanitize_parameters(
        self,
        ignore_labels: Sequence[str] | None = None,
        aggregation_strategy: AggregationStrategy | str | None = None,
        offset_mapping: Any = None,
        is_split_into_words: bool = False,
        stride: int | None = None,
        delimiter: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if offset_mapping is not None:
            raise DataError("offset_mapping cannot be given: the tagger's offsets are those of the text's characters")
        preprocess: dict[str, Any] = {"is_split_into_words": is_split_into_words}
        if delimiter is not None:
            preprocess["delimiter"] = delimiter
        postprocess: dict[str, Any] = {}
        if aggregation_strategy is not None:
            if isinstance(aggregation_strategy, str):
                aggregation_strategy = AggregationStrategy[aggregation_strategy.upper()]
            postprocess["aggregation_strategy"] = aggregation_strategy
        if ignore_labels is not None:
            postprocess["ignore_labels"] = ignore_labels
        return preprocess, {}, postprocess

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Tag one text or many; see the class. Returns one list of dictionaries for each text."""
        for name in ("batch_size", "num_workers"):  # the tagger makes its own batches, by length
            kwargs.pop(name, None)
        before, _, after = self._sanitize_parameters(**kwargs)
        before = {**self._preprocess_params, **{k: v for k, v in before.items() if k in kwargs}}
        after = {**self._postprocess_params, **after}
        if isinstance(inputs, str) or (before["is_split_into_words"] and _is_words(inputs)):
            return next(self._answers([inputs], before, after))
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise DataError("at least one text is needed, the list is empty")
            return list(self._answers(inputs, before, after))
        if isinstance(inputs, types.GeneratorType | torch.utils.data.Dataset) or hasattr(inputs, "__iter__"):
            return self._answers(inputs, before, after)
        raise DataError(f"got {type(inputs).__name__}, expected a text, a list of texts, or an iterable of texts")

    def _answers(self, inputs: Any, before: dict[str, Any], after: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        sentences: list[Sentence] = []

        def tagged() -> Iterator[list[dict[str, Any]]]:
            for sentence, tagging in zip(sentences, self.tagger.tag(sentences), strict=True):
                yield shape(sentence, tagging, **after)
            sentences.clear()

        for item in _items(inputs):
            sentences.append(self._sentence(item, **before))
            if len(sentences) == CHUNK:
                yield from tagged()
        yield from tagged()

    def _sentence(self, item: Any, is_split_into_words: bool, delimiter: str = " ") -> Sentence:
        if not is_split_into_words:
            if not isinstance(item, str):
                raise DataError(f"got {type(item).__name__}, expected a text; words need is_split_into_words=True")
            return self.tagger.splitter.sentence(item)
        if not _is_words(item):
            raise DataError("is_split_into_words=True needs a list of words for each sentence")
        if delimiter == " ":
            return Sentence(tuple(item))
        offsets, at = [], 0
        for word in item:
            offsets.append((at, at + len(word)))
            at += len(word) + len(delimiter)
        return Sentence(tuple(item), text=delimiter.join(item), offsets=tuple(offsets))


def shape(
    sentence: Sentence,
    tagging: Tagging,
    aggregation_strategy: AggregationStrategy = AggregationStrategy.SIMPLE,
    ignore_labels: Sequence[str] = ("O",),
) -> list[dict[str, Any]]:
    """One sentence's answer in the shape of the stock pipeline.

    Returns:
        With the strategy `none`, `entity, score, index, word, start, end` for each word, `index` being the word's
        place in the sentence; else `entity_group, score, word, start, end` for each span (and for each run of words
        outside, where `ignore_labels` does not hold "O").
    """
    text, offsets = sentence.surface()
    rows: list[dict[str, Any]] = []
    if aggregation_strategy is AggregationStrategy.NONE:
        for index, (tag, score, (start, end)) in enumerate(
            zip(tagging.tags, tagging.probabilities, offsets, strict=True)
        ):
            row = {"entity": tag, "score": score, "index": index, "word": text[start:end], "start": start, "end": end}
            rows.append(row)
        return [row for row in rows if row["entity"] not in ignore_labels]
    groups = [(s.type, s.score, s.word_start, s.word_end) for s in tagging.spans]
    if "O" not in ignore_labels:
        groups = sorted([*groups, *_outside(tagging)], key=lambda group: group[2])
    for kind, score, first, last in groups:
        start, end = offsets[first][0], offsets[last - 1][1]
        row = {"entity_group": kind, "score": score, "word": text[start:end], "start": start, "end": end}
        rows.append(row)
    return [row for row in rows if row["entity_group"] not in ignore_labels]


def _outside(tagging: Tagging) -> Iterator[tuple[str, float, int, int]]:
    """The runs of words between the spans."""
    at = 0
    borders = [(s.word_start, s.word_end) for s in tagging.spans] + [(len(tagging.tags), len(tagging.tags))]
    for start, end in borders:
        if start > at:
            yield "O", sum(tagging.probabilities[at:start]) / (start - at), at, start
        at = end


def _is_words(item: Any) -> bool:
    return isinstance(item, list | tuple) and bool(item) and all(isinstance(word, str) for word in item)


def _items(inputs: Any) -> Iterator[Any]:
    if isinstance(inputs, torch.utils.data.Dataset) and not hasattr(inputs, "__iter__"):
        return (inputs[index] for index in range(len(cast(Any, inputs))))
    return iter(inputs)
