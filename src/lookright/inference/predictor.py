"""Sentences in, tags and spans out: windows, batches by length, the model, decoding, and all of it put back in order.

    sentence -> sub-words -> windows -> batches within a token budget -> log-probabilities of each word
             -> stitched per sentence -> tags that the scheme allows -> spans with characters and scores

Every word gets one tag, from the one window that owns it. Sentences run through in pools, so that the memory in use
does not grow with their number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lookright.data import Sentence
from lookright.encoding import SubwordEncoder, Window, collate, windows_of, windows_of_document
from lookright.errors import LookRightError
from lookright.inference.progress import progress_bar
from lookright.inference.runner import Runner
from lookright.inference.viterbi import decode
from lookright.models.settings import TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.tags import OUTSIDE, Scheme, to_spans, transitions

POOL_BUDGETS: Final = 16
"""Batches' worth of sub-words that are sorted by length together: enough for batches of nearly equal lengths."""
POOL_SENTENCES: Final = 10_000
"""Most sentences of a pool; empty ones have no sub-words, and must not pile up."""
ENCODED_TOGETHER: Final = 256
"""Documents that go to the tokenizer together, unless they are long."""
ENCODED_WORDS: Final = 16_384
"""Words that go to the tokenizer together, or those of one document."""

Pool = list[tuple[Sentence, list[Window]]]
"""Sentences that are computed together, with their windows."""
Scores = list[NDArray[np.float32]]
"""For each sentence of a pool the log-probabilities (words, labels)."""

log = logging.getLogger("lookright")


@dataclass(frozen=True, slots=True)
class Span:
    """A predicted span.

    Attributes:
        type: of the entity, chunk, slot, ...; under plain tags, the tag of one word.
        start, end: characters in the given text, the end exclusive. Words without a text count as joined by single
            spaces.
        text: `text[start:end]` of the given text.
        score: the mean, over the span's words, of the probability of the word's tag.
        word_start, word_end: its words, the end exclusive.
    """

    type: str
    start: int
    end: int
    text: str
    score: float
    word_start: int
    word_end: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tagging:
    """What a tagger says about one sentence.

    Attributes:
        tags: one for each word, in the tagger's scheme.
        probabilities: of each word's tag, given the word's context, whatever its neighbours' tags are.
        spans: in order.
    """

    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    spans: tuple[Span, ...]


def spans_of(
    sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float], scheme: Scheme
) -> tuple[Span, ...]:
    """The spans that tags spell, with characters and scores; under plain tags, every word but those tagged "O"."""
    text, offsets = sentence.surface()
    if scheme is Scheme.PLAIN:
        found = [(tag, index, index + 1) for index, tag in enumerate(tags) if tag != OUTSIDE]
    else:
        found = [(span.type, span.start, span.end) for span in to_spans(tags, scheme)]
    spans = []
    for kind, first, last in found:
        start, end = offsets[first][0], offsets[last - 1][1]
        score = sum(probabilities[first:last]) / (last - first)
        spans.append(Span(kind, start, end, text[start:end], score, first, last))
    return tuple(spans)


