"""What dev and test share with train: figures on what was learned by heart flatter, and so does what they choose."""

from __future__ import annotations

import logging
from typing import Final

from lookright.data import Dataset
from lookright.data.check import Level, overlap_items
from lookright.data.check_texts import overlap_items as text_overlap_items
from lookright.data.texts import TextDataset

log = logging.getLogger("lookright")

_ADVICE: Final = {
    "dev": ", and what is chosen by them may be what learns by heart; give other data as dev, or hold some of train "
    "out (--dev 0.1)",
    "test": "; give data that nothing was trained on",
}
_SAID: Final = {Level.FAIL: logging.WARNING, Level.WARN: logging.INFO}


def say_overlap(train: Dataset | TextDataset, other: Dataset | TextDataset, name: str = "dev") -> None:
    """Say how much of dev or test is also in train, where it is more than chance; much is what the data check fails."""
    if isinstance(train, TextDataset):
        assert isinstance(other, TextDataset)
        (item,) = text_overlap_items({"train": train, name: other})
    else:
        assert isinstance(other, Dataset)
        (item,) = overlap_items({"train": train, name: other})
    if item.level in _SAID:
        log.log(_SAID[item.level], "%s: figures on %s flatter%s", item.message, name, _ADVICE[name])
