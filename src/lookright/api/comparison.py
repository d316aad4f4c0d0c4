"""Two taggers or text classifiers on one labeled file: who is better, how sure that is, for which types, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lookright.api.inputs import Labeled, as_dataset
from lookright.api.tagger import Tagger
from lookright.api.tasks import task_of
from lookright.api.text_classifier import TextClassifier
from lookright.api.text_inputs import LabeledTexts
from lookright.data import Dataset, Sentence, TextColumns, lost_spans
from lookright.errors import DataError, LabelError
from lookright.inference.render import Highlight
from lookright.metrics import (
    Comparison,
    IntArray,
    Scores,
    TypeScore,
    approximate_randomization,
    holm,
    paired_bootstrap,
    scores_of_counts,
)
from lookright.models.base import resolve_folder
from lookright.models.store import is_tagger_folder, saved_task
from lookright.tags import OUTSIDE, Scheme, to_spans
from lookright.training.labels import tags_in
from lookright.training.recipe import Recipe

System = Tagger | TextClassifier | str | Path
"""A tagger or text classifier, its folder or its name on a hub; or a labeled file that holds what was predicted for the
test sentences or texts."""
Unit = tuple[str, int, int]
"""Type, first word, end (exclusive); plain tags: the tag and its word."""


@dataclass(frozen=True)
class TypeDifference:
    """One type (plain tags: one tag), from 0 to 1.

    Attributes:
        type: its name.
        first, second: the scores of both.
        difference: F1 of the first minus F1 of the second; None where one of them is undefined.
        low, high: its interval, by paired bootstrap over sentences.
        p_value: two-sided, by approximate randomization over sentences.
        holm: the same after Holm's correction over the types.
        lacking: the names of the systems that do not know the type.
    """

    type: str
    first: TypeScore
    second: TypeScore
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    holm: float | None
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class SentenceDifference:
    """A sentence that the two tag differently.

    Attributes:
        index: in the test set, from 0.
        line: in the file, where there is one.
        text: of the sentence; spans count its characters.
        gold, first, second: the spans.
        right: the name of the system that has exactly the gold; None where neither has.
    """

    index: int
    line: int | None
    text: str
    gold: tuple[Highlight, ...]
    first: tuple[Highlight, ...]
    second: tuple[Highlight, ...]
    right: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        spans = {
            side: [{"type": s.type, "start": s.start, "end": s.end} for s in getattr(self, side)]
            for side in ("gold", "first", "second")
        }
        return {"index": self.index, "line": self.line, "text": self.text, **spans, "right": self.right}


@dataclass(frozen=True)
class TaggerComparison:
    """Two taggers on the same sentences (text classifiers: texts), over their full gold.

    Attributes:
        names: of the first and the second.
        data: the file, where there is one.
        n_sentences: of the test set.
        scores: of both.
        bootstrap: the difference, first minus second, with its interval and a p-value; over sentences.
        randomization: the same difference by approximate randomization over sentences.
        types: each type; of texts, each label.
        sentences: those that are tagged differently.
        notes: what else should be known.
        unit: what is counted as sentences: these, or texts.
    """

    names: tuple[str, str]
    data: str | None
    n_sentences: int
    scores: tuple[Scores, Scores]
    bootstrap: Comparison
    randomization: Comparison
    types: tuple[TypeDifference, ...]
    sentences: tuple[SentenceDifference, ...]
    notes: tuple[str, ...] = ()
    unit: str = "sentences"

    @property
    def kind(self) -> str:
        """What types are called: types, tags, or the labels of texts."""
        return "label" if self.unit == "texts" else "tag" if self.scores[0].accuracy is not None else "type"

    @property
    def difference(self) -> float:
        """The figure of the first minus that of the second."""
        return self.bootstrap.difference

    @property
    def p_value(self) -> float:
        """By approximate randomization, two-sided."""
        return self.randomization.p_value

    def to_dict(self) -> dict[str, Any]:
        """All but the sentences, in JSON types."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "data": self.data,
            f"n_{self.unit}": self.n_sentences,
            "n_different": len(self.sentences),
            "convention": self.bootstrap.figure,
            "figures": [score.headline[1] for score in self.scores],
            "difference": self.difference,
            "interval": [self.bootstrap.low, self.bootstrap.high],
            "p_bootstrap": self.bootstrap.p_value,
            "p_randomization": self.randomization.p_value,
            "methods": [self.bootstrap.method, self.randomization.method],
            "labels" if self.unit == "texts" else "types": [asdict(item) for item in self.types],
            "notes": list(self.notes),
        }


M = TypeVar("M", Tagger, TextClassifier)


