"""The side of a measured system in the conversation with `benchmarks/speed/workers.py`. Standard library only.

A system runs as a process of its own environment, which need not have LookRight. It reads one JSON object a line:

    {"do": "prepare", "case": {...}}   ->   {"ok": true, "about": {...}}       once
    {"do": "round", "with": {...}}     ->   {"ok": true, "seconds": ..., ...}   as often as asked
    {"do": "end"}

and answers each with one line, `{"ok": false, "error": "..."}` where it cannot. Whatever libraries print goes to
stderr. Only the part of a round that counts is timed, by the system itself; see `timed`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Once = Callable[..., dict[str, Any]]
"""One timed round: `seconds`, the real `tokens` it computed, `batches` (the real tokens of each forward pass)."""
Prepare = Callable[[dict[str, Any]], tuple[Once, dict[str, Any]]]
"""Loads everything and warms it up: a case -> (the round, what is worth knowing about the system)."""


def serve(prepare: Prepare) -> None:
    """Answer until told to end, or until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    sys.stdout = sys.stderr
    once: Once | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "end":
            break
        try:
            if request["do"] == "prepare":
                once, about = prepare(request["case"])
                _forget_peak()
                answer: dict[str, Any] = {"ok": True, "about": {**threads(), **about}}
            else:
                assert once is not None, "a round before anything was prepared"
                answer = {"ok": True, **once(**request.get("with", {})), **peaks()}
        except Exception as error:
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _forget_peak() -> None:
    """Begin the account of GPU memory anew: loading and what is looked up meanwhile are no part of a round."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peaks() -> dict[str, Any]:
    """The most memory that this process has held, in 10^6 bytes: of the machine ever, of its GPU in its rounds."""
    held: dict[str, Any] = {"peak_mb": round(_peak_kilobytes() * 1024 / 1e6, 1)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        held["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return held


def _peak_kilobytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would begin with what the process that started this one held
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def threads() -> dict[str, Any]:
    """How many threads torch computes with, where it is loaded."""
    torch = sys.modules.get("torch")
    return {} if torch is None else {"threads": torch.get_num_threads(), "torch": torch.__version__}


class Timer:
    """Seconds of a stretch, and processor seconds of this process in it."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0


@contextmanager
def timed() -> Iterator[Timer]:
    """Time what is inside; on a GPU, what was sent to it before and inside is waited for."""
    timer = Timer()
    _wait()
    began, cpu = time.perf_counter(), time.process_time()
    yield timer
    _wait()
    timer.seconds, timer.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu


def _wait() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def read_sentences(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The sentences of a case: `tokens` and `tags` of each, and `text`, its words joined by spaces."""
    with Path(case["sentences"]).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [{**row, "text": " ".join(row["tokens"])} for row in rows]


def labels_of(case: dict[str, Any]) -> list[str]:
    """The tags in the order of the head."""
    config = json.loads((Path(case["model"]) / "config.json").read_text(encoding="utf-8"))
    return [config["id2label"][str(index)] for index in range(len(config["id2label"]))]


class Batches(list[int]):
    """The real tokens of each forward pass, and the seconds that they took together."""

    seconds = 0.0

    def clear(self) -> None:
        """Begin again."""
        super().clear()
        self.seconds = 0.0


def watch_batches(model: Any, pad_id: int) -> Batches:
    """A list that grows by the real tokens of each call of a torch model: those that are no padding.

    Its seconds mean something on a processor only; a GPU is not waited for.
    """
    batches = Batches()
    began = [0.0]

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        batches.append(int((ids != pad_id).sum()))
        began[0] = time.perf_counter()

    def after(*_: Any) -> None:
        batches.seconds += time.perf_counter() - began[0]

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after)
    return batches


def weights_sum(model: Any) -> float:
    """A figure that says whether two systems loaded the same weights."""
    return round(sum(float(p.detach().double().abs().sum()) for p in model.parameters()), 1)


def training_clock(callback_class: Any) -> Any:
    """A callback for any Trainer: the time from the beginning of its last epoch to the end of its last update.

    Args:
        callback_class: `transformers.TrainerCallback` of the environment.

    Returns:
        The callback; `began`, `ended` and `cpu` (the same in processor seconds) are its figures, and `on_epoch` is
        called when an epoch begins.
    """

    class Clock(callback_class):  # type: ignore[misc]
        began = ended = 0.0
        cpu = (0.0, 0.0)
        on_epoch: Any = staticmethod(lambda: None)

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            _wait()
            self.on_epoch()
            self.began, self.cpu = time.perf_counter(), (time.process_time(), 0.0)

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            _wait()
            self.ended, self.cpu = time.perf_counter(), (self.cpu[0], time.process_time())

    return Clock()


def result(timer_seconds: float, cpu_seconds: float, batches: Iterable[int]) -> dict[str, Any]:
    """The answer of a round."""
    sizes = list(batches)
    forward = getattr(batches, "seconds", None)
    return {
        "seconds": timer_seconds,
        "cpu_seconds": cpu_seconds,
        "tokens": sum(sizes),
        "batches": sizes,
        "forward_seconds": forward,
    }


def clocked(clock: Any, batches: Iterable[int]) -> dict[str, Any]:
    """The answer of a round of training."""
    return result(clock.ended - clock.began, clock.cpu[1] - clock.cpu[0], batches)


def aligned(tokenizer: Any, tokens: list[str], tag_ids: list[int], **options: Any) -> Any:
    """Sub-words of a sentence's words, a label on the first of each word, as the examples of transformers have it."""
    encoded = tokenizer(tokens, is_split_into_words=True, truncation=True, **options)
    labels, before = [], None
    for word in encoded.word_ids():
        labels.append(-100 if word is None or word == before else tag_ids[word])
        before = word
    encoded["labels"] = labels
    return encoded
