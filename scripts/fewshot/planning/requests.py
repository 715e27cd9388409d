"""What jobs ask of the machine or the cluster they run on: none of it makes a job run again."""

import math

from ..runtime.placement import Placement
from ..runtime.site import NONE, REQUEST, Site
from ..runtime.time_limits import limited
from ..study.cells import Cell, Job
from ..study.other_tasks import measured_models, placed_as
from .memory_plan import MemoryPlan

MB = 10**6
PLACED = (
    "gpu",
    "nodes",
    "zero_stage",
    "offload",
    "micro_tokens",
    "checkpointing",
    "mem_mb",
    "predicted_gpu_mb",
    "runtime",
)
"""Names of an adaptation job's resources, on any machine."""
WITHOUT_MODEL = {"mem_mb": 8000, "runtime": 60}
"""The most that a job without a model asks for at its first attempt, by rules/."""
ATTEMPTS = 3
"""How often a cluster's job is tried: once, and twice more (`retries` of profiles/slurm)."""


class Requests:
    """The resources of a study's jobs; `site` has the facts of the cluster, if there is one."""

    def __init__(self, plan: MemoryPlan, site: Site | None = None):
        self.plan, self.site = plan, site
        self.names = PLACED + (REQUEST if site else ())
        self._adaptation: dict[tuple, dict[str, object]] = {}

    @property
    def most_minutes(self) -> float:
        """Return the longest time limit of an adaptation job."""
        return self.site.most_minutes(self.plan.machine.has_gpu) if self.site else math.inf

    def memory(self, megabytes: int, attempt: int) -> int:
        """Return memory that grows with every attempt, up to a node's, in units of `mem_mb`.

        The first attempt asks for all of `megabytes`: where no node has them, a start says so.
        """
        most = self.site.most_mib if self.site else math.inf
        return max(megabytes, min(attempt * megabytes, most))

    def minutes(self, minutes: int, attempt: int) -> int:
        """Return a time limit that grows with every attempt, up to the site's."""
        return limited(attempt * minutes, self.site.most_minutes(0) if self.site else math.inf)

    def adaptation(
        self, cell: Cell, seeds: int, attempt: int = 1, held_out: bool = False
    ) -> dict[str, object]:
        """Return the resources of a cell's job of so many seeds at an attempt (from 1), by name; of
        the one that scores its shots `held_out` in turn.

        `mem_mb` and `predicted_gpu_mb` are in 10^6 bytes, of a node and of a GPU; the latter is
        what PyTorch allocates. Each attempt asks for more host memory and time, in the same place:
        elsewhere, what the attempt before has finished could not be continued. None is nothing
        asked for.
        """
        key = (cell, seeds, attempt, held_out)
        if key not in self._adaptation:
            found = self._placed(*key)
            if self.site:
                # SLURM counts in 2^20 bytes: no more may be asked for than a node has.
                found["mem_mb"] = min(found["mem_mb"], self.site.most_mib)
                found["runtime"] = self._allowed(found["runtime"], found["gpu"])
                found |= self.site.request(found["gpu"], found["nodes"])
            self._adaptation[key] = found
        return self._adaptation[key]

    def unadapted(self, model: str, attempt: int = 1) -> dict[str, object]:
        """Return the resources of measuring a model before any adaptation: those of another job in
        its place, but for the time."""
        found = self.adaptation(placed_as(self.plan.study, model), 1, attempt)
        minutes = attempt * self.plan.unadapted_minutes(model)
        return {**found, "runtime": self._allowed(minutes, found["gpu"])}

    def _allowed(self, minutes: int, gpus: int) -> int:
        """Return a time limit of a job on so many GPUs, as the site allows it."""
        return limited(minutes, self.site.most_minutes(gpus)) if self.site else minutes

    def latency(self, cell: Cell, attempt: int = 1) -> dict[str, object]:
        """Return the resources of measuring a finished cell: those of its job of one seed, but that
        of its GPUs one reads in one process, as where a model answers."""
        found = self.adaptation(cell, 1, attempt)
        alone = {"gpu": min(found["gpu"], 1), "nodes": 1, **vars(Placement())}
        request = self.site.request(alone["gpu"], 1) if self.site else {}
        return {**found, **alone, "checkpointing": 0, **request}

    def _placed(self, cell: Cell, seeds: int, attempt: int, held_out: bool) -> dict[str, object]:
        choice, machine = self.plan.choice(cell), self.plan.machine
        memory = attempt * choice.expected.host
        if machine.binding:
            memory = min(memory, max(machine.host_memory, choice.expected.host))
        return {
            "gpu": choice.gpus,
            "nodes": choice.nodes,
            **vars(choice.placement),
            "checkpointing": int(choice.placement.checkpointing),
            "mem_mb": -(-memory // MB),
            "predicted_gpu_mb": -(-choice.expected.allocated // MB),
            "runtime": attempt * self.plan.minutes(cell, seeds, held_out),
        }

    def shapes(self) -> list[dict[str, object]]:
        """Return what the study's jobs ask a cluster for at their first attempt, once each."""
        charged = {
            "slurm_account": None if self.site.account == NONE else self.site.account,
            "qos": None if self.site.qos == NONE else self.site.qos,
        }
        without = {"slurm_partition": self.site.cpu_partition, **WITHOUT_MODEL}
        asked = [
            self.adaptation(job.cell, len(job.seeds), held_out=held) for job, held in self._jobs
        ]
        asked += map(self.unadapted, measured_models(self.plan.study))
        unique = {tuple(shape.items()): {**charged, **shape} for shape in (without, *asked)}
        return list(unique.values())

    def longest(self) -> float:
        """Return the seconds that the study's longest job is predicted to take."""
        walls = [self.plan.wall(job.cell, len(job.seeds), held) for job, held in self._jobs]
        unadapted = map(self.plan.unadapted, measured_models(self.plan.study))
        return max([*walls, *(sum(seconds.values()) for seconds in unadapted)], default=0.0)

    @property
    def _jobs(self) -> list[tuple[Job, bool]]:
        """Return the jobs that run here, and whether they score shots that are held out."""
        study = self.plan.study
        return [
            *((job, False) for job in study.own_jobs),
            *((job, True) for job in study.held_out_jobs),
        ]
