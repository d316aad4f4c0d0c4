"""Scores of predicted tags against gold ones, and how far chance could have moved them.

Spans: exact span and type, over the full gold, in one of two conventions, which is always named with the figure.
*Strict* counts well-formed spans only and equals seqeval in strict mode with the scheme given; *conlleval* reads every
tag but "O" as part of a span and equals the script of the CoNLL shared tasks (Tjong Kim Sang and Buchholz 2000). Plain
tags: accuracy, and precision, recall and F1 of each tag.

A ratio without a denominator is None, not 0: precision where nothing was predicted, recall where nothing is annotated,
F1 where neither. A type found on one side only has a denominator for F1, and scores 0.

Intervals and tests resample sentences. They depend on the seed only, and work on counts of sentences with equal
figures, so that their cost does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lookright.errors import DataError, SchemeError
from lookright.tags import OUTSIDE, Scheme, check_tag, split_tag

Convention = Literal["strict", "conlleval"]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_O, _B, _I, _E, _S = range(5)
# L- and U- are E- and S- in other letters, so one set of codes serves both schemes.
_CODES: Final = {"O": _O, "B": _B, "I": _I, "E": _E, "S": _S, "L": _E, "U": _S}


@dataclass(frozen=True, slots=True)
class TypeScore:
    """The score of one type (PLAIN: one tag): ratios from 0 to 1 or None, and the counts they come from."""

    precision: float | None
    recall: float | None
    f1: float | None
    gold: int
    predicted: int
    correct: int

    @classmethod
    def of(cls, gold: int, predicted: int, correct: int) -> TypeScore:
        """Score from counts."""
        return cls(
            precision=correct / predicted if predicted else None,
            recall=correct / gold if gold else None,
            f1=2 * correct / (gold + predicted) if gold + predicted else None,
            gold=gold,
            predicted=predicted,
            correct=correct,
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """The result of :func:`evaluate_tags`. All ratios lie between 0 and 1.

    Attributes:
        convention: what the headline figure is, in words: "strict span F1, IOB2, micro", "accuracy, plain tags".
        scheme: the tagging scheme.
        precision, recall, f1: micro averages, from counts over all types. PLAIN: all three are the accuracy.
        macro_f1: the plain mean of F1 over the types seen in gold or predicted; None when there are none.
        per_type: by type in sorted order (PLAIN: by tag), for the types seen in gold or predicted.
        accuracy: the share of words whose tag is right, "O" included; None when there are no words.
        n_sentences, n_words: the size of the gold.
        per_sentence: (n_sentences, 3) gold, predicted and correct spans (PLAIN: words, words, words tagged right).
    """

    convention: str
    scheme: Scheme
    precision: float | None
    recall: float | None
    f1: float | None
    macro_f1: float | None
    per_type: dict[str, TypeScore]
    accuracy: float | None
    n_sentences: int
    n_words: int
    per_sentence: IntArray

    @property
    def headline(self) -> tuple[str, float | None]:
        """The name of the one figure to print, which is its convention, and its value."""
        return self.convention, self.accuracy if self.scheme is Scheme.PLAIN else self.f1

    @property
    def counts(self) -> tuple[int, int, int]:
        """Gold, predicted and correct spans (PLAIN: words) over all sentences."""
        gold, predicted, correct = self.per_sentence.sum(axis=0).tolist()
        return gold, predicted, correct

    def to_dict(self) -> dict[str, Any]:
        """Everything but the counts of each sentence, in JSON types."""
        gold, predicted, correct = self.counts
        return {
            "convention": self.convention,
            "scheme": str(self.scheme),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "macro_f1": self.macro_f1,
            "accuracy": self.accuracy,
            "gold": gold,
            "predicted": predicted,
            "correct": correct,
            "n_sentences": self.n_sentences,
            "n_words": self.n_words,
            "per_type": {name: asdict(score) for name, score in self.per_type.items()},
        }


def evaluate_tags(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme,
    *,
    convention: Convention = "strict",
) -> Scores:
    """Score predicted tags against gold ones.

    Args:
        gold: the tags of each sentence.
        predicted: as many sentences, of as many tags each.
        scheme: the scheme of both. PLAIN compares word by word.
        convention: how tags are read as spans; see the top of this module. PLAIN knows no difference.

    Raises:
        DataError: sentences or words that are not matched one to one.
        SchemeError: a tag that cannot be read or, in the strict convention, does not belong to the scheme; the
            message names its sentence and word.
    """
    if convention not in ("strict", "conlleval"):
        raise SchemeError(f"unknown convention {convention!r}: expected 'strict' or 'conlleval'")
    lengths = _matched_lengths(gold, predicted)
    flat_gold = list(chain.from_iterable(gold))
    flat_predicted = list(chain.from_iterable(predicted))
    vocabulary = {tag: index for index, tag in enumerate(sorted(set(flat_gold) | set(flat_predicted), key=str))}
    for name, tags in (("gold", flat_gold), ("predicted", flat_predicted)):
        _check_vocabulary(vocabulary, tags, lengths, scheme, convention, name)
    gold_ids, predicted_ids = _to_ids(flat_gold, vocabulary), _to_ids(flat_predicted, vocabulary)
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    same = gold_ids == predicted_ids
    accuracy = float(same.mean()) if len(same) else None

    if scheme is Scheme.PLAIN:
        types = list(vocabulary)
        units = [(gold_ids, sentence), (predicted_ids, sentence), (gold_ids[same], sentence[same])]
        text = "accuracy, plain tags"
    else:
        types, units = _matched_spans(gold_ids, predicted_ids, vocabulary, lengths, sentence, scheme, convention)
        text = f"{convention} span F1, {scheme}, micro"
    by_type = np.stack([np.bincount(kinds, minlength=len(types)) for kinds, _ in units], axis=1)
    per_sentence = np.stack([np.bincount(where, minlength=len(lengths)) for _, where in units], axis=1)
    per_type = {name: TypeScore.of(*row) for name, row in zip(types, by_type.tolist(), strict=True) if row[0] or row[1]}
    micro = TypeScore.of(*by_type.sum(axis=0).tolist())
    f1s = [score.f1 for score in per_type.values() if score.f1 is not None]
    return Scores(
        convention=text,
        scheme=scheme,
        precision=micro.precision,
        recall=micro.recall,
        f1=micro.f1,
        macro_f1=sum(f1s) / len(f1s) if f1s else None,
        per_type=per_type,
        accuracy=accuracy,
        n_sentences=len(lengths),
        n_words=len(gold_ids),
        per_sentence=per_sentence,
    )


# ----------------------------------------------------------------------------------------------------- tags to numbers


def _matched_lengths(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> IntArray:
    """(n_sentences,) words of each sentence, equal on both sides."""
    if len(gold) != len(predicted):
        raise DataError(
            f"gold has {len(gold)} sentences and predicted has {len(predicted)}: they must match one to one"
        )
    lengths = np.fromiter(map(len, gold), dtype=np.int64, count=len(gold))
    others = np.fromiter(map(len, predicted), dtype=np.int64, count=len(gold))
    wrong = np.flatnonzero(lengths != others)
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"sentence {first + 1} has {lengths[first]} gold and {others[first]} predicted tags"
            f" ({len(wrong)} such sentences): every word needs one tag on each side"
        )
    return lengths


def _check_vocabulary(
    vocabulary: Iterable[str],
    tags: Sequence[str],
    lengths: IntArray,
    scheme: Scheme,
    convention: Convention,
    name: str,
) -> None:
    """Raise SchemeError, naming the first place on this side, for a tag that this reading cannot take."""
    for tag in vocabulary:
        try:
            if convention == "strict" or scheme is Scheme.PLAIN:
                check_tag(tag, scheme)
            else:
                split_tag(tag)
        except SchemeError as error:
            if tag in tags:
                word = tags.index(tag)
                sentence = int(np.searchsorted(np.cumsum(lengths), word, side="right"))
                word -= int(lengths[:sentence].sum())
                raise SchemeError(f"{name} sentence {sentence + 1}, word {word + 1}: {error}") from None


def _to_ids(tags: Sequence[str], vocabulary: dict[str, int]) -> IntArray:
    return np.fromiter(map(vocabulary.__getitem__, tags), dtype=np.int64, count=len(tags))


# ------------------------------------------------------------------------------------------------------ spans in arrays


def _matched_spans(
    gold_ids: IntArray,
    predicted_ids: IntArray,
    vocabulary: Iterable[str],
    lengths: IntArray,
    sentence: IntArray,
    scheme: Scheme,
    convention: Convention,
) -> tuple[list[str], list[tuple[IntArray, IntArray]]]:
    """The type names, and (type, sentence) of each gold, each predicted and each correct span."""
    split = [split_tag(tag) for tag in vocabulary]
    types = sorted({kind for prefix, kind in split if prefix != OUTSIDE})
    rank = {kind: index for index, kind in enumerate(types)}
    codes = np.array([_CODES[prefix] for prefix, _ in split], dtype=np.int64)
    kinds = np.array([rank[kind] if prefix != OUTSIDE else -1 for prefix, kind in split], dtype=np.int64)
    first_words = (np.cumsum(lengths) - lengths)[lengths > 0]
    reading = "lenient" if convention == "conlleval" else str(scheme)
    sides = []
    for ids in (gold_ids, predicted_ids):
        code, kind = codes[ids], kinds[ids]
        starts, ends = _read_spans(code, kind, first_words, reading)
        sides.append((starts, ends, kind[starts]))
    (starts, ends, kind), (other_starts, other_ends, other_kind) = sides
    # A word starts at most one span, so gold spans can be looked up by their first word.
    end_at = np.full(len(gold_ids), -1, dtype=np.int64)
    kind_at = np.full(len(gold_ids), -1, dtype=np.int64)
    end_at[starts], kind_at[starts] = ends, kind
    correct = (end_at[other_starts] == other_ends) & (kind_at[other_starts] == other_kind)
    units = [(kind, starts), (other_kind, other_starts), (other_kind[correct], other_starts[correct])]
    return types, [(kinds_, sentence[where]) for kinds_, where in units]


def _read_spans(code: IntArray, kind: IntArray, first_words: IntArray, reading: str) -> tuple[IntArray, IntArray]:
    """First word and end (exclusive) of every span, in order.

    The same readings as :func:`lookright.tags.to_spans`, told from each tag and its neighbours.

    Args:
        code: (n_words,) prefix of each tag.
        kind: (n_words,) type of each tag, -1 for "O".
        first_words: the words that begin a sentence, whose left neighbour is an "O".
        reading: a scheme's name (strict), or "lenient".
    """
    before, before_kind = np.empty_like(code), np.empty_like(kind)
    before[1:], before_kind[1:] = code[:-1], kind[:-1]
    before[first_words], before_kind[first_words] = _O, -1
    touches = (before_kind == kind) & (kind >= 0)
    sound: BoolArray | None = None  # whether a span that has this word as its last one is well-formed
    if reading == "lenient":
        start = (code == _B) | (code == _S) | ((code != _O) & (~touches | (before == _E) | (before == _S)))
        goes_on = (code != _O) & ~start
    elif reading == Scheme.IO:
        goes_on = touches
        start = (code == _I) & ~goes_on
    elif reading == Scheme.IOB1:
        split = (code == _B) & touches  # a B- that is allowed: it starts a span
        split_before = np.zeros_like(split)
        split_before[1:] = split[:-1]
        goes_on = (code == _I) & touches & ((before == _I) | split_before)
        start = split | ((code == _I) & ~goes_on)
        # seqeval's end rule: a B- span of one word has no end when a B- of another type follows.
        sound = np.ones_like(start)
        sound[:-1] = ~(split[:-1] & (code[1:] == _B) & (before[1:] == _B) & ~touches[1:])
    elif reading == Scheme.IOB2:
        start = code == _B
        goes_on = (code == _I) & touches
    else:
        start = (code == _B) | (code == _S)
        goes_on = ((code == _I) | (code == _E)) & touches & ((before == _B) | (before == _I))
        sound = (code == _E) | (code == _S)
    # Every start breaks the run before it, so the end of a span is the next word that does not go on.
    breaks = np.flatnonzero(~goes_on)
    is_start = start[breaks]
    starts = breaks[is_start]
    ends = np.append(breaks[1:], len(code))[is_start]
    if sound is not None:
        kept = sound[ends - 1]
        starts, ends = starts[kept], ends[kept]
    return starts, ends


def scores_of_counts(counts: IntArray, convention: str, scheme: Scheme = Scheme.IOB2) -> Scores:
    """Scores that know nothing but the counts of sentences: enough for intervals and tests.

    Args:
        counts: (n_sentences, 3) gold, predicted and correct spans (PLAIN: words, words, words tagged right).
        convention: what the figure is, in words.
        scheme: of the tags.
    """
    micro = TypeScore.of(*counts.sum(axis=0).tolist())
    accuracy = micro.f1 if scheme is Scheme.PLAIN else None
    return Scores(
        convention, scheme, micro.precision, micro.recall, micro.f1, None, {}, accuracy, len(counts), 0, counts
    )


# ----------------------------------------------------------------------------------------------- intervals and tests


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same gold.

    Attributes:
        method: the test and its size, in words.
        figure: what is compared: the convention of both scores.
        difference: headline of the first minus headline of the second.
        p_value: the chance of a difference at least as large, either way, if the systems were equally good.
        low, high: the bootstrap interval of the difference; None for approximate randomization.
    """

    method: str
    figure: str
    difference: float
    p_value: float
    low: float | None
    high: float | None


