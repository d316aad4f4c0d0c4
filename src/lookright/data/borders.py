"""Exceptions to the default word rule, learned from words: "third-quarter" or "third - quarter", "U.S." or "U . S .".

Data sets disagree about the marks inside and beside words, and a tagger reads best what is cut as its training words
are. The default rule cuts first. A border between two of its words that touch is then looked up by what stands around
the mark at it, the particular before the general, and stays where nothing is known:

    SIDE LEFT MARK RIGHT    SIDE "<": the border before the mark; ">": the one after it, before letters or digits
    "< =Mr . E"             LEFT or RIGHT as written ("=..."; RIGHT in small letters)
    "> A - A"               or as a kind: A letters, I one letter, D digits, P letters with dots between them,
                            U a web address, E nothing (white space or the end), else the mark that stands there
    "> |A ' I"              "|": what stands there touches, but is a word apart

Before that, runs of letters are cut where train cuts them: "can|not", "|n ' t" (an "n" before "'t").

An exception is kept when it sets at least `LEAST_GAIN` more borders of the training words right than what is known
without it. Only runs of letters or digits and single marks take part: Han, emoji, and what holds them together do not.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lookright.data.default_words import default_words, kind_of
from lookright.errors import DataError

TextWithWords = tuple[str, Sequence[tuple[int, int]]]
"""A text and the character borders `(start, end)` of the words in it."""

LEAST_GAIN: Final = 2
MOST_KEPT: Final = 2_000
"""Exceptions kept of each kind, those that set most borders right."""
LONGEST_EXACT: Final = 20
"""Longer words are known by their kind only."""
LONGEST_TAIL: Final = 3

_DOTTED: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_ADDRESS: Final = re.compile(r"(?:https?|www)(?![^\W_])", re.I)


class _Piece(NamedTuple):
    start: int
    end: int
    kind: str  # "run", "mark", or "" for what takes no part


class _Context(NamedTuple):
    """What a border is looked up by, from the general to the particular; None where a level does not apply."""

    general: str
    right: str | None
    left: str | None


@dataclass(frozen=True, slots=True)
class Borders:
    """Learned exceptions to the default rule, in the form that the top of this module describes.

    Attributes:
        joined: contexts in which a border of the default rule goes.
        apart: particular contexts in which it stays, although a more general one says that it goes.
        cuts: where runs of letters are cut.
    """

    joined: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    cuts: frozenset[str] = frozenset()
    _whole_cuts: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = {cut.replace("|", ""): cut.index("|") for cut in self.cuts if " " not in cut}
        object.__setattr__(self, "_whole_cuts", whole)

    def __len__(self) -> int:
        """Number of exceptions."""
        return len(self.joined) + len(self.apart) + len(self.cuts)

    def split(self, text: str) -> list[tuple[int, int]]:
        """The borders of the words of a text."""
        pieces = self._cut(text, _pieces(text))
        words: list[tuple[int, int]] = []
        for index, piece in enumerate(pieces):
            context = _context(text, pieces, index, words)
            if context is not None and self._closes(context):
                words[-1] = (words[-1][0], piece.end)
            else:
                words.append((piece.start, piece.end))
        return words

    def to_dict(self) -> dict[str, list[str]]:
        """The exceptions as sorted lists."""
        return {name: sorted(getattr(self, name)) for name in ("joined", "apart", "cuts")}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Borders:
        """The exceptions that `to_dict` gave.

        Raises:
            DataError: what it cannot have given.
        """
        lists = {name: saved.get(name) for name in ("joined", "apart", "cuts")}
        for name, values in lists.items():
            fits = isinstance(values, list) and all(isinstance(value, str) for value in values)
            if not fits or (name == "cuts" and not all(value.count("|") == 1 for value in values or ())):
                raise DataError(f"{name} of the saved word rule is {str(values)[:60]}; expected a list of exceptions")
        return cls(**{name: frozenset(values or ()) for name, values in lists.items()})

    @classmethod
    def learn(cls, texts: Sequence[TextWithWords]) -> Borders:
        """The exceptions that words in texts show; none where they are as the default rule cuts.

        Args:
            texts: texts, each with the borders of its words.
        """
        cuts = cls(cuts=_learn_cuts(texts))
        seen: defaultdict[_Context, list[int]] = defaultdict(lambda: [0, 0])
        for text, borders in texts:
            pieces = cuts._cut(text, _pieces(text))
            cut_at = {place for border in borders for place in border}
            words: list[tuple[int, int]] = []
            for index, piece in enumerate(pieces):
                context = _context(text, pieces, index, words)
                closed = context is not None and piece.start not in cut_at
                if context is not None:
                    seen[context][closed] += 1
                if closed:
                    words[-1] = (words[-1][0], piece.end)
                else:
                    words.append((piece.start, piece.end))
        known: dict[str, bool] = {}
        for level in range(len(_Context._fields)):
            known.update(_level(seen, level, known))
        joined = frozenset(key for key, closes in known.items() if closes)
        return cls(joined, frozenset(known.keys() - joined), cuts.cuts)

    def _closes(self, context: _Context) -> bool:
        for key in reversed(context):
            if key in self.joined:
                return True
            if key in self.apart:
                return False
        return False

    def _cut(self, text: str, pieces: list[_Piece]) -> list[_Piece]:
        """The pieces, with runs cut where the exceptions say so."""
        if not self.cuts:
            return pieces
        cut: list[_Piece] = []
        for index, piece in enumerate(pieces):
            place = self._place_of_cut(text, pieces, index) if piece.kind == "run" else 0
            if place:
                cut.append(piece._replace(end=piece.start + place))
                piece = _Piece(piece.start + place, piece.end, "run")
            cut.append(piece)
        return cut

    def _place_of_cut(self, text: str, pieces: Sequence[_Piece], index: int) -> int:
        """How many characters of a run stand before the cut in it; 0 for no cut."""
        piece = pieces[index]
        run = text[piece.start : piece.end].lower()
        if len(run) != piece.end - piece.start:  # a letter that has no small form of one character
            return 0
        if run in self._whole_cuts:
            return self._whole_cuts[run]
        after = _after(text, pieces, index)
        if after is not None:
            for length in range(min(LONGEST_TAIL, len(run) - 1), 0, -1):
                if f"|{run[-length:]} {after}" in self.cuts:
                    return len(run) - length
        return 0


def _pieces(text: str) -> list[_Piece]:
    return [_Piece(start, end, _piece_kind(text[start], end - start == 1)) for start, end in default_words(text)]


@lru_cache(maxsize=4096)
def _piece_kind(first: str, single: bool) -> str:
    kind = kind_of(first)
    if kind == "letters":
        return "run"
    return "mark" if kind == "other" and single and unicodedata.category(first)[0] in "PS" else ""


def _after(text: str, pieces: Sequence[_Piece], index: int) -> str | None:
    """The mark and the run that touch a run on the right, as "' t"; None where there are none."""
    if index + 2 >= len(pieces):
        return None
    piece, mark, run = pieces[index : index + 3]
    touch = piece.end == mark.start and mark.end == run.start
    if not touch or mark.kind != "mark" or run.kind != "run":
        return None
    return f"{text[mark.start]} {text[run.start : run.end].lower()}"


def _context(text: str, pieces: Sequence[_Piece], index: int, words: Sequence[tuple[int, int]]) -> _Context | None:
    """What the border before a piece is looked up by, after the given words; None where it stays in any case."""
    piece = pieces[index]
    if not words or words[-1][1] != piece.start or not piece.kind:
        return None
    last = pieces[index - 1]
    start, end = words[-1]
    exact: str | None
    if piece.kind == "mark" and last.kind:
        side, mark = "<", text[piece.start]
        exact = text[start:end]
        left = _left_kind(exact)
        following = pieces[index + 1] if index + 1 < len(pieces) and pieces[index + 1].start == piece.end else None
    elif last.kind == "mark":
        side, mark = ">", text[last.start]
        exact = text[start : end - 1] or None
        if exact is not None:
            left = _left_kind(exact)
        elif len(words) > 1 and words[-2][1] == start:
            left = "|" + _left_kind(text[words[-2][0] : start])
        else:
            left = "E"
        following = piece
    else:  # two runs: a cut
        return None
    right = _right_kind(text, following)
    if left == "U":
        general = "U * *" if right != "E" else f"U {mark} E"
        return _Context(f"{side} {general}", None, None)
    by_right = None
    if following is not None and following.kind == "run" and following.end - following.start <= LONGEST_EXACT:
        by_right = f"{side} {left} {mark} ={text[following.start : following.end].lower()}"
    by_left = f"{side} ={exact} {mark} {right}" if exact is not None and len(exact) <= LONGEST_EXACT else None
    return _Context(f"{side} {left} {mark} {right}", by_right, by_left)


def _left_kind(word: str) -> str:
    if _ADDRESS.match(word):
        return "U"
    last = word[-1]
    if not last.isalnum():
        if kind_of(last) == "extends":
            return "A"
        return last if not any(character.isalnum() for character in word) else "A" + last
    if last.isdigit():
        return "D"
    if len(word) == 1:
        return "I"
    return "P" if _DOTTED.fullmatch(word) else "A"


def _right_kind(text: str, piece: _Piece | None) -> str:
    if piece is None or not piece.kind:
        return "E"
    first = text[piece.start]
    if piece.kind == "mark":
        return first
    if first.isdigit():
        return "D"
    return "I" if piece.end - piece.start == 1 else "A"


def _level(seen: Mapping[_Context, Sequence[int]], level: int, known: Mapping[str, bool]) -> dict[str, bool]:
    """The exceptions of one level: key -> whether the border goes; those that do better than what is known."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # stays, goes, right without the exception
    for context, (stays, goes) in seen.items():
        key = context[level]
        if key is None:
            continue
        closes = next((known[k] for k in reversed(context[:level]) if k is not None and k in known), False)
        tally = counts[key]
        tally[0] += stays
        tally[1] += goes
        tally[2] += goes if closes else stays
    gains = {key: max(stays, goes) - right for key, (stays, goes, right) in counts.items()}
    best = _best(gains)
    return {key: counts[key][1] > counts[key][0] for key in best}


