"""The order of the grid, and which plans a base is run under."""

from __future__ import annotations

from pathlib import Path

import pytest
from base_studies import carrying
from benchmarks.base.cells import PLANS, Cell, Variant, make_cells, plan_name

from lookright.errors import RecipeError

OWN = {"decoder": None, "encoder": "1111", "mntp-0011": "0011"}


def test_what_matters_comes_first_and_seed_by_seed() -> None:
    cells = make_cells(OWN, sets=["a", "b"], seeds=[0, 1])
    names = [cell.name for cell in cells]
    assert names[:8] == [
        f"{column}/{where}/0"
        for column in ("decoder/0000", "decoder/1111", "encoder/1111", "mntp-0011/0011")
        for where in "ab"
    ]
    assert names[8:10] == ["decoder/0011/a/0", "decoder/0011/b/0"]
    half = len(cells) // 2
    assert {cell.seed for cell in cells[:half]} == {0}
    assert [cell.name[:-1] for cell in cells[half:]] == [cell.name[:-1] for cell in cells[:half]]
    assert len(set(cells)) == len(cells) == 2 * 2 * (16 + 2)


def test_a_base_that_carries_a_plan_is_run_under_that_alone() -> None:
    cells = make_cells(OWN, sets=["a"], seeds=[0], plans=["0000"])
    assert {(cell.variant, cell.plan) for cell in cells} == {
        ("decoder", "0000"),
        ("encoder", "1111"),
        ("mntp-0011", "0011"),
    }


def test_only_takes_any_of_its_patterns_and_refuses_one_that_matches_nothing() -> None:
    cells = make_cells(OWN, sets=["a", "b"], seeds=[0], only=["encoder/*/b/*", "decoder/0000/a/0"])
    assert {cell.name for cell in cells} == {"encoder/1111/b/0", "decoder/0000/a/0"}
    with pytest.raises(RecipeError, match="matches no run"):
        make_cells(OWN, sets=["a"], seeds=[0], only=["decoder/*/c/*"])


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_has_its_four_digits_whatever_the_number_of_layers(plan: str) -> None:
    for each in (1, 2):
        assert plan_name([-int(digit) for digit in plan for _ in range(each)]) == plan


def test_a_plan_of_another_form_keeps_its_own_name() -> None:
    assert plan_name([0, 2, 0, -1]) == "0,2,0,*"


def test_variants_are_read_with_the_plan_that_they_carry(tmp_path: Path, tiny_llama: Path) -> None:
    plain = Variant.parse(f"decoder={tiny_llama}")
    assert (plain.name, plain.own_plan) == ("decoder", None)
    folder = carrying(tmp_path / "adapted", [0, 0, -1, -1])
    assert Variant.parse(f"mntp-0011={folder}").own_plan == "0011"
    assert Variant.parse(f"anything={folder}").base != plain.base
    with pytest.raises(RecipeError, match=r"carries the plan 0011; expected a base adapted under 1111"):
        Variant.parse(f"mntp-1111={folder}")
    with pytest.raises(RecipeError, match="carries no plan"):
        Variant.parse(f"mntp-0011={tiny_llama}")
    with pytest.raises(RecipeError, match="NAME=FOLDER"):
        Variant.parse("decoder")
    with pytest.raises(RecipeError, match="NAME=FOLDER"):
        Variant.parse(f"a/b={tiny_llama}")


def test_the_name_of_a_cell_is_what_filters_match() -> None:
    assert Cell("decoder", "0011", "wnut17", 3).name == "decoder/0011/wnut17/3"
