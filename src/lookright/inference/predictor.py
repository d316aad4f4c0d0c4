"""Sentences in, tags and spans out: windows, batches by length, the model, decoding, and all of it put back in order.

    sentence -> sub-words -> windows -> batches within a token budget -> log-probabilities of each word
             -> stitched per sentence -> tags that the scheme allows -> spans with characters and scores

Every word gets one tag, from the one window that owns it. Sentences run through in pools, so that the memory in use
does not grow with their number.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lookright.attention import can_pack
from lookright.data import Sentence
from lookright.encoding import SubwordEncoder, Window, collate, token_budget, windows_of, windows_of_document
from lookright.errors import LookRightError
from lookright.inference.device import is_out_of_memory, resolve_device
from lookright.inference.viterbi import decode
from lookright.models.settings import TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.tags import OUTSIDE, Scheme, to_spans, transitions

POOL_BUDGETS: Final = 16
"""Batches' worth of sub-words that are sorted by length together: enough for batches of nearly equal lengths."""
POOL_SENTENCES: Final = 10_000
"""Most sentences of a pool; empty ones have no sub-words, and must not pile up."""

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


def default_token_budget(device: torch.device) -> int:
    """Sub-words of a batch: what keeps the device busy and fits into a small one's memory."""
    return 2_048 if device.type == "cpu" else 16_384


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


