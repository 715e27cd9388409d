"""From stored runs to metrics: what was kept is checked, selected and counted.

Curves hold counts per epoch and part of an evaluation set (of a large set over a sample of its
rows), predictions hold the rows of the kept epochs. Metrics are computed from curves; the
predictions must tell the same counts, with exactly one prediction for every evaluation row, or the
run counts as broken. They are read once: which rows are right is kept as outcomes, from which
statistics over rows are computed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from . import records, rowscores, schemas
from .curves import check_curves, read_curves
from .errors import UserError
from .evaluation import EvaluationSet
from .predictions import score_predictions
from .selection import curve_rows, kept_epochs, selected_rows, selections

CELL = ["protocol", "task", "model", "method", "pattern", "k"]
LEVELS = (
    [],
    ["label"],
    ["group"],
    ["group", "label"],
    ["group", "subset"],
    ["group", "subset", "label"],
)
COUNTS = ["n", "correct", "correct_vocabulary", "logprob"]


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
    allow_missing: bool = False,
) -> Results:
    """Return metrics and outcomes of all jobs of one protocol × task × model.

    `cell` names protocol, task and model; each job has method, pattern, k, seeds and the folder of
    its run. Raises UserError for a run that is missing (unless `allow_missing`), incomplete or
    contradicts itself. `fit` (records.FIT) tells which missing seeds never could run.
    """
    majorities = {item.name: item.majority([])["majority"].iloc[0] for item in sets}
    frames, outcomes = [], []
    for job in jobs:
        key = {**cell, **{name: job[name] for name in ("method", "pattern", "k")}}
        statuses = _statuses(job, fit, key, allow_missing)
        frames.append(_blank_rows(statuses, majorities, cell["task"]).assign(**key))
        done = [seed for seed, status in statuses.items() if status == "ok"]
        if done:
            rows, scored = _job_rows(job["folder"], done, sets, cell["task"])
            frames.append(rows.assign(**key))
            outcomes.append(scored.assign(**key))
    return Results(
        _together(frames, schemas.METRICS.names), _together(outcomes, schemas.OUTCOMES.names)
    )


def _together(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return joined[columns]


def _statuses(job: dict, fit: pd.DataFrame | None, key: dict, allow_missing: bool) -> dict:
    """Return seed -> 'ok', 'does not fit' or 'missing'."""
    path = Path(job["folder"], "manifest.json")
    if path.exists():
        seeds = records.read_json(path).get("seeds", {})
        absent = [seed for seed in job["seeds"] if str(seed) not in seeds]
        if absent:
            raise UserError(f"{path}: seed {absent[0]} is not in it; the run is incomplete")
        return {seed: seeds[str(seed)]["status"] for seed in job["seeds"]}
    if not allow_missing:
        raise UserError(f"{path}: file not found; the run is incomplete")
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


def without_result(cell: dict, job: dict, names: list[str], fit: pd.DataFrame | None) -> Results:
    """Return the results of a job without usable results: 'does not fit' or 'missing' throughout.

    `names` are its evaluation sets, whose rows need not exist.
    """
    key = {**cell, **{name: job[name] for name in ("method", "pattern", "k")}}
    unfit = unfit_seeds(fit, key)
    statuses = {seed: "does not fit" if seed in unfit else "missing" for seed in job["seeds"]}
    rows = _blank_rows(statuses, dict.fromkeys(names, np.nan), cell["task"])
    return Results(
        rows.assign(**key)[schemas.METRICS.names], pd.DataFrame(columns=schemas.OUTCOMES.names)
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


def _job_rows(
    folder: str, seeds: list[int], sets: list[EvaluationSet], task: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return metrics and outcomes of one run's finished seeds, without the cell's columns."""
    curves = read_curves(folder, seeds)
    scored = curves[curves["evaluation_set"] != "train"]
    settings = records.read_json(Path(folder, "manifest.json"))["settings"]
    check_curves(folder, scored, seeds, sets, settings)
    curve = curve_rows(scored)
    kept = kept_epochs(curve[curve["evaluation_set"] == task])
    outcomes = score_predictions(folder, scored[~scored["sampled"]], kept, sets)
    chosen, each = selected_rows(scored, task), curve.assign(selection="each")
    levels = {tuple(level): _level_rows(chosen, level, sets) for level in LEVELS}
    labels = {item.name: item.label_count for item in sets}
    levels[()] = rowscores.add_scores(levels[()], levels["label",], outcomes, labels)
    epochs = _level_rows(each, [], sets)
    epochs = rowscores.add_scores(epochs, _level_rows(each, ["label"], sets), outcomes, labels)
    frames = [*levels.values(), epochs, _train_rows(curves[curves["evaluation_set"] == "train"])]
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    domain = np.where(rows["evaluation_set"] == task, "in", "out")
    rows["domain"] = np.where(rows["evaluation_set"] == "train", "train", domain)
    return rows.assign(status="ok"), outcomes.drop(columns=rowscores.NAMES)


def _level_rows(curves: pd.DataFrame, level: list[str], sets: list[EvaluationSet]) -> pd.DataFrame:
    """Return the metric rows at one level of breakdown: parts that agree in it are added up."""
    part = next((name for name in ("subset", "group") if name in level), None)
    if part:  # Rows outside any part have no breakdown.
        curves = curves[curves[part] != ""]
    keys = ["selection", "seed", "epoch", "evaluation_set", *level]
    rows = curves.groupby(keys, as_index=False, sort=False)[COUNTS].sum()
    if "label" not in level:  # Within one label a majority baseline means nothing.
        majorities = [item.majority(level).assign(evaluation_set=item.name) for item in sets]
        rows = rows.merge(pd.concat(majorities), on=["evaluation_set", *level], how="left")
    return _finish(rows)


def _train_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the training loss per epoch; accuracy on the shots is not recorded."""
    columns = ["seed", "epoch", "evaluation_set", *COUNTS]
    rows = _finish(curves[columns].assign(selection="each"))
    return rows.assign(accuracy=np.nan, vocabulary_accuracy=np.nan)


def _finish(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn counts into shares and add the columns that this level does not break down by."""
    rows = rows.assign(
        accuracy=rows["correct"] / rows["n"],
        vocabulary_accuracy=rows["correct_vocabulary"] / rows["n"],
        mean_logprob=rows["logprob"] / rows["n"],
    )
    for name in ("group", "subset"):
        values = rows[name].astype(object) if name in rows else pd.Series("", rows.index)
        rows[name] = values.where(values != "", None)
    rows["majority"] = rows.get("majority", np.nan)
    label = rows["label"] if "label" in rows else pd.Series(pd.NA, rows.index)
    rows["label"] = label.astype("Int8")
    return rows.drop(columns=["correct_vocabulary", "logprob"])
