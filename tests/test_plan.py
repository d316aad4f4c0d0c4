"""Mask plans: reading, printing back, words and pictures."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import PlanError
from lookright.plan import UNBOUNDED, LayerGroup, MaskPlan, ambiguity_note

rights = st.one_of(st.just(0), st.just(UNBOUNDED), st.integers(0, 12), st.integers(0, 10**6))
plans = st.one_of(
    st.lists(rights, min_size=1, max_size=40),
    st.lists(st.sampled_from([0, UNBOUNDED]), min_size=1, max_size=40),
).map(lambda entries: MaskPlan(tuple(entries)))


@pytest.mark.parametrize(
    ("spec", "n_layers", "expected"),
    [
        ("0011", 4, [0, 0, -1, -1]),
        ("0011", 8, [0] * 4 + [-1] * 4),
        ("0101", 6, [0, 0, -1, -1, 0, -1]),  # 2 + 2 + 1 + 1: the larger groups first
        ("011", 5, [0, 0, -1, -1, -1]),
        ("1", 3, [-1] * 3),
        ("0,0,2,*", 4, [0, 0, 2, -1]),
        ("0,0,1,1", 4, [0, 0, 1, 1]),
        (" 0 , * ", 3, [0, 0, -1]),
        ("2,", 3, [2, 2, 2]),
        ("*", 2, [-1, -1]),
        ("causal", 2, [0, 0]),
        ("Bidirectional", 2, [-1, -1]),
        ("top:1", 3, [0, 0, -1]),
        ("top:0", 2, [0, 0]),
        ("bottom:2", 3, [-1, -1, 0]),
        ("layers:1,3-4", 6, [0, -1, 0, -1, -1, 0]),
        ("layers:24-31", 32, [0] * 24 + [-1] * 8),
        ([0, None, "*", 3, -1, "5"], 6, [0, -1, -1, 3, -1, 5]),
        (MaskPlan((0, -1)), 2, [0, -1]),
    ],
)
def test_forms(spec, n_layers, expected):
    assert MaskPlan.parse(spec, n_layers).to_list() == expected


@pytest.mark.parametrize(
    ("spec", "n_layers", "words"),
    [
        ("00110", 4, ["5 groups", "4 layers"]),
        ("0,0,1,1,2", 4, ["5 groups", "4 layers"]),
        ("0a11", 4, ['"a"', "place 2"]),
        ("0211", 4, ['"2"', "commas"]),
        ("-1", 4, ["negative"]),
        ("", 4, ["empty"]),
        ("  ", 4, ["empty"]),
        (",", 4, ["nothing there"]),
        ("0,,1", 4, ["group 2", "nothing there"]),
        ("0,-1", 4, ["negative", "*"]),
        ("0,x", 4, ['"x"']),
        ("0,1.5", 4, ['"1.5"']),
        ("top:9", 4, ["4 layers", "at most 4"]),
        ("top:", 4, ["number of layers"]),
        ("bottom:-1", 4, ['"-1"']),
        ("middle:2", 4, ["middle"]),
        ("layers:2-9", 4, ["no layer 9", "0 to 3"]),
        ("layers:3-2", 4, ["backwards"]),
        ("layers:", 4, ["layer or a range"]),
        ("unmasked", 4, ['"u"']),
        ([0, 0], 4, ["2 entries", "4 layers"]),
        ([], 4, ["0 entries"]),
        ([0, -2, 0, 0], 4, ["layer 1", "-2"]),
        ([0, 1.5, 0, 0], 4, ["layer 1", "1.5"]),
        ([True, 0, 0, 0], 4, ["layer 0", "True"]),
        ([0, "x", 0, 0], 4, ["layer 1", '"x"']),
        (MaskPlan((0, 0)), 4, ["2 entries", "4 layers"]),
        (7, 4, ["int"]),
        ("0", 0, ["at least one layer"]),
    ],
)
def test_refusals_say_what_was_found(spec, n_layers, words):
    with pytest.raises(PlanError) as caught:
        MaskPlan.parse(spec, n_layers)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_needs_layers():
    with pytest.raises(PlanError):
        MaskPlan(())


@settings(deadline=None, max_examples=200)
@given(plans)
def test_prints_back_and_nothing_shorter_does(plan):
    n, text = plan.n_layers, str(plan)
    assert MaskPlan.parse(text, n) == plan
    assert hash(MaskPlan.parse(text, n)) == hash(plan)
    assert MaskPlan.parse(plan.to_list(), n) == plan
    if len(text) > 4:  # every digit string of up to four groups is longer than none of the plans it spells
        for groups in range(1, min(4, n) + 1):
            for bits in range(2**groups):
                assert MaskPlan.parse(f"{bits:0{groups}b}", n) != plan


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.data())
def test_groups_are_as_equal_as_possible_and_larger_first(n, data):
    digits = data.draw(st.text("01", min_size=1, max_size=n))
    plan = MaskPlan.parse(digits, n)
    # An independent statement of the division: deal the layers one by one to the groups, then read the sizes off.
    sizes = [0] * len(digits)
    for layer in range(n):
        sizes[layer % len(digits)] += 1
    expected = [(-1 if digit == "1" else 0) for digit, size in zip(digits, sizes, strict=True) for _ in range(size)]
    assert plan.to_list() == expected


@settings(deadline=None, max_examples=100)
@given(plans)
def test_facts_follow_from_the_list(plan):
    entries = plan.to_list()
    assert plan.is_causal == (set(entries) == {0})
    assert plan.is_bidirectional == (set(entries) == {-1})
    assert plan.unmasked_layers == tuple(i for i, r in enumerate(entries) if r != 0)
    assert set(plan.distinct) == set(entries)
    assert list(plan.distinct) == sorted(plan.distinct)
    assert plan.look_ahead == (None if -1 in entries else sum(entries))
    assert plan.largest_finite == max([0, *entries])
    groups = plan.groups()
    assert [r for g in groups for r in [g.right_context] * (g.last - g.first + 1)] == entries
    assert all(a.right_context != b.right_context for a, b in itertools.pairwise(groups))


@settings(deadline=None, max_examples=60)
@given(plans)
def test_the_picture_has_a_line_per_layer(plan):
    lines = plan.draw(plan.to_list()).splitlines()
    assert len(lines) == plan.n_layers + 2
    assert [int(line.split()[0]) for line in lines[2:]] == list(range(plan.n_layers))[::-1]
    assert [int(line.split()[-1]) for line in lines[2:]] == plan.to_list()[::-1]
    assert len({len(line) for line in lines[2:]}) == 1


def test_shortest_forms():
    for spec, n, text in [
        ("0011", 4, "01"),
        ("0000", 4, "0"),
        ("0110", 4, "0110"),
        ("layers:7", 32, "layers:7"),
        ("top:3", 32, "top:3"),
        ("bottom:3", 32, "bottom:3"),
        ("2,2", 6, "2,"),
        ("0,0,2,*", 8, "0,0,2,*"),
    ]:
        assert str(MaskPlan.parse(spec, n)) == text


def test_words():
    assert MaskPlan.parse("0,2,*", 5).describe() == (
        "Layers 0-1 see only what is to the left; layers 2-3 look 2 sub-words to the right; "
        "layer 4 sees everything on both sides."
    )
    assert MaskPlan.parse("0", 4).describe() == "all 4 layers: see only what is to the left."
    assert MaskPlan.parse("1,", 1).describe() == "all 1 layer: looks 1 sub-word to the right."
    assert MaskPlan.parse("01", 4).groups() == (LayerGroup(0, 1, 0), LayerGroup(2, 3, -1))


def test_a_picture():
    assert MaskPlan.parse("0,2,*", 3).draw([0, 2, None]).splitlines() == [
        "plan 0,2,*: 3 layers, 2 unmasked, looks ahead in all: no limit",
        "layer  group  sees            right context  measured",
        "    2      3  <-----o------>      unbounded         -",
        "    1      2  <-----o--|                  2         2",
        "    0      1  <-----o                     0         0",
    ]
    with pytest.raises(PlanError):
        MaskPlan.causal(3).draw([0])


def test_ambiguity_note():
    note = ambiguity_note("0,0,1,1")
    assert note is not None
    assert "one sub-word" in note
    assert '"0011"' in note
    for spec in ("0011", "0,0,2,*", "0,0", "causal", [0, 1], MaskPlan((0, 1))):
        assert ambiguity_note(spec) is None


def test_needs_neither_torch_nor_numpy():
    code = "import sys, lookright.plan; assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
