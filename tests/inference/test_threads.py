"""Batches in threads: the same answers, in order, with the caller's number format and number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from lookright.inference.threads import in_threads


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_items_come_in_order_from_other_threads() -> None:
    def compute(item: int) -> tuple[int, int, str, bool]:
        return item, torch.get_num_threads(), threading.current_thread().name, torch.is_inference_mode_enabled()

    found = [(item, future.result()) for item, future in in_threads(compute, range(20))]
    assert [item for item, _ in found] == [own[0] for _, own in found] == list(range(20))
    assert {own[1] for _, own in found} == {1}
    assert all(own[2].startswith("batch-of-lookright") and own[3] for _, own in found)
    assert torch.get_num_threads() == 4
    assert [future.result()[1] for _, future in in_threads(compute, [1, 2])] == [2, 2]
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [4]


def test_the_callers_number_format_is_seen() -> None:
    def compute(_: int) -> torch.dtype:
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    for enabled, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            assert {future.result() for _, future in in_threads(compute, [1, 2, 3])} == {dtype}


def test_the_callers_settings_of_the_compiler_are_seen() -> None:
    """They are context variables, which a new thread does not have: an error of the compiler would end it."""
    from torch._dynamo import config

    def compute(_: int) -> bool:
        return bool(config.suppress_errors)

    for wanted in (True, False):
        with config.patch(suppress_errors=wanted):
            assert {future.result() for _, future in in_threads(compute, [1, 2, 3])} == {wanted}


def test_what_is_not_asked_for_is_not_begun() -> None:
    begun: list[int] = []
    wait = threading.Event()

    def compute(item: int) -> int:
        begun.append(item)
        if item:
            wait.wait(5)
        return item

    found = in_threads(compute, range(100))
    assert next(found)[0] == 0  # type: ignore[call-overload]
    wait.set()
    found.close()  # type: ignore[attr-defined]
    assert len(begun) < 100
    assert torch.get_num_threads() == 4


def test_errors_come_with_their_items() -> None:
    def compute(item: int) -> float:
        return 1 / item

    found = list(in_threads(compute, [1, 0, 2]))
    assert isinstance(found[1][1].exception(), ZeroDivisionError)
    assert [found[0][1].result(), found[2][1].result()] == [1, 0.5]
