"""Run an adaptation script in one process, or in one for each GPU that its job has.

Where a launcher or SLURM started several processes already, each does its part and starts none.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from . import records
from .errors import UserError
from .world import read_world

POLL = 0.1
"""Seconds between two looks at the processes."""
GRACE = 10.0
"""Seconds that a process has to end when it is told to."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def run(main: Callable[[object], None], smk: object) -> None:
    """Run a script's `main`, as `records.run` does; with several GPUs, in a process for each."""
    records.run(lambda smk: _run(main, smk), smk)


def _run(main: Callable[[object], None], smk: object) -> None:
    count = wanted(smk.resources)
    if count == 1:
        main(smk)
    else:
        spread([sys.executable, *sys.argv], count)


def wanted(resources) -> int:
    """Return the processes to start: one for each GPU that is asked for and is there."""
    asked = int(resources.get("gpu", 0))
    if asked < 2 or read_world().size > 1:
        return 1
    import torch

    return max(1, min(asked, torch.cuda.device_count()))


def spread(command: Sequence[str], count: int) -> None:
    """Run `command` in `count` processes of one world and wait for them.

    Raises UserError where one fails; the others are ended, since they would wait for it forever,
    as they are where this process is.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started: list[subprocess.Popen] = []
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for rank in range(count):
            own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
            env = {**os.environ, **place, **{name: str(value) for name, value in own.items()}}
            started.append(subprocess.Popen(command, env=env, preexec_fn=_end_with_parent))
        while (codes := [process.poll() for process in started]) != [0] * count:
            for rank, code in enumerate(codes):
                if code:
                    name = f"the one that ends in .rank{rank}" if rank else "this one"
                    raise UserError(
                        f"process {rank} of {count} failed (status {code}); see its log, {name}"
                    )
            time.sleep(POLL)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """Let the kernel end this process with the one that started it, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
