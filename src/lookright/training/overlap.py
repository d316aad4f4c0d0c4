"""What dev shares with train: whatever is chosen by it is then chosen by what was learned by heart."""

from __future__ import annotations

import logging
from typing import Final

from lookright.data import Dataset
from lookright.data.check import Level, overlap_items
from lookright.data.check_texts import overlap_items as text_overlap_items
from lookright.data.texts import TextDataset

log = logging.getLogger("lookright")

_SAID: Final = {Level.FAIL: logging.WARNING, Level.WARN: logging.INFO}


def say_overlap(train: Dataset | TextDataset, dev: Dataset | TextDataset) -> None:
    """Say how much of dev is also in train, where it is more than chance; much is what the data check fails."""
    if isinstance(train, TextDataset):
        assert isinstance(dev, TextDataset)
        (item,) = text_overlap_items({"train": train, "dev": dev})
    else:
        assert isinstance(dev, Dataset)
        (item,) = overlap_items({"train": train, "dev": dev})
    if item.level in _SAID:
        log.log(
            _SAID[item.level],
            "%s: figures on dev flatter, and what is chosen by them may be what learns by heart; give other data as "
            "dev, or hold some of train out (--dev 0.1)",
            item.message,
        )
