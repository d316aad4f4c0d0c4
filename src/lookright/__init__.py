"""LookRight: sequence labeling with decoders, layer by layer.

Importing this package loads neither torch nor transformers: its names are looked up when they are first used. It does
teach transformers our model type, now or when transformers is imported (`lookright.api.registration`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookright.api import registration as _registration

if TYPE_CHECKING:
    from lookright.api.comparison import TaggerComparison, compare
    from lookright.api.report import Report
    from lookright.api.searching import search_plan
    from lookright.api.studies import run_study
    from lookright.api.tagger import Tagger
    from lookright.api.text_classifier import TextClassifier, TextPrediction
    from lookright.api.text_report import TextReport
    from lookright.data import (
        Dataset,
        Document,
        Sentence,
        Text,
        TextDataset,
        WordSplitter,
        hold_out,
        read_conll,
        read_dataset,
        read_hub,
        read_jsonl,
        read_texts,
        write_conll,
        write_jsonl,
        write_spans_jsonl,
    )
    from lookright.errors import LookRightError, LookRightWarning
    from lookright.inference.predictor import Span
    from lookright.plan import MaskPlan
    from lookright.study.definition import Study
    from lookright.tags import Scheme
    from lookright.training.recipe import Recipe

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "lookright.data",
    "Document": "lookright.data",
    "LookRightError": "lookright.errors",
    "LookRightWarning": "lookright.errors",
    "MaskPlan": "lookright.plan",
    "Recipe": "lookright.training.recipe",
    "Report": "lookright.api.report",
    "Scheme": "lookright.tags",
    "Sentence": "lookright.data",
    "Span": "lookright.inference.predictor",
    "Study": "lookright.study.definition",
    "Tagger": "lookright.api.tagger",
    "TaggerComparison": "lookright.api.comparison",
    "Text": "lookright.data",
    "TextClassifier": "lookright.api.text_classifier",
    "TextDataset": "lookright.data",
    "TextPrediction": "lookright.api.text_classifier",
    "TextReport": "lookright.api.text_report",
    "WordSplitter": "lookright.data",
    "compare": "lookright.api.comparison",
    "hold_out": "lookright.data",
    "read_conll": "lookright.data",
    "read_dataset": "lookright.data",
    "read_hub": "lookright.data",
    "read_jsonl": "lookright.data",
    "read_texts": "lookright.data",
    "run_study": "lookright.api.studies",
    "search_plan": "lookright.api.searching",
    "write_conll": "lookright.data",
    "write_jsonl": "lookright.data",
    "write_spans_jsonl": "lookright.data",
}
"""Where each public name lives."""

__all__ = [
    "Dataset",
    "Document",
    "LookRightError",
    "LookRightWarning",
    "MaskPlan",
    "Recipe",
    "Report",
    "Scheme",
    "Sentence",
    "Span",
    "Study",
    "Tagger",
    "TaggerComparison",
    "Text",
    "TextClassifier",
    "TextDataset",
    "TextPrediction",
    "TextReport",
    "WordSplitter",
    "__version__",
    "compare",
    "hold_out",
    "read_conll",
    "read_dataset",
    "read_hub",
    "read_jsonl",
    "read_texts",
    "run_study",
    "search_plan",
    "write_conll",
    "write_jsonl",
    "write_spans_jsonl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_registration.install()
