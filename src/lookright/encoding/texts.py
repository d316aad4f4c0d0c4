"""Whole texts as sub-words: pairs joined, long ones in windows, windows as the arguments of a text classifier.

A text is cut into windows as a long sentence is, with each sub-word in the place of a word: windows overlap, and each
sub-word is *owned* by the window that shows most around it. A text's vector is pooled from owned sub-words only, so
that every sub-word of the text counts, and counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lookright.data.texts import Text
from lookright.encoding.batches import Layout, collate
from lookright.encoding.subwords import Encoded, Ids, SubwordEncoder
from lookright.encoding.windows import Window, windows_of

LINE_BREAK = "\n"


class TextEncoder:
    """Turns texts into windows of sub-words with one tokenizer. A pure function after it is made; threads may share it.

    Attributes:
        encoder: turns running text into sub-words.
        between: what stands between the two texts of a pair: what the tokenizer itself puts there; where it puts
            nothing, the sub-words of a line break.

    Args:
        tokenizer: a fast tokenizer of `transformers`. It is only read.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.encoder = SubwordEncoder(tokenizer)
        between = _between(tokenizer)
        if not between:
            between = tuple(self.encoder.encode_texts([LINE_BREAK], continues=True)[0].tolist())
        self.between = np.array(between, np.int32)

    @property
    def pad_id(self) -> int:
        """Id that fills up rows."""
        return self.encoder.pad_id

    @property
    def ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before every text and after it."""
        return tuple(map(int, self.encoder.prefix_ids)), tuple(map(int, self.encoder.suffix_ids))

    def ids(self, texts: Sequence[Text]) -> list[Ids]:
        """The sub-words of texts, without the special tokens around them."""
        firsts = self.encoder.encode_texts([text.text for text in texts])
        seconds = iter(self.encoder.encode_texts([text.text_pair for text in texts if text.text_pair is not None]))
        return [
            first if text.text_pair is None else np.concatenate((first, self.between, next(seconds)))
            for text, first in zip(texts, firsts, strict=True)
        ]

    def windows(self, texts: Sequence[Text], size: int, first: int = 0) -> list[list[Window]]:
        """The windows of each text, at least one.

        Args:
            texts: in order.
            size: longest window in tokens, special tokens included.
            first: number of the first text, kept in the windows.
        """
        ends: dict[str, Any] = {"prefix": self.encoder.prefix_ids, "suffix": self.encoder.suffix_ids}
        found = []
        for number, ids in enumerate(self.ids(texts), start=first):
            every = np.arange(len(ids), dtype=np.int32)
            found.append(windows_of(Encoded(ids, every, every), number, size=size, **ends))
        return found

    def length(self, text: Text) -> int:
        """Sub-words of a text, with the special tokens around it."""
        return len(self.ids([text])[0]) + len(self.encoder.prefix_ids) + len(self.encoder.suffix_ids)


def _between(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens that a tokenizer's own template puts between two texts."""
    encoding = tokenizer.backend_tokenizer.encode("a", "a", add_special_tokens=True)
    ids, special, sequence = encoding.ids, encoding.special_tokens_mask, encoding.sequence_ids
    firsts = [at for at, (mark, number) in enumerate(zip(special, sequence, strict=True)) if not mark and number == 0]
    seconds = [at for at, (mark, number) in enumerate(zip(special, sequence, strict=True)) if not mark and number == 1]
    if not firsts or not seconds:
        return ()
    return tuple(ids[firsts[-1] + 1 : seconds[0]])


def collate_texts(
    windows: Sequence[Window],
    *,
    layout: Layout,
    pad_id: int,
    text_of: Sequence[int] | None = None,
    labels: NDArray[Any] | None = None,
    pad_side: Literal["right", "left"] = "right",
) -> dict[str, Any]:
    """The arguments of a text classifier's forward for some windows, in the order given.

    Args:
        windows: at least one.
        layout, pad_id, pad_side: as for `collate`.
        text_of: the text of each window, ascending from 0; without it each window is a text.
        labels: the gold of each text, as the model's forward takes it.

    Returns:
        input_ids, attention_mask, lengths: as `collate` returns them.
        tokens: int64 (n_tokens,), flat positions of the owned sub-words.
        window_of: int64 (n_tokens,), the window of each of them.
        last: int64 (n_windows,), flat position of each window's last token.
        text_of, n_texts, labels: as given, as tensors and their number.
    """
    batch = collate(windows, layout=layout, pad_id=pad_id, pad_side=pad_side)
    owned = np.array([window.n_owned for window in windows])
    sizes = np.array([len(window) for window in windows], np.int64)
    # Where a window's first owned sub-word lies in the rows, less where it lies in the window.
    begins = batch["word_first"].numpy()[np.cumsum(owned) - owned] - [window.owned_first[0] for window in windows]
    del batch["word_last"]
    batch["tokens"] = batch.pop("word_first")
    batch["window_of"] = torch.from_numpy(np.repeat(np.arange(len(windows)), owned))
    batch["last"] = torch.from_numpy(begins + sizes - 1)
    if text_of is not None:
        batch["text_of"] = torch.tensor(text_of, dtype=torch.long)
        batch["n_texts"] = text_of[-1] + 1
    if labels is not None:
        batch["labels"] = torch.from_numpy(labels)
    return batch
