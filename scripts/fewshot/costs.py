"""What an optimiser step costs, in GPU-seconds, by where its job is placed.

A model to compare placements of one job, not to predict its time: the rates are round numbers for
a data-centre GPU of the Ampere generation or newer. It counts the arithmetic, the launches of
kernels, the traffic between GPUs, and that to host memory.
"""

from .memory import FLOAT32, Demand, tokens_at_once
from .placement import Placement

FLOPS = {2: 150e12, 4: 15e12}
"""Operations per second of matrix products, by bytes of a number; half of the published peaks."""
FILL = 256
"""Tokens at which a pass reaches half of that rate."""
LAUNCH = 1.5e-4
"""Seconds of a layer's forward pass that no tokens shorten: its kernels' launches."""
LINK = 100e9
"""Bytes per second between the GPUs of a node."""
NETWORK = 10e9
"""Bytes per second and GPU between nodes."""
BUS = 20e9
"""Bytes per second between a GPU and host memory."""
GPU_MEMORY = 1.5e12
"""Bytes per second of a GPU's memory."""
HOST_STEP = 1.3e-8
"""Seconds of AdamW's step for each parameter on the one host thread that a process has: PyTorch's
own optimiser, as measured; its element-wise operations pass over memory one after another."""
TYPICAL_ROW = 128
"""Tokens of a padded row of the tasks here."""
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
    if processes > 1:
        bandwidth = NETWORK if nodes > 1 else LINK
        seconds += _traffic(demand, placement, passes) * (1 - 1 / processes) / bandwidth
    seconds += _update(demand, placement, processes)
    if placement.offload == "parameters":
        moved = demand.element * demand.parameters / processes
        seconds += _gathers(demand, placement) * passes * moved / BUS
    return processes * seconds


def _work(demand: Demand, placement: Placement, processes: int) -> tuple[float, int]:
    """Return the tokens of one process's pass, and its passes in a step."""
    if not demand.rows:
        return demand.batch_tokens / processes, 1
    tokens = -(-demand.rows // processes) * min(TYPICAL_ROW, demand.row)
    passes = -(-tokens // tokens_at_once(demand, placement, processes))
    return tokens / passes, passes


def _gathers(demand: Demand, placement: Placement) -> int:
    """Return how often a pass needs each weight: forward, again where recomputed, backward."""
    if not demand.rows or not demand.backward:
        return 1
    return 3 if placement.checkpointing else 2


def _compute(demand: Demand, placement: Placement, tokens: float, passes: int) -> float:
    """Return the seconds of a process's own arithmetic.

    2 operations for each weight and token forward, 2 for the gradient of its input and 2 for its
    own; a third more where the forward pass is done again.
    """
    shape = demand.shape
    sweeps = _gathers(demand, placement)
    trained = min(demand.trainable, demand.parameters) if demand.rows and demand.backward else 0
    operations = 2 * tokens * (sweeps * demand.parameters + trained)
    arithmetic = operations / FLOPS[demand.element] * (1 + FILL / max(tokens, 1))
    return passes * (arithmetic + LAUNCH * shape.layers * sweeps)


def _traffic(demand: Demand, placement: Placement, passes: int) -> float:
    """Return the bytes that each process sends in a step, by Rajbhandari et al. 2020.

    Stages 0 and 1 reduce gradients once and send what is missing of the weights, as stage 2 does,
    which reduces after every pass; stage 3 gathers all weights for every pass, besides.
    """
    trained = demand.element * demand.trainable
    if placement.zero_stage < 2:
        return 2 * trained
    if placement.zero_stage == 2:
        return (passes + 1) * trained
    gathered = demand.element * demand.parameters * _gathers(demand, placement)
    return passes * (gathered + trained)


def _update(demand: Demand, placement: Placement, processes: int) -> float:
    """Return the seconds of AdamW's step on a process's share, with what moves to the host."""
    share = demand.trainable / processes if placement.zero_stage else demand.trainable
    if placement.offload == "none":
        return ADAM * share / GPU_MEMORY
    return HOST_STEP * share + 2 * demand.element * share / BUS
