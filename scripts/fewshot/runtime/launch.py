"""Run an adaptation script in one process, or in one for each GPU that its job has.

On one machine the processes are started here; over several nodes of a SLURM job, by srun. Where a
launcher (torchrun, srun) started several processes already, each does its part and starts none.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import UserError
from . import gpus, script, slurm
from .processes import MARK, SHORTAGES, TOLD, read_process_group, read_shortages

LOG = logging.getLogger(__name__)

POLL = 0.1
"""Seconds between two looks at the processes."""
GRACE = 10.0
"""Seconds that a process has to end after another one failed."""
PATIENCE = 280.0
"""Seconds that processes have for a checkpoint when their job is told to end; SLURM gives 300."""
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""
STEP = ("SLURM_STEP", "SLURM_NTASKS", "SLURM_TASKS", "SLURM_CPU_BIND", "SLURM_TRES_PER_TASK")
"""What the variables of a job's step begin with, which must not become those of the next."""


@dataclass(frozen=True)
class Wanted:
    """The processes of a job: `count` of them on `nodes`, each with so many threads."""

    count: int = 1
    nodes: int = 1
    threads: int = 1


class Told(BaseException):
    """This process was told to end (SIGTERM): no error, which a library might catch."""


def run(main: Callable[[object], None], smk: object) -> None:
    """Run a script's `main`, as `script.run` does; with several GPUs, in a process for each.

    Told to end it exits with status TOLD; preempted by SLURM it waits to be put into the queue
    again, which a job that ends by itself is not.
    """
    try:
        script.run(lambda smk: _run(main, smk), smk)
    except SystemExit as end:
        if end.code == TOLD and slurm.preempted():
            LOG.info("preempted: SLURM starts this job again later")
            time.sleep(PATIENCE)
        raise


def _run(main: Callable[[object], None], smk: object) -> None:
    if read_process_group().size > 1:
        main(smk)
        return
    before = signal.signal(signal.SIGTERM, _told)
    try:
        # Before torch is imported, which looks for GPUs once.
        with gpus.claimed(smk.resources):
            _in_processes(main, smk)
    except Told:
        LOG.info("told to end; started again, the job goes on from what is finished")
        raise SystemExit(TOLD) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_processes(main: Callable[[object], None], smk: object) -> None:
    processes = replace(wanted(smk.resources), threads=int(smk.threads))
    if processes.count == 1:
        main(smk)
        return
    command = [sys.executable, *sys.argv]
    mark = Path(f"{smk.log[0]}.short")
    shortages = read_shortages()
    while not spread(command, processes, mark, shortages):
        shortages += 1
        LOG.warning("memory ran out: the processes start again and ask for less (%d)", shortages)


def wanted(resources: Mapping[str, object], env: Mapping[str, str] = os.environ) -> Wanted:
    """Return the processes to start: one for each GPU that is asked for and is there.

    On a node without GPUs it is one. Raises UserError for several nodes outside of SLURM.
    """
    asked, nodes = int(resources.get("gpu", 0)), int(resources.get("nodes", 1))
    if asked < 2 and nodes < 2:
        return Wanted()
    if nodes > 1 and "SLURM_JOB_ID" not in env:
        raise UserError(
            f"nodes = {nodes}: only SLURM can start processes on other nodes from here; valid: a "
            "job of SLURM (snakemake --profile slurm), or a launcher such as torchrun"
        )
    import torch

    here = max(1, min(asked // nodes, torch.cuda.device_count()))
    return Wanted(here * nodes, nodes)


def spread(command: Sequence[str], found: Wanted, mark: Path, shortages: int = 0) -> bool:
    """Run `command` in several processes of one process group and wait for them.

    Return whether all ended well, or else one ran out of memory, which it tells by the file `mark`.
    Raises UserError where one fails otherwise; the others are ended, since they would wait for it
    forever. Raises Told, having told them and waited for their checkpoints, when told to end.
    """
    mark.unlink(missing_ok=True)
    told = {SHORTAGES: str(shortages), MARK: str(mark.resolve())}
    place = {**os.environ, **_meeting_place(found.nodes), **told}
    started: list[subprocess.Popen] = []
    grace = GRACE
    before = signal.signal(signal.SIGTERM, _told)
    try:
        started += _by_srun(command, found, place) if found.nodes > 1 else []
        for rank in range(found.count if found.nodes == 1 else 0):
            own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": found.count}
            env = {**place, **{name: str(value) for name, value in own.items()}}
            # A checkpoint would take time in which the job could not start again.
            dying = partial(_with_parent, signal.SIGKILL)
            started.append(subprocess.Popen(command, env=env, preexec_fn=dying))
        return _wait(started, found, mark)
    except Told:
        grace = PATIENCE
        raise
    finally:
        # srun would kill its processes: SLURM, which ends the job, has told them itself.
        _end(started, grace, tell=found.nodes == 1 or grace == GRACE)
        signal.signal(signal.SIGTERM, before)
        mark.unlink(missing_ok=True)


def _told(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Told


def _meeting_place(nodes: int) -> dict[str, str]:
    """Return where the processes meet: a port of this machine that is free now."""
    address = "127.0.0.1" if nodes == 1 else socket.gethostname()
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    return {"MASTER_ADDR": address, "MASTER_PORT": str(port)}


def _by_srun(command: Sequence[str], found: Wanted, env: dict[str, str]) -> list[subprocess.Popen]:
    """Start a step of this SLURM job with as many processes on each node."""
    clean = {name: value for name, value in env.items() if not name.startswith(STEP)}
    per_node = found.count // found.nodes
    # Overlapping: the step that this process belongs to holds the job's processors.
    srun = ["srun", "--overlap", f"--nodes={found.nodes}", f"--ntasks={found.count}",
            f"--ntasks-per-node={per_node}", f"--cpus-per-task={found.threads}",
            "--kill-on-bad-exit=1"]  # fmt: skip
    # Told to end, srun ends its processes on all nodes.
    ending = partial(_with_parent, signal.SIGTERM)
    return [subprocess.Popen([*srun, *command], env=clean, preexec_fn=ending)]


def _wait(started: list[subprocess.Popen], found: Wanted, mark: Path) -> bool:
    """Return True when all have ended well, False when one ran out of memory.

    Raises Told where they were told to end, as SLURM tells the steps of a job that reaches its time
    limit, but not the process that started them.
    """
    while (codes := [process.poll() for process in started]) != [0] * len(started):
        if any(codes) and mark.exists():
            return False
        if TOLD in codes or -signal.SIGTERM in codes:
            raise Told
        for rank, code in enumerate(codes):
            if code:
                name = f"the one that ends in .rank{rank}" if rank else "this one"
                who = f"process {rank} of {found.count}" if found.nodes == 1 else "srun"
                raise UserError(f"{who} failed (status {code}); see its log, {name}")
        time.sleep(POLL)
    return True


def _end(started: list[subprocess.Popen], grace: float, tell: bool) -> None:
    """Tell processes to end, and end those that have not after `grace` seconds."""
    for process in started if tell else ():
        process.terminate()
    end = time.monotonic() + grace
    for process in started:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _with_parent(number: signal.Signals) -> None:
    """Let the kernel signal this process when the one that started it ends, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