def _best(gains: Mapping[str, int]) -> list[str]:
    kept = [key for key, gain in gains.items() if gain >= LEAST_GAIN]
    return sorted(kept, key=lambda key: (-gains[key], key))[:MOST_KEPT]


def _learn_cuts(texts: Iterable[TextWithWords]) -> frozenset[str]:
    """Where runs of letters are cut: whole ones ("can|not"), and tails of those before a mark ("|n ' t")."""
    seen: Counter[tuple[str, str | None, int]] = Counter(_runs(texts))
    uncut: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    tails: Counter[str] = Counter()
    for (run, after, place), count in seen.items():
        if place and after is not None and len(run) - place <= LONGEST_TAIL:
            tails[f"|{run[place:]} {after}"] += count
        elif place:
            whole[f"{run[:place]}|{run[place:]}"] += count
        else:
            uncut[run] += count
    wanted = set(tails)
    for (run, after, place), count in seen.items():
        if after is not None and not place:
            for length in range(1, min(LONGEST_TAIL, len(run) - 1) + 1):
                key = f"|{run[-length:]} {after}"
                if key in wanted:
                    tails[key] -= count
    gains = {key: count - uncut[key.replace("|", "")] for key, count in whole.items()}
    best_of_run: dict[str, str] = {}  # a run is cut at one place
    for key in _best(gains):
        best_of_run.setdefault(key.replace("|", ""), key)
    return frozenset(best_of_run.values()) | frozenset(_best(tails))


def _runs(texts: Iterable[TextWithWords]) -> Iterator[tuple[str, str | None, int]]:
    """Each run of letters in small letters, what follows it (see `_after`), and where it is cut (0: nowhere)."""
    for text, borders in texts:
        pieces = _pieces(text)
        starts = sorted({start for start, _ in borders} - {piece.start for piece in pieces})
        inside = {}
        for index, piece in enumerate(pieces):
            while starts and starts[0] < piece.start:
                starts.pop(0)
            if starts and starts[0] < piece.end and text[starts[0]].isalnum():
                inside[index] = starts[0] - piece.start
        for index, piece in enumerate(pieces):
            run = text[piece.start : piece.end].lower()
            if piece.kind == "run" and len(run) == piece.end - piece.start:
                yield run, _after(text, pieces, index), inside.get(index, 0)
