"""The check of labeled files before anything is trained on them: `lookright check FILE...`.

Every finding is an item with a level: good, warn (worth a look) or fail (training or scoring would go wrong or stop).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from lookright.data.conll import Columns
from lookright.data.read import read_dataset
from lookright.data.sentence import Dataset, Note, Sentence
from lookright.data.texts import Text
from lookright.data.words import WordSplitter
from lookright.errors import DataError, SchemeError
from lookright.tags import OUTSIDE, Scheme, to_spans

RARE_LABEL: Final = 10
"""A label with fewer spans (or words) in train is called rare."""
LONG_SENTENCE_WORDS: Final = 256
"""A longer sentence is named: often a missing sentence border."""
LONG_WORD_CHARACTERS: Final = 200
"""A longer word is named: often a missing space or a whole text."""
DUPLICATES_WARN_SHARE: Final = 0.05
"""Share of a file's sentences that repeat an earlier one, above which that is a warning."""
OVERLAP_WARN_SHARE: Final = 0.01
"""Share of a later split's sentences that train (or the split before) has too, above which that is a warning."""
OVERLAP_FAIL_SHARE: Final = 0.25
"""The same, above which scores on that split mean little."""
SHOWN_DETAILS: Final = 5
"""Details shown per item on the terminal; `to_dict` has them all."""
EXAMPLES: Final = 3
"""Examples shown per label."""

SubwordLength = Callable[[Sentence], int]