class Answers(NamedTuple):
    """What a system says: its spans in each sentence, the types it knows (None: not known), and notes."""

    spans: list[set[Unit]]
    types: frozenset[str] | None
    scheme: Scheme


def compare(
    a: System,
    b: System,
    test: Labeled | LabeledTexts,
    *,
    names: tuple[str, str] | None = None,
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
    **options: Any,
) -> TaggerComparison:
    """Compare two taggers on labeled sentences, or two text classifiers on labeled texts, over their full gold.

    It tells whether these very models would rank alike on other sentences; whether their recipes would with other seeds
    is for a study.

    Args:
        a, b: a `Tagger` or `TextClassifier`, its folder or name on a hub, or a labeled file with the predicted tags of
            the test sentences (or labels of the test texts).
        test: a `Dataset` or `TextDataset`, the path of a file, or sentences with tags or texts with gold. Running text
            is cut into words by the rule of the first tagger.
        names: how they are called; by default their folders, or `A` and `B`.
        level, samples, seed: of the interval and the tests.
        device: where folders are loaded to.
        progress: show bars on stderr.
        options: of `read_dataset` or `read_texts`, where `test` is a path.

    Raises:
        LabelError: the two share no type, or not one with the gold; a tagger and a text classifier; a regression.
        DataError: no gold, a file of predictions over other words or texts, or one name for both.
    """
    called = names or _names(a, b)
    if called[0] == called[1]:
        raise DataError(f"both are called {called[0]!r}, so that nobody could tell them apart; expected two names")
    resampling: dict[str, Any] = {"samples": samples, "seed": seed}
    told = options.get("target") is not None or isinstance(options.get("columns"), TextColumns)
    if compared_task(a, b, test, Recipe(task="text") if told else Recipe()) == "text":
        from lookright.api.text_comparison import compare_texts

        return compare_texts((a, b), test, called, level, resampling, device=device, progress=progress, **options)
    systems = [loaded(system, Tagger, device) for system in (a, b)]
    splitters = [system._text_splitter() for system in systems if isinstance(system, Tagger)]
    reading = {"splitter": next(iter(splitters), None), **options}
    data = as_dataset(test, **reading)  # type: ignore[arg-type]
    if not data.tagged or data.scheme is None:
        raise LabelError("there are no gold tags to compare on; expected one tag for each word", path=data.path)
    first, second = (
        _answers(system, data, name, progress=progress, reading=reading)
        for system, name in zip(systems, called, strict=True)
    )
    check_types(set(data.types()), data.path, (first, second), called)
    scheme = first.scheme if first.scheme is second.scheme else Scheme.IOB2
    gold = [_units(tags, scheme) for tags in tags_in(data, scheme)]
    lost = [Counter(span.type for span in lost_spans(s, data.scheme)) for s in data] if not _plain(data) else []
    types, counts = counts_of(gold, lost, (first.spans, second.spans))
    plain = scheme is Scheme.PLAIN
    convention = "accuracy, plain tags" if plain else f"strict span F1, {scheme}, micro"
    one, other = (scores_of_counts(counts[side].sum(axis=1), convention, scheme) for side in (0, 1))
    return TaggerComparison(
        names=called,
        data=data.path,
        n_sentences=len(data),
        scores=(one, other),
        bootstrap=paired_bootstrap(one, other, level=level, **resampling),
        randomization=approximate_randomization(one, other, **resampling),
        types=by_type(types, counts, (first, second), called, level, resampling),
        sentences=_different(data, gold, lost, (first, second), called),
        notes=_notes(data, systems, (first, second), called),
    )


# ------------------------------------------------------------------------------------------------------- what they say


def _names(a: System, b: System) -> tuple[str, str]:
    def name(system: System, letter: str) -> str:
        return letter if isinstance(system, Tagger | TextClassifier) else str(system).rstrip("/")

    one, other = name(a, "A"), name(b, "B")
    short = Path(one).name, Path(other).name
    if short[0] != short[1]:
        return short
    return (one, other) if one != other else (f"{one} (1)", f"{other} (2)")


def compared_task(a: System, b: System, test: Any, recipe: Recipe) -> str:
    """What two systems do: `tags` or `text`, as the models say; where both are files, as options of reading say, or the
    test set.

    Raises:
        LabelError: one does this and the other that.
    """
    tasks: list[str] = []
    for system in (a, b):
        if isinstance(system, Tagger | TextClassifier):
            tasks.append("text" if isinstance(system, TextClassifier) else "tags")
        elif not Path(system).is_file():
            tasks.append(saved_task(resolve_folder(system)) or "tags")
    if len(set(tasks)) > 1:
        raise LabelError("one is a tagger and the other a text classifier: there is nothing to compare")
    return tasks[0] if tasks else task_of(recipe, test)


