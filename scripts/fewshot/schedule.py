"""What a study will cost before it is run: jobs, device hours, the longest chain, bytes.

Every number is a prediction of `timing.py`, calibrated if there is a calibration. Finished is what
is on disk, whether or not a change makes Snakemake run it again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .cells import Job
from .timing import Site

if TYPE_CHECKING:
    from .memoryplan import MemoryPlan

SMALL = 5.0
"""Seconds of a job without a model, on small data: mostly Python's start, as measured."""
PREPARE = 1e-5
"""Seconds to prepare a row, measured."""
COUNT = 1.2e-6
"""Seconds for each prediction from rows to metrics; with COMPARE the quarter of an hour that the
paper's grid, simulated, took on one core."""
COMPARE = 3e-7
"""Seconds for each prediction from metrics to statistics, in one job for a task."""
NETWORK = 5e7
"""Bytes that are downloaded in a second: 400 Mbit/s."""
PREDICTION = 16
"""Bytes of a prediction in Parquet: 8.7 GB for 592 million, and curves."""
PUBLISHED = 2
"""Bytes of a parameter in published weights."""
TEXT = 5.0
"""Bytes of a token of text."""


@dataclass(frozen=True)
class Planned:
    """An adaptation job as it is planned: where it runs, its `seconds` by phase, and whether its
    context is expected to fit the window (else it ends when that is known)."""

    job: Job
    site: Site
    seconds: Mapping[str, float]
    minutes: int
    predictions: int
    kept_bytes: int
    fits: bool
    finished: bool

    @property
    def wall(self) -> float:
        """Return the seconds from start to end."""
        return sum(self.seconds.values())

    @property
    def device_hours(self) -> float:
        """Return the hours of all its GPUs, or of its threads where there is none."""
        site = self.site
        return self.wall / 3600 * (site.processes if site.per_node else site.threads)


@dataclass(frozen=True)
class Link:
    """A step of the longest chain: the job of a rule, what it is of, and its seconds."""

    rule: str
    of: str
    seconds: float


