"""What a study costs, before anything runs: jobs, GPU-hours and bytes.

Plain values, which Snakemake compares: the pages are written again when one of them changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.time_limits import limited
from ..schemas import UNADAPTED
from ..study.cells import Job
from ..study.other_tasks import measured_models, placed_as, trained_seeds, unadapted_file
from .job_time import PHASES
from .workload import BYTES_PER_TOKEN, TYPICAL_DOCUMENT, unadapted_work

if TYPE_CHECKING:
    from ..study.cells import Cell
    from .memory_plan import MemoryPlan

PREDICTION = 16
"""Bytes of a prediction in Parquet: 8.7 GB for 592 million, and curves."""
PUBLISHED = 2
"""Bytes of a parameter in published weights."""


def job_rows(
    plan: "MemoryPlan", most_minutes: float = float("inf"), folder: Path = Path()
) -> list[dict[str, object]]:
    """Return a row (result_schemas.ESTIMATE) for each adaptation job of the study, and for each
    that measures a model before any adaptation (as `adaptation.unadapted` names its cell).

    `most_minutes` is the longest time limit of the cluster; `folder` is the project's, whose
    manifests tell which jobs are finished. A job whose context is not expected to fit the window
    counts as its start, after which it ends.
    """
    study = plan.study
    return [
        *(_job_row(plan, job, most_minutes, folder) for job in study.own_jobs),
        *(_job_row(plan, job, most_minutes, folder, True) for job in study.held_out_jobs),
        *(_unadapted_row(plan, name, most_minutes, folder) for name in measured_models(study)),
    ]


def _job_row(
    plan: "MemoryPlan", job: Job, most_minutes: float, folder: Path, held_out: bool = False
) -> dict[str, object]:
    study, cell, seeds = plan.study, job.cell, len(job.seeds)
    work, seconds = plan.work(cell, seeds, held_out), plan.expected(cell, seeds, held_out)
    predictions = work.fits * work.seeds * work.predictions
    results = (study.held_out_folder if held_out else study.run_folder)(job)
    return {
        **vars(cell),
        **_time(plan, cell, job.seeds, seconds),
        "limit_minutes": limited(plan.minutes(cell, seeds, held_out), most_minutes),
        "result_bytes": PREDICTION * predictions + (0 if held_out else _kept_bytes(plan, job)),
        "fits": work.fits,
        "held_out": held_out,
        "finished": (folder / results / "manifest.json").exists(),
    }


def _unadapted_row(
    plan: "MemoryPlan", model: str, most_minutes: float, folder: Path
) -> dict[str, object]:
    study, cell = plan.study, placed_as(plan.study, model)
    work = unadapted_work(study, plan.splits, cell)
    named = dict.fromkeys(("task", "method", "pattern"), UNADAPTED)
    return {
        **{**vars(cell), **named, "k": 0},
        **_time(plan, cell, trained_seeds(study, model), plan.unadapted(model)),
        "limit_minutes": limited(plan.unadapted_minutes(model), most_minutes),
        "result_bytes": PREDICTION * work.predictions,
        "fits": True,
        "held_out": False,
        "finished": (folder / unadapted_file(study, model)).exists(),
    }


def _time(
    plan: "MemoryPlan", cell: "Cell", seeds: Sequence[int], seconds: Mapping[str, float]
) -> dict[str, object]:
    """Return the seeds, the GPUs and the time of a job where those of a cell run."""
    site, wall = plan.site(cell), sum(seconds.values())
    devices = site.processes if site.per_node else site.threads
    if plan.machine.has_gpu and not site.per_node:
        devices = 0  # A baseline without a model takes no GPU's time.
    return {
        "first_seed": seeds[0],
        "last_seed": seeds[-1],
        "gpus": site.per_node * site.nodes,
        "nodes": site.nodes,
        **{f"seconds_{phase}": seconds[phase] for phase in PHASES},
        "seconds": wall,
        "device_hours": wall / 3600 * devices,
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
    if told := study.forgetting:
        read = ("validation", "train") if any(told.k) else ("validation",)
        splits |= dict.fromkeys((name, split) for name in told.tasks for split in read)
    sizes = [
        plan.splits.of(task, split)
        for task, split in splits
        if {"hub", "url"} & set(study.tasks[study.source_of(task)]["source"])
    ]
    tokens = sum(size.rows * size.tokens for size in sizes)
    texts = (study.texts[name] for name in told.texts) if told else ()
    # Of a text no more is known than how much is scored.
    tokens += TYPICAL_DOCUMENT * sum(
        text["rows"] for text in texts if {"hub", "url"} & set(text["source"])
    )
    return tokens * BYTES_PER_TOKEN
