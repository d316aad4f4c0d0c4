"""`import lookright`: light, and with names that only change on purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lookright

PUBLIC = [
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


def test_the_public_names_are_frozen() -> None:
    assert lookright.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(lookright))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(lookright, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Taggr'"):
        _ = lookright.Taggr


def test_light_names_load_nothing_heavy() -> None:
    code = (
        "import sys, lookright\n"
        "from lookright import MaskPlan, Sentence, Recipe, read_conll, read_jsonl\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'tokenizers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
