"""Systems as processes that are asked for one round at a time, and a meter of who else computes meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

PEERS: Final = Path(__file__).with_name("peers")

BUSY: Final = 0.1
"""Cores that others may use during a round before it counts as disturbed."""


class Failed(Exception):
    """A system could not do what it was asked; the text says what it answered."""


def environment(threads: int, device: str, outer: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables of every measured process: a fixed number of threads, none of which waits busily."""
    outer = os.environ if outer is None else outer
    fixed = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    if device == "cpu":
        fixed["CUDA_VISIBLE_DEVICES"] = ""
    return {**outer, **fixed}


def busy_note(others: Sequence[float | None]) -> str:
    """What a figure's unit says of the machine.

    Args:
        others: cores that others used, in each round of the figure; None where the system does not tell.
    """
    return ", on a busy machine" if any((used or 0.0) > BUSY for used in others) else ""


class Worker:
    """A system in a process of its own.

    Args:
        python: the interpreter of its environment.
        script: the name of its file in `peers/`, without the ending.
        env: its environment variables.
        log: where its stderr goes.
        timeout: seconds that an answer may take.
    """

    def __init__(self, python: Path, script: str, env: Mapping[str, str], log: Path, timeout: float = 3600.0) -> None:
        self.name, self.log, self.timeout = script, log, timeout
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [str(python), str(PEERS / f"{script}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(env),
        )
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            Failed: the system says no, dies, or takes too long.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"it ended; see {self.log}") from None
        answer: dict[str, Any] = json.loads(self._line())
        if not answer.pop("ok"):
            raise Failed(answer["error"])
        return answer

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        until = time.monotonic() + self.timeout
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                self.process.kill()
                raise Failed(f"no answer within {self.timeout:g} s; it was ended, see {self.log}")
            read = os.read(self.process.stdout.fileno(), 1 << 20)
            if not read:
                raise Failed(f"it ended with {self.process.wait()}; see {self.log}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def end(self) -> None:
        """End the process, kindly and else by force."""
        if self.process.poll() is None:
            try:
                assert self.process.stdin is not None
                self.process.stdin.write(b'{"do": "end"}\n')
                self.process.stdin.close()
                self.process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        self._log.close()


class Meter:
    """How many cores others used, between its making and `others`. None where the system does not tell.

    Args:
        pid: the process that is measured; what it, its descendants and this process use is not others'.
        folder: of the system's account of processes.
    """

    def __init__(self, pid: int, folder: Path = Path("/proc")) -> None:
        self.pid, self.folder = pid, folder
        self.began, self.start = time.monotonic(), self._used()

    def others(self) -> float | None:
        """Cores in use by others, on average: what the machine's other guests took from it counts, too."""
        now, seconds = self._used(), time.monotonic() - self.began
        if self.start is None or now is None or seconds <= 0:
            return None
        return max(0.0, (now - self.start) / seconds)

    def _used(self) -> float | None:
        """Processor seconds of all processes but the two."""
        try:
            fields = (self.folder / "stat").read_text().split("\n", 1)[0].split()[1:]
            user, nice, system, _idle, _waiting, irq, soft, stolen = map(int, fields[:8])
            own = self._of_own()
        except (OSError, ValueError, IndexError):
            return None
        return (user + nice + system + irq + soft + stolen - own) / os.sysconf("SC_CLK_TCK")

    def _of_own(self) -> int:
        """Ticks of the measured process, its descendants, and this process; children that have ended are in these."""
        ticks, parents = {}, {}
        for folder in self.folder.iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):  # it ended just now
                    rest = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    ticks[int(folder.name)], parents[int(folder.name)] = sum(map(int, rest[11:15])), int(rest[1])
        if self.pid not in ticks:
            raise ProcessLookupError(self.pid)
        family, more = {self.pid}, self.pid != os.getpid()  # other children of this process are other systems
        while more:
            found = {pid for pid, parent in parents.items() if parent in family} - family
            family, more = family | found, bool(found)
        return sum(ticks.get(pid, 0) for pid in family | {os.getpid()})
