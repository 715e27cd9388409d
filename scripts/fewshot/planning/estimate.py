"""What a study costs, before anything runs: jobs, GPU-hours and bytes.

Plain values, which Snakemake compares: the pages are written again when one of them changes.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.time_limits import limited
from ..study.cells import Job
from .job_time import PHASES
from .workload import BYTES_PER_TOKEN

if TYPE_CHECKING:
    from .memory_plan import MemoryPlan

PREDICTION = 16
"""Bytes of a prediction in Parquet: 8.7 GB for 592 million, and curves."""
PUBLISHED = 2
"""Bytes of a parameter in published weights."""


def job_rows(
    plan: "MemoryPlan", most_minutes: float = float("inf"), folder: Path = Path()
) -> list[dict[str, object]]:
    """Return a row (result_schemas.ESTIMATE) for each adaptation job of the study.

    `most_minutes` is the longest time limit of the cluster; `folder` is the project's, whose
    manifests tell which jobs are finished. A job whose context is not expected to fit the window
    counts as its start, after which it ends.
    """
    study = plan.study
    return [
        *(_job_row(plan, job, most_minutes, folder) for job in study.own_jobs),
        *(_job_row(plan, job, most_minutes, folder, True) for job in study.held_out_jobs),
    ]


def _job_row(
    plan: "MemoryPlan", job: Job, most_minutes: float, folder: Path, held_out: bool = False
) -> dict[str, object]:
    study, cell, seeds, site = plan.study, job.cell, len(job.seeds), plan.site(job.cell)
    work, seconds = plan.work(cell, seeds, held_out), plan.expected(cell, seeds, held_out)
    wall = sum(seconds.values())
    predictions = work.fits * work.seeds * work.predictions
    results = (study.held_out_folder if held_out else study.run_folder)(job)
    devices = site.processes if site.per_node else site.threads
    if plan.machine.has_gpu and not site.per_node:
        devices = 0  # A baseline without a model takes no GPU's time.
    return {
        **vars(cell),
        "first_seed": job.seeds[0],
        "last_seed": job.seeds[-1],
        "gpus": site.per_node * site.nodes,
        "nodes": site.nodes,
        **{f"seconds_{phase}": seconds[phase] for phase in PHASES},
        "seconds": wall,
        "device_hours": wall / 3600 * devices,
        "limit_minutes": limited(plan.minutes(cell, seeds, held_out), most_minutes),
        "result_bytes": PREDICTION * predictions + (0 if held_out else _kept_bytes(plan, job)),
        "fits": work.fits,
        "held_out": held_out,
        "finished": (folder / results / "manifest.json").exists(),
    }


def _kept_bytes(plan: "MemoryPlan", job: Job) -> int:
    """Return the bytes of the trained weights that a job keeps; a baseline is fitted anew."""
    cell = job.cell
    settings = plan.study.method_settings(cell.method, cell.model)
    if plan.study.is_baseline(cell.method) or not settings.get("keep_weights", True):
        return 0
    demand = plan.demand(cell)
    return len(job.seeds) * demand.trainable * demand.trained_element


def facts(plan: "MemoryPlan", most_minutes: float = float("inf")) -> dict[str, object]:
    """Return what the page tells besides its jobs.

    `most_hours` is None where the cluster has no limit; `named` tells whether the machine was named
    or its GPUs found.
    """
    return {
        "study": plan.study.name,
        "machine": plan.machine.name,
        "device": "GPU" if plan.machine.has_gpu else "CPU",
        "named": plan.machine.has_gpu or plan.machine.binding,
        "most_hours": None if most_minutes == float("inf") else most_minutes / 60,
        "model_bytes": model_bytes(plan),
        "data_bytes": data_bytes(plan),
    }


def model_bytes(plan: "MemoryPlan") -> int:
    """Return the bytes of the study's models from the Hub, as published."""
    return sum(plan.study.model(name)["parameters"] * PUBLISHED for name in plan.study.hub_models)


def data_bytes(plan: "MemoryPlan") -> float:
    """Return the bytes of the study's texts that come from the network."""
    study = plan.study
    splits = dict.fromkeys(
        (name, "validation") for cell in study.cells for name in study.scored_sets(cell.task)
    )
    splits |= dict.fromkeys((cell.task, "train") for cell in study.cells if cell.k)
    sizes = [
        plan.splits.of(task, split)
        for task, split in splits
        if {"hub", "url"} & set(study.tasks[study.source_of(task)]["source"])
    ]
    return sum(size.rows * size.tokens * BYTES_PER_TOKEN for size in sizes)
