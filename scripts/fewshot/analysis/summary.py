"""Means over seeds with intervals; no seed that is missing goes unnoticed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import stats
from .metrics import ACCURACIES, CELL

NUMBERS = [
    "mean",
    "low",
    "high",
    "interval",
    "seeds",
    "seeds_planned",
    "rows",
    "rows_fewest",
    "majority",
    "status",
]
SHARES = tuple(ACCURACIES)
"""Scores that are shares of rows."""
BOUNDS = dict.fromkeys([*SHARES, "f1", "macro_f1", "roc_area"], (0, 1)) | {"mcc": (-1, 1)}
"""The least and the largest value of a score, where intervals are cut."""


def at_level(metrics: pd.DataFrame, *level: str) -> pd.DataFrame:
    """Return the rows broken down by exactly these of group, subset and label.

    Rows of a subset carry their group as well, so "group" may be left out beside "subset".
    """
    mask = pd.Series(True, metrics.index)
    for name in ("group", "subset", "label"):
        if name == "group" and "subset" in level:
            continue
        mask &= metrics[name].notna() if name in level else metrics[name].isna()
    return metrics[mask]


def seed_counts(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return, for each cell, how many seeds are planned, done, unfit and missing."""
    overall = at_level(metrics)
    overall = overall[overall["selection"] == "last"]
    overall = overall.drop_duplicates([*CELL, "seed"])
    counts = overall.assign(
        seeds_planned=1,
        seeds_ok=(overall["status"] == "ok").astype(int),
        seeds_unfit=(overall["status"] == "does not fit").astype(int),
        seeds_missing=(overall["status"] == "missing").astype(int),
    )
    columns = ["seeds_planned", "seeds_ok", "seeds_unfit", "seeds_missing"]
    return counts.groupby(CELL, as_index=False, sort=False)[columns].sum()


def with_absent(parts: pd.DataFrame, overall: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return rows broken down `by` parts, with a row for each part of every seed without results.

    `parts` has rows of seeds that are done alone; `overall` are the same cells' rows without
    breakdown, which tell what else was planned. Without these, a mean over fewer seeds would pass
    for one over all.
    """
    absent = overall[(overall["status"] != "ok") & overall["selection"].isin(parts["selection"])]
    present = parts[["evaluation_set", *by]].drop_duplicates()
    blank = absent.drop(columns=list(by)).merge(present, on="evaluation_set")
    return pd.concat([parts, blank[parts.columns]], ignore_index=True) if len(blank) else parts


def summarise(
    metrics: pd.DataFrame, by: Sequence[str] = (), value: str = "accuracy"
) -> pd.DataFrame:
    """Return the mean of `value` over seeds for each cell, selection, evaluation set and `by`.

    `metrics` are rows of one level of breakdown. The interval is Student's t over seeds; for k = 0,
    where no seed draws anything, it is over evaluation rows: Wilson's of a share of the rows, that
    of DeLong's error of an area under the ROC curve. `status` is 'ok', 'i/n seeds',
    'does not fit' or 'missing'; a mean rests on the `seeds` that are done. `rows` and `rows_fewest`
    are the most and fewest rows counted for a seed: only a sample where an epoch was not kept.
    """
    keys = [*CELL, "selection", "evaluation_set", "domain", *by]
    if metrics.empty:
        return pd.DataFrame(columns=[*keys, *NUMBERS])
    counted = metrics["n"].where(metrics["n"] > 0)
    unfit = metrics["status"] == "does not fit"
    grouped = metrics.assign(counted=counted, unfit=unfit).groupby(keys, sort=False, dropna=False)
    frame = grouped.agg(
        mean=(value, "mean"),
        sd=(value, "std"),
        seeds=(value, "count"),
        rows=("n", "max"),
        rows_fewest=("counted", "min"),
        error=("roc_area_error", "max"),
        majority=("majority", "max"),
        seeds_planned=("seed", "nunique"),
        unfit=("unfit", "sum"),
    ).reset_index()
    frame["rows_fewest"] = frame["rows_fewest"].fillna(0).astype(int)
    low, high = stats.t_interval(frame["mean"], frame["sd"], frame["seeds"])
    low, high = (np.clip(bound, *BOUNDS.get(value, (-np.inf, np.inf))) for bound in (low, high))
    frame["interval"] = np.where(frame["seeds"] > 1, "t over seeds", "none")
    if value in SHARES or value == "roc_area":
        over_rows = (frame["k"] == 0).to_numpy() & (frame["seeds"] > 0).to_numpy()
        bounds, name = _over_rows(frame, value)
        low, high = (np.where(over_rows, *pair) for pair in zip(bounds, (low, high), strict=True))
        frame.loc[over_rows, "interval"] = name
    frame = frame.assign(low=low, high=high, status=_status(frame))
    return frame[[*keys, *NUMBERS]]


def _over_rows(frame: pd.DataFrame, value: str) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Return the bounds of a score of one run over its rows, and what they are called."""
    if value == "roc_area":
        half = stats.normal_quantile() * frame["error"].astype(float)
        bounds = (frame["mean"] - half, frame["mean"] + half)
        return tuple(np.clip(bound, *BOUNDS[value]) for bound in bounds), "DeLong over rows"
    return stats.wilson_interval(frame["mean"] * frame["rows"], frame["rows"]), "Wilson over rows"


def _status(frame: pd.DataFrame) -> np.ndarray:
    done = frame["seeds"].astype(str) + "/" + frame["seeds_planned"].astype(str) + " seeds"
    none = np.where(frame["unfit"] == frame["seeds_planned"], "does not fit", "missing")
    some = np.where(frame["seeds"] == frame["seeds_planned"], "ok", done)
    return np.where(frame["seeds"] == 0, none, some)
