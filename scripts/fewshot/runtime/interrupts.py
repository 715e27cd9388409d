"""Ctrl-C ends a start of the workflow with one line and the exit status that shells use for it."""

import os
import signal
import sys
import threading
from types import FrameType

SAID = b"Stopped by Ctrl-C. What is finished is kept: the same command goes on from there.\n"


class CtrlC:
    """Whether Ctrl-C was pressed since it is watched for."""

    STATUS = 128 + signal.SIGINT
    """The exit status of a program that SIGINT ends, as shells tell it: 130."""

    def __init__(self):
        self.pressed = False

    @classmethod
    def watched(cls) -> "CtrlC":
        """Return one that handles SIGINT, unless the process ignores it or has a handler already.

        Python lets only the main thread set handlers; in another thread nothing is watched.
        """
        watch = cls()
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, watch.press)
        return watch

    def press(self, signum: int, frame: FrameType | None) -> None:
        """Print the line the first time, and raise SystemExit, at which Snakemake ends its jobs."""
        if not self.pressed:
            # Not `print`: the signal may have come within another one.
            os.write(2, SAID)
        self.pressed = True
        sys.exit(self.STATUS)
