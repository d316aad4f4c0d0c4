"""A text classifier with a way of writing: texts in, JSON Lines out, the same from one process or several."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from lookright.attention import check_plan, current_plan
from lookright.data.records import Record, json_line
from lookright.data.texts import Target, Text
from lookright.inference.flow import overlapped
from lookright.inference.text_predictor import Classification, Pool, TextPredictor
from lookright.inference.workers import Workers
from lookright.models.text_settings import TextSettings
from lookright.text_metrics import FloatArray

CHUNK_TEXTS: Final = 512
CHUNK_CHARACTERS: Final = 2_000_000
"""A chunk is full with either; what is sorted and computed together is a chunk, cut by its texts alone, so that results
depend neither on the number of processes nor on what they do at a time."""

Chunk = list[tuple[Text, Record]]


INPUT: Final = "input"
PREDICTED: Final = ("label", "score", "labels", "scores", "value", "n_windows", INPUT)
"""The keys that are the classifier's in what is written; what a record holds under any of them moves under `INPUT`."""


def record_of(rest: Record, said: Classification, settings: TextSettings) -> dict[str, Any]:
    """What is written about a text: what is said about it, and all that its record held."""
    record = {key: value for key, value in rest.items() if key not in PREDICTED}
    if len(record) < len(rest):
        record[INPUT] = {key: value for key, value in rest.items() if key in PREDICTED}
    if said.n_windows > 1:
        record["n_windows"] = said.n_windows
    if settings.target == Target.REGRESSION:
        return {**record, "value": said.value}
    if settings.target == Target.SINGLE:
        record |= {"label": said.label, "score": said.score}
    else:
        record["labels"] = list(said.labels)
    if said.probabilities or settings.target == Target.MULTI:
        record["scores"] = said.by_label(settings.labels)
    return record


class TextLabeler:
    """Classifies chunks of texts and writes what is said as JSON Lines. Can be sent to another process.

    Args:
        predictor: runs the model.
        all_scores: write the probability of every label.
    """

    def __init__(self, predictor: TextPredictor, *, all_scores: bool = False) -> None:
        self.predictor = predictor
        self.all_scores = all_scores

    def chunks(self, reads: Iterable[tuple[Text, Record]], *, size: int = CHUNK_TEXTS) -> Iterator[Chunk]:
        """Cut a stream into what is sorted and computed together."""
        chunk: Chunk = []
        n_characters = 0
        for read in reads:
            chunk.append(read)
            n_characters += sum(map(len, read[0].parts))
            if len(chunk) >= size or n_characters >= CHUNK_CHARACTERS:
                yield chunk
                chunk, n_characters = [], 0
        if chunk:
            yield chunk

    def encode(self, chunk: Chunk) -> tuple[Chunk, Pool]:
        """The chunk's sub-words."""
        return chunk, self.predictor.pool_of([text for text, _ in chunk])

    def compute(self, encoded: tuple[Chunk, Pool]) -> FloatArray:
        """What the model says about the chunk's texts."""
        return self.predictor.compute(encoded[1])

    def finish(self, encoded: tuple[Chunk, Pool], logits: FloatArray) -> str:
        """A line for each text."""
        chunk, pool = encoded
        settings = self.predictor.settings
        decided = self.predictor.decide(pool, logits, all_scores=self.all_scores)
        return "".join(
            json_line(record_of(rest, said, settings), path=text.path, line=text.line)
            for (text, rest), said in zip(chunk, decided, strict=True)
        )

    def __call__(self, chunk: Chunk, /) -> str:
        """All of it at once."""
        encoded = self.encode(chunk)
        return self.finish(encoded, self.compute(encoded))

    def run(self, stream: Iterable[Chunk], *, workers: Workers[Chunk, str] | None = None) -> Generator[str, None, None]:
        """The lines of each chunk in order: from other processes, or from this one, which reads and writes at once."""
        if workers is not None:
            return workers.map(stream)
        return overlapped((self.encode(chunk) for chunk in stream), self.compute, self.finish)

    def settle(self) -> None:
        """In a process that has received the labeler: see that its plan still holds.

        Raises:
            PlanNotHeldError: it does not.
        """
        backbone = self.predictor.model.backbone
        if current_plan(backbone) is not None:
            check_plan(backbone)
