"""Read learning curves, check them, and choose the epoch that counts."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schemas, storage
from ..data import halves
from ..data.curve_sample import PART, curve_epochs
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from . import predictions

SELECTIONS = ("last", "best-in-domain", "best-out-of-domain")
RUN = ["seed", "epoch"]


def selections(sets: int, *, by_half: bool = False) -> tuple[str, ...]:
    """Return the selections of a task with `sets` evaluation sets, its own included; `by_half` says
    whether a half of its rows chooses the best epoch in domain."""
    last, best, oracle = SELECTIONS
    return (last, halves.SELECTION if by_half else best, *([oracle] if sets > 1 else []))


def rows_on_curve(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a run's curves that are the curve: of a sampled set only its sample."""
    return scored[scored["sampled"] == scored.groupby("evaluation_set")["sampled"].transform("any")]


def kept_epochs(in_domain: pd.DataFrame) -> pd.DataFrame:
    """Return per seed the `last` epoch and the `best` in-domain one (the earliest of equals).

    `in_domain` are the rows of the task's own curve; all evaluation rows are scored at both.
    """
    correct = in_domain.groupby(RUN)["correct"].sum().reset_index()
    best = correct.sort_values("correct", ascending=False, kind="stable").groupby("seed")["epoch"]
    return pd.DataFrame({"last": correct.groupby("seed")["epoch"].max(), "best": best.first()})


