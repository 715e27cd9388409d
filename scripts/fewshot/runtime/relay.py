"""What this package logs, passed on in a process that has no log of its own: Snakemake's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Relay(logging.Handler):
    """Passes each record on as a plain message."""

    def __init__(self, target: logging.Logger):
        super().__init__()
        self.target = target

    def emit(self, record: logging.LogRecord) -> None:
        self.target.log(record.levelno, record.getMessage())


@contextmanager
def relayed(target: logging.Logger) -> Iterator[None]:
    """Pass what the package logs at level INFO or above on to `target` meanwhile."""
    package, relay = logging.getLogger(__package__.rpartition(".")[0]), _Relay(target)
    level, propagates = package.level, package.propagate
    package.addHandler(relay)
    package.setLevel(logging.INFO)
    package.propagate = False  # Python's last resort would say it again.
    try:
        yield
    finally:
        package.removeHandler(relay)
        package.setLevel(level)
        package.propagate = propagates
