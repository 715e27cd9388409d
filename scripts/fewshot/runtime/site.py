"""What a SLURM cluster is, as its user wrote it down, and what jobs ask of it.

Changes no result. What is missing or wrong is planned with as a placeholder: a dry run says so, a
real run stops before it submits anything (`site_checks.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..validation import mistake, read_schema, read_yaml
from .time_limits import NOTICE

NONE = "none"
"""What stands for a thing that a site does not have."""
UNTYPED = ("any", NONE)
"""What a site says of its GPUs where no type is asked for."""


@dataclass(frozen=True)
class Site:
    """The facts of a cluster (config/schema/site.yaml), each as given or the placeholder here.

    `problems` has a line for each entry that is missing or wrong, by its key.
    """

    account: str = NONE
    cpu_partition: str = "placeholder"
    gpu_partition: str = "placeholder"
    gpu_type: str = "any"
    gpu_memory_gb: float = 80
    gpus_per_node: int = 4
    nodes: int = 2
    host_memory_gb: float = 480
    cpu_max_hours: float | str = NONE
    gpu_max_hours: float | str = NONE
    cpus_per_gpu: int | None = None
    constraint: str = NONE
    qos: str = NONE
    path: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def machine(self) -> dict[str, float]:
        """Return the facts that the memory plan needs, by the names that a study has for them."""
        names = ("gpu_memory_gb", "gpus_per_node", "nodes", "host_memory_gb")
        return {name: getattr(self, name) for name in names}

    def most_minutes(self, gpus: int) -> float:
        """Return the longest time limit that a job with so many GPUs may ask for."""
        hours = self.gpu_max_hours if gpus else self.cpu_max_hours
        return float("inf") if hours == NONE else 60 * float(hours)

    @property
    def most_mib(self) -> int:
        """Return the host memory of a GPU node in 2^20 bytes, in which SLURM counts."""
        return int(self.host_memory_gb * 1024)

    def request(self, gpus: int, nodes: int) -> dict[str, object]:
        """Return what an adaptation job on `gpus` of `nodes` asks SLURM for, as resources of the
        executor plugin; None where nothing is asked.

        Over several nodes the plugin starts the job without a step of its own, and the job's script
        starts one with a process for each GPU.
        """
        extra, several = [f"--signal=TERM@{NOTICE}"], nodes > 1
        typed = self.gpu_type if self.gpu_type not in UNTYPED and gpus else None
        if several:
            each = gpus // nodes
            kind = f"{typed}:" if typed else ""
            extra += [f"--ntasks-per-node={each}", f"--gpus-per-node={kind}{each}"]
        return {
            "slurm_partition": self.gpu_partition if gpus else self.cpu_partition,
            "gpu_model": typed,
            "cpus_per_gpu": self.cpus_per_gpu if gpus else None,
            "constraint": self.constraint if gpus and self.constraint != NONE else None,
            "mpi": "srun" if several else None,
            "tasks": gpus if several else None,
            "tasks_per_gpu": 0 if several else None,
            "slurm_extra": " ".join(extra),
        }


REQUEST = tuple(Site().request(1, 1))
"""Names of the resources that `Site.request` gives."""


def read_site(path: str | Path) -> Site:
    """Read the facts of a cluster; what is missing or wrong becomes a placeholder and a problem.

    Raises UserError where the file is missing or is no mapping.
    """
    given, schema = read_yaml(path), read_schema("site")
    loose = {**schema, "required": []}
    if given.get("gpus_per_node") == 0 and given.get("gpu_memory_gb") == NONE:
        given = {**given, "gpu_memory_gb": Site.gpu_memory_gb}
    known, problems = {}, {}
    for key, value in given.items():
        wrong = mistake({key: value}, loose, str(path)) if value is not None else None
        if wrong:
            problems[key] = str(wrong)
        elif value is not None:
            known[key] = value
    for key in schema["required"]:
        if given.get(key) is None:
            meaning = schema["properties"][key]["description"]
            problems[key] = f"{path}: '{key}' is missing. {meaning}"
    return Site(**known, path=str(path), problems=problems)
