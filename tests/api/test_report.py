"""Reports: the full gold, what the tagger does not know, and a table that people can read."""

from __future__ import annotations

import json

import pytest

from lookright.api.report import check_gold, make_report
from lookright.data import CharSpan, Dataset, Sentence
from lookright.errors import LabelError
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, label_set

SETTINGS = TaggerSettings(labels=label_set(["LOC", "PER"], Scheme.IOB2))


def data(*pairs: tuple[str, str], scheme: Scheme = Scheme.IOB2) -> Dataset:
    sentences = (Sentence(tuple(words.split()), tags=tuple(tags.split())) for words, tags in pairs)
    return Dataset(tuple(sentences), scheme=scheme, path="test.conll")


GOLD = data(("Angela Merkel visited Zagreb .", "B-PER I-PER O B-LOC O"), ("It rains .", "O O O"))
PREDICTED = [["B-PER", "O", "O", "B-LOC", "O"], ["O", "O", "O"]]


def test_the_figures() -> None:
    report = make_report(GOLD, PREDICTED, SETTINGS)
    assert report.headline == ("strict span F1, IOB2, micro", 0.5)
    assert report.f1 == 0.5
    assert report.scores.per_type["LOC"].f1 == 1.0
    assert report.scores.per_type["PER"].f1 == 0.0
    assert report.interval is not None
    assert report.interval[0] <= 0.5 <= report.interval[1]
    assert report.data_hash == GOLD.content_hash()
    assert json.loads(json.dumps(report.to_dict()))["f1"] == 0.5


def test_types_that_the_tagger_does_not_know_are_named_and_missed() -> None:
    gold = data(("Angela visited Zagreb .", "B-PER O B-LOC O"), ("BRCA1 and TP53 rain", "B-GENE O B-GENE O"))
    report = make_report(gold, [["B-PER", "O", "B-LOC", "O"], ["O"] * 4], SETTINGS)
    assert report.unknown_types == {"GENE": 2}
    assert report.scores.recall == 0.5
    assert report.scores.precision == 1.0
    assert "unknown to the tagger, scored as missed: GENE (2)" in str(report)


def test_gold_that_no_tags_can_carry_is_missed_too() -> None:
    text = "Angela Merkel visited Zagreb."
    spans = (CharSpan("PER", 0, 13), CharSpan("PER", 7, 13), CharSpan("LOC", 22, 28), CharSpan("ORG", 22, 25))
    words, offsets = ("Angela", "Merkel", "visited", "Zagreb", "."), ((0, 6), (7, 13), (14, 21), (22, 28), (28, 29))
    tags = ("B-PER", "I-PER", "O", "B-LOC", "O")
    sentence = Sentence(words, tags=tags, text=text, offsets=offsets, char_spans=spans)
    gold = Dataset((sentence, Sentence(("It",), tags=("O",))), scheme=Scheme.IOB2)
    report = make_report(gold, [tags, ["O"]], SETTINGS)
    assert dict(report.unreachable) == {"ORG": 1, "PER": 1}
    assert report.scores.counts == (4, 2, 2)
    assert report.scores.recall == 0.5
    assert report.f1 == pytest.approx(2 / 3)
    assert report.scores.per_type["PER"].recall == 0.5
    assert report.scores.per_type["ORG"].gold == 1
    assert report.scores.macro_f1 == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert "overlapping or not on word borders, scored as missed: ORG (1), PER (1)" in str(report)


def test_conlleval_is_named() -> None:
    ill_formed = [["I-PER", "I-PER", "O", "I-LOC", "O"], ["O", "O", "O"]]
    assert make_report(GOLD, ill_formed, SETTINGS).f1 == 0
    lenient = make_report(GOLD, ill_formed, SETTINGS, convention="conlleval")
    assert lenient.f1 == 1.0
    assert str(lenient).startswith("conlleval span F1, IOB2, micro: 100.00")


def test_the_table() -> None:
    lines = str(make_report(GOLD, PREDICTED, SETTINGS)).splitlines()
    assert lines[0].startswith("strict span F1, IOB2, micro: 50.00 (95% interval ")
    assert lines[1] == "2 sentences, 8 words"
    assert lines[3].split() == ["type", "precision", "recall", "F1", "gold", "predicted"]
    assert lines[4].split() == ["LOC", "100.00", "100.00", "100.00", "1", "1"]
    assert lines[6].split() == ["micro", "50.00", "50.00", "50.00", "2", "2"]
    assert lines[7].split() == ["macro", "50.00"]


def test_nothing_annotated_and_nothing_predicted_is_no_zero() -> None:
    report = make_report(data(("It rains", "O O")), [["O", "O"]], SETTINGS)
    assert report.f1 is None
    assert report.interval is None
    assert str(report).startswith("strict span F1, IOB2, micro: -\n")


def test_plain_tags() -> None:
    settings = TaggerSettings(labels=("NOUN", "VERB"), scheme=Scheme.PLAIN)
    gold = data(("dogs bark loudly", "NOUN VERB ADV"), scheme=Scheme.PLAIN)
    report = make_report(gold, [["NOUN", "VERB", "VERB"]], settings)
    assert report.headline == ("accuracy, plain tags", pytest.approx(2 / 3))
    assert report.unknown_types == {"ADV": 1}
    assert "micro" not in str(report)


def test_gold_in_another_scheme_is_converted() -> None:
    gold = data(("Angela Merkel visited Zagreb .", "B-PER L-PER O U-LOC O"), scheme=Scheme.BILOU)
    assert make_report(gold, [["B-PER", "I-PER", "O", "B-LOC", "O"]], SETTINGS).f1 == 1.0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(LabelError, match=r"test\.conll: the gold has the types GENE and the tagger has LOC, PER"):
        check_gold(data(("BRCA1", "B-GENE")), SETTINGS)
    with pytest.raises(LabelError, match="plain tags cannot be compared"):
        check_gold(data(("dogs", "NOUN"), scheme=Scheme.PLAIN), SETTINGS)
    with pytest.raises(LabelError, match="no gold tags"):
        check_gold(Dataset((Sentence(("a",)),)), SETTINGS)
