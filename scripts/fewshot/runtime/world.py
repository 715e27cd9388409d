"""Which process of how many this is: from a launcher, from SLURM, or the only one.

torch is imported only where several processes talk.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from .ranks import read_ranks


@dataclass(frozen=True)
class World:
    """The processes that run one job together, and this one's place among them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def meet(self) -> None:
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
            "cpu:gloo,cuda:nccl" if cuda else "gloo", rank=self.rank, world_size=self.size
        )

    def sum(self, numbers):
        """Return the sum over the processes of a tensor on the CPU."""
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

    def share(self, content):
        """Return the first process's `content` in every process (after the processes met)."""
        if self.size == 1:
            return content
        from torch import distributed

        box = [content]
        distributed.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def part(self) -> None:
        """Leave together: a process that ends while others still talk may be aborted."""
        if self.size > 1:
            from torch import distributed

            self.wait()
            distributed.destroy_process_group()


def read_world(env: Mapping[str, str] = os.environ) -> World:
    """Return the world that the environment describes; raises UserError as `read_ranks` does."""
    return World(*read_ranks(env))
