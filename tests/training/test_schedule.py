"""The learning rate rises and falls as it should."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.training.schedule import Schedule, checkpoint_updates


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_it_ends_at_zero_and_not_before(kind: str) -> None:
    schedule = Schedule(kind, 10, 2)
    assert schedule(10) == 0.0
    assert all(schedule(n) > 0 for n in range(10))
    assert schedule(2) == 1.0
    assert [schedule(n) for n in range(2)] == pytest.approx([1 / 3, 2 / 3])


def test_known_values() -> None:
    assert [Schedule("linear", 4)(n) for n in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert Schedule("cosine", 4)(2) == pytest.approx(0.5)
    assert [Schedule("constant", 4, 1)(n) for n in range(5)] == [0.5, 1, 1, 1, 1]


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(["linear", "cosine", "constant"]), total=st.integers(1, 200), share=st.floats(0, 1))
def test_it_rises_then_falls(kind: str, total: int, share: float) -> None:
    warm = int(share * total)
    values = [Schedule(kind, total, warm)(n) for n in range(total + 1)]
    assert all(0 <= v <= 1 for v in values)
    assert values[:warm] == sorted(values[:warm])
    assert values[warm:] == sorted(values[warm:], reverse=True)


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule("step", 3)
    with pytest.raises(ValueError, match="warm-up"):
        Schedule("linear", 3, 4)


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "updates", "expected"),
    [
        (2, 1, 5, (5, 10)),
        (1, 2, 5, (3, 5)),
        (0.5, 1, 5, (3,)),
        (1.5, 1, 4, (4, 6)),
        (1, 9, 3, (1, 2, 3)),
        (0.01, 1, 5, (1,)),
    ],
)
def test_checkpoints(epochs: float, per_epoch: int, updates: int, expected: tuple[int, ...]) -> None:
    assert checkpoint_updates(epochs, updates, per_epoch) == expected
