"""From stored runs to metrics at every level of breakdown."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from .. import storage
from ..data import halves
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from . import predictions, result_schemas
from .curves import (
    check_curves,
    kept_epochs,
    read_curves,
    rows_on_curve,
    selected_rows,
    selections,
    with_calibrated,
)
from .draws import Draws
from .held_out import fits_to_shots
from .held_out_rows import check_chooser, half_beside, half_counts
from .label_probabilities import CALIBRATIONS
from .predictions import score_predictions
from .row_errors import ERRORS, SCORES, add_errors
from .run_manifests import CELL, read_held_out_manifest, read_run_manifest

LEVELS = (
    [],
    ["label"],
    ["group"],
    ["group", "label"],
    ["group", "subset"],
    ["group", "subset", "label"],
)
COUNTS = ["n", *predictions.CORRECT, "correct_vocabulary", "logprob"]
KEYS = ["job", "selection", "seed", "epoch", "evaluation_set"]
ACCURACIES = [*SCORES]
"""As scored, and after each calibration."""


def metric_rows(
    chosen: pd.DataFrame,
    curve: pd.DataFrame,
    train: pd.DataFrame,
    scored: pd.DataFrame,
    sets: list[EvaluationSet],
) -> pd.DataFrame:
    """Return the metric rows of runs, which a column `job` tells apart.

    `chosen` are the counts of the selected epochs, `curve` those of each epoch and `train` the
    training losses, as `curves.read_curves` returns them; `scored` the scores of row predictions
    (`predictions.score_predictions`).
    """
    labels = {item.name: item.label_count for item in sets}
    rows = {tuple(level): _level_rows(chosen, level, sets) for level in LEVELS}
    rows[()] = predictions.add_scores(rows[()], rows["label",], scored, labels)
    each = curve.assign(selection="each")
    epochs = _level_rows(each, [], sets)
    epochs = predictions.add_scores(epochs, _level_rows(each, ["label"], sets), scored, labels)
    frames = [*rows.values(), epochs, _train_rows(train)]
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _level_rows(curves: pd.DataFrame, level: list[str], sets: list[EvaluationSet]) -> pd.DataFrame:
    """Return the metric rows at one level of breakdown: parts that agree in it are added up."""
    part = next((name for name in ("subset", "group") if name in level), None)
    if part:  # Rows outside any part have no breakdown.
        curves = curves[curves[part] != ""]
    keys = [*KEYS, *level]
    # Where one part's count is not known, neither is the sum.
    rows = curves.groupby(keys, as_index=False, sort=False)[COUNTS].sum(skipna=False)
    if "label" not in level:  # Within one label a majority baseline means nothing.
        majorities = [item.majority(level).assign(evaluation_set=item.name) for item in sets]
        rows = rows.merge(pd.concat(majorities), on=["evaluation_set", *level], how="left")
    return _finish(rows)


def _train_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the training loss per epoch; accuracy on the shots is not recorded."""
    columns = ["job", "seed", "epoch", "evaluation_set", *COUNTS]
    rows = _finish(curves.reindex(columns=columns).assign(selection="each"))
    return rows.assign(accuracy=np.nan, vocabulary_accuracy=np.nan)


