"""From stored runs to metrics: what was kept is checked, selected and counted.

Curves hold counts per epoch and part of an evaluation set, predictions hold the rows of the kept
epochs. Metrics are computed from curves; the predictions must tell the same counts, with exactly
one prediction for every evaluation row, or the run counts as broken.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from . import records
from .errors import UserError
from .evaluation import EvaluationSet
from .predictions import check_predictions

CELL = ["protocol", "task", "model", "method", "pattern", "k"]
SELECTIONS = ("last", "best-in-domain")
LEVELS = (
    [],
    ["label"],
    ["group"],
    ["group", "label"],
    ["group", "subset"],
    ["group", "subset", "label"],
)
COUNTS = ["n", "correct", "correct_vocabulary", "logprob"]


def compute(
    cell: dict,
    jobs: list[dict],
    sets: list[EvaluationSet],
    fit: pd.DataFrame | None = None,
    *,
    allow_missing: bool = False,
) -> pd.DataFrame:
    """Return the metrics (records.METRICS) of all jobs of one protocol × task × model.

    `cell` names protocol, task and model; each job has method, pattern, k, seeds and the folder of
    its run. Raises UserError for a run that is missing (unless `allow_missing`), incomplete or
    contradicts itself. `fit` (records.FIT) tells which missing seeds never could run.
    """
    frames = []
    for job in jobs:
        key = {**cell, **{name: job[name] for name in ("method", "pattern", "k")}}
        statuses = _statuses(job, fit, key, allow_missing)
        majorities = {item.name: item.majority([])["majority"].iloc[0] for item in sets}
        frames.append(_blank_rows(statuses, majorities, cell["task"]).assign(**key))
        done = [seed for seed, status in statuses.items() if status == "ok"]
        if done:
            frames.append(_job_rows(job["folder"], done, sets, cell["task"]).assign(**key))
    columns = records.METRICS.names
    frames = [frame for frame in frames if len(frame)]
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


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


def without_result(
    cell: dict, job: dict, names: list[str], fit: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the metrics of a job without usable results: 'does not fit' or 'missing' throughout.

    `names` are its evaluation sets, whose rows need not exist.
    """
    key = {**cell, **{name: job[name] for name in ("method", "pattern", "k")}}
    unfit = unfit_seeds(fit, key)
    statuses = {seed: "does not fit" if seed in unfit else "missing" for seed in job["seeds"]}
    rows = _blank_rows(statuses, dict.fromkeys(names, np.nan), cell["task"])
    return rows.assign(**key)[records.METRICS.names]


def _blank_rows(statuses: dict, majorities: dict[str, float], task: str) -> pd.DataFrame:
    """Return one overall row per seed without result, selection and evaluation set.

    `majorities` gives the majority baseline of each evaluation set.
    """
    rows = [
        {"seed": seed, "selection": selection, "evaluation_set": name, "status": status}
        | {"majority": majority}
        for seed, status in statuses.items()
        if status != "ok"
        for selection in SELECTIONS
        for name, majority in majorities.items()
    ]
    frame = pd.DataFrame(
        rows, columns=["seed", "selection", "evaluation_set", "status", "majority"]
    )
    frame["domain"] = np.where(frame["evaluation_set"] == task, "in", "out")
    frame = frame.assign(epoch=0, n=0, correct=0, group=None, subset=None)
    for name in ("accuracy", "vocabulary_accuracy", "mean_logprob"):
        frame[name] = np.nan
    return frame.assign(label=pd.array([pd.NA] * len(frame), dtype="Int8"))


def _job_rows(folder: str, seeds: list[int], sets: list[EvaluationSet], task: str) -> pd.DataFrame:
    """Return the metric rows of one run's finished seeds, without the cell's columns."""
    curves = _read_curves(folder, seeds)
    scored = curves[curves["evaluation_set"] != "train"]
    check_curves(folder, scored, seeds, sets)
    kept = kept_epochs(scored[scored["evaluation_set"] == task])
    check_predictions(folder, scored, kept, sets)
    chosen = pd.concat(
        scored.merge(kept[column].rename("epoch").reset_index(), on=["seed", "epoch"]).assign(
            selection=selection
        )
        for selection, column in zip(SELECTIONS, kept.columns, strict=True)
    )
    frames = [_level_rows(chosen, level, sets) for level in LEVELS]
    frames.append(_level_rows(scored.assign(selection="each"), [], sets))
    frames.append(_train_rows(curves[curves["evaluation_set"] == "train"]))
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    domain = np.where(rows["evaluation_set"] == task, "in", "out")
    rows["domain"] = np.where(rows["evaluation_set"] == "train", "train", domain)
    return rows.assign(status="ok")


def _read_curves(folder: str, seeds: list[int]) -> pd.DataFrame:
    """Return a run's curves with plain columns; '' stands for no group or subset."""
    path = Path(folder, "curves.parquet")
    curves = records.read_table(path)
    surplus = set(curves["seed"]) ^ set(seeds)
    if surplus:
        raise UserError(f"{path}: seeds {sorted(surplus)} differ from its manifest; corrupt run")
    for name in ("evaluation_set", "group", "subset"):
        curves[name] = curves[name].astype(object).fillna("")
    # Sums of log-probabilities, so that parts can be added up.
    return curves.assign(logprob=curves["mean_logprob"] * curves["n"])


def check_curves(folder: str, curves: pd.DataFrame, seeds: list, sets: list[EvaluationSet]) -> None:
    """Raise UserError unless each seed's every epoch counts every part of every set once."""
    path = Path(folder, "curves.parquet")
    expected = pd.concat([item.parts.assign(evaluation_set=item.name) for item in sets])
    keys = ["evaluation_set", "group", "subset", "label"]
    index = pd.MultiIndex.from_frame(expected[keys])
    place = index.get_indexer(pd.MultiIndex.from_frame(curves[keys].astype({"label": "int64"})))
    wrong = curves["n"].to_numpy() != np.append(expected["n"].to_numpy(), -1)[place]
    if wrong.any():
        row = curves[wrong].iloc[0]
        part = "/".join(str(row[name]) for name in keys if row[name] != "")
        raise UserError(f"{path}: {row['n']} rows in part {part}, not as prepared; corrupt run")
    key = [curves["seed"].to_numpy(), curves["epoch"].to_numpy()]
    sizes = pd.Series(place).groupby(key).agg(["size", "nunique"])
    seen = set(sizes.index.get_level_values(0))
    if seen != set(seeds) or (sizes != len(expected)).any(axis=None):
        raise UserError(f"{path}: an epoch lacks or repeats an evaluation set; corrupt run")


def kept_epochs(in_domain: pd.DataFrame) -> pd.DataFrame:
    """Return per seed the `last` epoch and the `best` in-domain one (the earliest of equals)."""
    correct = in_domain.groupby(["seed", "epoch"])["correct"].sum().reset_index()
    best = correct.sort_values("correct", ascending=False, kind="stable").groupby("seed")["epoch"]
    return pd.DataFrame({"last": correct.groupby("seed")["epoch"].max(), "best": best.first()})


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
