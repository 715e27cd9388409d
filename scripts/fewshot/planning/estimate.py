"""What a study will cost before it is run: jobs, device hours, bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.placement import JobPlace
from ..runtime.submission import Queue
from ..study.cells import Job
from . import downstream
from .workload import BYTES_PER_TOKEN

if TYPE_CHECKING:
    from .memory_plan import MemoryPlan


PREDICTION = 16
"""Bytes of a prediction in Parquet: 8.7 GB for 592 million, and curves."""
PUBLISHED = 2
"""Bytes of a parameter in published weights."""


@dataclass(frozen=True)
class Planned:
    """An adaptation job as it is planned: where it runs, its `seconds` by phase, its time limit in
    `minutes`, whether its context is expected to fit the window (else it ends when that is known),
    and whether it shares a submission."""

    job: Job
    site: JobPlace
    seconds: Mapping[str, float]
    minutes: int
    predictions: int
    kept_bytes: int
    fits: bool
    finished: bool
    shares: bool = False

    @property
    def wall(self) -> float:
        """Return the seconds from start to end."""
        return sum(self.seconds.values())

    @property
    def device_hours(self) -> float:
        """Return the hours of all its GPUs, or of its threads where there is none."""
        site = self.site
        return self.wall / 3600 * (site.processes if site.per_node else site.threads)


class StudyEstimate:
    """The jobs of a study, by what is known before they run.

    `files` names one output of each job that `all` asks for, by rule; `folder` is the project's,
    `queue` that of the cluster, if there is one. `to_make` are the files of jobs to do.
    """

    def __init__(
        self,
        plan: "MemoryPlan",
        files: Mapping[str, Iterable[str]],
        folder: Path = Path(),
        queue: Queue | None = None,
    ):
        self.plan, self.queue = plan, queue
        self.files = {rule: list(paths) for rule, paths in files.items()}
        missing = {
            path for paths in self.files.values() for path in paths if not (folder / path).exists()
        }
        self.to_make = downstream.with_what_follows(self.files, missing)
        self.to_make -= downstream.unread(self.files, self.to_make)

    @cached_property
    def jobs(self) -> list[Planned]:
        """Return the adaptation jobs that are run here."""
        study = self.plan.study
        return [self._planned(job) for job in study.jobs if not study.is_imported(job.cell.method)]

    @property
    def todo(self) -> list[Planned]:
        """Return the adaptation jobs that are not finished."""
        return [each for each in self.jobs if not each.finished]

    @property
    def kind(self) -> str:
        """Return the kind of device that jobs are planned for, "gpu" or "cpu"."""
        return "gpu" if self.plan.machine.has_gpu else "cpu"

    @property
    def device(self) -> str:
        """Return what jobs are planned for, "GPU" or "CPU"."""
        return self.kind.upper()

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return by rule how many jobs there are and how many of these are not finished."""
        return {
            rule: (len(paths), sum(path in self.to_make for path in paths))
            for rule, paths in self.files.items()
            if paths
        }

    def _planned(self, job: Job) -> Planned:
        cell, seeds = job.cell, len(job.seeds)
        work, site = self.plan.work(cell, seeds), self.plan.site(cell)
        seconds, minutes = self.plan.expected(cell, seeds), self.plan.minutes(cell, seeds)
        shares = bool(self.queue) and self.queue.shares(site, sum(seconds.values()), minutes)
        return Planned(
            job, site, seconds, self.queue.limited(minutes, shares) if self.queue else minutes,
            predictions=work.fits * seeds * work.predictions,
            kept_bytes=self._kept_bytes(job),
            fits=work.fits,
            finished=f"results/runs/{job.folder}/manifest.json" not in self.to_make,
            shares=shares,
        )  # fmt: skip

    def _kept_bytes(self, job: Job) -> int:
        """Return the bytes of the trained weights that a job keeps."""
        cell = job.cell
        settings = self.plan.study.methods[cell.method]
        if settings["family"] == "full" and not settings["keep_weights"]:
            return 0
        demand = self.plan.demand(cell.task, cell.model, cell.method, cell.k)
        return len(job.seeds) * demand.trainable * demand.element

    @cached_property
    def predictions(self) -> dict[tuple[str, str], int]:
        """Return the predictions of each task and model."""
        found = dict.fromkeys(((job.cell.task, job.cell.model) for job in self.plan.study.jobs), 0)
        for each in self.jobs:
            found[each.job.cell.task, each.job.cell.model] += each.predictions
        return found

    def download_bytes(self) -> float:
        """Return the bytes of models and data that are still to be fetched."""
        study = self.plan.study
        markers = {name: f"results/models/{name}/weights.json" for name in study.models}
        lacking = [name for name, path in markers.items() if path in self.to_make]
        found = sum(map(self.model_bytes, lacking))
        for path in self.files.get("prepare_task", ()):
            task, split = Path(path).parts[-2:]
            source = study.source_of(task)
            remote = {"hub", "url"} & set(study.tasks[source]["source"])
            if remote and f"results/raw/{source}/manifest.json" in self.to_make:
                size = self.plan.splits.of(task, Path(split).stem)
                found += size.rows * size.tokens * BYTES_PER_TOKEN
        return found

    def model_bytes(self, name: str) -> int:
        """Return the bytes of a model that are downloaded; a local one is there."""
        entry = self.plan.study.models[name]
        return entry["parameters"] * PUBLISHED if "hub" in entry else 0

    def result_bytes(self) -> float:
        """Return the bytes that the results of all jobs take, without downloads."""
        return sum(PREDICTION * each.predictions + each.kept_bytes for each in self.jobs)