def best_outside(curve: pd.DataFrame) -> pd.Series:
    """Return per seed the epoch with the highest mean accuracy over the out-of-domain sets.

    `curve` are those sets' rows of the curve. Each set weighs the same, whatever its size; of
    equals the earliest epoch counts.
    """
    counts = curve.groupby(["evaluation_set", *RUN])[["n", "correct"]].sum()
    # Whole numbers over a common denominator: equal means compare as equal.
    common = math.lcm(*counts["n"].unique().tolist())
    score: dict[tuple[int, int], int] = {}
    for (_, *run), n, correct in counts.itertuples():
        score[tuple(run)] = score.get(tuple(run), 0) + correct * (common // n)
    best: dict[int, int] = {}
    for seed, epoch in sorted(score):
        if seed not in best or score[seed, epoch] > score[seed, best[seed]]:
            best[seed] = epoch
    return pd.Series(best, name="epoch").rename_axis("seed")


def selected_rows(scored: pd.DataFrame, task: str, test: str = "") -> pd.DataFrame:
    """Return the counts of each selection's epoch, marked by a column `selection`.

    `scored` are all counts of a run's evaluation sets. Where an epoch was not kept, a sampled set
    has only its sample's counts there, and these are returned. Where the task's curve counts the
    choice half, `test` is the name under which `scored` has the test half at the kept epochs.
    """
    curve = rows_on_curve(scored[scored["evaluation_set"] != test])
    inside = curve["evaluation_set"] == task
    kept = kept_epochs(curve[inside])
    best = halves.SELECTION if test else "best-in-domain"
    epochs = {"last": kept["last"], best: kept["best"]}
    if not inside.all():
        epochs["best-out-of-domain"] = best_outside(curve[~inside])
    frames = []
    for selection, epoch in epochs.items():
        other = task if selection == halves.SELECTION else test
        judged = scored[scored["evaluation_set"] != other]
        rows = judged.merge(epoch.rename("epoch").reset_index(), on=RUN)
        has_whole = (~rows["sampled"]).groupby([rows["seed"], rows["evaluation_set"]])
        rows = rows[rows["sampled"] != has_whole.transform("any")]
        frames.append(rows.assign(selection=selection))
    return pd.concat(frames)


CORRUPT = "an epoch lacks or repeats an evaluation set; corrupt run"


def read_curves(folder: str, seeds: list[int]) -> pd.DataFrame:
    """Return a run's curves with plain columns; '' stands for no group or subset."""
    path = Path(folder, "curves.parquet")
    curves = storage.read_table(path)
    absent = [name for name in schemas.CURVES.names if name not in curves]
    if absent:
        raise UserError(f"{path}: no column '{absent[0]}'; written by another version, run it anew")
    surplus = set(curves["seed"]) ^ set(seeds)
    if surplus:
        raise UserError(f"{path}: seeds {sorted(surplus)} differ from its manifest; corrupt run")
    for name in ("evaluation_set", "group", "subset"):
        curves[name] = curves[name].astype(object).fillna("")
    # Sums of log-probabilities, so that parts can be added up.
    return curves.assign(logprob=curves["mean_logprob"] * curves["n"])


def check_curves(
    folder: str, curves: pd.DataFrame, seeds: list[int], sets: list[EvaluationSet], settings: dict
) -> None:
    """Raise UserError unless every seed and epoch of the curve counts every part of every set once.

    The first of the `sets` is the task's own. Epochs and sample are those of the run's `settings`,
    which have none where nothing was trained: epoch 0, all rows. A set is counted in one form
    throughout: all rows, or the sample. Of a sampled set all rows may be counted besides, at any of
    the epochs; `predictions.score_predictions` says where they must be.
    """
    path = Path(folder, "curves.parquet")
    unknown = set(curves["evaluation_set"]) - {item.name for item in sets}
    if unknown:
        raise UserError(f"{path}: {sorted(unknown)[0]} is no evaluation set of it; corrupt run")
    epochs, counted = [0], {}
    if "curve_epochs" in settings:
        epochs = curve_epochs(settings["curve_epochs"], settings["epochs"])
        counted = halves.counted_on_curve(sets, settings)
    wanted = {(seed, epoch) for seed in seeds for epoch in epochs}
    for item in sets:
        rows = curves[curves["evaluation_set"] == item.name]
        blocks = _blocks(path, rows[~rows["sampled"]], item)
        if rows["sampled"].any():
            sample = counted.get(item.name, item)
            if sample is item:
                raise UserError(
                    f"{path}: '{item.name}' is sampled against its settings; corrupt run"
                )
            whole, blocks = blocks, _blocks(path, rows[rows["sampled"]], sample)
            if not whole <= blocks:
                raise UserError(f"{path}: {CORRUPT}")
        if blocks != wanted:
            raise UserError(f"{path}: {CORRUPT}")


def _blocks(path: Path, rows: pd.DataFrame, item: EvaluationSet) -> set[tuple[int, int]]:
    """Return the (seed, epoch) whose rows count every part of the set, each with all its rows."""
    part = item.parts_named(rows)
    wrong = rows["n"].to_numpy() != np.append(item.row_parts.sizes, -1)[part]
    if wrong.any():
        row = rows[wrong].astype({"label": "int64"}).iloc[0]
        names = [item.name, *(str(row[name]) for name in PART)]
        where = "/".join(name for name in names if name)
        raise UserError(f"{path}: {row['n']} rows in part {where}, not as prepared; corrupt run")
    key = [rows["seed"].to_numpy(), rows["epoch"].to_numpy()]
    sizes = pd.Series(part).groupby(key).agg(["size", "nunique"])
    if (sizes != len(item.parts)).any(axis=None):
        raise UserError(f"{path}: {CORRUPT}")
    return set(sizes.index)


def with_calibrated(
    counts: pd.DataFrame, scores: pd.DataFrame, sets: list[EvaluationSet]
) -> pd.DataFrame:
    """Return the counts by part with those of rows that are right after each calibration, nan
    where an epoch has no row predictions."""
    by_name, frames = {item.name: item for item in sets}, []
    for row in scores.to_dict("records"):
        item = by_name[row["evaluation_set"]]
        run = {key: row[key] for key in predictions.KEYS}
        found = item.parts[PART].assign(**run, sampled=False)
        for name in predictions.CORRECT[1:]:
            found[name] = by_part(row[name], item)
        frames.append(found)
    keys = [*predictions.KEYS, *PART, "sampled"]
    return counts.astype({"label": "int64"}).merge(pd.concat(frames), on=keys, how="left")


def by_part(packed: bytes | None, item: EvaluationSet) -> np.ndarray | float:
    """Return how many rows of each part are right [parts], by the bits of the rows that are; nan
    where that is not known."""
    if packed is None:
        return np.nan
    right = predictions.unpack([packed], len(item.labels))[0]
    return np.bincount(item.part_of[right], minlength=len(item.parts))
