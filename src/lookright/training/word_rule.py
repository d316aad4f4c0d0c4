"""Which word rule a trained tagger gets: the one that its training words show, unless there is a choice already."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from lookright.data import Dataset, WordSplitter
from lookright.data.borders import TextWithWords
from lookright.encoding import running_texts
from lookright.models.settings import TaggerSettings
from lookright.training.recipe import Recipe

log = logging.getLogger("lookright")

LEARNED: Final = "learned"
"""The name of the rule in a recipe and in `WordSplitter.to_dict`."""


def words_found(splitter: WordSplitter, texts: Iterable[TextWithWords]) -> float:
    """The share (0 to 1) of the words in texts that a splitter finds again, with both borders; 1 without words."""
    found = total = 0
    for text, borders in texts:
        found += len(set(borders) & set(splitter.split(text)))
        total += len(borders)
    return found / total if total else 1.0


def word_rule_for(
    recipe: Recipe, train: Dataset, dev: Dataset | None = None, existing: TaggerSettings | None = None
) -> dict[str, Any]:
    """The word rule of a trained tagger, as it is saved.

    The recipe's wins; a tagger that goes on keeps a callable, and what it has learned. Otherwise it is learned from the
    words of `train`, unless the words of `dev` say that these are cut in a way of their own: then it is the default.

    Args:
        recipe: of the run.
        train: the sentences to train on.
        dev: the sentences that choose the checkpoint.
        existing: the settings that the tagger has already.
    """
    own = {} if existing is None else existing.word_rule
    if existing is not None and recipe.word_split is None:
        return own
    if recipe.word_split not in (None, LEARNED):
        return WordSplitter(str(recipe.word_split)).to_dict()
    return own if own.get("rule") in ("callable", LEARNED) else _learned(train, dev).to_dict()


def _learned(train: Dataset, dev: Dataset | None) -> WordSplitter:
    texts = list(running_texts(train.sentences))
    default, learned = WordSplitter(), WordSplitter.like(texts)
    if learned == default:
        log.info("running text is split into words by the default rule, as the words of train are")
        return default
    if dev is not None:
        dev_texts = list(running_texts(dev.sentences))
        by_default, by_learned = words_found(default, dev_texts), words_found(learned, dev_texts)
        if by_learned < by_default:
            log.info(
                "running text is split into words by the default rule: it finds %.1f %% of the words of dev, and the "
                "rule learned from train, which is split otherwise, %.1f %%",
                100 * by_default,
                100 * by_learned,
            )
            return default
    log.info(
        "running text is split into words as train is, with %d exceptions to the default rule: %.1f %% of the words of "
        "train are found in it, instead of %.1f %%",
        len(learned.learned),
        100 * words_found(learned, texts),
        100 * words_found(default, texts),
    )
    return learned
