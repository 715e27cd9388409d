"""Give each job GPUs of its own where jobs share a machine: by a lock on each GPU that it takes.

The locks are files in the temporary folder, for each user; the kernel opens them however a process
ends. Nobody queues: a job of several GPUs may wait until smaller ones leave enough of them free.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice

from ..errors import UserError
from .locks import lock_on_machine
from .machine import Gpu, visible_gpus
from .processes import read_ranks

LOG = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks for free GPUs."""


@contextmanager
def claimed(
    resources: Mapping[str, object], env: MutableMapping[str, str] = os.environ
) -> Iterator[None]:
    """Let this process and its children see `gpu` GPUs that no other job has, and no others.

    Nothing is claimed in a job that was submitted to a cluster (resource `slurm_partition`) and by
    one of several processes, since these have GPUs of their own, nor where nvidia-smi finds none.
    Raises UserError where fewer are visible than are asked for.
    """
    given = resources.get("slurm_partition") or int(resources.get("nodes", 1)) > 1
    visible = () if given or read_ranks(env)[1] > 1 else visible_gpus()
    if not visible:
        yield
        return
    count = int(resources.get("gpu", 0))
    if count > len(visible):
        raise UserError(f"gpu = {count}: valid: up to {len(visible)}, the GPUs that are visible")
    told = False
    with ExitStack() as held:
        while len(taken := _lock_free(visible, count, held)) < count:
            if not told:
                LOG.info("waiting: %d of %d GPUs are free", len(taken), count)
            told = True
            # Two jobs that kept what they have would wait for each other.
            held.close()
            time.sleep(POLL)
        names = ", ".join(f"{gpu.name} ({gpu.uuid})" for gpu in taken)
        LOG.info("GPUs of this job: %s", names or "none")
        held.callback(LOG.info, "the job's GPUs are free again")
        # Numbers are nvidia-smi's, which counts so; CUDA would count from the fastest.
        shown = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        shown["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.name for gpu in taken)
        before = {name: env[name] for name in shown if name in env}
        env.update(shown)
        try:
            yield
        finally:
            for name in shown:
                del env[name]
            env.update(before)


def _lock_free(visible: Sequence[Gpu], count: int, held: ExitStack) -> list[Gpu]:
    """Lock up to `count` of the GPUs that are free until `held` is closed; return these."""
    return list(islice((gpu for gpu in visible if lock_on_machine(gpu.uuid, held)), count))
