"""Time limits of jobs, from the seconds that are predicted.

A limit that is too short costs a retry: finished seeds are kept, and so are checkpoints, which a
job writes when it is told to end. One that is too long costs time in the queue, each time. So a
limit covers a quarter more than nine jobs in ten took, 1.5 to 3 times what is predicted, not what
all may take; and a retry has twice as much, the one after it three times.
"""

import math

NOTICE = 300
"""Seconds before its limit at which a job is told to end, for a checkpoint (`Site.request`)."""
LEAST = 30
"""Minutes that are always asked for: no queue rewards less, and start-up varies most."""
STEPS = ((4 * 60, 30), (24 * 60, 60), (math.inf, 6 * 60))
"""Minutes up to which limits are multiples of so many minutes."""


def minutes(seconds: float, margin: float) -> int:
    """Return the minutes to ask for, for a job that is predicted to take `seconds`."""
    asked = max(LEAST, (margin * seconds + NOTICE) / 60)
    step = next(step for most, step in STEPS if asked <= most)
    return math.ceil(asked / step) * step
