"""Being told to end (SIGTERM: a time limit, a preemption) without losing what was computed.

A process ends where it looks: between two steps of training, between two batches of scoring. The
processes of one process group look at the same places, so that they end together.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .processes import ProcessGroup


class Interrupted(Exception):
    """The process was told to end, at a place where it can."""


class Stop:
    """Whether this process was told to end."""

    def __init__(self):
        self.requested = False

    @contextmanager
    def watched(self) -> Iterator["Stop"]:
        """Note SIGTERM instead of dying of it; only in a program's main thread."""
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: object) -> None:
        self.requested = True

    def agreed(self, processes: ProcessGroup) -> bool:
        """Return whether any of the processes was told to end; all must ask at the same place."""
        if processes.size == 1:
            return self.requested
        return bool(processes.sum(torch.tensor([int(self.requested)])).item())

    def check(self, processes: ProcessGroup) -> None:
        """Raise Interrupted where any of the processes was told to end."""
        if self.agreed(processes):
            raise Interrupted
