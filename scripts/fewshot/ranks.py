"""What launchers and SLURM say of the processes that run one job together."""

import os
from collections.abc import Mapping

from .errors import UserError


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
        if size == 1:
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
