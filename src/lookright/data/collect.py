"""From the stream of a reader to a data set: the scheme is found, ill-formed tags are listed, notes are gathered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lookright.data.sentence import Dataset, Note, Place, Sentence
from lookright.errors import SchemeError
from lookright.tags import Scheme, detect_scheme, ill_formed, repair

log: Final = logging.getLogger("lookright.data")


class Read(NamedTuple):
    """What a reader yields.

    Attributes:
        sentence: the sentence.
        starts_document: whether it begins a document.
        lines: the line of each of its words, where that is known.
        rest: of a JSON record that is to be tagged, what goes on into the result: all but its gold.
        words_given: of such a record, whether it says itself what its words are.
    """

    sentence: Sentence
    starts_document: bool = False
    lines: Sequence[int] | None = None
    rest: Mapping[str, Any] | None = None
    words_given: bool = False


def collect(
    stream: Iterable[Read],
    *,
    path: str | None,
    scheme: Scheme | str = "auto",
    scheme_source: str = "as given",
    repair_tags: bool = False,
    notes: Sequence[Note] = (),
) -> Dataset:
    """Put a reader's stream together as a data set.

    Args:
        stream: sentences in order.
        path: the name that the data set goes by.
        scheme: a scheme or its name; "auto" finds it from the tags and says so in a note.
        scheme_source: where a scheme that is not found from the tags comes from, for the note.
        repair_tags: whether ill-formed tags are repaired (they are listed in a note either way).
        notes: what the reader has to say itself.

    Raises:
        SchemeError: for the name of a scheme that does not exist.
    """
    wanted = None if scheme == "auto" else Scheme.parse(scheme)
    reads = list(stream)
    starts = [index for index, read in enumerate(reads) if read.starts_document or index == 0]
    sentences = [read.sentence for read in reads]
    found = list(notes)
    if any(sentence.tags is not None for sentence in sentences):
        wanted, note = _scheme(sentences, wanted, scheme_source)
        found.append(note)
        ill = _ill_formed(reads, wanted, repaired=repair_tags)
        if ill is not None:
            found.append(ill)
            if repair_tags:
                sentences = [_repaired(sentence, wanted) for sentence in sentences]
    else:
        wanted = None
    for note in found:
        serious = note.kind not in ("scheme", "columns")
        log.log(logging.WARNING if serious else logging.INFO, "%s: %s", path, note.message)
    return Dataset(tuple(sentences), tuple(starts), path=path, scheme=wanted, notes=tuple(found))


def _scheme(sentences: Sequence[Sentence], given: Scheme | None, source: str) -> tuple[Scheme, Note]:
    if given is not None:
        return given, Note("scheme", f"scheme {given.value}, {source}")
    detection = detect_scheme(sentence.tags for sentence in sentences if sentence.tags is not None)
    sure = "" if detection.certain else "; not certain, so give it (scheme=...) if it is another"
    return detection.scheme, Note(
        "scheme", f"scheme {detection.scheme.value}, found from the tags: {detection.reason}{sure}"
    )


def _ill_formed(reads: Sequence[Read], scheme: Scheme, *, repaired: bool) -> Note | None:
    places = []
    for read in reads:
        sentence, lines = read.sentence, read.lines
        for problem in ill_formed(sentence.tags or (), scheme):
            line = sentence.line if lines is None else lines[problem.index]
            text = f"{problem.tag} on {sentence.words[problem.index]!r}: {problem.reason}"
            places.append(Place(sentence.path, line, text))
    if not places:
        return None
    done = "repaired" if repaired else "left as they are (repair=True repairs them)"
    message = f"{len(places)} tags are ill-formed in scheme {scheme.value}, {done}; the first is {places[0]}"
    return Note("ill-formed", message, len(places), tuple(places))


def _repaired(sentence: Sentence, scheme: Scheme) -> Sentence:
    if sentence.tags is None:
        return sentence
    try:
        return sentence.with_tags(repair(sentence.tags, scheme))
    except SchemeError as error:
        raise SchemeError(f"cannot be repaired: {error}", path=sentence.path, line=sentence.line) from None
