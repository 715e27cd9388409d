"""Checkpoints within a seed: written only where training again would take longer than that.

A checkpoint is a folder beside the finished seeds (`state.py`). It is written under another name
and renamed when all processes have written their part and it has reached the disk, so that an
interrupted write leaves the one before.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.state import remove, sync
from ..runtime.world import World

LOG = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two checkpoints, at least."""
SHARE = 0.05
"""Share of the time that may go into writing them."""
RATE = 2e8
"""Bytes that each process writes in a second, until that has been measured."""
GRACE = 240.0
"""Seconds in which a process that is told to end must have written one: SLURM gives 300."""


class Checkpoints:
    """The checkpoints of one seed under `folder`, of which the newest counts.

    `check` raises where this job no longer owns the folder.
    """

    def __init__(self, folder: Path, seed: int, world: World, check: Callable[[], None]):
        self.folder, self.seed, self.world, self.check = folder, seed, world, check
        self.cost = 0.0
        self._last = time.monotonic()

    def expect(self, size: int) -> None:
        """Say about how many bytes each process will write."""
        self.cost = size / RATE

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint."""
        return self.world.share(max(self._all(), key=_step, default=None))

    def due(self, remaining: float) -> bool:
        """Return whether to write one now, with `remaining` seconds of work left for the seed."""
        since = time.monotonic() - self._last
        worth = self.cost < remaining and since >= max(EVERY, self.cost / SHARE)
        return self.world.share(worth)

    def in_time(self) -> bool:
        """Return whether a process that is told to end has the time to write one."""
        return self.world.share(self.cost < GRACE)

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Yield the folder that all processes write to; it counts once all are done.

        There must be no checkpoint of that step yet.
        """
        begin = time.monotonic()
        final = self.folder / f"seed{self.seed}.step{step}"
        partial = final.with_name(f"{final.name}.partial")
        if self.world.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.world.wait()
        yield partial
        self.world.wait()
        if self.world.rank == 0:
            for path in [*partial.rglob("*"), partial]:
                sync(path)
            self.check()
            older = self._all()
            partial.rename(final)
            sync(self.folder)
            for path in older:
                remove(path)
        self.world.wait()
        self._last = time.monotonic()
        self.cost = self._last - begin
        LOG.info("seed %d: checkpoint after step %d in %.1f s", self.seed, step, self.cost)

    def clear(self) -> None:
        """Remove all checkpoints of the seed."""
        if self.world.rank == 0:
            for path in self._all():
                remove(path)
        self.world.wait()

    def _all(self) -> list[Path]:
        found = self.folder.glob(f"seed{self.seed}.step*")
        return [path for path in found if path.suffix != ".partial"]


def _step(path: Path) -> int:
    return int(path.name.rpartition(".step")[2])
