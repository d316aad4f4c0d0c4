"""`TextClassifier`: made, trained, asked, scored, saved, read again; and transformers' pipeline around it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.pipelines.text_classification import TextClassificationPipeline

import toys
from api.test_registration import run_python
from lookright import Tagger, Text, TextClassifier, TextDataset
from lookright.api.text_inputs import as_text_dataset
from lookright.api.text_pipelines import ClassifierPipeline
from lookright.errors import DataError, LabelError, ModelFolderError, OutputError, RecipeError

LABELS = ["arts", "sport", "weather"]
TEXTS = ["Angela Merkel visited Zagreb.", "", "long text " * 90, "東京都"]


def make(folder: Path, *, thresholds: tuple[float, ...] = (), **options: Any) -> TextClassifier:
    """A classifier whose head has opinions."""
    made = TextClassifier.from_pretrained(folder, **{"labels": LABELS, "device": "cpu", "window": 64, **options})
    assert made.model is not None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        made.model.score.weight.normal_(std=1.0)
    if thresholds:
        from dataclasses import replace

        made.model.settings = replace(made.model.settings, thresholds=thresholds)
    return made


@pytest.fixture(scope="module")
def single(tiny_llama: Path) -> TextClassifier:
    return make(tiny_llama, plan="0011")


@pytest.fixture(scope="module")
def folder(single: TextClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return single.save_pretrained(tmp_path_factory.mktemp("saved") / "classifier")


@pytest.fixture(scope="module")
def multi_folder(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(tiny_llama, target="multi-label", plan="1111", pooling="attention", thresholds=(0.5, 0.2, 0.9))
    return made.save_pretrained(tmp_path_factory.mktemp("saved") / "classifier")


# ------------------------------------------------------------------------------------------------------------ answers


def test_one_text_and_many(single: TextClassifier) -> None:
    many = single.predict(TEXTS)
    assert [single.predict(text).label for text in TEXTS] == [said.label for said in many]
    assert all(said.labels == (said.label,) and said.scores == {said.label: said.score} for said in many)
    assert many[2].n_windows > 1
    every = single.predict(TEXTS[0], all_scores=True)
    assert set(every.scores) == set(LABELS)
    assert sum(every.scores.values()) == pytest.approx(1)
    assert list(every.scores.values()) == sorted(every.scores.values(), reverse=True)
    assert [said.label for said in single.predict_iter(iter(TEXTS))] == [said.label for said in many]


def test_pairs(single: TextClassifier) -> None:
    pair = single.predict([("It rains.", "It is wet.")], all_scores=True)[0]
    assert pair == single.predict(Text("It rains.", "It is wet."), all_scores=True)
    assert list(single.predict_iter([("It rains.", "It is wet.")], all_scores=True)) == [pair]
    assert pair.scores != single.predict("It rains.", all_scores=True).scores


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (3, "got int; expected a text"),
        ([b"x"], "text 0 is a bytes"),
        (["x", ("a", "b", "c")], "text 1 is a tuple"),
        ({"text": "x"}, "got dict"),
    ],
)
def test_what_is_no_text(single: TextClassifier, inputs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        single.predict(inputs)


def test_the_default_pooling_goes_with_the_plan(tiny_llama: Path, tiny_encoder: Path) -> None:
    assert make(tiny_llama, plan="0000").settings.pooling == "last"
    assert make(tiny_llama, plan="0001").settings.pooling == "mean"
    assert make(tiny_encoder).settings.pooling == "mean"
    assert make(tiny_llama, plan="0000", pooling="max").settings.pooling == "max"


# ------------------------------------------------------------------------------------------------- training and folders


def test_from_data_to_a_folder_and_back(tiny_llama: Path, tmp_path: Path) -> None:
    made = TextClassifier.from_pretrained(tiny_llama, plan="0011", device="cpu")
    assert "no labels yet" in repr(made)
    with pytest.raises(LabelError, match="this text classifier has no labels yet"):
        made.predict("x")
    out = tmp_path / "out"
    result = made.fit(
        toys.toy_texts(40, 0), toys.toy_texts(12, 1), out=out, progress=False, epochs=2, learning_rate=1e-2
    )
    assert result.settings.labels == ("bad", "good")
    report = made.evaluate(toys.toy_texts(20, 2), name="test")
    made.save_card(out)
    again = TextClassifier.from_pretrained(out, device="cpu")
    assert again.predict(TEXTS, all_scores=True) == made.predict(TEXTS, all_scores=True)
    assert again.evaluate(toys.toy_texts(20, 2)).to_dict() == report.to_dict()
    card = (out / "README.md").read_text()
    for words in ("pipeline_tag: text-classification", "2 labels, one for each text", "**accuracy:", "the mean of its"):
        assert words in card
    assert json.loads((out / "run.json").read_text())["train"]["target"] == "single-label"
    assert json.loads((out / "config.json").read_text())["task"] == "text"
    with pytest.raises(OutputError, match="holds the record of another training run"):
        make(tiny_llama).save_pretrained(out)


def test_a_regression_from_pairs_of_text_and_number(tiny_llama: Path) -> None:
    data = [(text, 3.0 if label == "good" else -1.5) for text, label in toys.toy_texts(24, 0)]
    made = TextClassifier.from_pretrained(tiny_llama, device="cpu")
    made.fit(data, data[:8], progress=False, epochs=1)
    said = made.predict("a fine film")
    assert said.label is None
    assert isinstance(said.value, float)
    report = made.evaluate(data)
    assert report.headline[0] == "R²"
    assert "mean squared error" in str(report)
    assert "A number" in made.card()


@pytest.mark.parametrize(
    ("golds", "target", "expected"),
    [
        ([1, 0], "single-label", [("1",), ("0",)]),  # as in a file: whole numbers are names
        ([np.int64(1), np.int64(0)], "single-label", [("1",), ("0",)]),
        ([True, False], "single-label", [("true",), ("false",)]),
        ([np.float32(0.5), 2], "regression", [0.5, 2.0]),
        ([{"b", "a"}, ()], "multi-label", [("a", "b"), ()]),
    ],
)
def test_gold_in_pairs_is_read_as_in_files(golds: list[Any], target: str, expected: list[Any]) -> None:
    found = as_text_dataset([("x", golds[0]), (("y", "z"), golds[1])])
    assert found.target == target
    assert [text.labels if text.value is None else text.value for text in found] == expected
    assert found[1].parts == ("y", "z")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([("x", "a"), ("y", None)], "labeled text 1 has no gold"),
        ([("x", "a"), ("y", ["a"])], "some texts have a list of labels and others have not"),
        ([("x", "a"), ("y", 0.5)], "gold 1 is 0.5, expected one label"),
        ([("x", "a"), Text("y", labels=("a",))], "labeled text 0 is a tuple, and others are Texts"),
        (["x"], "labeled text 0 is a str; expected a Text or a pair"),
    ],
)
def test_gold_in_pairs_that_cannot_be_read(data: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_text_dataset(data)


def test_what_was_settled_is_not_asked_again(folder: Path, tiny_llama: Path) -> None:
    with pytest.raises(RecipeError, match="is a saved text classifier, which has its own plan, pooling"):
        TextClassifier.from_pretrained(folder, plan="0000", pooling="max")
    with pytest.raises(ModelFolderError, match=r"holds a text classifier; TextClassifier\.from_pretrained reads it"):
        Tagger.from_pretrained(folder)
    with pytest.raises(RecipeError, match=r"plan is no option of fit; give it to TextClassifier\.from_pretrained"):
        make(tiny_llama).fit(toys.toy_texts(4), plan="0000")
    with pytest.raises(LabelError, match="expected a list of names"):
        TextClassifier.from_pretrained(tiny_llama, labels="abc")
    with pytest.raises(RecipeError, match="target is given without labels"):
        TextClassifier.from_pretrained(tiny_llama, target="multi-label")


def test_a_tagger_is_no_text_classifier(tiny_llama: Path, tmp_path: Path) -> None:
    Tagger.from_pretrained(tiny_llama, labels=["PER"], device="cpu").save_pretrained(tmp_path / "tagger")
    with pytest.raises(ModelFolderError, match=r"holds a tagger; Tagger\.from_pretrained reads it"):
        TextClassifier.from_pretrained(tmp_path / "tagger")


# -------------------------------------------------------------------------------------------------------------- report


def test_the_report(single: TextClassifier) -> None:
    gold = [(text, LABELS[index % 3]) for index, (text, _) in enumerate(toys.toy_texts(30, 0))]
    report = single.evaluate([*gold, ("x", "unheard")])
    assert report.unknown_labels == {"unheard": 1}
    assert report.scores.n_texts == 31
    given = [said.label for said in single.predict([text for text, _ in gold])]
    right = sum(a == b for a, (_, b) in zip(given, gold, strict=True))
    assert report.headline == ("accuracy", pytest.approx(right / 31))
    low, high = report.interval or (1, 0)
    assert low <= right / 31 <= high
    text = str(report)
    for words in ("accuracy:", "macro F1:", "expected calibration error:", "most confused:", "unheard"):
        assert words in text
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["calibration"]["bins"]
    confused = report.confusions()
    assert sum(n for *_, n in confused) == 31 - right
    with pytest.raises(LabelError, match="has none of the classifier's labels"):
        single.evaluate([("x", "unheard")])


def test_the_plots(single: TextClassifier, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = single.evaluate([(text, LABELS[index % 3]) for index, (text, _) in enumerate(toys.toy_texts(30, 0))])
    made = report.save_plots(tmp_path / "plots")
    assert [path.name for path in made] == ["confusion.png", "reliability.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_labels_that_are_hard_to_show(tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = ["$\\frac{$", "東\n京", "\x1b[31mred", "l" * 150]
    report = make(tiny_llama, labels=odd).evaluate([(f"text {n}", odd[n % 4]) for n in range(12)])
    text = str(report)
    assert "\x1b" not in text
    assert all(f"\n{label} " in text for label in ("東\\n京", "\\x1b[31mred"))
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.save_plots(tmp_path)
    assert "characters that the font of the plots lacks" in caplog.text


# ------------------------------------------------------------------------------------------------------------ pipeline


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    return transformers.pipeline("text-classification", model=str(folder), device="cpu")


@pytest.mark.parametrize("task", ["text-classification", "sentiment-analysis"])
def test_the_pipeline_gives_the_same_answers(single: TextClassifier, folder: Path, task: str) -> None:
    pipe = transformers.pipeline(task, model=str(folder), device="cpu")
    assert isinstance(pipe, ClassifierPipeline)
    expected = [{"label": said.label, "score": said.score} for said in single.predict(TEXTS)]
    for found in (pipe(TEXTS), list(pipe(text for text in TEXTS)), [pipe(text)[0] for text in TEXTS]):
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)


def test_what_the_pipeline_takes(single: TextClassifier, pipe: Any) -> None:
    every = pipe(TEXTS[0], top_k=None)
    assert {row["label"]: row["score"] for row in every} == pytest.approx(
        single.predict(TEXTS[0], all_scores=True).scores
    )
    assert [row["label"] for row in pipe(TEXTS[:2], top_k=2)[0]] == [row["label"] for row in every[:2]]
    assert pipe(TEXTS[0], truncation=True, max_length=4) == pipe(TEXTS[0])
    pair = pipe({"text": "It rains.", "text_pair": "It is wet."})
    assert pair["label"] == single.predict([("It rains.", "It is wet.")])[0].label
    logits = {row["label"]: row["score"] for row in pipe(TEXTS[0], top_k=None, function_to_apply="none")}
    found = single.predictor.logits([Text(TEXTS[0])])[0]
    assert [logits[label] for label in LABELS] == pytest.approx(found.tolist(), rel=1e-4)
    with pytest.raises(DataError, match="function_to_apply is 'softmin', expected one of sigmoid, softmax, none"):
        pipe(TEXTS[0], function_to_apply="softmin")
    for inputs, words in (([], "the list is empty"), (b"abc", "got bytes"), (3, "got int"), ([["a", "b"]], "got list")):
        with pytest.raises(DataError, match=words):
            pipe(inputs)
    with pytest.raises(DataError, match="stride is no option"):
        pipe(TEXTS[0], stride=3)


def test_answers_have_the_shape_of_the_stock_pipeline(folder: Path, tmp_path: Path) -> None:
    """One text or many, `top_k` given when the pipeline is made or when it is called."""

    def shape(answer: Any) -> Any:
        return [shape(one) for one in answer] if isinstance(answer, list) else sorted(answer)

    config = transformers.LlamaConfig(
        vocab_size=700, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_labels=3, pad_token_id=0,
    )  # fmt: skip
    transformers.LlamaForSequenceClassification(config).save_pretrained(tmp_path / "stock")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = ("rain", ["rain"], ["rain", "sun"], {"text": "rain"}, {"text": "rain", "text_pair": "sun"})
    for made, called in (({}, {}), ({"top_k": None}, {}), ({"top_k": 1}, {}), ({"top_k": 2}, {}), ({}, {"top_k": 1})):
        ours, stock = (
            transformers.pipeline("text-classification", model=str(model), tokenizer=tokenizer, device="cpu", **made)
            for model in (folder, tmp_path / "stock")
        )
        assert isinstance(ours, ClassifierPipeline)
        assert not isinstance(stock, ClassifierPipeline)
        for given in inputs:
            assert shape(ours(given, **called)) == shape(stock(given, **called)), (made, called, given)


def test_many_labels_in_the_pipeline(multi_folder: Path) -> None:
    own = TextClassifier.from_pretrained(multi_folder, device="cpu")
    pipe = transformers.pipeline("text-classification", model=str(multi_folder), device="cpu")
    expected = [[*said.scores.items()] for said in own.predict(TEXTS)]
    assert {len(rows) for rows in expected} != {1}
    found = pipe(TEXTS)
    assert [[row["label"] for row in rows] for rows in found] == [[label for label, _ in rows] for rows in expected]
    for rows, answers in zip(expected, found, strict=True):
        assert [row["score"] for row in answers] == pytest.approx([score for _, score in rows], abs=1e-5)


def test_other_models_get_the_stock_pipeline(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = toys.wordpiece_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    pipe = transformers.pipeline("text-classification", model=str(tmp_path), device="cpu")
    assert type(pipe) is TextClassificationPipeline
    stock = TextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer)
    assert pipe("the fox", top_k=None) == stock("the fox", top_k=None)


WITH_US = """
import sys
folder, text = sys.argv[1:]
import lookright
assert not {"torch", "transformers"} & set(sys.modules)
from transformers import AutoModelForSequenceClassification, pipeline
assert type(AutoModelForSequenceClassification.from_pretrained(folder)).__name__ == "LookRightForSequenceClassification"
print(pipeline("text-classification", model=folder, device="cpu")(text)[0]["label"])
"""

WITHOUT_US = """
import sys, warnings
warnings.simplefilter("ignore")
from transformers import AutoModel, AutoModelForSequenceClassification, LlamaForSequenceClassification, pipeline
for name, load in {
    "AutoModel": lambda: AutoModel.from_pretrained(sys.argv[1]),
    "AutoModelForSequenceClassification": lambda: AutoModelForSequenceClassification.from_pretrained(sys.argv[1]),
    "pipeline": lambda: pipeline("text-classification", model=sys.argv[1]),
}.items():
    try:
        load()
    except Exception as error:
        print(name, "refuses:", str(error).splitlines()[0])
    else:
        print(name, "LOADS")
