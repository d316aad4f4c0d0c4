"""Tagging schemes: reading spans from tags, writing tags for spans, and telling schemes apart.

A tag is ``"O"``, or a one-letter prefix, a hyphen and a type: ``"B-PER"``. Everything after the first hyphen is the
type, hyphens included (``"B-GPE-ORG"`` has the type ``"GPE-ORG"``), in any script. A bare prefix (``"B"``) is a tag of
the one type without a name (``""``), as keyphrase sets write it.

    scheme   a span of one word   of two words   of three   "B-" is for
    IO       I                    I I            I I I      nothing: adjacent spans of one type cannot be told apart
    IOB1     I                    I I            I I I      the first word of a span that touches one of the same type
    IOB2     B                    B I            B I I      the first word of every span (also called BIO)
    IOBES    S                    B E            B I E      the first word of a span of two or more words
    BILOU    U                    B L            B I L      the same, with other letters
    PLAIN    no spans: every word carries a tag of its own, as in part-of-speech tagging

Two readings of tags as spans exist. *Strict* takes well-formed spans only, as seqeval does in its strict mode when the
scheme is given. *Lenient* lets any tag but "O" be part of a span, as conlleval and seqeval's default mode do. They
agree on well-formed tags.

Pure Python: neither numpy nor torch is loaded.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from lookright.errors import SchemeError

OUTSIDE: Final = "O"


class Scheme(StrEnum):
    """How tags spell spans; see the table at the top of this module."""

    IO = "IO"
    IOB1 = "IOB1"
    IOB2 = "IOB2"
    IOBES = "IOBES"
    BILOU = "BILOU"
    PLAIN = "PLAIN"

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read a scheme's name, in any case, or one of its other names (BIO, BIOES, BILUO, none, ...).

        Raises:
            SchemeError: for an unknown name (the nearest known one is suggested), and for "IOB", which means IOB1 to
                some and IOB2 to others.
        """
        name = text.strip().upper()
        if name in cls.__members__:
            return cls(name)
        if name in _ALIASES:
            return _ALIASES[name]
        if name == "IOB":
            raise SchemeError("scheme 'IOB' can mean IOB1 or IOB2: say which (IOB2 starts every span with B-)")
        near = difflib.get_close_matches(name, [*cls.__members__, *_ALIASES], n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SchemeError(f"unknown scheme {text!r}: expected one of {', '.join(cls)}{hint}")

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The letters that may stand before a type, in the order in which :func:`label_set` lists them."""
        return _PREFIXES[self]


_ALIASES: Final[Mapping[str, Scheme]] = {
    "BIO": Scheme.IOB2,
    "BIO1": Scheme.IOB1,
    "BIO2": Scheme.IOB2,
    "BIOES": Scheme.IOBES,
    "BILUO": Scheme.BILOU,
    "BIOUL": Scheme.BILOU,
    "NONE": Scheme.PLAIN,
    "POS": Scheme.PLAIN,
}
_PREFIXES: Final[Mapping[Scheme, tuple[str, ...]]] = {
    Scheme.IO: ("I",),
    Scheme.IOB1: ("B", "I"),
    Scheme.IOB2: ("B", "I"),
    Scheme.IOBES: ("B", "I", "E", "S"),
    Scheme.BILOU: ("B", "I", "L", "U"),
    Scheme.PLAIN: (),
}
# The schemes that close their spans: (prefix of the last word, prefix of a one-word span).
_CLOSERS: Final[Mapping[Scheme, tuple[str, str]]] = {Scheme.IOBES: ("E", "S"), Scheme.BILOU: ("L", "U")}
_ALL_PREFIXES: Final = frozenset("BIESLU")
_AS_IOBES: Final[Mapping[str, str]] = {"L": "E", "U": "S"}


class Span(NamedTuple):
    """A typed run of words: word indices, the end exclusive."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TagProblem:
    """One ill-formed tag: its word's index in the sentence, the tag, and why it is ill-formed."""

    index: int
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detection:
    """What :func:`detect_scheme` found.

    Attributes:
        scheme: the scheme that fits best.
        certain: whether no other scheme reads other spans from these tags with nearly as few ill-formed ones.
        reason: one clause for people, without a full stop.
    """

    scheme: Scheme
    certain: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Transitions:
    """Which tags may begin, follow one another and end a sentence, by label index.

    Attributes:
        start: (n_labels,) whether a sentence may begin with the label.
        step: (n_labels, n_labels) whether the column's label may come right after the row's.
        end: (n_labels,) whether a sentence may end with the label.
    """

    start: tuple[bool, ...]
    step: tuple[tuple[bool, ...], ...]
    end: tuple[bool, ...]

    def __post_init__(self) -> None:
        n = len(self.start)
        if n == 0 or len(self.end) != n or len(self.step) != n or any(len(row) != n for row in self.step):
            raise SchemeError(f"transitions over {n} labels need {n} starts, {n} ends and {n} x {n} steps")


# ---------------------------------------------------------------------------------------------------- single tags


@lru_cache(maxsize=8192)
def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag of a span scheme into prefix and type: ``("B", "PER")``, ``("O", "")``, ``("B", "")`` for "B".

    Raises:
        SchemeError: when the tag is empty, not text, has no known prefix, or has nothing after its hyphen.
    """
    if not isinstance(tag, str) or not tag:
        raise SchemeError(f"empty tag {tag!r}: expected 'O' or a tag such as 'B-PER'")
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, hyphen, kind = tag.partition("-")
    if prefix not in _ALL_PREFIXES:
        raise SchemeError(f"tag {tag!r} has no prefix: expected 'O' or a tag such as 'B-PER'")
    if hyphen and not kind:
        raise SchemeError(f"tag {tag!r} has no type after its hyphen: expected a tag such as 'B-PER'")
    return prefix, kind


def join_tag(prefix: str, kind: str) -> str:
    """The inverse of :func:`split_tag`."""
    return f"{prefix}-{kind}" if kind else prefix


def _split_in(tag: str, scheme: Scheme) -> tuple[str, str]:
    """Split a tag that must belong to the scheme."""
    prefix, kind = split_tag(tag)
    if prefix != OUTSIDE and prefix not in _PREFIXES[scheme]:
        letters = ", ".join(f"{letter}-" for letter in _PREFIXES[scheme])
        raise SchemeError(f"tag {tag!r} does not belong to {scheme}: expected 'O' or one of {letters}")
    return prefix, kind


def check_tag(tag: str, scheme: Scheme) -> None:
    """Raise SchemeError unless the tag can occur in the scheme at all (PLAIN: any text but the empty one)."""
    if scheme is Scheme.PLAIN:
        if not isinstance(tag, str) or not tag:
            raise SchemeError(f"empty tag {tag!r}: every word needs a tag")
    else:
        _split_in(tag, scheme)


def types_of(tags: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """The sorted types that the tags name (PLAIN: the sorted tags). Unreadable tags are left out."""
    if scheme is Scheme.PLAIN:
        return tuple(sorted(set(tags)))
    found: set[str] = set()
    for tag in set(tags):
        try:
            prefix, kind = split_tag(tag)
        except SchemeError:
            continue
        if prefix != OUTSIDE:
            found.add(kind)
    return tuple(sorted(found))


# ------------------------------------------------------------------------------------------------- well-formedness


def _step_problems(before: tuple[str, str] | None, after: tuple[str, str] | None, scheme: Scheme) -> tuple[str, str]:
    """What is wrong with two neighbouring split tags; None stands for the border of the sentence.

    Returns:
        (fault of the first, fault of the second), each empty when there is none.
    """
    before_prefix, before_type = before or (OUTSIDE, "")
    after_prefix, after_type = after or (OUTSIDE, "")
    same = before_prefix != OUTSIDE and before_type == after_type
    if scheme is Scheme.IOB1:
        if after_prefix == "B" and not same:
            return "", f"{join_tag('B', after_type)} may only follow a span of the same type; I- starts this one"
        return "", ""
    if scheme is Scheme.IOB2:
        if after_prefix == "I" and not same:
            return "", f"{join_tag('I', after_type)} continues no span; B- starts one"
        return "", ""
    if scheme in _CLOSERS:
        last, single = _CLOSERS[scheme]
        is_open = before_prefix in ("B", "I")
        continues = after_prefix in ("I", last)
        if continues and is_open and same:
            return "", ""
        unclosed = f"the span is not closed; {last}- ends one, {single}- stands alone" if is_open else ""
        orphan = (
            f"{join_tag(after_prefix, after_type)} continues no span; B- or {single}- starts one" if continues else ""
        )
        return unclosed, orphan
    return "", ""


def ill_formed(tags: Sequence[str], scheme: Scheme) -> list[TagProblem]:
    """Every tag of one sentence that breaks its scheme, in order; a tag may break it on both sides."""
    problems: list[TagProblem] = []
    previous: tuple[str, str] | None = None  # the border, or a tag that was unreadable and is judged on its own
    for index, tag in enumerate(tags):
        try:
            check_tag(tag, scheme)
        except SchemeError as error:
            problems.append(TagProblem(index, tag, str(error)))
            previous = None
            continue
        if scheme is Scheme.PLAIN:
            continue
        current = split_tag(tag)
        first, second = _step_problems(previous, current, scheme)
        if first:
            problems.append(TagProblem(index - 1, tags[index - 1], first))
        if second:
            problems.append(TagProblem(index, tag, second))
        previous = current
    if previous is not None and scheme is not Scheme.PLAIN:
        unclosed, _ = _step_problems(previous, None, scheme)
        if unclosed:
            problems.append(TagProblem(len(tags) - 1, tags[-1], unclosed))
    return problems


def transitions(labels: Sequence[str], scheme: Scheme) -> Transitions:
    """The steps between labels that the scheme permits: every permitted path is well-formed, and every
    well-formed sequence over the labels is a permitted path.

    Raises:
        SchemeError: labels that are repeated or foreign to the scheme; a span scheme without "O".
    """
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        raise SchemeError(f"label {repeated[0]!r} is listed more than once")
    for label in labels:
        check_tag(label, scheme)
    n = len(labels)
    if scheme is Scheme.PLAIN:
        return Transitions((True,) * n, ((True,) * n,) * n, (True,) * n)
    if OUTSIDE not in labels:
        raise SchemeError(f"label 'O' is missing: labels in {scheme} need it, found {', '.join(labels) or 'none'}")
    split = [split_tag(label) for label in labels]
    return Transitions(
        start=tuple(not any(_step_problems(None, after, scheme)) for after in split),
        step=tuple(tuple(not any(_step_problems(before, after, scheme)) for after in split) for before in split),
        end=tuple(not any(_step_problems(before, None, scheme)) for before in split),
    )


def label_set(types: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """All tags that the types can take: "O" first, then each type in sorted order with every prefix of the scheme.

    PLAIN has no prefixes: its labels are the sorted types, which are the tags themselves.
    """
    kinds = sorted(set(types))
    if scheme is Scheme.PLAIN:
        return tuple(kinds)
    return (OUTSIDE, *(join_tag(prefix, kind) for kind in kinds for prefix in _PREFIXES[scheme]))


# --------------------------------------------------------------------------------------------------- tags <-> spans


def to_spans(tags: Sequence[str], scheme: Scheme, *, lenient: bool = False) -> list[Span]:
    """The spans of one sentence, in order.

    Args:
        tags: one tag for each word.
        scheme: a span scheme; PLAIN has no spans.
        lenient: False reads as seqeval's strict mode does with the scheme given: what breaks the scheme is no span.
            (IOB2: an I- that continues nothing is dropped. IOBES and BILOU: a span that is not closed is dropped. IOB1:
            a B- that touches no span of its type is dropped.) True reads as conlleval (Tjong Kim Sang and Buchholz
            2000) does: every tag but "O" lies in a span, which begins at B-, S- or U-, after "O", E-, S-, L- or U-,
            and where the type changes; tags of all schemes are understood, L- as E- and U- as S-.

    Raises:
        SchemeError: an unreadable tag, or, when strict, one that does not belong to the scheme.
    """
    if scheme is Scheme.PLAIN:
        raise SchemeError("plain tags have no spans: name the scheme of the tags (IO, IOB1, IOB2, IOBES or BILOU)")
    if lenient:
        return _lenient_spans([split_tag(tag) for tag in tags])
    split = [_split_in(tag, scheme) for tag in tags]
    if scheme is Scheme.IOB1:
        return _iob1_spans(split)
    last, single = _CLOSERS.get(scheme, ("", ""))
    opening = ("B", single) if scheme is not Scheme.IO else ("I",)
    spans: list[Span] = []
    index = 0
    while index < len(split):
        prefix, kind = split[index]
        start = index
        index += 1
        if prefix not in opening:
            continue
        if prefix != single:
            while index < len(split) and split[index] == ("I", kind):
                index += 1
            if last:
                if index == len(split) or split[index] != (last, kind):
                    continue
                index += 1
        spans.append(Span(kind, start, index))
    return spans


def _iob1_spans(split: Sequence[tuple[str, str]]) -> list[Span]:
    """Strict IOB1. An ill-formed B- is no span itself, and undoes a B- span of one word just before it."""
    spans: list[Span] = []
    before = (OUTSIDE, "")
    running = False  # whether the word before lies in a span
    for index, (prefix, kind) in enumerate(split):
        touches = before[0] != OUTSIDE and before[1] == kind
        if prefix == "I" and touches and running:
            spans[-1] = Span(kind, spans[-1].start, index + 1)
        elif prefix == "I" or (prefix == "B" and touches):
            spans.append(Span(kind, index, index + 1))
            running = True
        else:
            if prefix == "B" and before[0] == "B" and running:
                spans.pop()
            running = False
        before = (prefix, kind)
    return spans


def _lenient_spans(split: Sequence[tuple[str, str]]) -> list[Span]:
    spans: list[Span] = []
    before_prefix, before_type = OUTSIDE, ""
    for index, (letter, kind) in enumerate(split):
        prefix = _AS_IOBES.get(letter, letter)
        if prefix != OUTSIDE:
            if prefix in ("B", "S") or before_prefix in (OUTSIDE, "E", "S") or before_type != kind:
                spans.append(Span(kind, index, index + 1))
            else:
                spans[-1] = Span(kind, spans[-1].start, index + 1)
        before_prefix, before_type = prefix, kind
    return spans


def to_tags(spans: Iterable[Span], n_words: int, scheme: Scheme) -> list[str]:
    """One tag for each of ``n_words`` words. IO merges adjacent spans of one type: it cannot tell them apart.

    Raises:
        SchemeError: spans that overlap, are empty or lie outside the sentence; PLAIN, which has no spans.
    """
    if scheme is Scheme.PLAIN:
        raise SchemeError("spans cannot be written as plain tags: name a scheme (IO, IOB1, IOB2, IOBES or BILOU)")
    tags = [OUTSIDE] * n_words
    last, single = _CLOSERS.get(scheme, ("I", "B"))
    before: Span | None = None
    for span in sorted(spans, key=lambda s: (s[1], s[2])):
        kind, start, end = span
        if not 0 <= start < end <= n_words:
            raise SchemeError(f"span {kind!r} from word {start} to {end} does not fit a sentence of {n_words} words")
        if before is not None and start < before[2]:
            raise SchemeError(f"spans {tuple(before)} and {tuple(span)} overlap: a word can carry one tag only")
        touches = before is not None and before[2] == start and before[0] == kind
        tags[start:end] = [join_tag("I", kind)] * (end - start)
        if scheme is Scheme.IOB2 or (scheme is Scheme.IOB1 and touches):
            tags[start] = join_tag("B", kind)
        elif scheme in _CLOSERS:
            tags[start] = join_tag("B", kind)
            tags[end - 1] = join_tag(single if end - start == 1 else last, kind)
        before = span
    return tags


def repair(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Well-formed tags for the spans that the lenient (conlleval) reading finds.

    So no annotated word becomes "O": an I- that continues nothing starts a span, an unclosed span is closed, a
    superfluous B- in IOB1 becomes I-, and tags of another scheme are rewritten. Well-formed tags come back as they
    are, and so do PLAIN tags.

    Raises:
        SchemeError: a tag that no span scheme can read.
    """
    if scheme is Scheme.PLAIN:
        return list(tags)
    return to_tags(to_spans(tags, scheme, lenient=True), len(tags), scheme)


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """Rewrite well-formed tags in another scheme. To IO, adjacent spans of one type merge; all else is exact.

    Raises:
        SchemeError: ill-formed tags (repair them first if that is what you want), or PLAIN on one side only.
    """
    problems = ill_formed(tags, source)
    if problems:
        first = problems[0]
        raise SchemeError(f"word {first.index + 1}, tag {first.tag!r} is ill-formed in {source}: {first.reason}")
    if source is target:
        return list(tags)
    return to_tags(to_spans(tags, source), len(tags), target)


# -------------------------------------------------------------------------------------------------------- detection

_OTHER_NOTATIONS: Final = re.compile(r"(?:o|[bi][-_].+|[BIESLU]_.+|.+[-_][BIESLU])")


def detect_scheme(tag_sequences: Iterable[Sequence[str]]) -> Detection:
    """Tell the scheme of a whole dataset, one pass over its sentences.

    The scheme is the one with the fewest ill-formed neighbours among those that the prefixes allow: E- and S- speak
    for IOBES, L- and U- for BILOU, B- and I- for IOB2 or IOB1 by what starts the spans, I- alone for IO (IOB1 reads
    the same spans from such tags). Tags are plain when they are not all "O" or prefixed; a few stray tags among many
    prefixed ones leave the scheme standing, and are named. Only "O" gives IOB2, uncertain.
    """
    steps: Counter[tuple[str | None, str | None]] = Counter()
    counts: Counter[str] = Counter()
    for tags in tag_sequences:
        if len(tags):
            counts.update(tags)
            steps.update(zip((None, *tags), (*tags, None), strict=True))
    if not counts.keys() - {OUTSIDE}:
        return Detection(Scheme.IOB2, False, "no word carries a tag other than 'O': IOB2 is assumed")
    readable = {tag: split for tag in counts if (split := _try_split(tag)) is not None}
    stray = sorted((str(tag) for tag in counts.keys() - readable.keys()), key=lambda tag: (-counts[tag], tag))
    prefixed = sum(counts[tag] for tag in readable if tag != OUTSIDE and "-" in tag)
    n_stray = sum(counts[tag] for tag in counts.keys() - readable.keys())
    if stray and n_stray * 20 > prefixed:
        return _plain(stray, prefixed, certain=prefixed * 2 < n_stray)
    letters = Counter[str]()
    for tag, (prefix, _) in readable.items():
        if prefix != OUTSIDE:
            letters[prefix] += counts[tag]
    bad = {scheme: _bad_steps(steps, readable, scheme) for scheme in _candidates(letters)}
    scheme = min(bad, key=lambda s: bad[s])
    others = [count for other, count in bad.items() if other is not scheme]
    typed = all("-" in tag for tag in readable if tag != OUTSIDE)
    telling = len(letters) > 1 or OUTSIDE in counts
    certain = typed and telling and not stray and all(bad[scheme] * 20 <= other and other > 0 for other in others)
    if not others:  # one scheme only has these letters: it must also fit
        certain = certain and bad[scheme] * 20 <= sum(letters.values())
    found = ", ".join(f"{letters[p]} {p}-" for p in "BIESLU" if letters[p])
    reason = f"found {found}; {bad[scheme] or 'no'} ill-formed as {scheme}"
    if others:
        reason += ", " + ", ".join(f"{bad[s]} as {s}" for s in bad if s is not scheme)
    if not typed:
        reason += "; the tags name no type"
    if stray:
        reason += f"; not readable: {', '.join(map(repr, stray[:5]))}"
    return Detection(scheme, certain, reason)


def _try_split(tag: str) -> tuple[str, str] | None:
    try:
        return split_tag(tag)
    except SchemeError:
        return None


def _plain(stray: Sequence[str], prefixed: int, *, certain: bool) -> Detection:
    shown = ", ".join(map(repr, stray[:5]))
    if all(_OTHER_NOTATIONS.fullmatch(tag) for tag in stray):
        return Detection(Scheme.PLAIN, False, f"tags such as {shown} are taken as plain: spans are written B-TYPE here")
    if prefixed:
        return Detection(
            Scheme.PLAIN, certain, f"tags such as {shown} have no prefix, {prefixed} others look as if they had"
        )
    return Detection(Scheme.PLAIN, True, f"tags such as {shown} have no prefix")


def _candidates(letters: Counter[str]) -> list[Scheme]:
    """Schemes to choose among, the preferred one first."""
    if letters["E"] + letters["S"] + letters["L"] + letters["U"]:
        order = [Scheme.IOBES, Scheme.BILOU]
        if letters["L"] + letters["U"] > letters["E"] + letters["S"]:
            order.reverse()
        return order if (letters["E"] + letters["S"]) and (letters["L"] + letters["U"]) else order[:1]
    if letters["B"]:
        return [Scheme.IOB2, Scheme.IOB1]
    return [Scheme.IO]


def _bad_steps(
    steps: Counter[tuple[str | None, str | None]], readable: Mapping[str, tuple[str, str]], scheme: Scheme
) -> int:
    """How many tags are ill-formed, from the counts of neighbouring pairs."""
    bad = 0
    allowed = (OUTSIDE, *_PREFIXES[scheme])
    for (before, after), count in steps.items():
        first = None if before is None else readable.get(before)
        second = None if after is None else readable.get(after)
        if second is not None and second[0] not in allowed:
            bad += count
            continue
        if first is not None and first[0] not in allowed:
            first = None
        bad += count * sum(map(bool, _step_problems(first, second, scheme)))
    return bad
