"""How a training job is placed on its machines: never what it computes, only where and in pieces.

Torch-free: the memory plan chooses placements while Snakemake builds its graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import UserError, unknown

BUCKET = 500_000_000
"""Elements of the buffer through which DeepSpeed reduces gradients, at most: its own default."""

STAGES = (0, 1, 2, 3)
OFFLOADS = ("none", "optimizer", "parameters")


@dataclass(frozen=True)
class Placement:
    """Where model states live and how many tokens are trained at once.

    `zero_stage` says what the processes share (Rajbhandari et al. 2020): 1 optimiser states, 2
    gradients too, 3 parameters too. `offload` puts optimiser states, or parameters as well, into
    host memory. `micro_tokens` bounds the padded tokens of one forward and backward pass in each
    process (0: the study's batch_tokens). `checkpointing` keeps no activations but those between
    layers and computes the others again (Chen et al. 2016).
    """

    zero_stage: int = 0
    offload: str = "none"
    micro_tokens: int = 0
    checkpointing: bool = False

    def __post_init__(self):
        if self.zero_stage not in STAGES:
            raise unknown("ZeRO stage", str(self.zero_stage), map(str, STAGES), "zero_stage")
        if self.offload not in OFFLOADS:
            raise unknown("value", self.offload, OFFLOADS, "offload")
        least = {"none": 0, "optimizer": 2, "parameters": 3}[self.offload]
        if self.zero_stage < least:
            raise UserError(
                f"offload = {self.offload} needs zero_stage {least} or more, not {self.zero_stage}"
            )

    def __str__(self) -> str:
        parts = [f"ZeRO stage {self.zero_stage}", f"{self.micro_tokens} tokens at once"]
        if self.offload != "none":
            parts.append(f"{self.offload} offloaded")
        if self.checkpointing:
            parts.append("activations recomputed")
        return ", ".join(parts)


def read_placement(resources: Mapping[str, object]) -> Placement:
    """Return the placement that a job's resources ask for; raises UserError where it is none."""
    return Placement(
        zero_stage=int(resources.get("zero_stage", 0)),
        offload=str(resources.get("offload", "none")),
        micro_tokens=int(resources.get("micro_tokens", 0)),
        checkpointing=bool(int(resources.get("checkpointing", 0))),
    )


def easier(
    placement: Placement, longest: int, processes: int, shares: bool, recomputes: bool = True
) -> Placement | None:
    """Return the next placement that needs less memory for activations or states; None: none does.

    First fewer tokens at once (`micro_tokens` must be given) down to one row of `longest`, then
    checkpointing, if the model can be made to recompute; then, if it `shares`, as on GPUs, whatever
    can be shared or moved to the host: each costs more time than the one before.
    """
    if placement.micro_tokens > longest:
        return replace(placement, micro_tokens=max(longest, placement.micro_tokens // 2))
    if recomputes and not placement.checkpointing:
        return replace(placement, checkpointing=True)
    if not shares or placement.offload == "parameters":
        return None
    if processes > 1 and placement.zero_stage < 3:
        return replace(placement, zero_stage=placement.zero_stage + 1)
    if placement.offload == "none":
        return replace(placement, zero_stage=max(2, placement.zero_stage), offload="optimizer")
    return replace(placement, zero_stage=3, offload="parameters")


@dataclass(frozen=True)
class JobPlace:
    """Where a job runs: `per_node` GPUs on each of `nodes`, or a process of `threads` without."""

    placement: Placement
    per_node: int
    nodes: int = 1
    threads: int = 1

    @property
    def kind(self) -> str:
        """Return "gpu" or "cpu"."""
        return "gpu" if self.per_node else "cpu"

    @property
    def processes(self) -> int:
        """Return the processes, of which each has a GPU, if there is any."""
        return max(1, self.per_node) * self.nodes
