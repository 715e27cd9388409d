"""Runs on tiny models that are done, told of as the study does (`study.exchange_inputs`)."""

from pathlib import Path
from types import SimpleNamespace

import fine_tune
import pandas as pd
import run_in_context
from job_files import run_script, write_job

TITLES = {"task": "Task", "model": "Tiny", "method": "Method", "pattern": "Minimal"}
QUICK = {"epochs": 2, "learning_rate": 0.05, "curve_epochs": "last"}


def finish(folder: Path, kind: str = "opt", change=lambda smk: None, **settings) -> tuple:
    """Run a job of a method with these settings, changed before; return what is told of it, and its
    predictions of the last epoch."""
    in_context = settings["family"] in ("in_context", "ensemble", "retrieval")
    smk = write_job(folder, kind, **{**({} if in_context else QUICK), **settings})
    change(smk)
    frame, _ = run_script(run_in_context if in_context else fine_tune, smk)
    return told_of(smk), frame[frame["last"]]


def told_of(smk: SimpleNamespace) -> dict:
    """Return what the study tells of a job, given what Snakemake gives its script."""
    p = smk.params
    sets = zip(p.evaluation, smk.input.evaluation, strict=True)
    return {
        "folder": str(Path(smk.output.manifest).parent),
        "cell": vars(smk.wildcards),
        "base": p.task,
        "labels": p.labels,
        "evaluation": [{**entry, "path": path} for entry, path in sets],
        "pattern": p.pattern,
        "method": p.method,
        "model": p.model,
        "manifest": smk.input.model,
        "train": smk.input.train or "",
        "shots": dict(zip(map(str, p.seeds), smk.input.shots, strict=False)),
        "start": [],
        "batch_tokens": p.batch_tokens,
        "titles": TITLES,
        "licence": "",
    }


def of_set(predictions: pd.DataFrame, name: str, seed: int) -> pd.DataFrame:
    """Return the predictions of a seed on an evaluation set, in ascending id."""
    named = predictions["evaluation_set"] == name
    return predictions[named & (predictions["seed"] == seed)].sort_values("id")
