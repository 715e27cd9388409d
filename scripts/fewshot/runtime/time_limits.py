"""Time limits of adaptation jobs: from predicted seconds, and within what a cluster allows."""

import math

NOTICE = 300
"""Seconds before its limit at which a job is told to end, for a checkpoint (`Site.request`)."""
LEAST = 30
"""Minutes that are always asked for: no queue rewards less, and start-up varies most."""
STEPS = ((4 * 60, 30), (24 * 60, 60), (math.inf, 6 * 60))
"""Minutes up to which limits are multiples of so many minutes."""


def time_limit(seconds: float, margin: float) -> int:
    """Return the minutes to ask for, for a job that is predicted to take `seconds`."""
    asked = max(LEAST, (margin * seconds + NOTICE) / 60)
    step = next(step for most, step in STEPS if asked <= most)
    return math.ceil(asked / step) * step


def limited(minutes: float, most: float) -> int:
    """Return a time limit of at most `most` minutes, whole and at least one.

    Work beyond it goes on in the next attempt.
    """
    return max(1, int(min(minutes, most)))


def attempts_needed(seconds: float, most: float) -> int:
    """Return how many attempts of at most `most` minutes a job of so many seconds takes.

    Each attempt is told to end NOTICE seconds before its limit.
    """
    return max(1, math.ceil(seconds / max(1.0, 60 * most - NOTICE)))
