"""Reading, computing and writing at the same time, in order and in bounded memory.

    a thread: read, cut into words, encode  ->  this thread: the model  ->  a thread: decode, put into words

The model stays in the thread that asks, so that Ctrl-C reaches it, and so does what is done with the results: a pipe
that was closed or a disk that is full is an error where it can be handled. Queues are short: whoever is faster waits.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from lookright.data import Read

Item = TypeVar("Item")
Middle = TypeVar("Middle")
Result = TypeVar("Result")

DEPTH: Final = 2
"""Items that may wait between two stages."""
POLL: Final = 0.05
"""Seconds after which a stage that cannot hand on looks whether anybody still wants it."""
PATIENCE: Final = 2.0
"""Seconds that a reader gets to end; one that waits for input which does not come is left behind."""


class Ahead(Generic[Item]):
    """Runs an iterable in a thread, some items ahead of whoever iterates over this. A context: at its end it stops.

    An error of the iterable is raised in its place, after the items before it.
    """

    def __init__(self, source: Iterable[Item], depth: int = DEPTH) -> None:
        self._source = source
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._over: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lookright-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._source:
                if not self._put((item,)):
                    break
        except BaseException as error:  # handed on, whatever it is: nobody sees it here
            end = error
        if isinstance(self._source, Iterator) and hasattr(self._source, "close"):
            self._source.close()
        self._put(end)

    def _put(self, entry: tuple[Item] | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=POLL)
            except queue.Full:
                continue
            return True
        return False

    def ready(self) -> bool:
        """Whether the next item, or the end, is there already."""
        return self._over is not None or not self._queue.empty()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if self._over is not None:
            raise self._over
        entry = self._queue.get()
        if isinstance(entry, tuple):
            return entry[0]
        self._over = StopIteration() if entry is None else entry
        raise self._over

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE)


def overlapped(
    source: Iterable[Item],
    compute: Callable[[Item], Middle],
    finish: Callable[[Item, Middle], Result],
) -> Generator[Result, None, None]:
    """Yield `finish(item, compute(item))` for each item in order; each of the three stages works while the others do.

    Args:
        source: iterated over in a thread, a little ahead.
        compute: called here.
        finish: called in another thread, one item after the other.

    What was computed before an error, in whatever stage, is yielded before the error is raised.
    """
    waiting: deque[Future[Result]] = deque()
    with Ahead(source) as ahead, ThreadPoolExecutor(1, "lookright-finish") as behind:
        try:
            while True:
                # Nothing that is done waits for input that may be long in coming.
                while waiting and (waiting[0].done() or len(waiting) > DEPTH or not ahead.ready()):
                    yield waiting.popleft().result()
                try:
                    item = next(ahead)
                    middle = compute(item)
                except StopIteration:
                    break
                except Exception:
                    while waiting:
                        yield waiting.popleft().result()
                    raise
                waiting.append(behind.submit(finish, item, middle))
                del item, middle  # else they would be held while the next ones are made
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def chunks(
    reads: Iterable[Read], size: int, *, whole_documents: bool, words: int | None = None, first: int | None = None
) -> Iterator[list[Read]]:
    """Cut a stream into lists of about `size`; never inside a document where `whole_documents` is asked.

    Args:
        reads: what a reader yields.
        size: sentences of a list.
        whole_documents: end a list only where a document ends.
        words: a list that has as many is full, too, so that its memory is bounded where sentences are long.
        first: sentences of the first list, where that should be soon done; each one after it has twice as many as the
            one before, up to `size`, and the words grow with them.
    """
    chunk: list[Read] = []
    n_words = 0
    limit = size if first is None else min(first, size)

    def is_full() -> bool:
        return len(chunk) >= limit or (words is not None and n_words >= max(1, words * limit // size))

    for read in reads:
        if whole_documents and read.starts_document and is_full():
            yield chunk
            chunk, n_words, limit = [], 0, min(size, 2 * limit)
        chunk.append(read)
        n_words += len(read.sentence.words)
        # Full lists go on at once: the next sentence may be long in coming, from a keyboard.
        if not whole_documents and is_full():
            yield chunk
            chunk, n_words, limit = [], 0, min(size, 2 * limit)
    if chunk:
        yield chunk
