"""Labels before training: what the tagger will know, and what the other files have that it will not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lookright.data import Dataset
from lookright.errors import DataError, LabelError
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, label_set, to_spans, to_tags
from lookright.training.recipe import Recipe
from lookright.training.word_rule import word_rule_for

log = logging.getLogger("lookright")


@dataclass(frozen=True)
class UnseenTypes:
    """Types of a data set that the tagger has no label for; each of their spans is a missed one.

    Attributes:
        name: what the data set is called: dev, test, or its path.
        counts: spans (PLAIN: words) by type.
        what: the word for them.
    """

    name: str
    counts: dict[str, int]
    what: str = "types"

    def __str__(self) -> str:
        listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.counts.items()))
        total = sum(self.counts.values())
        return f"{self.name} has {self.what} that train has not, scored as missed gold: {listed}; {total} in all"


def scheme_of(dataset: Dataset, name: str) -> Scheme:
    """The tagging scheme of a labeled data set.

    Raises:
        DataError: the data set is empty, or has no tags.
    """
    if not len(dataset):
        raise DataError(f"{name} has no sentence; expected labeled sentences", path=dataset.path)
    if not dataset.tagged or dataset.scheme is None:
        raise DataError(
            f"{name} has sentences without tags; expected one tag per word (whole texts: --task text, and "
            "--label-column names their gold)", path=dataset.path,
        )  # fmt: skip
    return dataset.scheme


def settings_for(
    recipe: Recipe, train: Dataset, existing: TaggerSettings | None = None, *, dev: Dataset | None = None
) -> TaggerSettings:
    """What a tagger trained on `train` must remember: its labels first of all.

    Args:
        recipe: a resolved recipe.
        train: the sentences to train on; every prefix of their scheme becomes a label for every type in them.
        existing: the settings of the saved tagger that is trained further; its labels stay where they are, and those
            of new types come after them.
        dev: the sentences that choose the checkpoint; see `word_rule_for`.

    Raises:
        LabelError: plain tags meet spans.
        DataError: `train` has no sentences or no tags.
    """
    scheme = scheme_of(train, "train")
    word_rule = word_rule_for(recipe, train, dev, existing)
    chosen = {
        "subword": recipe.subword,
        "window": recipe.window,
        "context": recipe.context,
        "decode": recipe.decode,
        "dropout": recipe.dropout,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    if existing is None:
        labels = label_set(train.types(), scheme)
        return TaggerSettings(labels=labels, scheme=scheme, word_rule=word_rule, **given)  # type: ignore[arg-type]
    if (existing.scheme is Scheme.PLAIN) != (scheme is Scheme.PLAIN):
        raise LabelError(
            f"the base was trained with {existing.scheme.value} and train is {scheme.value}: plain tags and spans do "
            "not mix; start from another base"
        )
    extended = existing.with_types(train.types())
    new = [kind for kind in extended.types if kind not in existing.types]
    if new:
        log.info("the base knows %s; new in train: %s", ", ".join(existing.types) or "no type", ", ".join(new))
    return replace(extended, word_rule=word_rule, **given)  # type: ignore[arg-type]


def tags_in(dataset: Dataset, scheme: Scheme) -> list[Sequence[str]]:
    """The gold tags of every sentence, in the given scheme; an ill-formed span of another one is none, as in scores."""
    own = dataset.scheme or scheme
    gold = [sentence.tags or () for sentence in dataset]
    if own is scheme:
        return list(gold)
    return [to_tags(to_spans(tags, own), len(tags), scheme) for tags in gold]


def check_labels(
    dataset: Dataset, settings: TaggerSettings, name: str, *, trained: Sequence[str] | None = None, strict: bool = False
) -> UnseenTypes | None:
    """Find the types of a data set that the tagger has no label for, and say them.

    Args:
        dataset: dev or test.
        settings: of the tagger.
        name: how messages call the data set.
        trained: the types in train, where the tagger knows more than them.
        strict: whether an unseen type is an error.

    Raises:
        LabelError: the two share no type at all, or one is unseen and `strict` is asked; both sets are listed.
    """
    scheme = scheme_of(dataset, name)
    known = set(settings.types if trained is None else trained)
    if settings.scheme is Scheme.PLAIN or scheme is Scheme.PLAIN:
        counts = Counter(tag for sentence in dataset for tag in sentence.tags or ())
    else:
        counts = Counter(span.type for s in dataset for span in to_spans(s.tags or (), scheme, lenient=True))
    if not counts:
        return None
    unseen = {kind: count for kind, count in counts.items() if kind not in known}
    both = f"train has {', '.join(sorted(known)) or 'none'}; {name} has {', '.join(sorted(counts))}"
    mixed = (settings.scheme is Scheme.PLAIN) != (scheme is Scheme.PLAIN)
    if mixed or len(unseen) == len(counts):
        raise LabelError(f"train and {name} share no type: {both}", path=dataset.path)
    if not unseen:
        return None
    found = UnseenTypes(name, dict(sorted(unseen.items())))
    if strict:
        raise LabelError(f"{name} has types that train has not: {', '.join(found.counts)}; {both}", path=dataset.path)
    log.warning("%s", found)
    return found
