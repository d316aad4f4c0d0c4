"""Other libraries, kept from writing over our messages."""

from __future__ import annotations


def calm(*, quiet: bool) -> None:
    """Keep transformers from writing reports while it loads; its bars, which only terminals see, stay unless quiet."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    if quiet:
        logging.disable_progress_bar()
