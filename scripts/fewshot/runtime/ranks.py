"""What launchers and SLURM say to the processes that run one job together, and these to ours."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

SHORTAGES = "FAIRSHOT_SHORTAGES"
"""Environment variable: how often memory ran out already, and less of it must be asked for."""
MARK = "FAIRSHOT_SHORTAGE_MARK"
"""Environment variable: the file by which a process tells its launcher that memory ran out. Its
exit status may be lost among those of the processes that it takes with it."""
TOLD = 128 + signal.SIGTERM
"""Exit status of a process that ended because it was told to."""


def read_ranks(env: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """Return this process's number, how many there are, and its number on this machine.

    torchrun's and DeepSpeed's variables count first, then SLURM's of the job step (those of the
    whole allocation would also be set in a shell that runs one process). Raises UserError where
    they are incomplete or contradict each other.
    """
    for names in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ):
        if names[1] not in env:
            continue
        size = _number(env, names[1])
        if size <= 1:
            break
        rank, local = _number(env, names[0]), _number(env, names[2])
        if rank >= size:
            raise UserError(f"environment: {names[0]} = {rank}; valid: below {size}")
        return rank, size, local
    return 0, 1, 0


def _number(env: Mapping[str, str], name: str) -> int:
    value = env.get(name, "")
    if not value.isdigit():
        raise UserError(f"environment: {name} = '{value}'; valid: a number from 0")
    return int(value)


def read_shortages(env: Mapping[str, str] = os.environ) -> int:
    """Return how often memory ran out in the processes before these."""
    return int(env.get(SHORTAGES, 0))


def mark_shortage(env: Mapping[str, str] = os.environ) -> None:
    """Tell the launcher, if there is one, that memory ran out in this process."""
    if MARK in env:
        Path(env[MARK]).touch()