"""


@pytest.mark.slow
def test_with_us_transformers_reads_the_folder_and_without_us_it_refuses(single: TextClassifier, folder: Path) -> None:
    assert run_python(WITH_US, folder, TEXTS[0])[-1] == single.predict(TEXTS[0]).label
    lines = run_python(WITHOUT_US, folder)
    assert [line.split()[1] for line in lines] == ["refuses:"] * 3
    assert all("lookright" in line for line in lines)


def test_tables_are_learned_from_and_not_taken_for_texts(single: TextClassifier) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"text": ["it rains", "they won"], "label": ["weather", "sport"]})
    for given in (table, table.to_pandas()):
        assert single.evaluate(given).scores.n_texts == 2
        with pytest.raises(DataError, match=r"got a \w+ with several columns; give the one that has the texts"):
            single.predict(given)
        assert len(single.predict(list(given["text"]))) == 2


def test_a_text_data_set_is_taken_everywhere(single: TextClassifier) -> None:
    data = TextDataset(tuple(Text(text, labels=("arts",)) for text in TEXTS), None)
    assert len(single.predict(data)) == len(TEXTS)
    with pytest.raises(DataError, match="texts without gold"):
        single.evaluate(data)


@pytest.mark.parametrize("pooling", ["mean", "attention", "last"])
@pytest.mark.parametrize("base", ["encoder", "begins"])
def test_the_bare_model_of_a_folder_gives_the_same_answers(
    tiny_encoder: Path, tmp_path: Path, base: str, pooling: str
) -> None:
    """What transformers' own tokenizer and forward pass give, special tokens and padding and all."""
    where = tiny_encoder if base == "encoder" else toys.llama_folder(tmp_path / "base", bos="template")
    own = make(where, pooling=pooling)
    own.save_pretrained(tmp_path / "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    pairs = [("it rains", "it is wet today"), ("Jordan", "a river")]
    for given, columns in ((["it rains", "they won again"], 1), (pairs, 2)):
        parts = [given] if columns == 1 else [list(part) for part in zip(*given, strict=True)]
        batch = tokenizer(*parts, padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            found = model(**batch).logits.softmax(-1)
        for row, said in zip(found, own.predict(given, all_scores=True), strict=True):
            expected = [said.scores[label] for label in own.labels]
            assert row.tolist() == pytest.approx(expected, abs=1e-5)
