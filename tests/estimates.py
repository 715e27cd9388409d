"""Estimates of a small study on a cluster."""

from pathlib import Path

import pandas as pd
from fewshot.planning import estimate
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.workload import Splits
from registries import copy_registries, load

CLUSTER = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 16, 32]},
    {"methods": ["pattern-ft", "lora"], "patterns": ["minimal"], "k": [16, 128]},
]


def plan_of(folder, **changes) -> MemoryPlan:
    """Return the study's plan, with changes to its settings; its registries are copied to a
    folder."""
    wanted = {"models": ["opt-125m", "opt-13b"], "tasks": ["rte"], "grid": GRID, "seeds": "0-11",
              "machine": CLUSTER}  # fmt: skip
    study = load(copy_registries(folder), **{**wanted, **changes})
    return MemoryPlan(study, Splits(study.tasks, Path(folder) / "no rows"))


def finish(plan: MemoryPlan, folder: Path, part: str) -> None:
    """Write manifests of those runs whose folder has a part."""
    for job in plan.study.jobs:
        if part in job.folder:
            path = folder / f"results/runs/{job.folder}/manifest.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def jobs_of(plan: MemoryPlan, folder: Path, most_minutes=float("inf")) -> pd.DataFrame:
    """Return the rows of the study's jobs, by what is finished in a folder."""
    return pd.DataFrame(estimate.job_rows(plan, most_minutes, folder))
