"""One process at a time: a lock on a folder that whoever comes second waits for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError

LOG = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two attempts to lock."""
REMIND = 60.0
"""Seconds between two lines in the log that say what is waited for."""


@contextmanager
def exclusive(root: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, made if it is not there; the kernel frees that of a dead process.

    The log says now and then that another process is waited for. Raises filelock.Timeout where
    one is and must not be waited for, and UserError where the file system cannot lock.
    """
    # What a file system that cannot lock would get instead outlives a killed process.
    lock = FileLock(root / ".lock", fallback_to_soft=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _acquire(lock, wait)
    except Timeout:
        raise
    except OSError as error:
        raise UserError(f"{root}: cannot be locked ({error})") from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, wait: bool) -> None:
    seconds = 0.0
    while True:
        try:
            lock.acquire(timeout=seconds, poll_interval=POLL)
            return
        except Timeout:
            if not wait:
                raise
            LOG.info("waiting for another process, which holds %s", lock.lock_file)
            seconds = REMIND