def _f1(counts: IntArray) -> FloatArray:
    """F1 of (..., 3) gold, predicted and correct counts; NaN where it is undefined."""
    total = counts[..., 0] + counts[..., 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * counts[..., 2] / total, dtype=np.float64)


def _resample(rows: IntArray, samples: int, seed: int, draw: Callable[..., IntArray]) -> IntArray:
    """Sums over resampled sentences.

    Args:
        rows: (n_sentences, n_figures). Sentences with equal figures are exchangeable, so ``draw`` gets how many there
            are of each kind, (n_kinds,), and gives how often each kind is taken, (block, n_kinds).

    Returns:
        (samples, n_figures).
    """
    kinds, sizes = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // max(1, len(kinds)))  # bounds the memory: about 32 MB of counts
    parts = [draw(generator, sizes, min(block, samples - at)) @ kinds for at in range(0, samples, block)]
    return np.concatenate(parts)


def _with_replacement(generator: np.random.Generator, sizes: IntArray, block: int) -> IntArray:
    total = int(sizes.sum())
    return generator.multinomial(total, sizes / total, size=block)


def _with_coins(generator: np.random.Generator, sizes: IntArray, block: int) -> IntArray:
    return generator.binomial(sizes, 0.5, size=(block, len(sizes)))


def _check_resampling(samples: int, level: float) -> None:
    if samples < 1 or not 0 < level < 1:
        raise DataError(f"cannot resample {samples} times at level {level}: samples >= 1 and 0 < level < 1 are needed")


