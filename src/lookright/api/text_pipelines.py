"""`transformers.pipeline("text-classification")` with our models: the TextClassifier's answers in the pipeline's shape.

As for taggers (`lookright.api.pipelines`), the registry holds a class that builds ours around one of our models, and
around any other exactly what would have been built without us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, cast

import numpy as np
import torch
from transformers.pipelines.text_classification import ClassificationFunction, TextClassificationPipeline

from lookright.data.texts import Target, Text
from lookright.errors import DataError
from lookright.inference.text_predictor import decide, probabilities_of
from lookright.models.text_model import LookRightForSequenceClassification
from lookright.text_metrics import FloatArray, sigmoid, softmax

CHUNK: Final = 256
"""Texts of a stream that are classified together."""
UNNEEDED: Final = ("truncation", "padding", "max_length", "batch_size", "num_workers")
"""What the stock pipeline takes and ours has no use for: no text is cut, and batches are made by length."""

Row = dict[str, Any]


class ClassifierOrStockPipeline(TextClassificationPipeline):  # type: ignore[misc]
    """Stands in the registry; never has an instance of its own."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A `ClassifierPipeline` for a model of ours, the stock pipeline for every other one."""
        model = kwargs["model"] if "model" in kwargs else next(iter(args), None)
        ours = isinstance(model, LookRightForSequenceClassification)
        return (ClassifierPipeline if ours else TextClassificationPipeline)(*args, **kwargs)


class ClassifierPipeline(TextClassificationPipeline):  # type: ignore[misc]
    """A text classification pipeline that answers through `TextClassifier`.

    Windows, batches, pooling, temperature and thresholds are the classifier's. What the stock pipeline takes is taken:
    one text, a list, a generator or a data set of texts; pairs as `{"text": ..., "text_pair": ...}`; `top_k`;
    `function_to_apply`. Without `top_k`, a classifier that gives any number of labels answers with a list of those that
    it gives; a regression answers with the number as `score`. `truncation` and the like change nothing, as no text is
    ever cut.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from lookright.api.text_classifier import TextClassifier  # loads far more than another model's pipeline needs

        super().__init__(*args, **kwargs)
        self.classifier = TextClassifier(self.model, self.tokenizer, device=self.device)

    def _sanitize_parameters(self, function_to_apply: Any = None, top_k: Any = "", **rest: Any) -> tuple[Row, Row, Row]:
        strange = sorted(set(rest) - set(UNNEEDED))
        if strange:
            raise DataError(
                f"{strange[0]} is no option of this pipeline; expected top_k (None: all labels) or function_to_apply"
            )
        after: Row = {}
        if top_k is None or isinstance(top_k, int):
            after["top_k"] = top_k
        if isinstance(function_to_apply, str):
            known = [function.value for function in ClassificationFunction]
            if function_to_apply.lower() not in known:
                raise DataError(f"function_to_apply is {function_to_apply!r}, expected one of {', '.join(known)}")
            function_to_apply = ClassificationFunction(function_to_apply.lower())
        if function_to_apply is not None:
            after["function_to_apply"] = function_to_apply
        return {}, {}, after

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify one text or many; see the class."""
        after = {**self._postprocess_params, **self._sanitize_parameters(**kwargs)[2]}
        if isinstance(inputs, str | dict):
            answer = next(self._answers([inputs], after))
            # As the stock pipeline has it: one `str` gives a list, unless this call says how many labels it wants.
            bare = "top_k" in kwargs or isinstance(inputs, dict) or (isinstance(answer, list) and "top_k" not in after)
            return answer if bare else [answer]
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise DataError("at least one text is needed, the list is empty")
            return list(self._answers(inputs, after))
        if isinstance(inputs, torch.utils.data.Dataset) or (
            hasattr(inputs, "__iter__") and not isinstance(inputs, bytes)
        ):
            return self._answers(inputs, after)
        raise DataError(f"got {type(inputs).__name__}, expected a text, a list of texts, or an iterable of texts")

    def _answers(self, inputs: Any, after: Row) -> Iterator[Row | list[Row]]:
        source = _items(inputs)
        while chunk := [_text(item) for item in islice(source, CHUNK)]:
            for row in self.classifier.predictor.logits(chunk):
                yield self._shaped(row[None], **after)

    def _shaped(self, logits: FloatArray, top_k: Any = "", function_to_apply: Any = None) -> Row | list[Row]:
        """The answer for one text, from logits (1, labels)."""
        settings = self.classifier.settings
        [said] = decide(logits, settings, [1])
        if settings.target == Target.REGRESSION:
            scores = logits[0]
        elif function_to_apply is None:
            scores = probabilities_of(logits, settings)[0]
        else:
            functions = {ClassificationFunction.SIGMOID: sigmoid, ClassificationFunction.SOFTMAX: softmax}
            scores = functions.get(function_to_apply, lambda values: values)(logits)[0]
        order: Sequence[int] = np.argsort(-scores, kind="stable").tolist()
        rows = [{"label": settings.labels[index], "score": float(scores[index])} for index in order]
        if top_k == "" and settings.target == Target.MULTI:
            return [row for row in rows if row["label"] in said.labels]
        if top_k == "":
            return rows[0]
        return rows if top_k is None else rows[:top_k]


def _text(item: Any) -> Text:
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, dict) and "text" in item and set(item) <= {"text", "text_pair"}:
        return Text(item["text"], item.get("text_pair"))
    raise DataError(f"got {type(item).__name__}, expected a text, or a pair as {{'text': ..., 'text_pair': ...}}")


def _items(inputs: Any) -> Iterator[Any]:
    if isinstance(inputs, torch.utils.data.Dataset) and not hasattr(inputs, "__iter__"):
        return (inputs[index] for index in range(len(cast(Any, inputs))))
    return iter(inputs)
