"""The processes that run one job together: ranks, process group, collectives."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
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


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that run one job together, and this one's place among them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def connect(self) -> None:
        """Connect the processes, where there are several.

        Raises UserError where the launcher did not say where they meet.
        """
        if self.size == 1:
            return
        import torch

        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise UserError(f"environment: {name} is missing; start with torchrun or set it")
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(self.local_rank)
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            rank=self.rank,
            world_size=self.size,
            # The first process alone compares checksums of weights and checkpoints.
            timeout=timedelta(hours=2),
        )

    def sum(self, numbers):
        """Return a tensor, which becomes its sum over the processes."""
        if self.size > 1:
            from torch import distributed

            distributed.all_reduce(numbers)
        return numbers

    def portions(self, costs: Sequence[float]) -> list[list[int]]:
        """Return which pieces of work each process does, as places in the list of their costs.

        The dearest first, each to the process with the least to do: a pure function of the costs.
        """
        loads, portions = [0.0] * self.size, [[] for _ in range(self.size)]
        for place in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
            rank = loads.index(min(loads))
            loads[rank] += costs[place]
            portions[rank].append(place)
        return portions

    def broadcast(self, content):
        """Return the first process's `content` in every process (after the processes met)."""
        if self.size == 1:
            return content
        from torch import distributed

        box = [content]
        distributed.broadcast_object_list(box)
        return box[0]

    def gather(self, content) -> list:
        """Return every process's `content`, by rank, in every process."""
        if self.size == 1:
            return [content]
        from torch import distributed

        box = [None] * self.size
        distributed.all_gather_object(box, content)
        return box

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def disconnect(self) -> None:
        """Leave together: a process that ends while others still talk may be aborted."""
        if self.size > 1:
            from torch import distributed

            self.barrier()
            distributed.destroy_process_group()


def read_process_group(env: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Return the process group that the environment describes; UserError as in `read_ranks`."""
    return ProcessGroup(*read_ranks(env))
