"""Being told to end (SIGTERM: a time limit, a preemption) without losing what was computed.

Where a process can only end between two steps it asks `Stop.agreed`; where nothing is lost by
ending at once, as in scoring, it says so by `Stop.anywhere`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from .world import World

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that ended because it was told to."""


class Interrupted(Exception):
    """The process was told to end, at a place where it can."""


class Stop:
    """Whether this process was told to end."""

    def __init__(self):
        self.requested = False
        self._at_once = False

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
        if self._at_once:
            self._at_once = False
            raise Interrupted

    def agreed(self, world: World) -> bool:
        """Return whether any of the processes was told to end; all must ask at the same place."""
        if world.size == 1:
            return self.requested
        return bool(world.sum(torch.tensor([int(self.requested)])).item())

    def check(self, world: World) -> None:
        """Raise Interrupted where any of the processes was told to end."""
        if self.agreed(world):
            raise Interrupted

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._at_once = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def anywhere(self, world: World):
        """Return a context in which being told to end raises Interrupted at once.

        Only where the process is alone: others would wait for it.
        """
        return self._interruptible() if world.size == 1 else nullcontext()
