"""Labeled data: sentences, documents and data sets, one reader and writer per format, and the check of a data set."""

from lookright.data.conll import iter_conll, read_conll, write_conll
from lookright.data.sentence import CharSpan, Dataset, Document, Note, Place, Sentence
from lookright.data.words import WordSplitter

__all__ = [
    "CharSpan",
    "Dataset",
    "Document",
    "Note",
    "Place",
    "Sentence",
    "WordSplitter",
    "iter_conll",
    "read_conll",
    "write_conll",
]
