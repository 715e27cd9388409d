"""Prompts cut to a number of tokens, as published code cuts them; what was cut is counted."""

import logging
from dataclasses import replace

from .tokens import Prompts, common_length

LOG = logging.getLogger(__name__)


def truncate(prompts: Prompts, limit: int | None, where: str) -> tuple[Prompts, int]:
    """Return the prompts with at most `limit` tokens, cut on the right, and how many were longer.

    What is cut is the end of the text and the cue behind it: the answer is then asked for in the
    middle of the text, as in Mosbach et al. 2023 (256 tokens). Without a limit nothing changes.
    `where` names the rows in the log. Takes prompts without label words.
    """
    longer = sum(length > limit for length in prompts.lengths) if limit else 0
    if not longer:
        return prompts, 0
    LOG.warning("%s: %d of %d rows cut to %d tokens", where, longer, len(prompts.ids), limit)
    rows = [(prompts.prefix + suffix)[:limit] for suffix in prompts.suffixes]
    # Cut rows may begin alike to their ends; each keeps a token of its own.
    common = min(common_length(min(rows), max(rows)), min(map(len, rows)) - 1)
    return replace(
        prompts, prefix=rows[0][:common], suffixes=[row[common:] for row in rows]
    ), longer
