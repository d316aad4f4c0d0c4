"""Every family under every plan, against the family's own code with masks drawn by plain loops."""

from __future__ import annotations

import pytest
import torch
from tests.families import FAMILIES, N_LAYERS, NAMED, Family
from tests.oracle import PLANS, TOLERANCE, influence, naive_mask, rounding, worst_errors

from lookright.attention import apply_plan, can_pack, check_plan
from lookright.plan import MaskPlan

# Of the largest state, against the family's own eager code in bfloat16. The eager backend repeats its operations; SDPA
# rounds elsewhere, and with experts a rounding can send a token to another one, so there the bound is twice what the
# family's own rounding does to it.
BFLOAT16_BOUND = {"eager": 0.01, "sdpa": 0.05}

named = pytest.mark.parametrize("family", NAMED, ids=lambda family: family.name)
every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def assert_states(family: Family, thorough: bool) -> None:
    worst = worst_errors(family, thorough=thorough)
    layouts = {"none", "right", "left"} | ({"packed"} if family.packs else set())
    assert set(worst) == {(backend, layout) for backend in family.backends for layout in layouts}
    assert {where: error for where, error in worst.items() if error > TOLERANCE} == {}


def assert_influence(family: Family, plans: list[str], length: int) -> None:
    model = family.model()
    for name in plans:
        rights = PLANS[name]
        expected = torch.stack([naive_mask(family, layer, rights[layer], length) for layer in range(N_LAYERS)])
        for backend in family.backends:
            apply_plan(model, MaskPlan(rights), backend)
            assert can_pack(model) == family.packs
            for layout in ["none", "left"] + ["packed"] * family.packs:
                moved = influence(family, model, layout, length)
                assert torch.equal(moved, expected), (name, backend, layout)


@named
def test_states_under_every_plan(family):
    assert_states(family, thorough=False)


@named
def test_a_token_moves_what_the_plan_says(family):
    assert_influence(family, ["2,0,*,1"], 7)


@pytest.mark.slow
@every
def test_states_full_cross_product(family):
    assert_states(family, thorough=True)


@pytest.mark.slow
@every
def test_a_token_moves_what_every_plan_says(family):
    assert_influence(family, list(PLANS), 10)


@pytest.mark.slow
@every
def test_bfloat16_stays_within_its_bound(family):
    worst = worst_errors(family, dtype=torch.bfloat16)
    own = rounding(family, torch.bfloat16)
    bound = {"eager": BFLOAT16_BOUND["eager"], "sdpa": max(BFLOAT16_BOUND["sdpa"], 2 * own)}
    assert {where: error for where, error in worst.items() if error > bound[where[0]]} == {}


@pytest.mark.slow
@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_probe_agrees(family, dtype):
    model = family.model().to(dtype)
    for rights in PLANS.values():
        for backend in family.backends:
            assert apply_plan(model, MaskPlan(rights), backend) == backend
            report = check_plan(model)
            assert [path.path for path in report.paths] == ["plain", "padded"] + ["packed"] * family.packs