class Predictor:
    """Runs a tagger's model over sentences. Threads may share it while its model is in evaluation mode.

    Attributes:
        budget: most sub-words of a batch; halved for good when memory runs out.
        n_long_words: words so far that were longer than a window, and tagged from their first part.

    Args:
        model: moved to the device.
        tokenizer: its tokenizer.
        settings: the model's own, where none are given.
        device: `auto`, `cpu`, `cuda`, `mps`, or a torch device.
        token_budget: most sub-words of a batch; by default what suits the device.
        layout: `packed` rows where the model can, or `padded` ones; by default packed where possible.
    """

    def __init__(
        self,
        model: LookRightForTokenClassification,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaggerSettings | None = None,
        *,
        device: str | torch.device = "auto",
        token_budget: int | None = None,
        layout: Literal["packed", "padded"] | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.model = model if _is_quantized(model) else model.to(self.device)
        self.settings = model.settings if settings is None else settings
        self.encoder = SubwordEncoder(tokenizer)
        self.budget = default_token_budget(self.device) if token_budget is None else token_budget
        packs = not model.is_encoder and can_pack(model.backbone)
        self.layout: Literal["packed", "padded"] = layout or ("packed" if packs else "padded")
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
        if document_starts is None or self.settings.context == "sentence":
            documents: Iterable[Sequence[Sentence]] = ([sentence] for sentence in sentences)
        else:
            ends = (*document_starts[1:], len(sentences))
            borders = zip(document_starts, ends, strict=True)
            documents = (sentences[start:end] for start, end in borders)
        taggings: list[Tagging] = []
        with _progress_bar(len(sentences), shown=progress) as advance:
            for pool in self._pools(documents):
                taggings += self._tag_pool(pool)
                advance(len(taggings))
        return taggings

    def tag_iter(self, sentences: Iterable[Sentence]) -> Iterator[Tagging]:
        """Tag a stream of sentences, each on its own, in bounded memory; results come in the same order."""
        return self.tag_documents([sentence] for sentence in sentences)

    def tag_documents(self, documents: Iterable[Sequence[Sentence]]) -> Iterator[Tagging]:
        """Tag a stream of documents, in bounded memory; one result for each sentence, in the same order."""
        for pool in self._pools(documents):
            yield from self._tag_pool(pool)

    # -------------------------------------------------------------------------------------------------- one pool

    def _pools(self, documents: Iterable[Sequence[Sentence]]) -> Iterator[list[tuple[Sentence, list[Window]]]]:
        """Documents' sentences with their windows, a pool at a time; a document is never divided."""
        pool: list[tuple[Sentence, list[Window]]] = []
        n_subwords = 0
        for document in documents:
            for sentence, windows in self._windows(document, len(pool)):
                pool.append((sentence, windows))
                n_subwords += sum(len(window) for window in windows)
            if n_subwords >= POOL_BUDGETS * self.budget or len(pool) >= POOL_SENTENCES:
                yield pool
                pool, n_subwords = [], 0
        if pool:
            yield pool

    def _windows(self, document: Sequence[Sentence], number: int) -> Iterator[tuple[Sentence, list[Window]]]:
        """The windows of each sentence; they carry the sentence's place in the pool, from `number` on."""
        ends: dict[str, Any] = {"prefix": self.encoder.prefix_ids, "suffix": self.encoder.suffix_ids}
        size = self.settings.window
        if self.settings.context == "sentence" or len(document) == 1:
            for index, sentence in enumerate(document, start=number):
                yield sentence, windows_of(self.encoder.encode(sentence), index, size=size, **ends)
            return
        indices = range(number, number + len(document))
        windows: dict[int, list[Window]] = {index: [] for index in indices}
        for window in windows_of_document(self.encoder.encode_document(document), indices, size=size, **ends):
            windows[window.sentence].append(window)
        yield from zip(document, windows.values(), strict=True)

    def _tag_pool(self, pool: Sequence[tuple[Sentence, Sequence[Window]]]) -> list[Tagging]:
        windows = [window for _, own in pool for window in own]
        self._count_long_words(windows)
        scores = [np.full((len(sentence), len(self._labels)), np.nan, np.float32) for sentence, _ in pool]
        with _evaluating(self.model):
            if windows:
                self._score(windows, scores)
        decoded = decode(scores, self._transitions, method=cast(Literal["viterbi", "argmax"], self.settings.decode))
        return [
            self._tagging(sentence, log_probs, labels)
            for (sentence, _), log_probs, labels in zip(pool, scores, decoded, strict=True)
        ]

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

    # ------------------------------------------------------------------------------------------------- one batch

    def _score(self, windows: Sequence[Window], scores: Sequence[NDArray[np.float32]]) -> None:
        """Fill in the log-probabilities of the words that these windows own; in smaller batches if memory runs out."""
        groups = token_budget([len(window) for window in windows], self.budget, layout=self.layout)
        if len(groups) > 1:
            for group in groups:
                self._score([windows[index] for index in group], scores)
            return
        try:
            log_probs = self._log_probs(windows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(windows) == 1:
                instead = "train with a smaller window" if self.device.type == "cpu" else "run with device='cpu'"
                raise LookRightError(
                    f"out of memory with a single window of {len(windows[0])} sub-words on {self.device}: {instead}"
                ) from error
            log_probs = None
        if log_probs is None:  # outside the handler, whose traceback keeps the tensors of the failed attempt alive
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.budget = sum(len(window) for window in windows) // 2
            log.warning("out of memory on %s: going on with batches of %d sub-words", self.device, self.budget)
            self._score(windows, scores)
            return
        at = 0
        for window in windows:
            scores[window.sentence][window.owned_from : window.owned_to] = log_probs[at : at + window.n_owned]
            at += window.n_owned

    @torch.inference_mode()
    def _log_probs(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """(words that the windows own, labels), in the order of the windows."""
        batch = collate(windows, layout=self.layout, pad_id=self.encoder.pad_id)
        inputs = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        logits = self.model(**inputs).logits
        log_probs: NDArray[np.float32] = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return log_probs


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module's flag is what it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Any]:
    """A function that takes how many sentences are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("tagging", total=total)
        yield lambda done: bar.update(task, completed=done)


def _is_quantized(model: Any) -> bool:
    """Whether the weights are quantised: such a model is where it was loaded, and cannot be moved."""
    return getattr(model.backbone, "quantization_method", None) is not None
