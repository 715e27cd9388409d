"""The longest chain of a study's jobs, each of which waits for the one before.

Jobs without a model take seconds, or what their rows and bytes take at the rates stated here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..study.cells import Job
from .estimate import Planned, StudyEstimate
from .workload import BYTES_PER_TOKEN

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


@dataclass(frozen=True)
class Link:
    """A step of the longest chain: the job of a rule, what it is of, and its seconds."""

    rule: str
    of: str
    seconds: float


def longest(schedule: StudyEstimate) -> list[Link]:
    """Return the chain that takes longest of what is not finished; queues are not counted."""
    jobs, study = schedule.todo, schedule.plan.study
    chains = [
        [*_before(schedule, each), _own(schedule, each), *_after(schedule, each.job)]
        for each in jobs
    ]
    if not jobs:
        chains = [_after(schedule, job) for job in study.jobs]
    found = max(chains, key=seconds_of, default=[])
    return [link for link in (*found, *_report(schedule)) if link.seconds]


def seconds_of(links: Iterable[Link]) -> float:
    """Return the seconds of a chain."""
    return sum(link.seconds for link in links)


def _link(schedule: StudyEstimate, rule: str, path: str, of: str, seconds: float = 0.0) -> Link:
    """Return a step that takes SMALL and so many seconds, or none if it is not to do."""
    return Link(rule, of, SMALL + seconds if path in schedule.to_make else 0.0)


def _own(schedule: StudyEstimate, planned: Planned) -> Link:
    shown = schedule.plan.study.uses_context(planned.job.cell.method)
    rule = "run_in_context" if shown else "fine_tune"
    return Link(rule, planned.job.folder.partition("/")[2], planned.wall)


def _before(schedule: StudyEstimate, planned: Planned) -> list[Link]:
    """Return what a job waits for: its model, or its rows and draws."""
    cell, study = planned.job.cell, schedule.plan.study
    task, source = cell.task, study.source_of(cell.task)
    folder = f"results/models/{cell.model}"
    model = [
        _link(schedule, "download_model", f"{folder}/manifest.json", cell.model),
        _link(schedule, "download_weights", f"{folder}/weights.json", cell.model,
              schedule.model_bytes(cell.model) / NETWORK),
    ]  # fmt: skip
    split = "train" if cell.k else "validation"
    size = schedule.plan.splits.of(task, split)
    rows = [
        _link(schedule, "download_data", f"results/raw/{source}/manifest.json", source,
              size.rows * size.tokens * BYTES_PER_TOKEN / NETWORK),
        _link(schedule, "prepare_task", f"results/data/{task}/{split}.parquet", f"{task}/{split}",
              PREPARE * size.rows),
    ]  # fmt: skip
    if cell.k:
        draw = f"{study.draw_of(cell.method)}/{task}/k{cell.k}/seed{planned.job.seeds[-1]}"
        rows.append(_link(schedule, "sample_shots", f"results/shots/{draw}.parquet", draw))
    return max([model, rows], key=seconds_of)


def _after(schedule: StudyEstimate, job: Job) -> list[Link]:
    """Return the metrics and statistics that wait for a job."""
    name, task, model = schedule.plan.study.name, job.cell.task, job.cell.model
    counted = schedule.predictions
    return [
        _link(schedule, "compute_metrics", f"results/metrics/{name}/{task}/{model}.parquet",
              f"{task}/{model}", COUNT * counted[task, model]),
        _link(schedule, "compare_methods", f"results/statistics/{name}/{task}/comparisons.parquet",
              task, COMPARE * sum(n for (of, _), n in counted.items() if of == task)),
    ]  # fmt: skip


def _report(schedule: StudyEstimate) -> list[Link]:
    """Return the last steps: figures, which take longer than tables, and the report."""
    found = []
    for rule in ("plot_figure", "write_report"):
        todo = [path for path in schedule.files.get(rule, ()) if path in schedule.to_make]
        found += [_link(schedule, rule, path, Path(path).name) for path in todo[:1]]
    return found