def _finish(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn counts into shares and add the columns that this level does not break down by."""
    rows = rows.assign(
        accuracy=rows["correct"] / rows["n"],
        vocabulary_accuracy=rows["correct_vocabulary"] / rows["n"],
        mean_logprob=rows["logprob"] / rows["n"],
        **{f"accuracy_{name}": rows[f"correct_{name}"] / rows["n"] for name in CALIBRATIONS},
    )
    for name in ("group", "subset"):
        values = rows[name].astype(object) if name in rows else pd.Series("", rows.index)
        rows[name] = values.where(values != "", None)
    rows["majority"] = rows.get("majority", np.nan)
    label = rows["label"] if "label" in rows else pd.Series(pd.NA, rows.index)
    rows["label"] = label.astype("Int16")
    return rows.drop(columns=[*COUNTS[2:]])


@dataclass(frozen=True)
class Results:
    """What runs say: `metrics` (result_schemas.METRICS), and `outcomes` (OUTCOMES) of all rows."""

    metrics: pd.DataFrame
    outcomes: pd.DataFrame


def compute_metrics(
    cell: dict,
    jobs: list[dict],
    sets: list[EvaluationSet],
    windows: pd.DataFrame | None = None,
    *,
    problems: dict[str, str] | None = None,
    draws: Draws | None = None,
    by_half: bool = False,
    probes: Collection[str] = (),
) -> Results:
    """Return metrics and outcomes of all jobs of one protocol × task × model.

    `cell` names protocol, task and model; each job has method, pattern, k, seeds, the folder of its
    run and perhaps `held_out`, that of the scores of its shots, with `cross_validation`, how they
    were held out. Raises UserError for a run that is missing, incomplete or contradicts itself;
    where `problems` is given such a run counts as missing and what is wrong with it is entered
    there, by its folder. `windows` (schemas.WINDOWS) tells which missing seeds never could run: if
    no seed could, nothing is wrong. `draws` are those of the task's models before this one.
    `by_half` says whether a half of the rows in domain chooses the best epoch: then all are judged
    by the other half, too. `probes` name sets of the runs of which no answer is right or wrong.
    """
    draws = draws or Draws()
    half = half_beside(sets, cell["task"]) if by_half else None
    majorities = {item.name: _majority(item) for item in sets}
    of_half = None if half is None else _majority(half)
    keys = [{**cell, **{name: job[name] for name in CELL[3:]}} for job in jobs]
    blank, runs = [], []
    for number, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        try:
            manifest = read_run_manifest(job["folder"], key)
            draws.add(job["folder"], key["k"], manifest)
            statuses = _statuses(job, manifest)
            done = [seed for seed, status in statuses.items() if status == "ok"]
            if done:
                fitted = _fitted(job, key, draws, problems)
                run = _read_run(job["folder"], done, sets, cell["task"], fitted, half, probes)
                runs.append(run.marked(number))
        except UserError as error:
            statuses = _without_run(job, key, windows)
            if "missing" in statuses.values():
                if problems is None:
                    raise
                problems[job["folder"]] = str(error)
        rows = _blank_rows(statuses, majorities, cell["task"], of_half)
        blank.append(rows.assign(job=number))
    rows, outcomes = _of_runs(runs, sets, cell["task"], half)
    if len(rows):
        rows = add_errors(rows, outcomes, sets, _cells(keys), half)
    return Results(
        _named([*blank, rows], keys, result_schemas.METRICS.names),
        _named([outcomes], keys, result_schemas.OUTCOMES.names),
    )


def _cells(keys: list[dict]) -> list[int]:
    """Return the number of each job's cell: of all jobs of a cell that of the first."""
    return [keys.index(key) for key in keys]


def _named(frames: list[pd.DataFrame], keys: list[dict], columns: list[str]) -> pd.DataFrame:
    """Join frames in the order of their column `job`, and name the cell that it stands for."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=columns)
    whole = pd.concat(frames, ignore_index=True).sort_values("job", kind="stable")
    cells = pd.DataFrame(keys).loc[whole["job"]].reset_index(drop=True)
    return pd.concat([whole.reset_index(drop=True), cells], axis=1)[columns]


def _statuses(job: dict, manifest: dict) -> dict[int, str]:
    """Return seed -> 'ok' or 'does not fit', by the run's manifest."""
    path, seeds = Path(job["folder"], "manifest.json"), manifest.get("seeds", {})
    absent = [seed for seed in job["seeds"] if str(seed) not in seeds]
    if absent:
        raise UserError(f"{path}: seed {absent[0]} is not in it; the run is incomplete")
    return {seed: seeds[str(seed)]["status"] for seed in job["seeds"]}


def _without_run(job: dict, key: dict, windows: pd.DataFrame | None) -> dict[int, str]:
    """Return seed -> 'does not fit' or 'missing', by the fit table alone."""
    unfit = unfit_seeds(windows, key)
    return {seed: "does not fit" if seed in unfit else "missing" for seed in job["seeds"]}


def unfit_seeds(windows: pd.DataFrame | None, key: dict) -> set[int]:
    """Return the seeds of a cell that the table (schemas.WINDOWS) rules out."""
    if windows is None or windows.empty:
        return set()
    mask = windows["status"] == "does not fit"
    for name in CELL[1:]:
        mask &= windows[name] == key[name]
    return set(windows.loc[mask, "seed"].tolist())


def without_results(
    cell: dict,
    jobs: list[dict],
    names: list[str],
    windows: pd.DataFrame | None,
    *,
    by_half: bool = False,
) -> Results:
    """Return the results of jobs without usable ones: 'does not fit' or 'missing' throughout.

    `names` are their evaluation sets, whose rows need not exist; `by_half` is as `compute_metrics`
    takes it.
    """
    of_half = np.nan if by_half else None
    keys = [{**cell, **{name: job[name] for name in CELL[3:]}} for job in jobs]
    frames = [
        _blank_rows(
            _without_run(job, key, windows), dict.fromkeys(names, np.nan), cell["task"], of_half
        ).assign(job=number)
        for number, (job, key) in enumerate(zip(jobs, keys, strict=True))
    ]
    return Results(
        _named(frames, keys, result_schemas.METRICS.names),
        pd.DataFrame(columns=result_schemas.OUTCOMES.names),
    )


def _majority(item: EvaluationSet) -> float:
    return item.majority([])["majority"].iloc[0]


def _blank_rows(
    statuses: dict, majorities: dict[str, float], task: str, of_half: float | None
) -> pd.DataFrame:
    """Return one overall row per seed without result, selection and evaluation set.

    `majorities` gives the majority baseline of each evaluation set, `of_half` that of the task's
    test half (None: no half judges what the other chose).
    """
    rows = [
        {"seed": seed, "selection": selection, "evaluation_set": name, "status": status}
        | {"majority": of_half if (selection, name) == (halves.SELECTION, task) else majority}
        for seed, status in statuses.items()
        if status != "ok"
        for selection in selections(len(majorities), by_half=of_half is not None)
        for name, majority in majorities.items()
    ]
    frame = pd.DataFrame(
        rows, columns=["seed", "selection", "evaluation_set", "status", "majority"]
    )
    frame["domain"] = np.where(frame["evaluation_set"] == task, "in", "out")
    frame = frame.assign(epoch=0, n=0, correct=0, group=None, subset=None)
    for name in ("vocabulary_accuracy", "mean_logprob", *ACCURACIES, *ERRORS, *predictions.NAMES):
        frame[name] = np.nan
    return frame.assign(label=pd.array([pd.NA] * len(frame), dtype="Int16"))


@dataclass(frozen=True)
class _StoredRun:
    """What one run stores, read, checked and selected (see `metrics.metric_rows`)."""

    chosen: pd.DataFrame
    curve: pd.DataFrame
    train: pd.DataFrame
    scored: pd.DataFrame

    def marked(self, job: int) -> "_StoredRun":
        """Return the same with a column `job`."""
        parts = (self.chosen, self.curve, self.train, self.scored)
        return _StoredRun(*(part.assign(job=job) for part in parts))


def _fitted(job: dict, key: dict, draws: Draws, problems: dict[str, str] | None) -> dict[int, dict]:
    """Return by seed the calibrations that are fitted to a job's shots, none without held-out ones.

    Raises UserError, or enters it in `problems`, where these are missing or of another draw.
    """
    if "held_out" not in job:
        return {}
    try:
        manifest = read_held_out_manifest(job, key)
        draws.add(job["held_out"], key["k"], manifest)
        return fits_to_shots(job["held_out"])
    except UserError as error:
        if problems is None:
            raise
        problems[job["held_out"]] = str(error)
    return {}


def _read_run(
    folder: str,
    seeds: list[int],
    sets: list[EvaluationSet],
    task: str,
    fitted: dict[int, dict],
    half: EvaluationSet | None,
    probes: Collection[str],
) -> _StoredRun:
    """Read a run's finished seeds; raises UserError where it is not what it says."""
    curves = read_curves(folder, seeds)
    curves = curves[~curves["evaluation_set"].isin(probes)]
    trains = curves["evaluation_set"] == "train"
    scored = curves[~trains]
    manifest = storage.read_json(Path(folder, "manifest.json"))
    check_chooser(folder, manifest["settings"], by_half=half is not None)
    check_curves(folder, scored, seeds, sets, manifest["settings"])
    curve = rows_on_curve(scored)
    kept = kept_epochs(curve[curve["evaluation_set"] == task])
    whole = scored[~scored["sampled"]]
    content_free = _content_free(manifest)
    beside = None if half is None else (task, half)
    scores = score_predictions(folder, whole, kept, sets, content_free, fitted, beside, probes)
    if half is None:
        scored = with_calibrated(scored, scores, sets)
        chosen = selected_rows(scored, task)
    else:
        both = pd.concat([scored, half_counts(scores, half)], ignore_index=True)
        both = with_calibrated(both, scores, [*sets, half])
        chosen = selected_rows(both, task, half.name)
        scored = both[both["evaluation_set"] != half.name]
    return _StoredRun(chosen, rows_on_curve(scored), curves[trains], scores)


def _content_free(manifest: dict) -> dict[tuple[int, int], dict[str, list[float]]]:
    """Return by seed and epoch what label words of inputs without content are ranked by."""
    return {
        (int(seed), int(epoch)): ranks
        for seed, facts in manifest["seeds"].items()
        for epoch, ranks in facts.get("content_free", {}).items()
    }


def _of_runs(
    runs: list[_StoredRun], sets: list[EvaluationSet], task: str, half: EvaluationSet | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return metric rows and outcomes of runs, by their column `job`."""
    if not runs:
        return pd.DataFrame(), pd.DataFrame()
    chosen, curve, train, scored = (
        pd.concat([getattr(run, field.name) for run in runs], ignore_index=True)
        for field in fields(_StoredRun)
    )
    rows = metric_rows(chosen, curve, train, scored, sets if half is None else [*sets, half])
    if half is not None:
        rows, scored = (_as_of(each, half.name, task) for each in (rows, scored))
    domain = np.where(rows["evaluation_set"] == task, "in", "out")
    rows["domain"] = np.where(rows["evaluation_set"] == "train", "train", domain)
    return rows.assign(status="ok"), scored


def _as_of(frame: pd.DataFrame, name: str, task: str) -> pd.DataFrame:
    """Return a frame whose rows of set `name` are called those of `task`."""
    return frame.assign(evaluation_set=frame["evaluation_set"].replace(name, task))
