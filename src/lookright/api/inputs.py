"""What users hand in, as values of the data room. Nothing is guessed: strings are texts, words are said to be words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lookright.data import Dataset, Document, Sentence, WordSplitter, parse_columns, read_dataset
from lookright.errors import DataError
from lookright.tags import Scheme, detect_scheme
from lookright.training.recipe import Recipe

Labeled = Dataset | str | os.PathLike[str] | Iterable[Sentence | tuple[Sequence[str], Sequence[str]]]
"""Labeled data: a data set, the path of a file, or sentences with tags (or pairs of words and tags)."""


def as_dataset(data: Labeled, *, scheme: Scheme | str | None = None, **options: Any) -> Dataset:
    """Labeled data as a data set.

    Args:
        data: a data set as it is, a path that `read_dataset` reads, or sentences.
        scheme: the tagging scheme; detected where none is given.
        options: of `read_dataset`.

    Raises:
        DataError: what is no labeled data.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        return read_dataset(Path(data), scheme="auto" if scheme is None else str(scheme), **options)
    sentences = tuple(_labeled(item, index) for index, item in enumerate(data))
    found = Scheme.parse(scheme) if isinstance(scheme, str) else scheme
    if found is None:
        found = detect_scheme(sentence.tags or () for sentence in sentences).scheme
    return Dataset(sentences, scheme=found)


def reading_options(recipe: Recipe, splitter: WordSplitter | None = None) -> dict[str, Any]:
    """What a recipe says about reading files, as keywords of `as_dataset`."""
    return {
        "format": recipe.format,
        "columns": None if recipe.columns is None else parse_columns(recipe.columns),
        "scheme": recipe.scheme,
        "repair": recipe.repair,
        "unaligned": recipe.unaligned,
        "splitter": splitter or WordSplitter("whitespace" if recipe.word_split == "whitespace" else "default"),
    }


def _labeled(item: Any, index: int) -> Sentence:
    if isinstance(item, Sentence):
        sentence = item
    elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
        words, tags = item
        sentence = Sentence(tuple(words), tags=tuple(tags))
    else:
        raise DataError(
            f"labeled sentence {index} is a {type(item).__name__}; expected a Sentence or a pair (words, tags)"
        )
    if sentence.tags is None:
        raise DataError(f"labeled sentence {index} has no tags", path=sentence.path, line=sentence.line)
    return sentence


def as_sentences(inputs: Any, words: Any, splitter: WordSplitter) -> tuple[list[Sentence], list[int] | None, bool]:
    """What `Tagger.predict` was given.

    Args:
        inputs: a text, texts, a `Sentence`, sentences, a `Document` or a `Dataset`; None where `words` is given.
        words: the words of one sentence, or of several.
        splitter: cuts texts into words.

    Returns:
        The sentences, the indices of those that begin a document (None: each one does, as texts do; a list of
        sentences is one document, as it is for `evaluate`), and whether one item was given rather than a list.

    Raises:
        DataError: neither or both given, or something else.
    """
    if (inputs is None) == (words is None):
        raise DataError("give either texts or sentences, or words=[[...], ...]")
    if words is not None:
        return _from_words(words)
    if isinstance(inputs, str):
        return [splitter.sentence(inputs)], None, True
    if isinstance(inputs, Sentence):
        return [inputs], None, True
    if isinstance(inputs, Document):
        return list(inputs), [0], False
    if isinstance(inputs, Dataset):
        return list(inputs), list(inputs.document_starts or ()), False
    if not isinstance(inputs, Iterable) or isinstance(inputs, bytes | dict):
        raise DataError(f"got {type(inputs).__name__}; expected a text, texts, a Sentence, or words=[[...], ...]")
    items = list(inputs)
    if all(isinstance(item, str) for item in items):
        return [splitter.sentence(item) for item in items], None, False
    if all(isinstance(item, Sentence) for item in items):
        return items, [0], False
    strange = [item for item in items if not isinstance(item, str | Sentence)]
    if not strange:
        raise DataError("the list holds texts and Sentences; expected one kind only")
    odd = strange[0]
    hint = "; a list of lists of words is words=[[...], ...]" if _is_list(odd) else ""
    raise DataError(f"the list holds a {type(odd).__name__}; expected texts, or Sentences{hint}")


def _from_words(words: Any) -> tuple[list[Sentence], list[int] | None, bool]:
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise DataError(f"words is a {type(words).__name__}; expected the words of each sentence: words=[['Hi', '!']]")
    items = list(words)
    if items and all(isinstance(item, str) for item in items):
        return [Sentence(tuple(items))], None, True
    for index, item in enumerate(items):
        if not _is_list(item):
            raise DataError(f"words[{index}] is a {type(item).__name__}; expected a list of words")
    return [Sentence(tuple(item)) for item in items], [0] if items else None, False


def _is_list(item: Any) -> bool:
    return isinstance(item, Sequence) and not isinstance(item, str | bytes)
