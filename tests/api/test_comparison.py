"""`compare`: the same figures as `evaluate`, tests that fit, and every sentence that differs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import lookright
import toys
from api.conftest import make_tagger
from lookright import Dataset, Sentence, Tagger, compare, read_dataset, write_conll
from lookright.data import CharSpan
from lookright.errors import DataError, LabelError
from lookright.metrics import approximate_randomization, paired_bootstrap
from lookright.tags import Scheme


def toy_data(n: int = 40, seed: int = 3) -> Dataset:
    return Dataset(tuple(Sentence(tuple(w), tags=tuple(t)) for w, t in toys.toy_dataset(n, seed)), scheme=Scheme.IOB2)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data()


@pytest.fixture(scope="module")
def other(tiny_llama: Path) -> Tagger:
    """A second tagger, in another scheme, that does not know one of the types."""
    return make_tagger(tiny_llama, labels=("LOC", "PER"), plan="1111", scheme="IOBES")


def predictions(tmp_path: Path, data: Dataset, change: dict[int, list[str]], name: str = "said.conll") -> Path:
    """A file of the gold with the tags of some sentences changed."""
    sentences = [
        s if index not in change else dataclasses.replace(s, tags=tuple(change[index])) for index, s in enumerate(data)
    ]
    write_conll(Dataset(tuple(sentences), scheme=data.scheme), tmp_path / name)
    return tmp_path / name


def test_figures_are_those_of_evaluate_and_tests_those_of_the_metrics(tagger: Tagger, other: Tagger) -> None:
    data = toy_data()
    same_scheme = compare(tagger, tagger, data, samples=200)
    assert (same_scheme.difference, same_scheme.p_value, same_scheme.sentences) == (0, 1, ())
    found = compare(tagger, other, data, names=("one", "two"), samples=500)
    reports = [t.evaluate(data, samples=1) for t in (tagger, other)]
    for scores, report in zip(found.scores, reports, strict=True):
        assert scores.counts == report.scores.counts
        assert scores.headline[1] == report.f1
        assert (scores.per_sentence == report.scores.per_sentence).all()
    for item in found.types:
        for side, report in zip((item.first, item.second), reports, strict=True):
            expected = report.scores.per_type.get(item.type)
            assert expected is None or (side.gold, side.predicted, side.correct) == (
                expected.gold, expected.predicted, expected.correct,
            )  # fmt: skip
    assert found.bootstrap == paired_bootstrap(*found.scores, samples=500)
    assert found.randomization == approximate_randomization(*found.scores, samples=500)
    assert "spans are compared as IOB2" in " ".join(found.notes)
    back = compare(other, tagger, data, samples=500)
    assert back.difference == pytest.approx(-found.difference)


def test_a_type_that_one_lacks_is_said(tagger: Tagger, other: Tagger, data: Dataset) -> None:
    found = compare(tagger, other, data, names=("one", "two"), samples=100)
    lacking = {item.type: item.lacking for item in found.types}
    assert lacking["ORG"] == ("two",)
    assert lacking["PER"] == ()
    assert any(note.startswith("two does not know ORG of the gold") for note in found.notes)


def test_taggers_that_share_no_type_are_refused(tagger: Tagger, tiny_llama: Path, data: Dataset) -> None:
    gene = make_tagger(tiny_llama, labels=("GENE",))
    with pytest.raises(LabelError, match=r"one has the types LOC, ORG, PER and two has GENE: they share none"):
        compare(tagger, gene, data, names=("one", "two"))
    with pytest.raises(LabelError, match="the gold has the types"):
        compare(gene, gene, data)
    with pytest.raises(LabelError, match="no gold tags"):
        compare(tagger, tagger, Dataset((Sentence(("Hi",)),)))


def test_a_tagger_against_a_file_of_predictions(tagger: Tagger, tmp_path: Path, data: Dataset) -> None:
    wrong = {0: ["O"] * len(data[0]), 7: ["O"] * len(data[7])}
    file = predictions(tmp_path, data, wrong)
    found = compare(file, predictions(tmp_path, data, {}, "perfect.conll"), data, samples=200)
    assert found.names == ("said.conll", "perfect.conll")
    assert found.scores[1].f1 == 1
    assert {item.index for item in found.sentences} <= {0, 7}
    assert found.sentences
    for item in found.sentences:
        assert item.right == "perfect.conll"
        assert item.first == ()
        assert item.second == item.gold != ()
        assert [item.text[s.start : s.end] for s in item.gold]
    mixed = compare(tagger, file, data, samples=100)
    assert mixed.names == ("A", "said.conll")


def test_the_difference_of_a_type_is_tested_on_that_type_alone(tmp_path: Path, data: Dataset) -> None:
    blind = {i: [tag if not tag.endswith("LOC") else "O" for tag in s.tags or ()] for i, s in enumerate(data)}
    found = compare(
        predictions(tmp_path, data, {}, "perfect.conll"), predictions(tmp_path, data, blind), data, samples=1000
    )
    by_type = {item.type: item for item in found.types}
    assert by_type["LOC"].difference == 1
    assert by_type["LOC"].holm is not None
    assert by_type["LOC"].p_value is not None
    assert by_type["LOC"].p_value <= by_type["LOC"].holm < 0.01
    assert (by_type["PER"].difference, by_type["PER"].p_value, by_type["PER"].holm) == (0, 1, 1)


def test_predictions_of_other_words_are_refused(tagger: Tagger, tmp_path: Path, data: Dataset) -> None:
    short = predictions(tmp_path, Dataset(data.sentences[:-1], scheme=data.scheme), {}, "short.conll")
    with pytest.raises(DataError, match=r"short\.conll: has 39 sentences, and the test set 40"):
        compare(tagger, short, data)
    odd = dataclasses.replace(data[3], words=("Odd", *data[3].words[1:]))
    changed = Dataset((*data.sentences[:3], odd, *data.sentences[4:]), scheme=data.scheme)
    with pytest.raises(DataError, match=r"odd\.conll:\d+: sentence 4 has 'Odd' as word 1, the test set has"):
        compare(tagger, predictions(tmp_path, changed, {}, "odd.conll"), data)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="no saved tagger"):
        compare(tagger, tmp_path / "folder", data)


def test_gold_that_no_tags_can_carry_counts_against_both(tagger: Tagger) -> None:
    text = "Zagreb Airport"
    spans = (CharSpan("LOC", 0, 6), CharSpan("ORG", 0, 14))
    sentence = Sentence(
        ("Zagreb", "Airport"), tags=("B-ORG", "I-ORG"), text=text, offsets=((0, 6), (7, 14)), char_spans=spans
    )
    data = Dataset((sentence,), scheme=Scheme.IOB2)
    found = compare(tagger, tagger, data, samples=100)
    assert found.scores[0].counts == tagger.evaluate(data, samples=1).scores.counts
    assert found.scores[0].counts[0] == 2


def test_plain_tags_are_compared_by_accuracy(tmp_path: Path) -> None:
    sentences = tuple(Sentence((f"w{i}", "x"), tags=("NOUN", "VERB")) for i in range(30))
    data = Dataset(sentences, scheme=Scheme.PLAIN)
    right = predictions(tmp_path, data, {}, "right.conll")
    wrong = predictions(tmp_path, data, {i: ["VERB", "VERB"] for i in range(12)}, "wrong.conll")
    found = compare(right, wrong, data, samples=500)
    assert found.bootstrap.figure == "accuracy, plain tags"
    assert [score.headline[1] for score in found.scores] == [1, 0.8]
    assert {item.type for item in found.types} == {"NOUN", "VERB"}
    assert len(found.sentences) == 12


def test_the_json_form_and_the_value(tagger: Tagger, other: Tagger, data: Dataset, tmp_path: Path) -> None:
    found = lookright.compare(tagger, other, data, samples=100)
    whole = json.loads(json.dumps([found.to_dict(), *(item.to_dict() for item in found.sentences)], allow_nan=False))
    assert whole[0]["n_different"] == len(whole) - 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.notes = ()  # type: ignore[misc]
    file = tmp_path / "test.conll"
    write_conll(data, file)
    assert compare(tagger, other, file, samples=100).scores[0].f1 == found.scores[0].f1
    assert read_dataset(file).scheme is Scheme.IOB2


def test_two_systems_have_two_names(tagger: Tagger, other: Tagger, data: Dataset) -> None:
    with pytest.raises(DataError, match="both are called 'x'"):
        compare(tagger, other, data, names=("x", "x"), samples=100)
