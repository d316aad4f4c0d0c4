from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from lookright.errors import SchemeError
from lookright.tags import (
    Scheme,
    Span,
    convert,
    detect_scheme,
    ill_formed,
    join_tag,
    label_set,
    repair,
    split_tag,
    to_spans,
    to_tags,
    transitions,
    types_of,
)

SPAN_SCHEMES = [Scheme.IO, Scheme.IOB1, Scheme.IOB2, Scheme.IOBES, Scheme.BILOU]
SEQEVAL = {Scheme.IOB1: IOB1, Scheme.IOB2: IOB2, Scheme.IOBES: IOBES, Scheme.BILOU: BILOU}
TYPES = ["PER", "GPE-ORG", "地名"]  # one plain, one with a hyphen, one not Latin
fast = settings(deadline=None, max_examples=200)


@st.composite
def spans_in_sentence(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Disjoint spans, often touching, over a sentence of up to twelve words."""
    spans, position = [], 0
    for _ in range(draw(st.integers(0, 4))):
        start = position + draw(st.integers(0, 1))
        position = start + draw(st.integers(1, 3))
        spans.append(Span(draw(st.sampled_from([*TYPES[:2], ""])), start, position))
    return spans, position + draw(st.integers(0, 2))


def random_tags(scheme: Scheme, types: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(label_set(types, scheme)), max_size=12)


def scheme_and_tags(schemes: list[Scheme], types: list[str]) -> st.SearchStrategy[tuple[Scheme, list[str]]]:
    return st.sampled_from(schemes).flatmap(lambda s: st.tuples(st.just(s), random_tags(s, types)))


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("bio", "IOB2"), ("IOB2", "IOB2"), ("bioes", "IOBES"), ("BILUO", "BILOU"), (" none ", "PLAIN"), ("iob1", "IOB1")],
)
def test_scheme_names(text: str, scheme: str) -> None:
    assert Scheme.parse(text) is Scheme(scheme)


def test_unknown_scheme_suggests_the_nearest() -> None:
    with pytest.raises(SchemeError, match="did you mean IOBES"):
        Scheme.parse("IOBSE")
    with pytest.raises(SchemeError, match="IOB1 or IOB2"):
        Scheme.parse("iob")


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("O", ("O", "")),
        ("B-PER", ("B", "PER")),
        ("I-GPE-ORG", ("I", "GPE-ORG")),
        ("B-X-", ("B", "X-")),  # seqeval calls this X- in one mode and X in the other
        ("S--", ("S", "-")),
        ("U-地名", ("U", "地名")),
        ("B", ("B", "")),
        ("B-O", ("B", "O")),
    ],
)
def test_split_and_join(tag: str, parts: tuple[str, str]) -> None:
    assert split_tag(tag) == parts
    assert join_tag(*parts) == tag


@pytest.mark.parametrize("tag", ["", None, "PER", "B-", "NP-SBJ", "b-PER", "-X", "o"])
def test_unreadable_tags_are_refused(tag: str | None) -> None:
    # seqeval reads "PER" as the type "ER", and fails with IndexError or AttributeError on "" and None.
    with pytest.raises(SchemeError):
        split_tag(tag)  # type: ignore[arg-type]


def test_types_of() -> None:
    assert types_of(["O", "B-Z", "I-A-b", "B-Z", "junk"], Scheme.IOB2) == ("A-b", "Z")
    assert types_of(["NN", "O", "NN"], Scheme.PLAIN) == ("NN", "O")


# ------------------------------------------------------------------------------------------------------ tags <-> spans


@fast
@given(spans_in_sentence(), st.sampled_from([s for s in SPAN_SCHEMES if s is not Scheme.IO]))
def test_spans_survive_tags(case: tuple[list[Span], int], scheme: Scheme) -> None:
    spans, n_words = case
    tags = to_tags(reversed(spans), n_words, scheme)
    assert len(tags) == n_words
    assert ill_formed(tags, scheme) == []
    assert to_spans(tags, scheme) == spans == to_spans(tags, scheme, lenient=True)


@fast
@given(spans_in_sentence())
def test_io_merges_touching_spans_of_one_type_and_nothing_else(case: tuple[list[Span], int]) -> None:
    spans, n_words = case
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].type == span.type and merged[-1].end == span.start:
            merged[-1] = Span(span.type, merged[-1].start, span.end)
        else:
            merged.append(span)
    assert to_spans(to_tags(spans, n_words, Scheme.IO), Scheme.IO) == merged


@fast
@given(spans_in_sentence(), st.sampled_from(SPAN_SCHEMES), st.sampled_from(SPAN_SCHEMES))
def test_conversion_there_and_back(case: tuple[list[Span], int], source: Scheme, target: Scheme) -> None:
    tags = to_tags(*case, source)
    there = convert(tags, source, target)
    assert ill_formed(there, target) == []
    if target is not Scheme.IO or source is Scheme.IO:
        assert convert(there, target, source) == tags
        assert to_spans(there, target) == to_spans(tags, source)


def test_conversion_refuses_ill_formed_and_plain_tags() -> None:
    with pytest.raises(SchemeError, match="word 2, tag 'I-PER' is ill-formed in IOB2"):
        convert(["O", "I-PER"], Scheme.IOB2, Scheme.IOBES)
    with pytest.raises(SchemeError, match="plain"):
        convert(["NN"], Scheme.PLAIN, Scheme.IOB2)
    with pytest.raises(SchemeError, match="plain"):
        convert(["B-X"], Scheme.IOB2, Scheme.PLAIN)
    assert convert(["NN", "B-X"], Scheme.PLAIN, Scheme.PLAIN) == ["NN", "B-X"]


@settings(deadline=None, max_examples=600)
@given(scheme_and_tags(list(SEQEVAL), ["A", "B"]))
def test_strict_reading_is_seqeval_strict(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    theirs = [Span(e.tag, e.start, e.end) for e in Entities([tags], SEQEVAL[scheme]).entities[0]]
    assert to_spans(tags, scheme) == theirs


@settings(deadline=None, max_examples=600)
@given(st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIES" for t in "AB")]), max_size=12))
def test_lenient_reading_is_seqeval_default(tags: list[str]) -> None:
    theirs = [Span(kind, start, end + 1) for kind, start, end in get_entities(tags)]
    assert to_spans(tags, Scheme.IOBES, lenient=True) == theirs


@fast
@given(st.lists(st.sampled_from(label_set(["A", "B"], Scheme.BILOU)), max_size=12))
def test_lenient_reading_of_bilou_is_that_of_iobes(tags: list[str]) -> None:
    # seqeval's default mode does not know L- and U-, and so scores wrong borders as right.
    renamed = [tag.replace("L-", "E-").replace("U-", "S-") for tag in tags]
    assert to_spans(tags, Scheme.BILOU, lenient=True) == to_spans(renamed, Scheme.IOBES, lenient=True)


@pytest.mark.parametrize(
    ("scheme", "tags", "strict", "lenient"),
    [
        ("IOB2", "O I-A I-A", [], [("A", 1, 3)]),
        ("IOB2", "B-A I-B", [("A", 0, 1)], [("A", 0, 1), ("B", 1, 2)]),
        ("IOB1", "I-A I-B", [("A", 0, 1), ("B", 1, 2)], [("A", 0, 1), ("B", 1, 2)]),
        ("IOB1", "I-A B-A I-A", [("A", 0, 1), ("A", 1, 3)], [("A", 0, 1), ("A", 1, 3)]),
        ("IOB1", "B-A O", [], [("A", 0, 1)]),
        ("IOB1", "I-A B-A B-B", [("A", 0, 1)], [("A", 0, 1), ("A", 1, 2), ("B", 2, 3)]),
        ("IOBES", "B-A I-A O", [], [("A", 0, 2)]),
        ("IOBES", "B-A E-B S-A", [("A", 2, 3)], [("A", 0, 1), ("B", 1, 2), ("A", 2, 3)]),
        ("BILOU", "B-A L-A U-B", [("A", 0, 2), ("B", 2, 3)], [("A", 0, 2), ("B", 2, 3)]),
        ("IO", "I-A I-A I-B", [("A", 0, 2), ("B", 2, 3)], [("A", 0, 2), ("B", 2, 3)]),
    ],
)
def test_readings_by_hand(scheme: str, tags: str, strict: list[object], lenient: list[object]) -> None:
    assert to_spans(tags.split(), Scheme(scheme)) == strict
    assert to_spans(tags.split(), Scheme(scheme), lenient=True) == lenient


def test_foreign_tags_are_refused_by_the_strict_reading() -> None:
    with pytest.raises(SchemeError, match="'E-A' does not belong to IOB2"):
        to_spans(["B-A", "E-A"], Scheme.IOB2)
    with pytest.raises(SchemeError, match="no spans"):
        to_spans(["NN"], Scheme.PLAIN)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span("A", 0, 2), Span("B", 1, 3)], "overlap"),
        ([Span("A", 1, 1)], "does not fit"),
        ([Span("A", -1, 1)], "does not fit"),
        ([Span("A", 2, 4)], "sentence of 3 words"),
    ],
)
def test_impossible_spans_are_refused(spans: list[Span], message: str) -> None:
    with pytest.raises(SchemeError, match=message):
        to_tags(spans, 3, Scheme.IOB2)


# ------------------------------------------------------------------------------------------------- ill-formed, repaired


@pytest.mark.parametrize(
    ("scheme", "tags", "indices"),
    [
        ("IOB2", "O I-A I-A B-B I-A", [1, 4]),
        ("IOB1", "B-A I-A B-A B-B", [0, 3]),
        ("IO", "I-A I-B O", []),
        ("IOBES", "B-A O E-A I-A", [0, 2, 3, 3]),
        ("IOBES", "B-A E-B", [0, 1]),
        ("BILOU", "B-A I-A", [1]),
        ("BILOU", "B-A U-A", [0]),
        ("IOB2", "B-A PER I-A", [1, 2]),
        ("IOB2", "E-A", [0]),
        ("PLAIN", "I-A NN", []),
        ("IOBES", "", []),
    ],
)
def test_ill_formed(scheme: str, tags: str, indices: list[int]) -> None:
    problems = ill_formed(tags.split(), Scheme(scheme))
    assert [p.index for p in problems] == indices
    assert all(p.tag == tags.split()[p.index] and p.reason for p in problems)


def test_empty_plain_tag_is_ill_formed() -> None:
    assert [p.index for p in ill_formed(["NN", ""], Scheme.PLAIN)] == [1]


@fast
@given(scheme_and_tags(SPAN_SCHEMES, ["A", "B-C", ""]))
def test_well_formed_is_when_both_readings_tell_the_tags(case: tuple[Scheme, list[str]]) -> None:
    """Independent of the neighbour rules: well-formed tags are exactly those that their spans spell."""
    scheme, tags = case
    spelled = to_tags(to_spans(tags, scheme), len(tags), scheme)
    assert (ill_formed(tags, scheme) == []) == (spelled == tags)


@fast
@given(scheme_and_tags(SPAN_SCHEMES, ["A", "B"]), st.sampled_from(SPAN_SCHEMES))
def test_repair(case: tuple[Scheme, list[str]], target: Scheme) -> None:
    scheme, tags = case
    repaired = repair(tags, scheme)
    assert ill_formed(repaired, scheme) == []
    assert [tag == "O" for tag in repaired] == [tag == "O" for tag in tags]
    assert [split_tag(tag)[1] for tag in repaired] == [split_tag(tag)[1] for tag in tags]
    if not ill_formed(tags, scheme):
        assert repaired == tags
    assert ill_formed(repair(tags, target), target) == []


def test_repair_leaves_plain_tags_and_refuses_what_it_cannot_read() -> None:
    assert repair(["NN", "I-x"], Scheme.PLAIN) == ["NN", "I-x"]
    with pytest.raises(SchemeError, match="no prefix"):
        repair(["PER"], Scheme.IOB2)


# -------------------------------------------------------------------------------------------------------- label sets


def test_label_set() -> None:
    assert label_set(["Z", "A-b", "Z"], Scheme.IOB2) == ("O", "B-A-b", "I-A-b", "B-Z", "I-Z")
    assert label_set(["A"], Scheme.IOBES) == ("O", "B-A", "I-A", "E-A", "S-A")
    assert label_set(["A"], Scheme.BILOU) == ("O", "B-A", "I-A", "L-A", "U-A")
    assert label_set(["A"], Scheme.IOB1) == ("O", "B-A", "I-A")
    assert label_set(["A"], Scheme.IO) == ("O", "I-A")
    assert label_set(["VERB", "NOUN"], Scheme.PLAIN) == ("NOUN", "VERB")
    assert label_set([], Scheme.IOB2) == ("O",)


@fast
@given(scheme_and_tags(SPAN_SCHEMES, ["A", "B"]))
def test_transitions_permit_exactly_the_well_formed_paths(case: tuple[Scheme, list[str]]) -> None:
    scheme, tags = case
    labels = label_set(["A", "B"], scheme)
    steps = transitions(labels, scheme)
    path = [labels.index(tag) for tag in tags]
    permitted = not path or (
        steps.start[path[0]] and steps.end[path[-1]] and all(steps.step[i][j] for i, j in pairwise(path))
    )
    assert permitted == (ill_formed(tags, scheme) == [])


def test_transitions_of_plain_tags_allow_everything() -> None:
    steps = transitions(["NN", "B-x"], Scheme.PLAIN)
    assert all(steps.start)
    assert all(steps.end)
    assert all(all(row) for row in steps.step)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["B-A", "I-A"], "'O' is missing"), (["O", "O"], "more than once"), (["O", "S-A"], "does not belong"), ([], "O")],
)
def test_transitions_refuse(labels: list[str], message: str) -> None:
    with pytest.raises(SchemeError, match=message):
        transitions(labels, Scheme.IOB2)


# ---------------------------------------------------------------------------------------------------------- detection


@pytest.mark.parametrize(
    ("sentences", "scheme", "certain"),
    [
        (["B-A I-A O", "O B-B"], "IOB2", True),
        (["O B-A O"], "IOB2", True),
        (["I-A I-A O I-B", "I-A B-A"], "IOB1", True),
        (["I-A I-A O I-B"], "IO", True),
        (["B-A E-A O S-B"], "IOBES", True),
        (["O S-B"], "IOBES", True),
        (["B-A L-A O U-B"], "BILOU", True),
        (["B-A-x I-A-x O"], "IOB2", True),
        (["NN VB . B"], "PLAIN", True),
        (["NP-SBJ VP S-ADV PP NP NN"], "PLAIN", True),
        (["-LRB- NN -RRB- PRP-S O"], "PLAIN", True),
        (["B I O O B"], "IOB2", False),
        (["O O", "O"], "IOB2", False),
        ([], "IOB2", False),
        (["S-ADV S-NOM"], "IOBES", False),
        (["b-per i-per o"], "PLAIN", False),
        (["PER-B PER-I O"], "PLAIN", False),
        (["B_PER I_PER O"], "PLAIN", False),
        (["B-A E-A O U-B"], "IOBES", False),
        (["I-A O B-A O"], "IOB2", False),
    ],
)
def test_detection(sentences: list[str], scheme: str, certain: bool) -> None:
    found = detect_scheme(sentence.split() for sentence in sentences)
    assert (found.scheme, found.certain) == (Scheme(scheme), certain), found.reason
    assert found.reason


def test_detection_forgives_a_few_ill_formed_tags_and_counts_them() -> None:
    found = detect_scheme([["B-A", "I-A", "O"]] * 100 + [["O", "I-A"]])
    assert (found.scheme, found.certain) == (Scheme.IOB2, True)
    assert "1 ill-formed as IOB2" in found.reason


def test_detection_names_stray_tags() -> None:
    found = detect_scheme([["B-A", "I-A", "O"]] * 100 + [["PER", "O"]])
    assert (found.scheme, found.certain) == (Scheme.IOB2, False)
    assert "'PER'" in found.reason


@fast
@given(spans_in_sentence(), st.sampled_from(SPAN_SCHEMES))
def test_detection_never_reads_other_spans(case: tuple[list[Span], int], scheme: Scheme) -> None:
    """What is detected with certainty on well-formed tags spells the same spans as the true scheme."""
    spans = [span._replace(type=span.type or "X") for span in case[0]]
    tags = to_tags(spans, case[1], scheme)
    found = detect_scheme([tags])
    if found.certain:
        assert to_spans(tags, found.scheme) == to_spans(tags, scheme), found.reason


def test_loads_neither_numpy_nor_torch() -> None:
    code = "import sys, lookright.tags; print([m for m in ('numpy', 'torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
