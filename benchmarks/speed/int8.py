"""The one place that knows how LookRight makes int8 weights for prediction on a processor."""

from __future__ import annotations

from typing import Any


def has_int8(tagger: Any) -> bool:
    """Whether this version can."""
    return hasattr(tagger, "quantize")


def to_int8(tagger: Any) -> None:
    """Replace the weights of a tagger, in place.

    Raises:
        NotImplementedError: this version cannot.
    """
    if not has_int8(tagger):
        raise NotImplementedError("this version of LookRight has no int8 weights (Tagger.quantize)")
    tagger.quantize()
