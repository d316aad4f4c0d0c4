"""transformers' pipeline: our models through the Tagger, all others exactly as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
from transformers.pipelines.token_classification import TokenClassificationPipeline

import toys
from lookright.api.pipelines import TaggerPipeline
from lookright.api.tagger import Tagger
from lookright.errors import DataError
from lookright.models.tagger_model import LookRightForTokenClassification

TEXT = "Angela Merkel 👩‍🚀 met Novak.\r\nThey left Zagreb on Monday."
TEXTS = [TEXT, "Jordan", "Paris Hilton said that Florence Nightingale smiled."]


@pytest.fixture(scope="module")
def pipe(tagger_folder: Path) -> Any:
    return transformers.pipeline("token-classification", model=str(tagger_folder), device="cpu")


@pytest.fixture(scope="module")
def stock_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BertForTokenClassification, nothing of ours in it."""
    from transformers import BertConfig, BertForTokenClassification

    folder = tmp_path_factory.mktemp("stock")
    tokenizer = toys.wordpiece_tokenizer()
    labels = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        id2label=labels, label2id={label: i for i, label in labels.items()},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForTokenClassification(config)
        model.classifier.weight.data.normal_(std=1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_groups(tagger: Tagger, text: str) -> list[dict[str, Any]]:
    return [
        {"entity_group": s.type, "score": s.score, "word": s.text, "start": s.start, "end": s.end}
        for s in tagger.predict(text)
    ]


def rounded(rows: Any) -> Any:
    return json.loads(json.dumps(rows, default=float), parse_float=lambda text: round(float(text), 5))


@pytest.mark.parametrize("task", ["token-classification", "ner"])
@pytest.mark.parametrize("strategy", [None, "simple", "first", "average", "max"])
def test_the_spans_are_those_of_the_tagger(
    tagger: Tagger, tagger_folder: Path, task: str, strategy: str | None
) -> None:
    options = {} if strategy is None else {"aggregation_strategy": strategy}
    pipe = transformers.pipeline(task, model=str(tagger_folder), device="cpu", **options)
    assert isinstance(pipe, TaggerPipeline)
    expected = as_groups(tagger, TEXT)
    assert expected
    assert pipe(TEXT) == expected
    assert rounded(pipe(TEXTS)) == rounded([as_groups(tagger, text) for text in TEXTS])


def test_none_gives_the_tag_of_each_word(tagger: Tagger, pipe: Any) -> None:
    sentence = tagger.splitter.sentence(TEXT)
    [tagging] = tagger.tag([sentence])
    rows = pipe(TEXT, aggregation_strategy="none", ignore_labels=[])
    assert [row["entity"] for row in rows] == list(tagging.tags)
    assert [row["word"] for row in rows] == list(sentence.words)
    assert [(row["start"], row["end"]) for row in rows] == list(sentence.offsets or ())
    assert [row["score"] for row in rows] == list(tagging.probabilities)
    assert [row["index"] for row in rows] == list(range(len(sentence)))
    assert [r for r in rows if r["entity"] != "O"] == pipe(TEXT, aggregation_strategy="none")


def test_ignored_labels(tagger: Tagger, pipe: Any) -> None:
    groups = pipe(TEXT, ignore_labels=[])
    assert [g for g in groups if g["entity_group"] != "O"] == pipe(TEXT)
    assert "".join(g["word"] for g in groups).replace(" ", "") != ""
    borders = [(g["start"], g["end"]) for g in groups]
    assert borders == sorted(borders)
    kinds = {g["entity_group"] for g in pipe(TEXT)}
    one = sorted(kinds)[0]
    assert {g["entity_group"] for g in pipe(TEXT, ignore_labels=["O", one])} == kinds - {one}


def test_whatever_the_stock_pipeline_takes(tagger: Tagger, pipe: Any) -> None:
    expected = rounded([as_groups(tagger, text) for text in TEXTS])
    assert rounded(pipe(tuple(TEXTS), batch_size=2, num_workers=0)) == expected
    assert rounded(list(pipe(text for text in TEXTS))) == expected

    class Texts(torch.utils.data.Dataset[str]):
        def __len__(self) -> int:
            return len(TEXTS)

        def __getitem__(self, index: int) -> str:
            return TEXTS[index]

    assert rounded(list(pipe(Texts()))) == expected
    assert pipe(TEXT, stride=5) == pipe(TEXT)


def test_words(tagger: Tagger, pipe: Any) -> None:
    words = ["Angela", "Merkel", "left", "New York"]
    [spans] = tagger.predict(words=[words])
    found = pipe(words, is_split_into_words=True)
    assert [(g["entity_group"], g["start"], g["end"]) for g in found] == [(s.type, s.start, s.end) for s in spans]
    assert rounded(pipe([words, words], is_split_into_words=True)) == rounded([found, found])
    joined = pipe(words, is_split_into_words=True, delimiter="--")
    text = "--".join(words)
    assert all(text[g["start"] : g["end"]] == g["word"] for g in joined)


def test_a_stream_is_read_bit_by_bit(pipe: Any) -> None:
    read = 0

    def stream() -> Iterator[str]:
        nonlocal read
        for _ in range(2_000):
            read += 1
            yield "Jordan smiled"

    next(pipe(stream()))
    assert 0 < read < 2_000


def test_wrong_inputs(pipe: Any) -> None:
    for inputs, options in ((3, {}), ([], {}), ([3], {}), ("text", {"is_split_into_words": True})):
        with pytest.raises(DataError):
            pipe(inputs, **options)
    with pytest.raises(DataError, match="offset_mapping"):
        pipe("a", offset_mapping=[(0, 1)])
    with pytest.raises(TypeError):
        pipe("a", no_such_option=1)
    with pytest.raises(KeyError):
        pipe("a", aggregation_strategy="nonsense")


def test_a_model_in_memory(tagger: Tagger, tagger_folder: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(tagger_folder)
    assert isinstance(model, LookRightForTokenClassification)
    pipe = transformers.pipeline("ner", model=model, tokenizer=AutoTokenizer.from_pretrained(tagger_folder), device=-1)
    assert pipe(TEXT) == as_groups(tagger, TEXT)


def test_a_pipeline_can_be_saved(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "again")
    assert transformers.pipeline("ner", model=str(tmp_path / "again"), device="cpu")(TEXT) == pipe(TEXT)


@pytest.mark.parametrize("options", [{}, {"aggregation_strategy": "simple"}, {"aggregation_strategy": "max"}])
def test_other_models_are_left_alone(stock_folder: Path, options: dict[str, Any]) -> None:
    found = transformers.pipeline("token-classification", model=str(stock_folder), device="cpu", **options)
    assert type(found) is TokenClassificationPipeline
    model = AutoModelForTokenClassification.from_pretrained(stock_folder)
    tokenizer = AutoTokenizer.from_pretrained(stock_folder)
    stock = TokenClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu", **options)
    assert found(TEXTS) == stock(TEXTS)
    assert found(TEXT)
    assert vars(found).keys() == vars(stock).keys()
    assert not hasattr(stock, "_registered_impl")


def test_the_registry_is_otherwise_as_it_was() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    task = PIPELINE_REGISTRY.check_task("ner")[1]
    assert task["pt"] == (AutoModelForTokenClassification,)
    assert task["type"] == "text"
    texts = PIPELINE_REGISTRY.check_task("sentiment-analysis")[1]
    assert texts["pt"] == (AutoModelForSequenceClassification,)
    others = [v for v in PIPELINE_REGISTRY.supported_tasks.values() if v is not task and v is not texts]
    assert "lookright" not in str(others)
