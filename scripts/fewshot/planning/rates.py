"""What a processor does in a second, and what an optimiser step costs by where its job is placed.

The rates are round numbers: for a data-centre GPU of the Ampere generation or newer, and for a CPU
as this project's benchmarks measured one. They rank the placements of one job here; `job_time.py`
makes seconds of whole jobs from them. What is counted are the arithmetic, the launches of kernels,
the traffic between GPUs, and that to host memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..runtime.placement import JobPlace, Placement
from .memory import FLOAT32, Demand, tokens_at_once


@dataclass(frozen=True)
class Rates:
    """What one process's processor does.

    `flops` are operations per second of matrix products by bytes of a number, `fill` the tokens at
    which a pass reaches half of that, `launch` the seconds of a layer's forward pass that no tokens
    shorten (its kernels' launches), `memory` bytes per second.
    """

    flops: Mapping[int, float]
    fill: float
    launch: float
    memory: float

    def arithmetic(self, element: int, operations: float, tokens: float) -> float:
        """Return the seconds of matrix products in passes of so many `tokens`."""
        return operations / self.flops[element] * (1 + self.fill / max(tokens, 1))


GPU = Rates(flops={2: 150e12, 4: 15e12}, fill=256, launch=1.5e-4, memory=1.5e12)
"""Of an A100's published peaks (312e12, 19.5e12; 2e12) half in 16 bits, three quarters in float32
and in memory."""
CPU = Rates(flops={2: 110e9, 4: 75e9}, fill=16, launch=4e-4, memory=1e10)
"""A thread: what the benchmarks of scorer and training reach on each of two cores, and what
the demo's layers take."""
LINK = 100e9
"""Bytes per second between the GPUs of a node."""
NETWORK = 10e9
"""Bytes per second between nodes, for each GPU of a node."""
BUS = 20e9
"""Bytes per second between a GPU and host memory."""
HOST_STEP = 1.3e-8
"""Seconds of AdamW's step for each parameter on the one host thread that a process has: PyTorch's
own optimiser, as measured; its element-wise operations pass over memory one after another."""
TYPICAL_ROW = 128
"""Tokens of a padded row, for ranking."""
ADAM = 7 * FLOAT32
"""Bytes read and written for each parameter of a step: gradient, master weight, two moments."""


def step_cost(demand: Demand, placement: Placement, per_node: int, nodes: int) -> float:
    """Return the GPU-seconds of one optimiser step, or of reading one scoring batch.

    All GPUs of the job are counted for as long as the step takes; what a process waits for is
    taken to overlap with nothing.
    """
    processes = per_node * nodes
    tokens, passes = _work(demand, placement, processes)
    seconds = _compute(demand, placement, tokens, passes)
    return processes * (seconds + moving(demand, placement, per_node, nodes, passes))


def moving(demand: Demand, placement: Placement, per_node: int, nodes: int, passes: float) -> float:
    """Return the seconds of a step in which states move: between GPUs, to the host and back, and
    through AdamW's update. Where nothing is trained (`rows` 0), those of reading in `passes`."""
    processes = max(per_node, 1) * nodes
    seconds = _update(demand, placement, processes, GPU if per_node else CPU)
    if processes > 1:
        sent = _traffic(demand, placement, passes) * (1 - 1 / processes)
        seconds += sent / _bandwidth(per_node, nodes)
    if placement.offload == "parameters":
        moved = demand.element * demand.parameters / processes
        seconds += sweeps(demand, placement) * passes * moved / BUS
    return seconds


def _bandwidth(per_node: int, nodes: int) -> float:
    """Return the bytes per second at which a process sends: what leaves a node leaves it once, by
    the network of all its GPUs."""
    return LINK if nodes == 1 else min(LINK, NETWORK * max(per_node, 1))


def _work(demand: Demand, placement: Placement, processes: int) -> tuple[float, int]:
    """Return the tokens of one process's pass, and its passes in a step."""
    if not demand.rows:
        return demand.batch_tokens / processes, 1
    tokens = -(-demand.rows // processes) * min(TYPICAL_ROW, demand.row)
    passes = -(-tokens // tokens_at_once(demand, placement, processes))
    return tokens / passes, passes


def sweeps(demand: Demand, placement: Placement) -> int:
    """Return how often a pass needs each weight: forward, again where recomputed, backward."""
    if not demand.rows or not demand.backward:
        return 1
    return 3 if placement.checkpointing else 2


def _compute(demand: Demand, placement: Placement, tokens: float, passes: int) -> float:
    """Return the seconds of a process's own arithmetic.

    2 operations for each weight and token forward, 2 for the gradient of its input and 2 for its
    own; a third more where the forward pass is done again.
    """
    times = sweeps(demand, placement)
    trained = min(demand.trainable, demand.parameters) if demand.rows and demand.backward else 0
    operations = 2 * tokens * (times * demand.parameters + trained)
    launches = GPU.launch * demand.shape.layers * times
    return passes * (GPU.arithmetic(demand.element, operations, tokens) + launches)


def _traffic(demand: Demand, placement: Placement, passes: float) -> float:
    """Return the bytes that each process sends in a step, by Rajbhandari et al. 2020.

    Stages 0 and 1 reduce gradients once and send what is missing of the weights, as stage 2 does,
    which reduces after every pass; stage 3 gathers all weights for every pass, besides.
    """
    trained = demand.element * demand.trainable
    if placement.zero_stage < 2:
        return 2 * trained
    if placement.zero_stage == 2:
        return (passes + 1) * trained
    gathered = demand.element * demand.parameters * sweeps(demand, placement)
    return passes * (gathered + trained)


def _update(demand: Demand, placement: Placement, processes: int, rates: Rates) -> float:
    """Return the seconds of AdamW's step on a process's share, with what moves to the host."""
    share = demand.trainable / processes if placement.zero_stage else demand.trainable
    if placement.offload == "none":
        return ADAM * share / rates.memory
    return HOST_STEP * share + 2 * demand.element * share / BUS


def rates_of(site: JobPlace) -> Rates:
    """Return what the processor of each of a job's processes does."""
    if site.per_node:
        return GPU
    return replace(CPU, flops={size: site.threads * each for size, each in CPU.flops.items()})