def loaded(system: System, kind: type[M], device: str) -> M | Path:
    """A model of this kind, or the file of predictions."""
    if isinstance(system, kind):
        return system
    assert isinstance(system, str | Path)
    path = Path(system)
    if path.is_file():
        return path
    if path.is_dir() and not is_tagger_folder(path):
        raise DataError(f"{path} is no saved {kind.KIND}; expected one, or a labeled file with what was predicted")
    found: M = kind.from_pretrained(system, device=device)
    return found


def _answers(system: Tagger | Path, data: Dataset, name: str, *, progress: bool, reading: dict[str, Any]) -> Answers:
    if isinstance(system, Tagger):
        scheme = system.settings.scheme
        _check_scheme(data, scheme, name)
        taggings = system.tag(data.sentences, document_starts=data.document_starts or (), progress=progress)
        spans = [_units(tagging.tags, scheme) for tagging in taggings]
        return Answers(spans, frozenset(system.settings.types), scheme)
    asked = {**reading, "scheme": str(Scheme.PLAIN)} if _plain(data) else reading
    predicted = as_dataset(system, **asked)
    _check_words(data, predicted, system)
    scheme = predicted.scheme or Scheme.IOB2
    _check_scheme(data, scheme, name)
    return Answers([_units(sentence.tags or (), scheme) for sentence in predicted], None, scheme)


def _plain(data: Dataset) -> bool:
    return data.scheme is Scheme.PLAIN


def _units(tags: Sequence[str], scheme: Scheme) -> set[Unit]:
    """The spans that tags spell; plain tags: each word's."""
    if scheme is Scheme.PLAIN:
        return {(tag, index, index + 1) for index, tag in enumerate(tags)}
    return {(span.type, span.start, span.end) for span in to_spans(tags, scheme)}


def _check_scheme(data: Dataset, scheme: Scheme, name: str) -> None:
    if (scheme is Scheme.PLAIN) != _plain(data):
        raise LabelError(
            f"the gold is in the scheme {data.scheme} and {name} in {scheme}: spans and plain tags cannot be compared; "
            "give the scheme of the file if it was detected wrongly",
            path=data.path,
        )


def _check_words(data: Dataset, predicted: Dataset, file: Path) -> None:
    """Refuse predictions that are not of the test sentences."""
    if len(data) != len(predicted):
        raise DataError(
            f"has {len(predicted)} sentences, and the test set {len(data)}: expected the predicted tags of just those",
            path=file,
        )
    for index, (sentence, other) in enumerate(zip(data, predicted, strict=True)):
        if sentence.words != other.words:
            at = next((w for w, (x, y) in enumerate(zip(sentence.words, other.words, strict=False)) if x != y), None)
            where = "has another number of words" if at is None else f"has {other.words[at]!r} as word {at + 1}"
            expected = f"{len(sentence.words)}" if at is None else repr(sentence.words[at])
            raise DataError(
                f"sentence {index + 1} {where}, the test set has {expected}: expected the same words",
                path=file, line=other.line,
            )  # fmt: skip
        if other.tags is None:
            raise DataError(f"sentence {index + 1} has no tags", path=file, line=other.line)


def check_types(
    gold: set[str], path: str | None, answers: Sequence[Answers], names: Sequence[str], kind: str = "types"
) -> None:
    """Refuse systems that share no type with each other, or with the gold."""
    first, second = answers
    if first.types is not None and second.types is not None and not first.types & second.types:
        raise LabelError(
            f"{names[0]} has the {kind} {_listed(first.types)} and {names[1]} has {_listed(second.types)}: they share "
            "none, so there is nothing to compare"
        )
    for answer, name in zip(answers, names, strict=True):
        if gold and answer.types is not None and not gold & answer.types:
            raise LabelError(
                f"the gold has the {kind} {_listed(gold)} and {name} has {_listed(answer.types)}: they share none; is "
                "it the file, or the column, of another task?",
                path=path,
            )


def _listed(types: Iterable[str]) -> str:
    return ", ".join(sorted(types))


# ----------------------------------------------------------------------------------------------------------- counting


