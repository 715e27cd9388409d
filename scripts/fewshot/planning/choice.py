"""Choose where a job runs: the cheapest configuration that fits."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UserError
from ..runtime.machine import Machine
from ..runtime.placement import OFFLOADS, STAGES, Placement
from .memory import GIB, Demand, MemoryEstimate, estimate
from .rates import step_cost

LEAST_TOKENS = 512
"""Fewest tokens at once that are tried: smaller passes leave most of a GPU idle."""


@dataclass(frozen=True)
class Choice:
    """A configuration and what it is expected to take; `per_node` 0 is one process on a CPU."""

    placement: Placement
    per_node: int
    nodes: int
    expected: MemoryEstimate

    @property
    def gpus(self) -> int:
        """Return the GPUs of all nodes."""
        return self.per_node * self.nodes

    @property
    def name(self) -> str:
        """Return the configuration in words."""
        place, gpus = self.placement, f"{self.gpus} GPUs" if self.gpus > 1 else f"{self.gpus} GPU"
        parts = [gpus if self.gpus else "no GPU", f"ZeRO stage {place.zero_stage}"]
        parts += [f"on {self.nodes} nodes"] if self.nodes > 1 else []
        parts += [f"offload of {place.offload}"] if place.offload != "none" else []
        parts += [f"{place.micro_tokens} tokens at once"] if place.micro_tokens else []
        return ", ".join(parts + (["checkpointing"] if place.checkpointing else []))


def choose_placement(
    demand: Demand, machine: Machine, batch_size: int, checkpoints: bool, where: str
) -> Choice:
    """Return the cheapest configuration that fits.

    `batch_size` rows make an optimiser step (0: nothing is trained), which the processes share
    evenly. `checkpoints` tells whether activations can be computed again. Raises UserError, naming
    the job by `where`, with the numbers of the least demanding configuration if none fits.
    """
    options = [
        Choice(placement, per_node, nodes, estimate(demand, placement, per_node, nodes))
        for per_node, nodes in _groups(machine, batch_size)
        for placement in _placements(demand, per_node, nodes, checkpoints)
    ]
    fitting = [each for each in options if fits(each.expected, machine)]
    if not fitting:
        least = min(options, key=lambda each: _demanding(each.expected, machine))
        if machine.binding:
            raise _misfit(least, machine, where, demand)
        return least
    return min(fitting, key=lambda each: _rank(demand, each))


def fits(expected: MemoryEstimate, machine: Machine) -> bool:
    """Return whether a machine's GPUs and nodes hold what is expected."""
    return expected.gpu <= machine.gpu_memory and expected.host <= machine.host_memory


def _groups(machine: Machine, batch_size: int) -> Iterator[tuple[int, int]]:
    """Yield (GPUs on each node, nodes): powers of two within a node, then whole nodes."""
    if not machine.has_gpu:
        yield 0, 1
        return
    whole = machine.gpus_per_node
    sizes = [2**i for i in range(whole.bit_length()) if 2**i < whole] + [whole]
    for per_node, nodes in [(n, 1) for n in sizes] + [
        (whole, n) for n in range(2, machine.nodes + 1)
    ]:
        if batch_size % (per_node * nodes) == 0:
            yield per_node, nodes


def _placements(
    demand: Demand, per_node: int, nodes: int, checkpoints: bool
) -> Iterator[Placement]:
    """Yield the placements on a group of GPUs that could be of use.

    Half precision needs a stage: without, DeepSpeed's updates are wrong. One process shares
    nothing, so that it takes higher stages only for what these put into host memory. Where nothing
    is trained, weights are whole or in shards. Some tensors stay whole (`Demand.whole`).
    """
    half, processes = demand.element < 4, per_node * nodes
    if not demand.rows:
        yield Placement(3 if processes > 1 else 0)
        return
    whole = demand.whole
    least = int(half and not whole)
    for stage in STAGES[least:] if per_node and not whole else (least,):
        offloads = OFFLOADS[: stage if stage > 1 else 1]
        if processes <= 1 and stage > least:
            offloads = OFFLOADS[stage - 1 : stage] if stage > 1 else ()
        for offload in offloads:
            for tokens in _token_bounds(demand):
                for again in (False, True) if checkpoints else (False,):
                    yield Placement(stage, offload, tokens, again)


def _token_bounds(demand: Demand) -> Iterator[int]:
    """Yield the tokens at once that are tried: the study's, then halves of it."""
    tokens = demand.batch_tokens
    yield tokens
    while tokens // 2 >= LEAST_TOKENS:
        tokens //= 2
        # A bound beyond a whole batch is the same as none.
        if tokens < demand.rows * demand.row:
            yield tokens


def _rank(demand: Demand, option: Choice) -> tuple:
    """Return what sorts configurations: cost, then the simplest."""
    place = option.placement
    # On a CPU there is one process, and fewer tokens or checkpointing only where memory asks.
    cost = step_cost(demand, place, option.per_node, option.nodes) if option.gpus else 0.0
    plain = (option.gpus, place.zero_stage, OFFLOADS.index(place.offload))
    return (cost, *plain, place.checkpointing, -place.micro_tokens)


def _demanding(expected: MemoryEstimate, machine: Machine) -> float:
    """Return how much more is expected than there is, of GPU or host memory."""
    gpu = expected.gpu / machine.gpu_memory if machine.gpu_memory else 0.0
    return max(gpu, expected.host / max(machine.host_memory, 1))


def _misfit(least: Choice, machine: Machine, where: str, demand: Demand) -> UserError:
    """Return the error for a job that fits nowhere, with the numbers; whole tensors are a reason
    for that."""
    expected = least.expected
    host = f"{expected.host / GIB:.1f} of {machine.host_memory / GIB:.1f} GB of host memory"
    each = f"{expected.gpu / GIB:.1f} of {machine.gpu_memory / GIB:.1f} GB of each GPU and "
    needed = f"{each if least.gpus else ''}{host} per node"
    if demand.whole:
        named = "optimizer: adafactor" if demand.quantised is None else "quantise"
        needed += f", since {named} keeps whole tensors on each GPU"
    return UserError(
        f"{where} fits nowhere on {machine.name}: the least demanding plan ({least.name}) takes "
        f"{needed}; name a larger machine (key machine of the study) or leave the cell out"
    )
