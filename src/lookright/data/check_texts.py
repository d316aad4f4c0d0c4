"""The check of labeled texts before a classifier is trained on them: `lookright check FILE...`.

Findings are those of `lookright.data.check`: label balance, repeated texts, texts that two files share, empty ones, and
those that are longer than a model reads at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lookright.data.check import (
    DUPLICATES_WARN_SHARE,
    EXAMPLES,
    CheckItem,
    CheckReport,
    LabelRow,
    Lengths,
    Level,
    TextStats,
    compare_labels,
    counted,
    name_splits,
    overlap_item,
    place_of,
    rare_item,
    shortened,
)
from lookright.data.read_texts import TextColumns, read_texts
from lookright.data.texts import Target, Text, TextDataset, one_line
from lookright.errors import DataError

TextLength = Callable[[Text], int]
UNBALANCED: Final = 50
"""How many times as frequent as the rarest label the most frequent one may be before that is a warning."""


def check_text_files(
    paths: Mapping[str, str | Path] | Sequence[str | Path],
    *,
    encoder: TextLength | None = None,
    window: int | None = None,
    format: str = "auto",
    columns: TextColumns | None = None,
    target: Target | str | None = None,
) -> CheckReport:
    """Read files of labeled texts and look for what would go wrong with them.

    Args:
        paths: split names (train first) to files, or files alone, named as `name_splits` does.
        encoder: gives the number of sub-words of a text under a model's tokenizer.
        window: how many sub-words that model sees at once.
        format, columns, target: as in `read_texts`, for all files.

    Returns:
        the report; a file that cannot be read is an item of level fail in it.
    """
    named = dict(paths) if isinstance(paths, Mapping) else name_splits(paths)
    items: list[CheckItem] = []
    datasets: dict[str, TextDataset] = {}
    for name, path in named.items():
        try:
            datasets[name] = read_texts(path, format=format, columns=columns, target=target)
            target = datasets[name].target  # as in training: a small file must not be read in another way
        except DataError as error:
            items.append(CheckItem(Level.FAIL, "read", f"{name}: {error}"))
    splits: dict[str, TextStats] = {}
    for name, dataset in datasets.items():
        lengths = None if encoder is None else [encoder(text) for text in dataset]
        splits[name] = _stats(dataset, lengths)
        items.append(_summary(name, splits[name], dataset))
        items += _empty_items(name, dataset)
        items += _length_items(name, dataset, lengths, window)
        items += _duplicate_items(name, dataset)
    items += _label_items(datasets)
    items += overlap_items(datasets)
    return CheckReport(splits, _label_rows(datasets), tuple(items))


def _stats(dataset: TextDataset, lengths: Sequence[int] | None) -> TextStats:
    return TextStats(
        path=str(dataset.path),
        target=None if dataset.target is None else dataset.target.value,
        n_texts=len(dataset),
        n_pairs=sum(text.text_pair is not None for text in dataset),
        characters=Lengths.of(sum(map(len, text.parts)) for text in dataset),
        subwords=None if lengths is None else Lengths.of(lengths),
    )


def _summary(name: str, stats: TextStats, dataset: TextDataset) -> CheckItem:
    note = dataset.note("target")
    pairs = f", {stats.n_pairs} of them pairs" if stats.n_pairs else ""
    subwords = "" if stats.subwords is None else f"; sub-words: {stats.subwords}"
    message = f"{name}: {counted(stats.n_texts, 'text')}{pairs}; characters: {stats.characters}{subwords}"
    return CheckItem(Level.GOOD, "counts", message + (f"; {note.message}" if note else ""))


def _empty_items(name: str, dataset: TextDataset) -> list[CheckItem]:
    found = [place_of(text) for text in dataset if text.is_empty]
    return [CheckItem(Level.WARN, "empty", f"{name}: {counted(len(found), 'empty text')}", tuple(found))] * bool(found)


def _length_items(
    name: str, dataset: TextDataset, lengths: Sequence[int] | None, window: int | None
) -> list[CheckItem]:
    if lengths is None or window is None:
        return []
    pairs = zip(dataset, lengths, strict=True)
    over = [f"{place_of(text)}: {length} sub-words" for text, length in pairs if length > window]
    if not over:
        return [CheckItem(Level.GOOD, "long-subwords", f"{name}: every text fits {window} sub-words")]
    message = f"{name}: {counted(len(over), 'text')} of more than {window} sub-words, to be pooled over several windows"
    return [CheckItem(Level.WARN, "long-subwords", message, tuple(over))]


def _preview(text: Text) -> str:
    return repr(shortened(text.text, 60))


def _duplicate_items(name: str, dataset: TextDataset) -> list[CheckItem]:
    first: dict[tuple[str, ...], Text] = {}
    again: list[str] = []
    contradictions: list[str] = []
    for text in dataset:
        earlier = first.setdefault(text.parts, text)
        if earlier is text:
            continue
        place = f"{place_of(text)}: {_preview(text)} (first in line {earlier.line})"
        again.append(place)
        if (set(earlier.labels or ()), earlier.value) != (set(text.labels or ()), text.value):
            contradictions.append(place)
    share = len(again) / max(len(dataset), 1)
    level = Level.WARN if share > DUPLICATES_WARN_SHARE else Level.GOOD
    details = tuple(again) if level is Level.WARN else ()
    items = [CheckItem(level, "duplicates", f"{name}: {counted(len(again), 'repeated text')} ({share:.1%})", details)]
    if contradictions:
        message = f"{name}: {counted(len(contradictions), 'text')} that repeat an earlier one with other gold"
        items.append(CheckItem(Level.WARN, "contradictions", message, tuple(contradictions)))
    return items


def _label_items(datasets: Mapping[str, TextDataset]) -> list[CheckItem]:
    """Across files: targets that differ, labels in one file only, rare ones; the first file is the one trained on."""
    if not datasets:
        return []
    targets = {name: dataset.target for name, dataset in datasets.items()}
    if len(set(targets.values())) > 1:
        found = ", ".join(f"{name} {target}" for name, target in targets.items())
        return [CheckItem(Level.FAIL, "targets", f"the files have different targets: {found} (--target decides)")]
    first, *others = datasets
    if targets[first] is Target.REGRESSION:
        numbers = {text.value for text in datasets[first]}
        if len(numbers) < 2:
            return [CheckItem(Level.FAIL, "labels", f"{first}: every text has the same number")]
        low, high = (extreme(value for value in numbers if value is not None) for extreme in (min, max))
        return [CheckItem(Level.GOOD, "labels", f"{first}: numbers from {low:g} to {high:g}")]
    train = _shown_counts(datasets[first])
    least = 2 if targets[first] is Target.SINGLE else 1
    if len(train) < least:
        message = f"{first}: {counted(len(train), 'label')} ({', '.join(train) or 'none'}), expected {least} at least"
        return [CheckItem(Level.FAIL, "labels", message)]
    items: list[CheckItem] = []
    for name in others:
        items += compare_labels(first, train, name, _shown_counts(datasets[name]))
    items.append(rare_item(first, train))
    (most, n_most), (rarest, n_rarest) = train.most_common()[0], train.most_common()[-1]
    level = Level.WARN if n_most > UNBALANCED * n_rarest else Level.GOOD
    message = f"{first}: {counted(len(train), 'label')}, from {rarest} ({n_rarest}) to {most} ({n_most})"
    items.append(CheckItem(level, "balance", message))
    return items


def _shown_counts(dataset: TextDataset) -> Counter[str]:
    """How many texts have each label, by the label's name as it is shown."""
    return Counter({one_line(label): count for label, count in dataset.label_counts().items()})


def overlap_items(datasets: Mapping[str, TextDataset]) -> list[CheckItem]:
    """Items for the texts that a file shares with an earlier one: one for each pair of files."""
    items = []
    names = list(datasets)
    for index, name in enumerate(names):
        for earlier in names[:index]:
            known = {text.parts for text in datasets[earlier]}
            found = [f"{place_of(text)}: {_preview(text)}" for text in datasets[name] if text.parts in known]
            items.append(overlap_item(name, earlier, found, len(datasets[name]), "text"))
    return items


def _label_rows(datasets: Mapping[str, TextDataset]) -> tuple[LabelRow, ...]:
    counts = {name: _shown_counts(dataset) for name, dataset in datasets.items()}
    examples: dict[str, list[str]] = {}
    for dataset in datasets.values():
        for text in dataset:
            for label in text.labels or ():
                shown = examples.setdefault(one_line(label), [])
                if len(shown) < EXAMPLES:
                    shown.append(shortened(one_line(text.text[:60]), 30))
    total: Counter[str] = sum(counts.values(), Counter())
    return tuple(
        LabelRow(label, {name: own[label] for name, own in counts.items()}, tuple(examples[label]))
        for label, _ in sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
    )
