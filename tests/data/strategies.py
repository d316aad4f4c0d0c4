"""Random labeled data: words as odd as Unicode allows, tags of every scheme, texts with spans."""

from __future__ import annotations

from hypothesis import strategies as st

from lookright.data import CharSpan, Dataset, Sentence, WordSplitter
from lookright.tags import Scheme, Span, to_tags

ODD = (
    "\ufe0f",
    "\u200d",
    "\u00a0",
    "\u2028",
    "\u0085",
    "\u0301",
    "\ufeff",
    "#",
    "-",
    "_",
    "👩‍👩‍👧",
    "🇭🇷",
    "é",
    "x",
    "Zagreb",
)
SPAN_SCHEMES = (Scheme.IOB1, Scheme.IOB2, Scheme.IOBES, Scheme.BILOU)

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\0")
words = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(categories=["L", "N", "M", "S", "P"]), min_size=1, max_size=5)
)
any_words = st.one_of(st.sampled_from(ODD), st.text(characters, min_size=1, max_size=5))
types = st.sampled_from(["PER", "LOC", "GPE-ORG", "Ort"])


@st.composite
def spans_over(draw: st.DrawFn, n_words: int) -> list[Span]:
    borders = sorted(draw(st.sets(st.integers(0, n_words), max_size=6)))
    return [Span(draw(types), start, end) for start, end in zip(borders[::2], borders[1::2], strict=False)]


@st.composite
def tagged_sentences(draw: st.DrawFn, scheme: Scheme, a_word: st.SearchStrategy[str] = words) -> Sentence:
    chosen = tuple(draw(st.lists(a_word, min_size=1, max_size=7)))
    return Sentence(chosen, tuple(to_tags(draw(spans_over(len(chosen))), len(chosen), scheme)))


@st.composite
def datasets(draw: st.DrawFn, sentences: st.SearchStrategy[Sentence], scheme: Scheme, each: bool = False) -> Dataset:
    chosen = draw(st.lists(sentences, min_size=1, max_size=5))
    if each and draw(st.booleans()):
        starts = tuple(range(len(chosen)))
    else:
        starts = (0, *sorted(draw(st.sets(st.integers(1, len(chosen)), max_size=3)) - {len(chosen)}))
    return Dataset(tuple(chosen), starts, scheme=scheme)


texts = st.lists(st.one_of(words, st.sampled_from([" ", "  ", "\n", "\u3000", "."])), max_size=9).map("".join)


@st.composite
def text_sentences(draw: st.DrawFn, scheme: Scheme) -> Sentence:
    """A text under the default word rule, with spans on word borders kept as characters too."""
    sentence = WordSplitter().sentence(draw(texts))
    offsets = sentence.offsets or ()
    over = draw(spans_over(len(offsets)))
    gold = tuple(CharSpan(span.type, offsets[span.start][0], offsets[span.end - 1][1]) for span in over)
    tags = tuple(to_tags(over, len(offsets), scheme))
    return Sentence(sentence.words, tags, sentence.text, offsets, char_spans=gold)


def bare(dataset: Dataset) -> list[tuple[object, ...]]:
    """What must survive writing and reading: all but paths and lines."""
    return [(s.words, s.tags, s.text, s.offsets, s.char_spans) for s in dataset]
