"""Several processes on one machine: items in, results out in the same order, whoever was busy with which.

Each process is a fresh one (`spawn`), since a copy of one whose numeric libraries have threads already may hang. It
gets the job once, its tensors in shared memory where there is room for them, so that the weights are there once for
all; then one item at a time. A process that dies is replaced, and its item done again, once.
"""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast

import torch
import torch.multiprocessing  # teaches multiprocessing to hand tensors on in shared memory

from lookright.errors import LookRightError, RecipeError, WorkerError
from lookright.inference.flow import Ahead

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)

WAITING_RESULTS: Final = 2
"""Results for each process that may wait for an earlier one."""
MOST_DEATHS: Final = 1
"""Processes that may die over one item."""
BEFORE_ITS_FIRST: Final = -1
"""Number that stands for the time in which a process begins, where deaths are counted."""
LOOK_AROUND: Final = 0.02
"""Seconds to wait for a process where the input may have something first."""
SHARED_MEMORY: Final = "/dev/shm"

log = logging.getLogger("lookright")


class Job(Protocol[Item, Result]):
    """What the processes do; it is pickled."""

    def settle(self) -> None:
        """Called once in each process, before the first item."""
        ...

    def __call__(self, item: Item, /) -> Result:
        """The result for one item."""
        ...


@dataclass
class _Worker:
    """One process, and what it is at: the number of an item and the item."""

    number: int
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    item: tuple[int, Any] | None = None


@dataclass(frozen=True)
class _Failure:
    """An error of the job, in the place of the result."""

    error: BaseException


