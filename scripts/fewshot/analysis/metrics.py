"""From stored runs to metrics: what was kept is checked, selected and counted.

Curves hold counts per epoch and part of an evaluation set (of a large set over a sample of its
rows), predictions hold the rows of the kept epochs. Metrics are computed from curves; the
predictions must tell the same counts, with exactly one prediction for every evaluation row, or the
run counts as broken. They are read once: which rows are right is kept as outcomes, from which
statistics over rows are computed.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from .. import records
from ..errors import UserError
from . import rowscores, schemas
from .curves import check_curves, read_curves
from .evaluation import EvaluationSet
from .levels import metric_rows
from .predictions import score_predictions
from .selection import curve_rows, kept_epochs, selected_rows, selections

CELL = ["protocol", "task", "model", "method", "pattern", "k"]


@dataclass(frozen=True)
class Results:
    """What runs say: `metrics` (schemas.METRICS), and `outcomes` of all rows (schemas.OUTCOMES)."""

    metrics: pd.DataFrame
    outcomes: pd.DataFrame


def compute(
    cell: dict,
    jobs: list[dict],
    sets: list[EvaluationSet],
    fit: pd.DataFrame | None = None,
    *,
    problems: dict[str, str] | None = None,
) -> Results:
    """Return metrics and outcomes of all jobs of one protocol × task × model.

    `cell` names protocol, task and model; each job has method, pattern, k, seeds and the folder of
    its run. Raises UserError for a run that is missing, incomplete or contradicts itself; where
    `problems` is given such a run counts as missing and what is wrong with it is entered there, by
    its folder. `fit` (records.FIT) tells which missing seeds never could run: if no seed could,
    nothing is wrong.
    """
    majorities = {item.name: item.majority([])["majority"].iloc[0] for item in sets}
    keys = [{**cell, **{name: job[name] for name in CELL[3:]}} for job in jobs]
    blank, runs = [], []
    for number, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        try:
            statuses = _statuses(job)
            done = [seed for seed, status in statuses.items() if status == "ok"]
            if done:
                runs.append(_read_run(job["folder"], done, sets, cell["task"]).marked(number))
        except UserError as error:
            statuses = _without_run(job, key, fit)
            if "missing" in statuses.values():
                if problems is None:
                    raise
                problems[job["folder"]] = str(error)
        blank.append(_blank_rows(statuses, majorities, cell["task"]).assign(job=number))
    rows, outcomes = _of_runs(runs, sets, cell["task"])
    return Results(
        _named([*blank, rows], keys, schemas.METRICS.names),
        _named([outcomes], keys, schemas.OUTCOMES.names),
    )


def _named(frames: list[pd.DataFrame], keys: list[dict], columns: list[str]) -> pd.DataFrame:
    """Join frames in the order of their column `job`, and name the cell that it stands for."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=columns)
    whole = pd.concat(frames, ignore_index=True).sort_values("job", kind="stable")
    cells = pd.DataFrame(keys).loc[whole["job"]].reset_index(drop=True)
    return pd.concat([whole.reset_index(drop=True), cells], axis=1)[columns]


def _statuses(job: dict) -> dict[int, str]:
    """Return seed -> 'ok' or 'does not fit', by the run's manifest."""
    path = Path(job["folder"], "manifest.json")
    if not path.exists():
        raise UserError(f"{path}: file not found; the run is incomplete")
    seeds = records.read_json(path).get("seeds", {})
    absent = [seed for seed in job["seeds"] if str(seed) not in seeds]
    if absent:
        raise UserError(f"{path}: seed {absent[0]} is not in it; the run is incomplete")
    return {seed: seeds[str(seed)]["status"] for seed in job["seeds"]}


def _without_run(job: dict, key: dict, fit: pd.DataFrame | None) -> dict[int, str]:
    """Return seed -> 'does not fit' or 'missing', by the fit table alone."""
    unfit = unfit_seeds(fit, key)
    return {seed: "does not fit" if seed in unfit else "missing" for seed in job["seeds"]}