class Level(StrEnum):
    """How serious an item is."""

    GOOD = "good"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One finding: its level, a short stable key, one line for people, and the cases."""

    level: Level
    kind: str
    message: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label: how many spans (plain tags: words) it has in each split, and frequent examples of them."""

    label: str
    counts: Mapping[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Median, 95th percentile and maximum of some length."""

    median: int
    p95: int
    longest: int

    @classmethod
    def of(cls, values: Iterable[int]) -> Lengths:
        """Of any numbers; zeros when there are none."""
        ordered = sorted(values) or [0]
        last = len(ordered) - 1
        return cls(ordered[last // 2], ordered[round(last * 0.95)], ordered[last])

    def __str__(self) -> str:
        return f"median {self.median}, 95 % up to {self.p95}, longest {self.longest}"


@dataclass(frozen=True, slots=True)
class SplitStats:
    """What was counted in one file."""

    path: str
    scheme: str | None
    n_documents: int
    n_sentences: int
    n_words: int
    n_spans: int
    words: Lengths
    subwords: Lengths | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {key: _plain(getattr(self, key)) for key in SplitStats.__slots__}


def _plain(value: Any) -> Any:
    """A statistic in JSON types."""
    return {part: getattr(value, part) for part in Lengths.__slots__} if isinstance(value, Lengths) else value


@dataclass(frozen=True, slots=True)
class TextStats:
    """What was counted in one file of texts."""

    path: str
    target: str | None
    n_texts: int
    n_pairs: int
    characters: Lengths
    subwords: Lengths | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {key: _plain(getattr(self, key)) for key in TextStats.__slots__}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings; `lines()` for the terminal, `to_dict()` for `--json`."""

    splits: Mapping[str, SplitStats | TextStats]
    labels: tuple[LabelRow, ...]
    items: tuple[CheckItem, ...]

    @property
    def exit_code(self) -> int:
        """1 when anything failed, else 0."""
        return int(any(item.level is Level.FAIL for item in self.items))

    def count(self, level: Level) -> int:
        """How many items have this level."""
        return sum(item.level is level for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, with every detail."""
        return {
            "splits": {name: stats.to_dict() for name, stats in self.splits.items()},
            "labels": [{"label": r.label, "counts": dict(r.counts), "examples": list(r.examples)} for r in self.labels],
            "items": [
                {"level": i.level.value, "kind": i.kind, "message": i.message, "details": list(i.details)}
                for i in self.items
            ],
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """Plain text, one line each: the label table, then the items with some of their details, then a summary."""
        lines = self._label_lines()
        for item in self.items:
            lines.append(f"{item.level.value:4}  {item.message}")
            lines.extend(f"        {detail}" for detail in item.details[:SHOWN_DETAILS])
            if len(item.details) > SHOWN_DETAILS:
                lines.append(f"        and {len(item.details) - SHOWN_DETAILS} more (--json lists all)")
        good, warn, fail = (self.count(level) for level in Level)
        lines.append(f"{good} good, {warn} warn, {fail} fail")
        return lines

    def _label_lines(self) -> list[str]:
        if not self.labels:
            return []
        width = max(len("label"), *(len(row.label) for row in self.labels))
        columns = {name: max(len(name), 6) for name in self.splits}
        header = "  ".join(f"{name:>{columns[name]}}" for name in columns)
        lines = [f"{'label':{width}}  {header}  examples"]
        for row in self.labels:
            counts = "  ".join(f"{row.counts.get(name, 0):>{columns[name]}}" for name in columns)
            lines.append(f"{row.label:{width}}  {counts}  {'; '.join(row.examples)}".rstrip())
        return [*lines, ""]


@dataclass(slots=True)
class _Labels:
    """Spans (plain tags: words) of one file: counts and surface strings by label."""

    counts: Counter[str] = field(default_factory=Counter)
    surfaces: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def name_splits(paths: Sequence[str | Path]) -> dict[str, str | Path]:
    """Name files by the role that their names tell (train, dev, test), or else by the names themselves."""
    named: dict[str, str | Path] = {}
    for path in paths:
        name = Path(path).name or str(path)
        lower = name.lower()
        roles = {"train": ("train",), "dev": ("dev", "valid", "testa"), "test": ("test",)}
        role = next((role for role, marks in roles.items() if any(mark in lower for mark in marks)), name)
        role = role if role not in named else str(path)
        while role in named:
            role += "'"
        named[role] = path
    order = {"train": 0, "dev": 1, "test": 2}
    return dict(sorted(named.items(), key=lambda pair: order.get(pair[0], 3)))


def check_files(
    paths: Mapping[str, str | Path] | Sequence[str | Path],
    *,
    encoder: SubwordLength | None = None,
    window: int | None = None,
    format: str = "auto",
    columns: Columns | None = None,
    scheme: Scheme | str = "auto",
    repair: bool = False,
    unaligned: str = "error",
    splitter: WordSplitter | None = None,
    offset_unit: str = "auto",
) -> CheckReport:
    """Read files and look for what would go wrong with them.

    Args:
        paths: split names (train first) to files, or files alone, named as `name_splits` does.
        encoder: gives the number of sub-words of a sentence under a model's tokenizer.
        window: how many sub-words that model sees at once.
        format: for all files, as in `read_dataset`, as are the other options.
        columns: see `read_dataset`.
        scheme: see `read_dataset`.
        repair: with it, ill-formed tags are a warning and no failure.
        unaligned: "snap" and "drop" make gold spans off word borders a warning and no failure.
        splitter: see `read_dataset`.
        offset_unit: see `read_dataset`.

    Returns:
        the report; a file that cannot be read is an item of level fail in it.
    """
    named = dict(paths) if isinstance(paths, Mapping) else name_splits(paths)
    items: list[CheckItem] = []
    datasets: dict[str, Dataset] = {}
    for name, path in named.items():
        try:
            datasets[name] = read_dataset(
                path,
                format=format,
                columns=columns,
                scheme=scheme,
                repair=repair,
                splitter=splitter,
                # "error" would stop at the count; the check wants the list.
                unaligned="drop" if unaligned == "error" else unaligned,
                offset_unit=offset_unit,
            )
        except DataError as error:
            items.append(CheckItem(Level.FAIL, "read", f"{name}: {error}"))
    labels = {name: _labels(dataset) for name, dataset in datasets.items()}
    splits: dict[str, SplitStats] = {}
    for name, dataset in datasets.items():
        lengths = None if encoder is None else [encoder(sentence) for sentence in dataset]
        splits[name] = _stats(dataset, labels[name], lengths)
        items.append(_summary(name, splits[name], dataset))
        items.extend(_note_items(name, dataset, strict_tags=not repair, strict_spans=unaligned == "error"))
        items.extend(_length_items(name, dataset, lengths, window))
        items.extend(_duplicate_items(name, dataset))
    items.extend(_label_items(datasets, labels))
    items.extend(overlap_items(datasets))
    return CheckReport(splits, _label_rows(labels), tuple(items))


def _labels(dataset: Dataset) -> _Labels:
    found = _Labels()
    for sentence in dataset:
        tags = sentence.tags or ()
        if dataset.scheme is Scheme.PLAIN:
            for word, tag in zip(sentence.words, tags, strict=False):
                found.counts[tag] += 1
                found.surfaces[tag][word] += 1
            continue
        try:
            # Lenient: ill-formed tags are listed on their own, and must not hide the rest.
            spans = to_spans(tags, dataset.scheme or Scheme.IOB2, lenient=True)
        except SchemeError:
            continue
        for span in spans:
            found.counts[span.type] += 1
            found.surfaces[span.type][" ".join(sentence.words[span.start : span.end])] += 1
    return found


def _label_rows(labels: Mapping[str, _Labels]) -> tuple[LabelRow, ...]:
    total: Counter[str] = Counter()
    for found in labels.values():
        total.update(found.counts)
    rows = []
    for label, _ in sorted(total.items(), key=lambda pair: (-pair[1], pair[0])):
        surfaces: Counter[str] = Counter()
        for found in labels.values():
            surfaces.update(found.surfaces.get(label, {}))
        common = sorted(surfaces.items(), key=lambda pair: (-pair[1], pair[0]))[:EXAMPLES]
        counts = {name: found.counts.get(label, 0) for name, found in labels.items()}
        rows.append(LabelRow(label, counts, tuple(shortened(text, 30) for text, _ in common)))
    return tuple(rows)


def _stats(dataset: Dataset, labels: _Labels, lengths: Sequence[int] | None) -> SplitStats:
    return SplitStats(
        path=str(dataset.path),
        scheme=None if dataset.scheme is None else dataset.scheme.value,
        n_documents=len(dataset.document_starts or ()),
        n_sentences=len(dataset),
        n_words=dataset.n_words,
        n_spans=0 if dataset.scheme is Scheme.PLAIN else labels.counts.total(),
        words=Lengths.of(len(sentence) for sentence in dataset),
        subwords=None if lengths is None else Lengths.of(lengths),
    )


def _summary(name: str, stats: SplitStats, dataset: Dataset) -> CheckItem:
    note = dataset.note("scheme")
    scheme = "no tags" if note is None else note.message
    spans = "" if stats.scheme == Scheme.PLAIN.value else f", {counted(stats.n_spans, 'span')}"
    subwords = "" if stats.subwords is None else f"; sub-words per sentence: {stats.subwords}"
    parts = ((stats.n_sentences, "sentence"), (stats.n_documents, "document"), (stats.n_words, "word"))
    size = "{} in {}, {}".format(*(counted(count, noun) for count, noun in parts))
    message = f"{name}: {size}{spans}; words per sentence: {stats.words}{subwords}; {scheme}"
    return CheckItem(Level.GOOD if dataset.tagged else Level.FAIL, "counts", message)


def _note_items(name: str, dataset: Dataset, *, strict_tags: bool, strict_spans: bool) -> list[CheckItem]:
    """Items for what the reader noted, and good ones where it had nothing to note."""
    items = []
    for note in dataset.notes:
        if note.kind in ("scheme", "columns"):
            continue
        strict = (note.kind == "ill-formed" and strict_tags) or (note.kind == "unaligned" and strict_spans)
        level = Level.FAIL if strict else Level.WARN
        items.append(CheckItem(level, note.kind, f"{name}: {_headline(note, strict)}", tuple(map(str, note.places))))
    if dataset.tagged and dataset.note("ill-formed") is None:
        items.append(CheckItem(Level.GOOD, "ill-formed", f"{name}: every tag is well-formed"))
    if any(sentence.char_spans for sentence in dataset) and dataset.note("unaligned") is None:
        items.append(CheckItem(Level.GOOD, "unaligned", f"{name}: every gold span lies on word borders"))
    return items


def _headline(note: Note, strict: bool) -> str:
    if note.kind == "ill-formed" and strict:
        return f"{counted(note.count, 'ill-formed tag')} (repair them in the file, or ask for it: --repair)"
    if note.kind == "unaligned" and strict:
        return f"{counted(note.count, 'gold span')} not on word borders, or overlap (--unaligned snap or drop decides)"
    return note.message


def _length_items(name: str, dataset: Dataset, lengths: Sequence[int] | None, window: int | None) -> list[CheckItem]:
    items = []
    empty = [place_of(sentence) for sentence in dataset if not sentence.words]
    if empty:
        items.append(
            CheckItem(Level.WARN, "empty", f"{name}: {counted(len(empty), 'sentence')} without a word", tuple(empty))
        )
    long = [
        f"{place_of(sentence)}: {len(sentence)} words" for sentence in dataset if len(sentence) > LONG_SENTENCE_WORDS
    ]
    if long:
        many = counted(len(long), "sentence")
        message = f"{name}: {many} of more than {LONG_SENTENCE_WORDS} words (sentence borders missing?)"
        items.append(CheckItem(Level.WARN, "long-sentence", message, tuple(long)))
    words = [
        f"{place_of(sentence)}: {shortened(word, 40)!r}, {len(word)} characters"
        for sentence in dataset
        for word in sentence.words
        if len(word) > LONG_WORD_CHARACTERS
    ]
    if words:
        message = f"{name}: {counted(len(words), 'word')} of more than {LONG_WORD_CHARACTERS} characters"
        items.append(CheckItem(Level.WARN, "long-word", message, tuple(words)))
    if lengths is not None and window is not None:
        over = [
            f"{place_of(sentence)}: {length} sub-words"
            for sentence, length in zip(dataset, lengths, strict=True)
            if length > window
        ]
        if over:
            many = counted(len(over), "sentence")
            message = f"{name}: {many} of more than {window} sub-words, to run through several windows"
            items.append(CheckItem(Level.WARN, "long-subwords", message, tuple(over)))
        else:
            items.append(CheckItem(Level.GOOD, "long-subwords", f"{name}: every sentence fits {window} sub-words"))
    return items


def _duplicate_items(name: str, dataset: Dataset) -> list[CheckItem]:
    first: dict[tuple[str, ...], Sentence] = {}
    again: list[str] = []
    contradictions: list[str] = []
    for sentence in dataset:
        if not sentence.words:
            continue
        earlier = first.setdefault(sentence.words, sentence)
        if earlier is sentence:
            continue
        place = f"{place_of(sentence)}: {_preview(sentence)} (first in line {earlier.line})"
        again.append(place)
        if earlier.tags != sentence.tags:
            contradictions.append(place)
    share = len(again) / max(len(dataset), 1)
    level = Level.WARN if share > DUPLICATES_WARN_SHARE else Level.GOOD
    message = f"{name}: {counted(len(again), 'repeated sentence')} ({share:.1%})"
    items = [CheckItem(level, "duplicates", message, tuple(again) if level is Level.WARN else ())]
    if contradictions:
        message = f"{name}: {counted(len(contradictions), 'sentence')} with the words of an earlier one and other tags"
        items.append(CheckItem(Level.WARN, "contradictions", message, tuple(contradictions)))
    return items


def overlap_items(datasets: Mapping[str, Dataset]) -> list[CheckItem]:
    """Items for the sentences that a file shares with an earlier one: one for each pair of files."""
    items = []
    names = list(datasets)
    for index, name in enumerate(names):
        for earlier in names[:index]:
            known = {sentence.words for sentence in datasets[earlier] if sentence.words}
            shared = [sentence for sentence in datasets[name] if sentence.words in known]
            found = [f"{place_of(s)}: {_preview(s)}" for s in shared]
            items.append(overlap_item(name, earlier, found, len(datasets[name]), "sentence"))
    return items


def overlap_item(name: str, earlier: str, found: Sequence[str], total: int, noun: str) -> CheckItem:
    """An item for what one file has and an earlier one has, too."""
    share = len(found) / max(total, 1)
    level = Level.FAIL if share > OVERLAP_FAIL_SHARE else Level.WARN if share > OVERLAP_WARN_SHARE else Level.GOOD
    message = f"{counted(len(found), noun)} of {name} ({share:.1%}) also in {earlier}"
    return CheckItem(level, "overlap", message, () if level is Level.GOOD else tuple(found))


def _label_items(datasets: Mapping[str, Dataset], labels: Mapping[str, _Labels]) -> list[CheckItem]:
    """Across files: schemes that differ, labels in one split only, rare ones; the first file is the one trained on."""
    tagged = [name for name, dataset in datasets.items() if dataset.tagged]
    if not tagged:
        return []
    items = []
    schemes = {name: datasets[name].scheme for name in tagged}
    if len(set(schemes.values())) > 1:
        found = ", ".join(f"{name} {scheme}" for name, scheme in schemes.items())
        items.append(CheckItem(Level.FAIL, "schemes", f"the files have different schemes: {found} (--scheme decides)"))
    first, *others = tagged
    train = labels[first].counts
    if not train:
        items.append(CheckItem(Level.FAIL, "labels", f"{first}: no word carries a tag other than {OUTSIDE!r}"))
        return items
    for name in others:
        items.extend(compare_labels(first, train, name, labels[name].counts))
    items.append(rare_item(first, train))
    return items


def rare_item(name: str, counts: Counter[str]) -> CheckItem:
    """An item for labels that have few cases."""
    rare = [f"{label}: {count}" for label, count in counts.most_common()[::-1] if count < RARE_LABEL]
    if not rare:
        return CheckItem(Level.GOOD, "rare", f"{name}: every label occurs at least {RARE_LABEL} times")
    message = f"{name}: {counted(len(rare), 'label')} with fewer than {RARE_LABEL} cases"
    return CheckItem(Level.WARN, "rare", message, tuple(rare))


def compare_labels(first: str, train: Counter[str], name: str, other: Counter[str]) -> list[CheckItem]:
    """Items for labels that only one of two files has."""
    if other and not train.keys() & other.keys():
        message = (
            f"{name} and {first} share no label: {first} has {', '.join(sorted(train))}; {name} has "
            f"{', '.join(sorted(other))}"
        )
        return [CheckItem(Level.FAIL, "labels", message)]
    items = []
    unseen = [f"{label}: {other[label]}" for label in sorted(other.keys() - train.keys())]
    missing = [f"{label}: {train[label]}" for label in sorted(train.keys() - other.keys())]
    if unseen:
        message = f"{name}: {counted(len(unseen), 'label')} not in {first}: no prediction can find them"
        items.append(CheckItem(Level.WARN, "labels", message, tuple(unseen)))
    if missing:
        message = f"{name}: {counted(len(missing), 'label')} of {first} without a case here"
        items.append(CheckItem(Level.WARN, "labels", message, tuple(missing)))
    if not items:
        items.append(CheckItem(Level.GOOD, "labels", f"{name} has the labels of {first}"))
    return items


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 text", "2 texts"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def place_of(sentence: Sentence | Text) -> str:
    """File and line."""
    return f"{sentence.path}:{sentence.line}"


def _preview(sentence: Sentence) -> str:
    return repr(shortened(" ".join(sentence.words[:20]), 60))


def shortened(text: str, limit: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