def counts_of(
    gold: Sequence[set[Unit]], lost: Sequence[Counter[str]], sides: Sequence[Sequence[set[Unit]]]
) -> tuple[list[str], IntArray]:
    """The types in sorted order, and (sides, sentences, types, 3) gold, predicted and correct."""
    met = {unit[0] for units in (*gold, *(u for side in sides for u in side)) for unit in units}
    types = sorted(met.union(*lost))
    rank = {kind: index for index, kind in enumerate(types)}
    counts = np.zeros((len(sides), len(gold), len(types), 3), dtype=np.int64)
    for side, predicted in enumerate(sides):
        for index, (right, said) in enumerate(zip(gold, predicted, strict=True)):
            for column, units in enumerate((right, said, right & said)):
                for kind, _, _ in units:
                    counts[side, index, rank[kind], column] += 1
        for index, missed in enumerate(lost):
            for kind, number in missed.items():
                counts[side, index, rank[kind], 0] += number
    return types, counts


def by_type(
    types: Sequence[str],
    counts: IntArray,
    answers: Sequence[Answers],
    names: Sequence[str],
    level: float,
    resampling: dict[str, Any],
) -> tuple[TypeDifference, ...]:
    """The difference of each type, from what `counts_of` returned."""
    rows: list[TypeDifference] = []
    for column, kind in enumerate(types):
        one, other = (scores_of_counts(counts[side, :, column], f"F1 of {kind}") for side in (0, 1))
        first, second = (TypeScore.of(*scores.counts) for scores in (one, other))
        lacking = tuple(n for n, a in zip(names, answers, strict=True) if a.types is not None and kind not in a.types)
        row = TypeDifference(kind, first, second, None, None, None, None, None, lacking)
        if one.f1 is not None and other.f1 is not None:
            test = paired_bootstrap(one, other, level=level, **resampling)
            p_value = approximate_randomization(one, other, **resampling).p_value
            row = replace(row, difference=test.difference, low=test.low, high=test.high, p_value=p_value)
        rows.append(row)
    adjusted = iter(holm([row.p_value for row in rows if row.p_value is not None]))
    return tuple(row if row.p_value is None else replace(row, holm=next(adjusted)) for row in rows)


def _different(
    data: Dataset,
    gold: Sequence[set[Unit]],
    lost: Sequence[Counter[str]],
    answers: Sequence[Answers],
    names: Sequence[str],
) -> tuple[SentenceDifference, ...]:
    found = []
    first, second = (answer.spans for answer in answers)
    for index, sentence in enumerate(data):
        if first[index] == second[index]:
            continue
        whole = not (lost and lost[index])
        right = [n for n, said in zip(names, (first, second), strict=True) if whole and said[index] == gold[index]]
        true, one, other = (
            _highlights(sentence, units, data.scheme) for units in (gold[index], first[index], second[index])
        )
        text = sentence.surface()[0]
        found.append(SentenceDifference(index, sentence.line, text, true, one, other, right[0] if right else None))
    return tuple(found)


def _highlights(sentence: Sentence, units: set[Unit], scheme: Scheme | None) -> tuple[Highlight, ...]:
    """Spans over words as spans over characters; plain tags: all but "O"."""
    _, offsets = sentence.surface()
    shown = [unit for unit in units if scheme is not Scheme.PLAIN or unit[0] != OUTSIDE]
    return tuple(
        Highlight(kind, offsets[first][0], offsets[end - 1][1])
        for kind, first, end in sorted(shown, key=lambda u: (u[1], u[2], u[0]))
    )


def _notes(
    data: Dataset, systems: Sequence[Tagger | Path], answers: Sequence[Answers], names: Sequence[str]
) -> tuple[str, ...]:
    notes = label_notes(set(data.types()), answers, names)
    rules = [s.settings.word_rule for s in systems if isinstance(s, Tagger)]
    if len(rules) == 2 and rules[0] != rules[1] and any(sentence.char_spans is not None for sentence in data):
        notes.append(f"running text was cut into words by the rule of {names[0]}; {names[1]} has another one")
    schemes = [answer.scheme for answer in answers]
    if schemes[0] is not schemes[1]:
        notes.append(f"the schemes differ ({schemes[0]} and {schemes[1]}): spans are compared as IOB2")
    return tuple(notes)


def label_notes(gold: set[str], answers: Sequence[Answers], names: Sequence[str]) -> list[str]:
    """What one of two systems does not know, and the gold or the other one does."""
    notes = []
    known = [a.types for a in answers]
    for index, name in enumerate(names):
        own, other = known[index], known[1 - index]
        if own is None:
            continue
        unknown = sorted(gold - own)
        if unknown:
            notes.append(f"{name} does not know {', '.join(unknown)} of the gold: scored as missed")
        extra = sorted((other or frozenset()) - own - gold)
        if extra:
            notes.append(f"{name} lacks {', '.join(extra)}, which {names[1 - index]} has and the gold has not")
    return notes
