# What is made from all jobs of a task and a model, by these two wildcards: plain values.
from collections import namedtuple
from dataclasses import asdict

from scripts.fewshot.models import architectures
from scripts.fewshot.analysis import flops

Pair = namedtuple("Pair", "task model")


def pair_jobs(wildcards):
    """Return the jobs that a metrics file summarises, as plain values."""
    return [
        {
            "method": job.cell.method,
            "pattern": job.cell.pattern,
            "k": job.cell.k,
            "seeds": list(job.seeds),
            "folder": f"results/runs/{job.folder}",
        }
        for job in STUDY.jobs_of(wildcards.task, wildcards.model)
    ]


def pair_size(wildcards):
    """Return what of a model's shape decides its operations, as plain values."""
    return asdict(flops.model_size(architectures.entry_architecture(STUDY.models[wildcards.model])))


def own_jobs(wildcards):
    """Return those of a pair's jobs that run here: what was made elsewhere needs no model."""
    return [job for job in pair_jobs(wildcards) if not STUDY.is_imported(job["method"])]


def pair_model(wildcards):
    return f"results/models/{wildcards.model}/manifest.json" if own_jobs(wildcards) else []


def pair_manifests(wildcards):
    return [f"{job['folder']}/manifest.json" for job in pair_jobs(wildcards)]


def pair_cells(wildcards):
    """Return the cells whose windows are checked, of one task and model."""
    return [
        {
            "method": job["method"],
            "pattern": job["pattern"],
            "k": job["k"],
            "seeds": job["seeds"],
            "draw": STUDY.draw_of(job["method"]),
            "uses_context": STUDY.uses_context(job["method"]),
            "needs_words": STUDY.methods[job["method"]]["head"] == "language-model",
            "virtual_tokens": STUDY.method_settings(job["method"], wildcards.model).get(
                "virtual_tokens", 0
            ),
            "truncate": STUDY.methods[job["method"]].get("truncate"),
        }
        for job in own_jobs(wildcards)
    ]


def pair_patterns(wildcards):
    names = dict.fromkeys(job["pattern"] for job in own_jobs(wildcards))
    return {name: bound_pattern(wildcards.task, name) for name in names}


def pair_shots(wildcards):
    """Return the draws that one task and model use: "draw/k/seed" → path."""
    return {
        f"{STUDY.draw_of(job['method'])}/{job['k']}/{seed}": draw_file(
            job["method"], wildcards.task, job["k"], seed
        )
        for job in own_jobs(wildcards)
        for seed in job["seeds"]
        if job["k"]
    }


def pair_shots_files(wildcards):
    return list(pair_shots(wildcards).values())


def pair_train_file(wildcards):
    return f"results/data/{wildcards.task}/train.parquet" if pair_shots(wildcards) else []
