"""How adaptation jobs are submitted to a cluster: time limits, and jobs that share a submission."""

import math
from dataclasses import dataclass

from ..study.cells import Cell
from .placement import JobPlace

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


SHORT = "short"
"""The group of adaptation jobs that share a submission."""


def group_of(study: str, cell: Cell) -> str:
    """Return the name of those jobs of a study that may share a submission with a cell's."""
    return f"{SHORT}_{study}_{cell.protocol}_{cell.task}_{cell.model}"


@dataclass(frozen=True)
class Queue:
    """What holds for adaptation jobs of one kind of device.

    `most_minutes` is the longest time limit, `attempts` how often a job is submitted until it has
    failed. Jobs of less than `short_minutes` share submissions, up to `together` in one.
    """

    most_minutes: float
    attempts: int
    short_minutes: float
    together: int

    def is_short(self, place: JobPlace, seconds: float) -> bool:
        """Return whether a job that takes so long there is one to share a submission, if it can."""
        alike = place.processes == 1 and place.placement.offload == "none"
        return alike and seconds < 60 * self.short_minutes

    def shares(self, place: JobPlace, seconds: float, minutes: float) -> bool:
        """Return whether a short job shares a submission, whose limits add up.

        A full submission must have room for as many `minutes` as the job's first attempt asks for,
        times its jobs: so that a job has no less time in it than by itself. Later attempts have
        more, as far as the site has it.
        """
        return self.is_short(place, seconds) and minutes * self.together <= self.most_minutes

    def limited(self, minutes: float, shares: bool = False) -> int:
        """Return a job's time limit as the site allows it; work beyond it goes on in the next
        attempt. Those of one submission add up."""
        return max(1, int(min(minutes, self.most_minutes / (self.together if shares else 1))))

    def needed(self, seconds: float) -> int:
        """Return how many attempts a job is predicted to take.

        Each is told to end NOTICE seconds before its limit. Those that share a submission need one.
        """
        return max(1, math.ceil(seconds / (60 * self.most_minutes - NOTICE)))

    def suffices(self, seconds: float) -> bool:
        """Return whether all attempts together are as long as a job is predicted to take."""
        return self.needed(seconds) <= self.attempts