class Workers(Generic[Item, Result]):
    """Processes that all do one job. A context: they end with it.

    Args:
        job: what they do.
        n: how many processes.
        model: the job's model; its weights go to shared memory where they fit.
        threads: of each process; by default this process's threads, divided among them.

    Raises:
        RecipeError: less than one process, or a job that cannot be sent to another process.
    """

    def __init__(
        self, job: Job[Item, Result], n: int, *, model: torch.nn.Module | None = None, threads: int | None = None
    ) -> None:
        if n < 1:
            raise RecipeError(f"{n} workers; expected 1 or more")
        self._job = job
        self._n = n
        self._threads = threads or max(1, torch.get_num_threads() // n)
        self._shared = model is not None and _share(model)
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        try:
            for number in range(self._n):
                self._workers.append(self._start(number))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end()

    def map(self, items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yield the result for each item, in order; a bounded number of items and results is held.

        Raises:
            WorkerError: an item over which two processes died, or a process that could not start.
            Exception: what the job raised, and what `items` raised, after the results before it.
        """
        done: dict[int, Result | _Failure] = {}
        again: deque[tuple[int, Any]] = deque()
        deaths: Counter[int] = Counter()
        given = taken = 0  # items handed out, results yielded
        last: BaseException | None = None  # how the items ended
        with Ahead(items) as ahead:
            while True:
                while taken in done:
                    result = done.pop(taken)
                    if isinstance(result, _Failure):
                        raise result.error
                    taken += 1
                    yield result
                for worker in self._workers:
                    if not worker.ready or worker.item is not None:
                        continue
                    if again:
                        self._give(worker, again.popleft())
                    elif (
                        last is None
                        and given < taken + (1 + WAITING_RESULTS) * self._n
                        and (ahead.ready() or given == taken)
                    ):
                        try:
                            item = next(ahead)
                        except StopIteration as error:
                            last = error
                        except Exception as error:
                            last = error
                        else:
                            self._give(worker, (given, item))
                            given += 1
                if last is not None and taken == given:
                    if isinstance(last, StopIteration):
                        return
                    raise last
                if taken not in done:
                    self._listen(done, again, deaths, patient=last is not None or not self._idle())

    def _idle(self) -> bool:
        return any(worker.ready and worker.item is None for worker in self._workers)

    def _give(self, worker: _Worker, entry: tuple[int, Any]) -> None:
        worker.item = entry
        with contextlib.suppress(OSError):  # it died: its pipe says so when it is read
            worker.pipe.send(entry)

    def _listen(
        self,
        done: dict[int, Any],
        again: deque[tuple[int, Any]],
        deaths: Counter[int],
        *,
        patient: bool,
    ) -> None:
        """Take in what the processes have to say, waiting for the first of them."""
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes), timeout=None if patient else LOOK_AROUND):
            worker = pipes[cast("Connection", pipe)]
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker, again, deaths)
                continue
            if kind == "ready":
                worker.ready = True
            elif kind == "log":
                log.log(*value)
            elif worker.item is None:
                raise _error(*value)  # it could not settle
            else:
                done[worker.item[0]] = value if kind == "done" else _Failure(_error(*value))
                worker.item = None

    def _replace(self, worker: _Worker, again: deque[tuple[int, Any]], deaths: Counter[int]) -> None:
        """Put a new process in the place of one that died, and its item in line."""
        worker.process.join(5)
        how = _how(worker.process.exitcode)
        worker.pipe.close()
        if not worker.ready:
            if (worker.process.exitcode or 0) >= 0:
                raise WorkerError(
                    f"worker {worker.number + 1} {how} before it began; in a script, what calls this belongs under "
                    '`if __name__ == "__main__":`'
                )
            deaths[BEFORE_ITS_FIRST] += 1
            if deaths[BEFORE_ITS_FIRST] > MOST_DEATHS:
                raise WorkerError(
                    f"worker {worker.number + 1} {how} before it began, as did another one: run with fewer workers if "
                    "memory is short"
                )
        if worker.item is not None:
            number = worker.item[0]
            deaths[number] += 1
            if deaths[number] > MOST_DEATHS:
                raise WorkerError(
                    f"worker {worker.number + 1} {how}, as did another one over the same sentences: run with fewer "
                    "workers or a lower --token-budget if memory is short, or without workers to see why"
                )
            again.append(worker.item)
        what = "takes its place" if worker.item is None else "does its sentences again"
        log.warning("worker %d %s: a new one %s", worker.number + 1, how, what)
        self._workers[self._workers.index(worker)] = self._start(worker.number)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        payload = self._job if self._shared else _Pickled(self._job)
        process = self._context.Process(
            target=_serve, args=(theirs, payload, self._threads), name=f"lookright-worker-{number + 1}", daemon=True
        )
        with _no_interrupt():
            try:
                process.start()
            except (pickle.PicklingError, TypeError, AttributeError, NotImplementedError) as error:
                raise RecipeError(
                    f"this model cannot be handed to other processes ({error}): run without workers"
                ) from error
        theirs.close()
        return _Worker(number, process, ours)

    def _end(self) -> None:
        for worker in self._workers:
            worker.pipe.close()  # a process that waits for its next item ends with this
        for worker in self._workers:
            if worker.item is not None or not worker.ready:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


class _Pickled:
    """A job as bytes, its tensors copied: for where shared memory is too small for them."""

    def __init__(self, job: Any) -> None:
        stream = io.BytesIO()
        try:
            pickle.dump(job, stream, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, NotImplementedError) as error:
            raise RecipeError(
                f"this model cannot be handed to other processes ({error}): run without workers"
            ) from error
        self.data = stream.getvalue()


def _share(model: torch.nn.Module) -> bool:
    """Move a model's weights to shared memory, where they fit; whether they did."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type != "cpu" for tensor in tensors):
        return True  # a GPU's memory is shared as it is
    needed = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    try:
        if needed > 0.9 * shutil.disk_usage(SHARED_MEMORY).free:
            log.info("%s is too small for the weights: each worker gets its own copy", SHARED_MEMORY)
            return False
        _allow_files(len(tensors))
        model.share_memory()
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        log.info("the weights cannot be shared (%s): each worker gets its own copy", error)
        return False
    return True


def _allow_files(n: int) -> None:
    """Let this process hold as many more open files: every tensor in shared memory is one."""
    import resource  # not there on Windows, where nothing is a file

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * n + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that are started within never see Ctrl-C: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    hint = " (out of memory?)" if -exit_code == signal.SIGKILL else ""
    return f"was ended by signal {-exit_code}{hint}"


def _error(kind: type[BaseException], message: str) -> BaseException:
    """An error of a worker, as it was there: our errors carry one line for people, whatever they are made from."""
    if not issubclass(kind, LookRightError | MemoryError):
        return WorkerError(f"a worker failed: unexpected {kind.__name__}: {message}")
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


# ---------------------------------------------------------------------------------------------------- in a process


class _Teller(logging.Handler):
    """Hands log records on to the process that this one works for."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(("log", (record.levelno, "%s", record.getMessage())))


def _serve(pipe: Connection, payload: Any, threads: int) -> None:
    """Do the job for each item that comes, until the pipe is closed."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    log.addHandler(_Teller(pipe))
    log.propagate = False
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is waiting any more
        _work(pipe, payload)


def _work(pipe: Connection, payload: Any) -> None:
    try:
        job = pickle.loads(payload.data) if isinstance(payload, _Pickled) else payload
        job.settle()
    except Exception as error:
        pipe.send(("error", (type(error), str(error))))
        return
    pipe.send(("ready", None))
    while True:
        _, item = pipe.recv()
        try:
            result = job(item)
        except Exception as error:
            pipe.send(("error", (type(error), str(error))))
            continue
        pipe.send(("done", result))
