"""Stages that work at the same time: order, bounds, errors, and nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lookright.inference.flow import DEPTH, Ahead, chunks, overlapped


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lookright-")]


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    assert running() == []


def until(seen: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_results_come_in_order_from_three_threads() -> None:
    names = set()

    def source() -> Iterator[int]:
        names.add(threading.current_thread().name)
        yield from range(50)

    def compute(item: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        return item * item

    def finish(item: int, square: int) -> str:
        names.add(threading.current_thread().name.rpartition("_")[0])
        return f"{item}:{square}"

    assert list(overlapped(source(), compute, finish)) == [f"{n}:{n * n}" for n in range(50)]
    assert names == {"lookright-ahead", "lookright-finish"}
    assert list(overlapped(iter(()), compute, finish)) == []


def test_stages_do_work_at_the_same_time() -> None:
    """Each stage waits for the others to be at work: one after the other they would wait for ever."""
    both = threading.Barrier(3, timeout=10)

    def source() -> Iterator[int]:
        yield from range(3)
        both.wait()  # reads the fourth item
        yield from range(3, 6)

    def compute(item: int) -> int:
        if item == 1:
            both.wait()
        return item

    def finish(item: int, same: int) -> int:
        if item == 0:
            both.wait()
        return same

    assert list(overlapped(source(), compute, finish)) == list(range(6))


def test_no_more_is_read_ahead_than_the_bound() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield number

    stream = overlapped(source(), lambda item: item, lambda item, _: item)
    for taken in range(1, 20):
        next(stream)
        time.sleep(0.01)
        # in the queue, in the reader's hand, computed but not yet taken, and the one that is being computed
        assert read <= taken + DEPTH + 1 + DEPTH + 1
    stream.close()


@pytest.mark.parametrize("stage", ["read", "compute", "finish"])
def test_an_error_comes_after_what_was_done_before_it(stage: str) -> None:
    def fail(where: str, item: int) -> int:
        if where == stage and item == 7:
            raise KeyError(f"{where} {item}")
        return item

    def slowly(item: int) -> int:
        time.sleep(0.02)  # so that something is waiting when the error comes
        return fail("finish", item)

    done: list[int] = []
    stream = overlapped(
        (fail("read", n) for n in range(20)), lambda item: fail("compute", item), lambda item, _: slowly(item)
    )
    with pytest.raises(KeyError, match=f"{stage} 7"):
        done.extend(stream)
    assert done == list(range(7))


def test_what_is_done_does_not_wait_for_input() -> None:
    """As from a pipe whose other end waits for the answer before it goes on."""
    answered = threading.Event()

    def source() -> Iterator[int]:
        for number in range(4):
            yield number
            assert answered.wait(5), "the answer was held back until the next item came"
            answered.clear()

    for expected, result in enumerate(overlapped(source(), lambda item: item, lambda item, _: item)):
        assert result == expected
        answered.set()


def test_interrupts_and_early_ends_stop_the_threads_and_close_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    def interrupted(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(overlapped(source(), interrupted, lambda item, _: item))
    assert closed.wait(5)
    assert running() == []
    closed.clear()
    stream = overlapped(source(), lambda item: item, lambda item, _: item)
    next(stream)
    stream.close()
    assert closed.wait(5)


def test_a_reader_that_waits_for_input_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookright.inference.flow.PATIENCE", 0.05)
    more = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        more.wait()

    stream = overlapped(source(), lambda item: item, lambda item, _: item)
    assert next(stream) == 0
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 2
    more.set()
    until(lambda: not running())


def test_ahead_says_whether_an_item_is_there_and_keeps_its_end() -> None:
    go = threading.Event()

    def source() -> Iterator[int]:
        go.wait()
        yield 1

    with Ahead(source()) as ahead:
        assert not ahead.ready()
        go.set()
        assert next(ahead) == 1
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(ahead)
        assert ahead.ready()


def reads(*lengths: int, starts: tuple[int, ...] = ()) -> Any:
    return [
        SimpleNamespace(number=i, starts_document=i in starts, sentence=SimpleNamespace(words=("w",) * length))
        for i, length in enumerate(lengths)
    ]


def test_chunks_are_bounded_and_documents_whole() -> None:
    ten = reads(*[1] * 10, starts=(0, 5, 6))
    alone = list(chunks(iter(ten), 3, whole_documents=False))
    assert [len(chunk) for chunk in alone] == [3, 3, 3, 1]
    together = list(chunks(iter(ten), 3, whole_documents=True))
    assert [len(chunk) for chunk in together] == [5, 5]
    assert [read.number for chunk in together for read in chunk] == list(range(10))


def test_chunks_are_bounded_in_words_too() -> None:
    many = reads(5, 5, 1, 30, 0, 0, 2, starts=(0, 2, 4))
    found = [[read.number for read in chunk] for chunk in chunks(iter(many), 4, whole_documents=False, words=10)]
    assert found == [[0, 1], [2, 3], [4, 5, 6]]
    found = [[read.number for read in chunk] for chunk in chunks(iter(many), 9, whole_documents=True, words=10)]
    assert found == [[0, 1], [2, 3], [4, 5, 6]]


def test_the_first_chunks_are_small_and_double() -> None:
    def sizes(n: int, **options: Any) -> list[int]:
        return [len(chunk) for chunk in chunks(iter(reads(*[1] * n)), 20, whole_documents=False, first=4, **options)]

    assert sizes(60) == [4, 8, 16, 20, 12]
    assert sizes(60, words=100) == [4, 8, 16, 20, 12]
    assert sizes(60, words=10) == [2, 4, 8, 10, 10, 10, 10, 6]  # full with a fifth of the words first


def test_a_full_chunk_goes_on_before_the_next_line_is_read() -> None:
    def keyboard() -> Any:
        yield from reads(1)
        pytest.fail("asked for the second line before the first was answered")

    assert len(next(chunks(keyboard(), 1, whole_documents=False))) == 1
