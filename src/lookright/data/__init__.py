"""Labeled data: sentences, documents and data sets, one reader and writer per format, and the check of a data set."""

from lookright.data.alignment import lost_spans
from lookright.data.check import CheckItem, CheckReport, Level, check_files, name_splits
from lookright.data.check_texts import check_text_files
from lookright.data.collect import Read
from lookright.data.conll import iter_conll, parse_columns, read_conll, write_conll
from lookright.data.hub import read_hub
from lookright.data.jsonl import iter_tokens_jsonl, read_tokens_jsonl, write_jsonl
from lookright.data.read import iter_input, read_dataset, read_jsonl
from lookright.data.read_texts import TextColumns, iter_texts, read_texts, task_in
from lookright.data.samples import sample
from lookright.data.sentence import CharSpan, Dataset, Document, Note, Place, Sentence
from lookright.data.spans import iter_spans_jsonl, read_spans_jsonl, write_spans_jsonl
from lookright.data.split import hold_out, hold_out_texts, trained_part
from lookright.data.texts import Target, Text, TextDataset
from lookright.data.words import WordSplitter

__all__ = [
    "CharSpan",
    "CheckItem",
    "CheckReport",
    "Dataset",
    "Document",
    "Level",
    "Note",
    "Place",
    "Read",
    "Sentence",
    "Target",
    "Text",
    "TextColumns",
    "TextDataset",
    "WordSplitter",
    "check_files",
    "check_text_files",
    "hold_out",
    "hold_out_texts",
    "iter_conll",
    "iter_input",
    "iter_spans_jsonl",
    "iter_texts",
    "iter_tokens_jsonl",
    "lost_spans",
    "name_splits",
    "parse_columns",
    "read_conll",
    "read_dataset",
    "read_hub",
    "read_jsonl",
    "read_spans_jsonl",
    "read_texts",
    "read_tokens_jsonl",
    "sample",
    "task_in",
    "trained_part",
    "write_conll",
    "write_jsonl",
    "write_spans_jsonl",
]
