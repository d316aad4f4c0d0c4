"""A folder of files through Ray Data: one model for each worker, on one machine or on many.

A row of the data set is a file, which a worker reads and writes itself, in the very way of one process; so the result
does not depend on the number of workers, and what is large never travels. All machines must see both folders under the
same names. Ray starts a worker that died anew and gives its file to it; a file that ends its worker again and again is
given up.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lookright.data import WordSplitter
from lookright.errors import LookRightError, MissingExtraError, RecipeError, WorkerError
from lookright.inference.folders import FileLabeler, Plan, Task, raise_failures
from lookright.inference.predictor import Predictor

MOST_TRIES: Final = 3
"""Times that a file is begun: a first time, and again after each worker that died or failed over it."""

log = logging.getLogger("lookright")

Load = Callable[[], tuple[Predictor, WordSplitter]]
"""Loads the model and its word rule in a worker; it is sent there by name, with its arguments."""


class RayLabeler:
    """What a worker of Ray is: a model, and the files that it is given.

    Args:
        load: gets the model.
        threads: that it computes with.
    """

    def __init__(self, load: Load, threads: int) -> None:
        import torch

        os.environ["RAYON_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        self._broken = ""
        try:
            self._files = FileLabeler(*load())
        except Exception as error:  # Ray would try again and again, and bury it in the traces of its own
            mine = isinstance(error, LookRightError)
            self._broken = str(error) if mine else f"unexpected {type(error).__name__}: {error}"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one file. What is wrong with it, or with the model on it, is told, not raised."""
        task = Task(str(row["source"]), str(row["target"]))
        if self._broken:
            return {
                "source": task.source,
                "kind": "WorkerError",
                "error": f"a worker could not load the model: {self._broken}",
            }
        tries = _Tries(Path(task.target))
        while tries.begin():
            try:
                self._files.label(task)
            except LookRightError as error:  # it would be the same the next time
                tries.end()
                return {"source": task.source, "kind": type(error).__name__, "error": str(error)}
            except Exception as error:
                last = f"unexpected {type(error).__name__}: {error}"
                if tries.n >= MOST_TRIES:
                    tries.end()
                    return {"source": task.source, "kind": "WorkerError", "error": f"{task.source}: {last}"}
            else:
                tries.end()
                return {"source": task.source, "kind": "", "error": ""}
        tries.end()
        return {
            "source": task.source,
            "kind": "WorkerError",
            "error": f"{task.source}: {MOST_TRIES} workers died over it (out of memory?)",
        }


class _Tries:
    """How often a file was begun, kept beside its result, since the worker that counts may die."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._file = target.with_name(f".{target.name}.tries")
        self.n = 0

    def begin(self) -> bool:
        """Count one more; False where there were enough."""
        self.n = (self._file.stat().st_size if self._file.exists() else 0) + 1
        if self.n > MOST_TRIES:
            return False
        with self._file.open("ab") as stream:
            stream.write(b"x")
        return True

    def end(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._file.unlink()


def label_on_ray(plan: Plan, load: Load, *, workers: int | None = None) -> None:
    """Do all the files through Ray Data, on the cluster that `RAY_ADDRESS` names, or else on this machine.

    Args:
        plan: the files.
        load: gets the model, in each worker.
        workers: how many; by default one for each GPU of the cluster, or for each machine where there is none.

    Raises:
        MissingExtraError: Ray is not installed.
        RecipeError: more workers than the cluster has processors.
        DataError: the first of the files that could not be read; the others are done.
        WorkerError: a file that no worker came through with.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    if not plan.tasks:
        return
    with _cluster(ray):
        n, resources, threads = _shares(ray, min(workers, len(plan.tasks)) if workers else None)
        rows = [{"source": task.source, "target": task.target} for task in plan.tasks]
        files = ray.data.from_items(rows, override_num_blocks=len(rows))
        done = files.map(
            RayLabeler,
            fn_constructor_args=(load, threads),
            compute=ray.data.ActorPoolStrategy(size=min(n, len(rows))),
            **resources,
        )
        failures: list[tuple[str, str]] = []
        try:
            for number, row in enumerate(done.iter_rows(), start=1):
                if row["error"]:
                    failures.append((row["kind"], row["error"]))
                else:
                    log.info("%d of %d: %s", number, len(rows), row["source"])
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines() or [type(error).__name__]
            raise WorkerError(f"Ray gave up: {last[-1]}; what is done is not done again") from error
    broken = [message for kind, message in failures if kind == "WorkerError"]
    if broken:
        raise WorkerError(f"{broken[0]} ({len(failures)} of {len(rows)} files failed; the rest is done)")
    raise_failures([message for _, message in failures], len(rows))


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """A running Ray: the one that is there, the one that the environment names, or one of our own, ended afterwards."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _shares(ray: Any, workers: int | None) -> tuple[int, dict[str, float], int]:
    """How many workers, what each of them gets of the cluster, and its threads.

    Raises:
        RecipeError: not one processor for each.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    processors = int(min((machine["CPU"] for machine in machines), default=1))
    n = workers or gpus or len(machines) or 1
    on_each = -(-n // max(1, len(machines)))
    if on_each > processors:
        raise RecipeError(
            f"{n} workers on {len(machines)} machines with {processors} processors: expected one processor for each"
        )
    threads = processors // on_each
    resources: dict[str, float] = {"num_cpus": threads}
    if gpus:
        resources["num_gpus"] = min(1.0, gpus / n)
    return n, resources, threads
