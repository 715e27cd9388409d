"""Give each job GPUs of its own where jobs share a machine.

Snakemake counts GPUs (the resource `gpu`) but does not say which, and two Snakemakes on one machine
know nothing of each other. So a job locks the GPUs that it takes. The locks are files in the
temporary folder, for each user; the kernel opens them however a process ends.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import UserError
from .machine import Gpu, visible_gpus
from .processes import read_ranks

LOG = logging.getLogger(__name__)

ALLOCATION = "FAIRSHOT_ALLOCATION"
"""Environment variable: the SLURM job in which Snakemake itself runs, empty outside of SLURM."""
POLL = 1.0
"""Seconds between two looks for a free GPU."""


@contextmanager
def claimed(
    resources: Mapping[str, object], env: MutableMapping[str, str] = os.environ
) -> Iterator[None]:
    """Let this process and its children see `gpu` GPUs that no other job has, and no others.

    It waits, with a line in the log, while too many are taken. Nothing is claimed in a SLURM job
    that Snakemake submitted and by one of several processes, since these have their own, nor where
    nvidia-smi finds no GPU. Raises UserError where fewer are visible than are asked for.
    """
    visible = visible_gpus() if _shares_gpus(resources, env) else ()
    if not visible:
        yield
        return
    count = int(resources.get("gpu", 0))
    if count > len(visible):
        raise UserError(f"gpu = {count}: valid: up to {len(visible)}, the GPUs that are visible")
    with ExitStack() as held:
        taken = _take(visible, count, held)
        LOG.info("GPUs of this job: %s", ", ".join(map(_text, taken)) or "none")
        held.callback(LOG.info, "the job's GPUs are free again")
        held.enter_context(_showing(taken, env))
        yield


def share_allocation(env: MutableMapping[str, str] = os.environ) -> None:
    """Let jobs tell whether they share GPUs: to be called in the process that starts them.

    A job submitted to SLURM has GPUs of its own; one that Snakemake starts inside the allocation
    that it runs in itself shares those with the others.
    """
    env[ALLOCATION] = env.get("SLURM_JOB_ID", "")


def _shares_gpus(resources: Mapping[str, object], env: Mapping[str, str]) -> bool:
    own = "SLURM_JOB_ID" in env and env["SLURM_JOB_ID"] != env.get(ALLOCATION)
    return not own and int(resources.get("nodes", 1)) < 2 and read_ranks(env)[1] < 2


def _take(visible: Sequence[Gpu], count: int, held: ExitStack) -> list[Gpu]:
    """Lock `count` of the visible GPUs until `held` is closed; return them.

    A job that waits keeps what it has got, or jobs that want fewer would overtake it for ever.
    Meanwhile it is the first in the queue of each GPU that it may take, and all jobs queue in the
    same order of GPUs: so no two jobs collect from the same GPUs, and no two wait for each other.
    """
    taken: list[Gpu] = []
    with ExitStack() as queue:
        for gpu in sorted(visible, key=lambda gpu: gpu.uuid) if count else ():
            if not _lock(f"{gpu.uuid}.queue", queue):
                LOG.info("waiting behind another job that waits for %s", _text(gpu))
                _lock(f"{gpu.uuid}.queue", queue, wait=True)
        said = False
        while True:
            for gpu in visible:
                if len(taken) < count and gpu not in taken and _lock(gpu.uuid, held):
                    taken.append(gpu)
            if len(taken) == count:
                return [gpu for gpu in visible if gpu in taken]
            if not said:
                LOG.info("waiting: %d of %d GPUs are free", len(taken), count)
            said = True
            time.sleep(POLL)


def _lock(name: str, until: ExitStack, wait: bool = False) -> bool:
    """Lock a file of this user's until `until` is closed; return whether that was possible.

    By flock(2): systemd-tmpfiles removes no file that is locked so. Raises UserError where the
    temporary folder cannot be written to.
    """
    file = f"fairshot-{os.getuid()}-{name}.lock".replace("/", "-")  # of parts of GPUs
    path = Path(tempfile.gettempdir(), file)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; valid: a TMPDIR that this user may write to"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return False
    until.callback(os.close, handle)
    return True


@contextmanager
def _showing(taken: Sequence[Gpu], env: MutableMapping[str, str]) -> Iterator[None]:
    """Make the GPUs those that CUDA sees, by their numbers, which DeepSpeed reads too."""
    shown = {
        "CUDA_VISIBLE_DEVICES": ",".join(gpu.name for gpu in taken),
        # Numbers are nvidia-smi's, which counts so; CUDA would count from the fastest.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    before = {name: env.get(name) for name in shown}
    env.update(shown)
    try:
        yield
    finally:
        for name, value in before.items():
            env.pop(name)
            if value is not None:
                env[name] = value


def _text(gpu: Gpu) -> str:
    return f"{gpu.name} ({gpu.uuid})"