class Predictor(Runner[LookRightForTokenClassification]):
    """Runs a tagger's model over sentences. Threads may share it while its model is in evaluation mode.

    Attributes:
        n_long_words: words so far that were longer than a window, and tagged from their first part.

    Args:
        model, tokenizer: of the tagger.
        settings: the model's own, where none are given.
        options: of `Runner`: device, token_budget, layout, compile.
    """

    def __init__(
        self,
        model: LookRightForTokenClassification,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaggerSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, tokenizer, **options)
        self.settings = model.settings if settings is None else settings
        self.encoder = SubwordEncoder(tokenizer)
        self.n_long_words = 0
        self._labels = np.array(self.settings.labels, dtype=object)
        self._transitions = transitions(self.settings.labels, self.settings.scheme)

    def tag(
        self,
        sentences: Sequence[Sentence],
        *,
        document_starts: Sequence[int] | None = None,
        progress: bool = False,
    ) -> list[Tagging]:
        """Tag sentences.

        Args:
            sentences: in order.
            document_starts: indices of the sentences that begin a document, the first one 0. A tagger with document
                context sees each sentence among its neighbours; without them, and for other taggers, each sentence
                stands alone.
            progress: show a bar on stderr, where that is a terminal.

        Returns:
            One tagging for each sentence, in the same order.
        """
        taggings: list[Tagging] = []
        with progress_bar(len(sentences), "tagging", "sentences", shown=progress) as advance:
            for pool in self._pools(self._documents(sentences, document_starts)):
                found = self.taggings(pool, self.score(pool))
                taggings += found
                advance(len(found))
        return taggings

    def tag_iter(self, sentences: Iterable[Sentence]) -> Iterator[Tagging]:
        """Tag a stream of sentences, each on its own, in bounded memory; results come in the same order."""
        return self.tag_documents([sentence] for sentence in sentences)

    def tag_documents(self, documents: Iterable[Sequence[Sentence]]) -> Iterator[Tagging]:
        """Tag a stream of documents, in bounded memory; one result for each sentence, in the same order."""
        for pool in self._pools(documents):
            yield from self.taggings(pool, self.score(pool))

    # -------------------------------------------------------------------------------------------------- one pool

    def pool_of(self, sentences: Sequence[Sentence], document_starts: Sequence[int] | None = None) -> Pool:
        """Sentences that are to be computed together, with their windows; the model is not needed for that.

        Args:
            sentences: in order.
            document_starts: as for `tag`.
        """
        pool: Pool = []
        for group in _together(self._documents(sentences, document_starts)):
            pool += self._windows(group, len(pool))
        return pool

    def score(self, pool: Pool) -> Scores:
        """Run the model over a pool."""
        windows = [window for _, own in pool for window in own]
        self._count_long_words(windows)
        scores = [np.full((len(sentence), len(self._labels)), np.nan, np.float32) for sentence, _ in pool]
        with self._running():
            for batch, log_probs in self._batches(windows, self._log_probs):
                at = 0
                for window in batch:
                    own = log_probs[at : at + window.n_owned]
                    scores[window.sentence][window.owned_from : window.owned_to] = own
                    at += window.n_owned
        return scores

    def taggings(self, pool: Pool, scores: Scores) -> list[Tagging]:
        """Decode what `score` returned; the model is not needed for that."""
        decoded = decode(scores, self._transitions, method=cast(Literal["viterbi", "argmax"], self.settings.decode))
        return [
            self._tagging(sentence, log_probs, labels)
            for (sentence, _), log_probs, labels in zip(pool, scores, decoded, strict=True)
        ]

    def _documents(
        self, sentences: Sequence[Sentence], document_starts: Sequence[int] | None
    ) -> Iterable[Sequence[Sentence]]:
        """The sentences as documents: each one on its own where nothing else is said or the tagger looks no further."""
        if document_starts is None or self.settings.context == "sentence":
            return ([sentence] for sentence in sentences)
        borders = zip(document_starts, (*document_starts[1:], len(sentences)), strict=True)
        return (sentences[start:end] for start, end in borders)

    def _pools(self, documents: Iterable[Sequence[Sentence]]) -> Iterator[Pool]:
        """Documents' sentences with their windows, a pool at a time; a document is never divided."""
        pool: Pool = []
        n_subwords = 0
        for group in _together(documents):
            new = self._windows(group, len(pool))
            pool += new
            n_subwords += sum(len(window) for _, windows in new for window in windows)
            if n_subwords >= POOL_BUDGETS * self.budget or len(pool) >= POOL_SENTENCES:
                yield pool
                pool, n_subwords = [], 0
        if pool:
            yield pool

    def _windows(self, documents: Sequence[Sequence[Sentence]], number: int) -> Pool:
        """The windows of each sentence; they carry the sentence's place in the pool, from `number` on."""
        ends: dict[str, Any] = {"prefix": self.encoder.prefix_ids, "suffix": self.encoder.suffix_ids}
        size = self.settings.window
        if self.settings.context == "sentence":
            sentences = [sentence for document in documents for sentence in document]
            encoded = enumerate(self.encoder.encode_many(sentences), start=number)
            return [
                (sentence, windows_of(one, index, size=size, **ends))
                for sentence, (index, one) in zip(sentences, encoded, strict=True)
            ]
        pool: Pool = []
        for document in documents:
            first = number + len(pool)
            encoded_document = self.encoder.encode_document(document)
            if len(document) == 1:
                pool.append((document[0], windows_of(encoded_document[0], first, size=size, **ends)))
                continue
            windows: list[list[Window]] = [[] for _ in document]
            indices = range(first, first + len(document))
            for window in windows_of_document(encoded_document, indices, size=size, **ends):
                windows[window.sentence - first].append(window)
            pool += zip(document, windows, strict=True)
        return pool

    def _tagging(self, sentence: Sentence, log_probs: NDArray[np.float32], labels: NDArray[np.int64]) -> Tagging:
        chosen = log_probs[np.arange(len(labels)), labels]
        if np.isnan(chosen).any():
            word = int(np.isnan(chosen).argmax())
            raise LookRightError(
                f"word {word + 1} ({sentence.words[word]!r}) got no probability: the model's output is not a number; "
                "were the weights damaged in training (a loss that was not a number), or is float16 too narrow for it?"
            )
        probabilities = tuple(np.exp(chosen.astype(np.float64)).tolist())
        tags: tuple[str, ...] = tuple(self._labels[labels].tolist())
        return Tagging(tags, probabilities, spans_of(sentence, tags, probabilities, self.settings.scheme))

    def _count_long_words(self, windows: Sequence[Window]) -> None:
        found = sum(window.n_cut for window in windows)
        if found:
            self.n_long_words += found
            log.warning(
                "%d word%s longer than the window of %d sub-words: tagged from the first part",
                found, " is" if found == 1 else "s are", self.settings.window,
            )  # fmt: skip

    @torch.inference_mode()
    def _log_probs(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """(words that the windows own, labels), in the order of the windows."""
        batch = collate(windows, layout=self.layout, pad_id=self.encoder.pad_id)
        logits = self.model(**self._on_device(batch)).logits
        log_probs: NDArray[np.float32] = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return log_probs


def _together(documents: Iterable[Sequence[Sentence]]) -> Iterator[list[Sequence[Sentence]]]:
    """Documents in groups to encode at once."""
    group: list[Sequence[Sentence]] = []
    n_words = 0
    for document in documents:
        group.append(document)
        n_words += sum(len(sentence) for sentence in document)
        if len(group) >= ENCODED_TOGETHER or n_words >= ENCODED_WORDS:
            yield group
            group, n_words = [], 0
    if group:
        yield group
