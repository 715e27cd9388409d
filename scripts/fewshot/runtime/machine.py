"""The machine that jobs are planned for: as the study names it, or else the one that plans."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

GIB = 2**30
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
PATIENCE = 30.0
"""Seconds that nvidia-smi may take, as it does where drivers are loaded only then."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name in CUDA_VISIBLE_DEVICES (its number), its identifier, its bytes of memory."""

    name: str
    uuid: str
    memory: int


@dataclass(frozen=True)
class Machine:
    """What there is: memory in bytes for each GPU and of each node, both usable as a whole.

    Without GPUs, `gpus_per_node` is 0. `binding` tells whether jobs must fit: where no GPU is
    named or found, the machine that plans need not be the one that runs.
    """

    gpu_memory: int
    gpus_per_node: int
    nodes: int
    host_memory: int
    binding: bool = True

    @property
    def has_gpu(self) -> bool:
        """Return whether jobs run on GPUs."""
        return self.gpus_per_node > 0 and self.gpu_memory > 0

    @property
    def name(self) -> str:
        """Return the machine in words."""
        host = f"{self.host_memory / GIB:.0f} GB of host memory"
        if not self.has_gpu:
            return f"no GPU, {host}"
        nodes = f"{self.nodes} nodes of " if self.nodes > 1 else ""
        return f"{nodes}{self.gpus_per_node} × {self.gpu_memory / GIB:.0f} GB GPUs and {host}"


def read_machine(settings: Mapping) -> Machine:
    """Return the machine of a study's `machine` key; what it leaves out is this machine's.

    A GPU that is named without a number is one GPU.
    """
    found = gpu_memories() if not {"gpu_memory_gb", "gpus_per_node"} <= set(settings) else ()
    memory = settings.get("gpu_memory_gb", min(found, default=0) / GIB)
    count = settings.get("gpus_per_node", len(found) or int("gpu_memory_gb" in settings))
    host = settings.get("host_memory_gb", host_memory() / GIB)
    binding = bool(settings) or bool(found)
    return Machine(round(memory * GIB), count, settings.get("nodes", 1), round(host * GIB), binding)


def gpu_memories() -> tuple[int, ...]:
    """Return the bytes of each GPU that this process sees; none where nvidia-smi finds none."""
    return tuple(gpu.memory for gpu in visible_gpus())


def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES lets this process see: all, where it is not set.

    Numbers are nvidia-smi's. What follows a name that no GPU has is not seen, as in CUDA.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return installed_gpus()
    seen: list[Gpu] = []
    for name in map(str.strip, names.split(",")):
        gpu = _named(name)
        if gpu is None:
            break
        seen.append(gpu)
    return tuple(dict.fromkeys(seen))


def _named(name: str) -> Gpu | None:
    """Return the GPU of a number or of an identifier, which may be cut short."""
    found = installed_gpus()
    if found and name.startswith("MIG-"):
        # A part of a GPU, whose own size nvidia-smi's query does not tell.
        return Gpu(name, name, min(gpu.memory for gpu in found))
    by_uuid = name.startswith("GPU-")
    same = (gpu for gpu in found if (gpu.uuid.startswith(name) if by_uuid else gpu.name == name))
    return next(same, None)


@cache
def installed_gpus() -> tuple[Gpu, ...]:
    """Return all GPUs of this machine; none where nvidia-smi finds none or tells no size."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = [[each.strip() for each in line.split(",")] for line in done.stdout.splitlines()]
    return tuple(
        Gpu(line[0], line[1], int(line[2]) * 2**20)
        for line in lines
        if len(line) == 3 and line[0].isdigit() and line[2].isdigit()
    )


@cache
def host_memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
