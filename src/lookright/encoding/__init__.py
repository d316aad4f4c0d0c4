"""Words to sub-words, windows over long text, batches. Imports torch."""

from lookright.encoding.batches import IGNORED, collate, fill_lengths, filling, token_budget
from lookright.encoding.joins import detokenize, join, running_texts, splits_inner_marks, true_gaps
from lookright.encoding.subwords import Encoded, SubwordEncoder
from lookright.encoding.texts import TextEncoder, collate_texts
from lookright.encoding.windows import Window, windows_of, windows_of_document

__all__ = [
    "IGNORED",
    "Encoded",
    "SubwordEncoder",
    "TextEncoder",
    "Window",
    "collate",
    "collate_texts",
    "detokenize",
    "fill_lengths",
    "filling",
    "join",
    "running_texts",
    "splits_inner_marks",
    "token_budget",
    "true_gaps",
    "windows_of",
    "windows_of_document",
]