def unfit_seeds(fit: pd.DataFrame | None, key: dict) -> set[int]:
    """Return the seeds of a cell that the fit table (records.FIT) rules out."""
    if fit is None or fit.empty:
        return set()
    mask = fit["status"] == "does not fit"
    for name in ("task", "model", "method", "pattern", "k"):
        mask &= fit[name] == key[name]
    return set(fit.loc[mask, "seed"].tolist())


def without_results(
    cell: dict, jobs: list[dict], names: list[str], fit: pd.DataFrame | None
) -> Results:
    """Return the results of jobs without usable ones: 'does not fit' or 'missing' throughout.

    `names` are their evaluation sets, whose rows need not exist.
    """
    keys = [{**cell, **{name: job[name] for name in CELL[3:]}} for job in jobs]
    frames = [
        _blank_rows(_without_run(job, key, fit), dict.fromkeys(names, np.nan), cell["task"]).assign(
            job=number
        )
        for number, (job, key) in enumerate(zip(jobs, keys, strict=True))
    ]
    return Results(
        _named(frames, keys, schemas.METRICS.names), pd.DataFrame(columns=schemas.OUTCOMES.names)
    )


def _blank_rows(statuses: dict, majorities: dict[str, float], task: str) -> pd.DataFrame:
    """Return one overall row per seed without result, selection and evaluation set.

    `majorities` gives the majority baseline of each evaluation set.
    """
    rows = [
        {"seed": seed, "selection": selection, "evaluation_set": name, "status": status}
        | {"majority": majority}
        for seed, status in statuses.items()
        if status != "ok"
        for selection in selections(len(majorities))
        for name, majority in majorities.items()
    ]
    frame = pd.DataFrame(
        rows, columns=["seed", "selection", "evaluation_set", "status", "majority"]
    )
    frame["domain"] = np.where(frame["evaluation_set"] == task, "in", "out")
    frame = frame.assign(epoch=0, n=0, correct=0, group=None, subset=None)
    for name in ("accuracy", "vocabulary_accuracy", "mean_logprob", *rowscores.NAMES):
        frame[name] = np.nan
    return frame.assign(label=pd.array([pd.NA] * len(frame), dtype="Int8"))


@dataclass(frozen=True)
class _Run:
    """What one run stores, read, checked and selected (see `levels.metric_rows`)."""

    chosen: pd.DataFrame
    curve: pd.DataFrame
    train: pd.DataFrame
    scored: pd.DataFrame

    def marked(self, job: int) -> "_Run":
        """Return the same with a column `job`."""
        parts = (self.chosen, self.curve, self.train, self.scored)
        return _Run(*(part.assign(job=job) for part in parts))


def _read_run(folder: str, seeds: list[int], sets: list[EvaluationSet], task: str) -> _Run:
    """Read a run's finished seeds; raises UserError where it is not what it says."""
    curves = read_curves(folder, seeds)
    trains = curves["evaluation_set"] == "train"
    scored = curves[~trains]
    settings = records.read_json(Path(folder, "manifest.json"))["settings"]
    check_curves(folder, scored, seeds, sets, settings)
    curve = curve_rows(scored)
    kept = kept_epochs(curve[curve["evaluation_set"] == task])
    found = score_predictions(folder, scored[~scored["sampled"]], kept, sets)
    return _Run(selected_rows(scored, task), curve, curves[trains], found)


def _of_runs(
    runs: list[_Run], sets: list[EvaluationSet], task: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return metric rows and outcomes of runs, by their column `job`."""
    if not runs:
        return pd.DataFrame(), pd.DataFrame()
    chosen, curve, train, scored = (
        pd.concat([getattr(run, field.name) for run in runs], ignore_index=True)
        for field in fields(_Run)
    )
    rows = metric_rows(chosen, curve, train, scored, sets)
    domain = np.where(rows["evaluation_set"] == task, "in", "out")
    rows["domain"] = np.where(rows["evaluation_set"] == "train", "train", domain)
    return rows.assign(status="ok"), scored