class Schedule:
    """The jobs of a study, by what is known before they run.

    `files` names one output of each job that `all` asks for, by rule; `folder` is the project's.
    """

    def __init__(
        self, plan: "MemoryPlan", files: Mapping[str, Iterable[str]], folder: Path = Path()
    ):
        self.plan, self.folder = plan, folder
        self.files = {rule: list(paths) for rule, paths in files.items()}
        self.missing = {
            path for paths in self.files.values() for path in paths if not (folder / path).exists()
        }

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

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return by rule how many jobs there are and how many of these are not finished."""
        return {
            rule: (len(paths), sum(path in self.missing for path in paths))
            for rule, paths in self.files.items()
            if paths
        }

    def _planned(self, job: Job) -> Planned:
        cell, seeds = job.cell, len(job.seeds)
        work, site = self.plan.work(cell, seeds), self.plan.site(cell)
        seconds = self.plan.calibration.applied(site.kind, self.plan.seconds(cell, seeds))
        if not work.fits:
            seconds = {phase: each * (phase == "start") for phase, each in seconds.items()}
        return Planned(
            job, site, seconds, self.plan.minutes(cell, seeds),
            predictions=work.fits * seeds * work.predictions,
            kept_bytes=self._kept_bytes(job),
            fits=work.fits,
            finished=f"results/runs/{job.folder}/manifest.json" not in self.missing,
        )  # fmt: skip

    def _kept_bytes(self, job: Job) -> int:
        """Return the bytes of the trained weights that a job keeps."""
        cell = job.cell
        settings = self.plan.study.methods[cell.method]
        if settings["family"] == "full" and not settings["keep_weights"]:
            return 0
        demand = self.plan.demand(cell.task, cell.model, cell.method, cell.k)
        return len(job.seeds) * demand.trainable * demand.element

    def download_bytes(self) -> float:
        """Return the bytes of models and data that are still to be fetched."""
        study = self.plan.study
        models = {name: f"results/models/{name}/manifest.json" for name in study.models}
        found = sum(
            self._model_bytes(name) for name, path in models.items() if path in self.missing
        )
        for path in self.files.get("prepare_task", ()):
            task, split = Path(path).parts[-2:]
            source = study.source_of(task)
            remote = {"hub", "url"} & set(study.tasks[source]["source"])
            if remote and f"results/raw/{source}/manifest.json" in self.missing:
                size = self.plan.splits.of(task, Path(split).stem)
                found += size.rows * size.tokens * TEXT
        return found

    def _model_bytes(self, name: str) -> int:
        entry = self.plan.study.models[name]
        return entry["parameters"] * PUBLISHED if "hub" in entry else 0

    def result_bytes(self) -> float:
        """Return the bytes that the results of all jobs take, without downloads."""
        return sum(PREDICTION * each.predictions + each.kept_bytes for each in self.jobs)

    def chain(self) -> list[Link]:
        """Return the chain of jobs, each waiting for the one before, that takes longest.

        What is finished is left out. Queues are not counted.
        """
        last = [each for each in self._report() if each.seconds]
        jobs = self.todo
        chains = [[*self._before(each), *self._job(each), *self._after(each.job)] for each in jobs]
        if not jobs:
            chains = [self._after(job) for job in self.plan.study.jobs]
        found = max(chains, key=_seconds, default=[])
        return [link for link in [*found, *last] if link.seconds]

    def _link(self, rule: str, path: str, of: str, seconds: float = 0.0) -> Link:
        return Link(rule, of, SMALL + seconds if path in self.missing else 0.0)

    def _job(self, planned: Planned) -> list[Link]:
        shown = self.plan.study.uses_context(planned.job.cell.method)
        rule = "run_in_context" if shown else "fine_tune"
        return [Link(rule, planned.job.folder.partition("/")[2], planned.wall)]

    def _before(self, planned: Planned) -> list[Link]:
        """Return what a job waits for: its model, or its rows and draws."""
        cell, study = planned.job.cell, self.plan.study
        task, source = cell.task, study.source_of(cell.task)
        model = self._link(
            "download_model", f"results/models/{cell.model}/manifest.json", cell.model,
            self._model_bytes(cell.model) / NETWORK,
        )  # fmt: skip
        split = "train" if cell.k else "validation"
        size = self.plan.splits.of(task, split)
        rows = [
            self._link("download_data", f"results/raw/{source}/manifest.json", source,
                       size.rows * size.tokens * TEXT / NETWORK),
            self._link("prepare_task", f"results/data/{task}/{split}.parquet", f"{task}/{split}",
                       PREPARE * size.rows),
        ]  # fmt: skip
        if cell.k:
            draw = f"{study.draw_of(cell.method)}/{task}/k{cell.k}/seed{planned.job.seeds[-1]}"
            rows.append(self._link("sample_shots", f"results/shots/{draw}.parquet", draw))
        return max([[model], rows], key=_seconds)

    def _after(self, job: Job) -> list[Link]:
        """Return the metrics and statistics that wait for a job."""
        name, task, model = self.plan.study.name, job.cell.task, job.cell.model
        counted = self._predictions
        return [
            self._link("compute_metrics", f"results/metrics/{name}/{task}/{model}.parquet",
                       f"{task}/{model}", COUNT * counted[task, model]),
            self._link("compare_methods", f"results/statistics/{name}/{task}/comparisons.parquet",
                       task, COMPARE * sum(n for (of, _), n in counted.items() if of == task)),
        ]  # fmt: skip

    @cached_property
    def _predictions(self) -> dict[tuple[str, str], int]:
        """Return the predictions of each task and model."""
        found = dict.fromkeys(((job.cell.task, job.cell.model) for job in self.plan.study.jobs), 0)
        for each in self.jobs:
            found[each.job.cell.task, each.job.cell.model] += each.predictions
        return found

    def _report(self) -> list[Link]:
        """Return the last steps: figures, which take longer than tables, and the report."""
        found = []
        for rule in ("plot_figure", "render_figure", "write_report"):
            todo = [path for path in self.files.get(rule, ()) if path in self.missing]
            found += [self._link(rule, path, Path(path).name) for path in todo[:1]]
        return found


def _seconds(links: Iterable[Link]) -> float:
    return sum(link.seconds for link in links)