def _percentiles(values: FloatArray, level: float) -> tuple[float, float] | None:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    scores: Scores, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of the headline figure, over sentences (Efron and Tibshirani 1993, ch. 13).

    Returns:
        (low, high), from 0 to 1, the same for the same seed; None when the figure is None. Resamples in which it is
        undefined are left out.
    """
    _check_resampling(samples, level)
    if scores.headline[1] is None:
        return None
    return _percentiles(_f1(_resample(scores.per_sentence, samples, seed, _with_replacement)), level)


def _paired(a: Scores, b: Scores) -> tuple[IntArray, float]:
    """(n_sentences, 6) counts of both systems, and the difference of their headlines."""
    if a.convention != b.convention:
        raise DataError(f"cannot compare {a.convention!r} with {b.convention!r}: score both by one convention")
    if a.n_sentences != b.n_sentences or not np.array_equal(a.per_sentence[:, 0], b.per_sentence[:, 0]):
        raise DataError("cannot compare scores on different gold: score both systems on the same sentences")
    first, second = a.headline[1], b.headline[1]
    if first is None or second is None:
        raise DataError(f"cannot compare: {a.convention} is undefined, nothing is annotated or predicted")
    return np.concatenate([a.per_sentence, b.per_sentence], axis=1), first - second


def paired_bootstrap(a: Scores, b: Scores, *, level: float = 0.95, samples: int = 10_000, seed: int = 0) -> Comparison:
    """The paired bootstrap over sentences: interval of the difference, and a two-sided p-value.

    The resampled differences are shifted to have the null hypothesis' mean (Berg-Kirkpatrick, Burkett and Klein 2012,
    section 2), so p is the share that lies at least as far from the observed difference as that lies from 0.

    Raises:
        DataError: scores by different conventions or on different gold, or without a figure.
    """
    _check_resampling(samples, level)
    rows, difference = _paired(a, b)
    sums = _resample(rows, samples, seed, _with_replacement)
    drawn = _f1(sums[:, :3]) - _f1(sums[:, 3:])
    extreme = int((np.abs(drawn - difference) >= abs(difference) - 1e-12).sum())
    low, high = _percentiles(drawn, level) or (None, None)
    method = f"paired bootstrap, {samples} samples, seed {seed}"
    return Comparison(method, a.convention, difference, (extreme + 1) / (int((~np.isnan(drawn)).sum()) + 1), low, high)


def approximate_randomization(a: Scores, b: Scores, *, samples: int = 10_000, seed: int = 0) -> Comparison:
    """Approximate randomization (Noreen 1989; Yeh 2000 for F1): the two systems' answers to each sentence change
    places at random, and p is the share of shuffles with a difference at least as large, either way.

    Raises:
        DataError: scores by different conventions or on different gold, or without a figure.
    """
    _check_resampling(samples, 0.5)
    rows, difference = _paired(a, b)
    moved = _resample(rows[:, 3:] - rows[:, :3], samples, seed, _with_coins)
    drawn = _f1(rows[:, :3].sum(axis=0) + moved) - _f1(rows[:, 3:].sum(axis=0) - moved)
    # Adding one to both counts the observed arrangement itself, so that p is never 0.
    extreme = int((np.abs(drawn) >= abs(difference) - 1e-12).sum())
    method = f"approximate randomization, {samples} shuffles, seed {seed}"
    return Comparison(method, a.convention, difference, (extreme + 1) / (samples + 1), None, None)


def p_words(value: float) -> str:
    """A p-value for a sentence, after "p": none is zero."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): each may be held against the level of a single test."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
