"""Schedules of a small study on a cluster."""

from fewshot.planning.calibration import Calibration, Factors
from fewshot.planning.estimate import StudyEstimate
from fewshot.planning.job_time import PHASES
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.workload import Splits
from registries import copy_registries, load

CLUSTER = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 16, 32]},
    {"methods": ["pattern-ft", "lora"], "patterns": ["minimal"], "k": [16, 128]},
]


def of(folder, **changes):
    """Return the study, with changes to its settings; its registries are copied to a folder."""
    wanted = {"models": ["opt-125m", "opt-13b"], "tasks": ["rte"], "grid": GRID, "seeds": "0-11",
              "machine": CLUSTER}  # fmt: skip
    return load(copy_registries(folder), **{**wanted, **changes})


def files_of(study) -> dict[str, list[str]]:
    """Return the files that rules/plan.smk would name, for one task."""
    runs = [f"results/runs/{job.folder}/manifest.json" for job in study.jobs]
    draws = [f"fair/rte/k{k}/seed{seed}" for k in (16, 32, 128) for seed in study.seeds]
    models = study.settings["models"]
    return {
        "download_data": [f"results/raw/{name}/manifest.json" for name in ("rte", "hans")],
        "download_model": [f"results/models/{name}/manifest.json" for name in models],
        "download_weights": [f"results/models/{name}/weights.json" for name in models],
        "prepare_task": [f"results/data/{name}.parquet"
                         for name in ("rte/train", "rte/validation", "hans/validation")],
        "sample_shots": [f"results/shots/{draw}.parquet" for draw in draws],
        "run_in_context": [path for path in runs if "/in-context/" in path],
        "fine_tune": [path for path in runs if "/in-context/" not in path],
        "read_lm_eval": [],
        "compute_metrics": [f"results/metrics/mine/rte/{name}.parquet" for name in models],
        "compare_methods": ["results/statistics/mine/rte/comparisons.parquet"],
        "make_table": ["results/mine/tables/a.parquet"],
        "plot_figure": ["results/mine/figures/a.vl.json"],
        "write_report": ["results/mine/report.html"],
    }  # fmt: skip


def schedule(study, folder, calibration=None, done=(), queue=None) -> StudyEstimate:
    """Return the study's schedule, where the files of the rules `done` are there."""
    files = files_of(study)
    for rule in done:
        for path in files[rule]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
    plan = MemoryPlan(study, calibration, Splits(study.tasks, folder / "no rows"))
    return StudyEstimate(plan, files, folder, queue)


def everything(study) -> list[str]:
    """Return the names of all rules."""
    return list(files_of(study))


def calibrated(factor=1.0, jobs=20, kind="gpu") -> Calibration:
    """Return what so many jobs on two kinds of device taught."""
    devices, seen = {"cuda: A": jobs - 1, "cuda: B": 1}, dict.fromkeys(PHASES, jobs)
    return Calibration(
        {kind: Factors(dict.fromkeys(PHASES, factor), seen, 0.8, 1.3, devices, 125_000_000)}
    )
