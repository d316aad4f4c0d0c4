"""A tagger's model with a way of writing: sentences in, text out, the same whether one process does it or several.

What is sorted and computed together is a chunk of the input, cut by its sentences and words alone. So the batches, and
with them the scores to the last bit, depend neither on the number of processes nor on what they do at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from lookright.attention import check_plan, current_plan
from lookright.data import Read, Sentence
from lookright.inference.flow import chunks, overlapped
from lookright.inference.formats import Format
from lookright.inference.predictor import POOL_BUDGETS, Pool, Predictor, Scores, Tagging
from lookright.inference.workers import Workers

SHARE_OF_SENTENCES: Final = 8
"""A chunk is full with one sentence for each so many of its words, so that lines without words do not pile up."""
PIPED_SENTENCES: Final = 512
"""Sentences of a chunk where the input is a pipe: what its other end is waiting for should not be long in coming. So it
is with the first chunk of a file."""

Chunk = list[Read]
Result = TypeVar("Result", covariant=True)
Out = TypeVar("Out")


class Finish(Protocol[Result]):
    """What becomes of a chunk's taggings."""

    def __call__(self, chunk: Chunk, taggings: list[Tagging]) -> Result:
        """The result for one chunk."""
        ...


class AsText:
    """Taggings as text in a format."""

    def __init__(self, form: Format) -> None:
        self.form = form

    def __call__(self, chunk: Chunk, taggings: list[Tagging]) -> str:
        """The text of one chunk."""
        return self.form.body(zip(chunk, taggings, strict=True))


def as_they_are(chunk: Chunk, taggings: list[Tagging]) -> list[Tagging]:
    """The taggings themselves."""
    return taggings


class Labeler(Generic[Out]):
    """Tags chunks of sentences and makes something of the taggings. Can be sent to another process.

    Args:
        predictor: runs the model.
        finish: what becomes of the taggings of a chunk.
    """

    def __init__(self, predictor: Predictor, finish: Finish[Out]) -> None:
        self.predictor = predictor
        self._finish = finish

    def chunks(self, reads: Iterable[Read], *, piped: bool = False, size: int | None = None) -> Iterator[Chunk]:
        """Cut a stream into what is sorted and computed together.

        Args:
            reads: what a reader yields.
            piped: the stream may be slow, and somebody waits for the results.
            size: sentences of a chunk, in place of what suits the machine.
        """
        words = POOL_BUDGETS * self.predictor.budget
        size = size or (PIPED_SENTENCES if piped else max(PIPED_SENTENCES, words // SHARE_OF_SENTENCES))
        whole_documents = self.predictor.settings.context == "document"
        return chunks(reads, size, whole_documents=whole_documents, words=words, first=PIPED_SENTENCES)

    def encode(self, chunk: Chunk) -> tuple[Chunk, Pool]:
        """The chunk's sub-words."""
        starts = [index for index, read in enumerate(chunk) if read.starts_document or index == 0]
        return chunk, self.predictor.pool_of([read.sentence for read in chunk], starts)

    def compute(self, encoded: tuple[Chunk, Pool]) -> Scores:
        """What the model says about the chunk's words."""
        return self.predictor.score(encoded[1])

    def finish(self, encoded: tuple[Chunk, Pool], scores: Scores) -> Out:
        """Decode what the model said, and make of it what is wanted."""
        chunk, pool = encoded
        return self._finish(chunk, self.predictor.taggings(pool, scores))

    def __call__(self, chunk: Chunk) -> Out:
        """All of it at once."""
        encoded = self.encode(chunk)
        return self.finish(encoded, self.compute(encoded))

    def run(self, stream: Iterable[Chunk], *, workers: Workers[Chunk, Out] | None = None) -> Generator[Out, None, None]:
        """The result for each chunk in order: from other processes, or from this one, which reads and writes meanwhile.

        Args:
            stream: of chunks.
            workers: processes that were made for this labeler.
        """
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


def tag_with_workers(
    predictor: Predictor, sentences: Sequence[Sentence], document_starts: Sequence[int] | None, n: int
) -> list[Tagging]:
    """What `Predictor.tag` gives, from `n` new processes.

    Raises:
        RecipeError: less than one process, or a model that cannot be sent to another process.
        WorkerError: a process failed, or died twice over the same sentences.
    """
    starts = set(range(len(sentences)) if document_starts is None else document_starts)
    reads = [Read(sentence, index in starts) for index, sentence in enumerate(sentences)]
    labeler = Labeler(predictor, as_they_are)
    with Workers(labeler, n, model=predictor.model) as workers:
        return [tagging for found in labeler.run(labeler.chunks(reads), workers=workers) for tagging in found]
