"""Means over seeds with intervals; no seed that is missing goes unnoticed.

An interval makes one of two claims. For these rows: another draw could move the mean so far. For
rows like these: so could other rows of the same kind, or other clusters where rows come in these.
Accuracies have the second one where it is known which rows each seed has right.
"""

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
BOUNDS = {
    **dict.fromkeys([*SHARES, "f1", "macro_f1", "roc_area", "ece"], (0, 1)),
    **{"mcc": (-1, 1), "brier": (0, 2), "mean_logprob": (-np.inf, 0)},
}
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

    `metrics` are rows of one level of breakdown. `interval` is one of titles.CLAIMS and tells what
    `low` and `high` allow for (see `_intervals`). `status` is 'ok', 'i/n seeds', 'does not fit' or
    'missing'; a mean rests on the `seeds` that are done. `rows` and `rows_fewest` are the most and
    fewest rows counted for a seed: only a sample where an epoch was not kept.
    """
    keys = [*CELL, "selection", "evaluation_set", "domain", *by]
    if metrics.empty:
        return pd.DataFrame(columns=[*keys, *NUMBERS])
    counted = metrics["n"].where(metrics["n"] > 0)
    unfit = metrics["status"] == "does not fit"
    grouped = metrics.assign(counted=counted, unfit=unfit).groupby(keys, sort=False, dropna=False)
    # The same for all seeds of a mean; of a score without an error nothing is known.
    known = {part: f"{value}_{part}" for part in ("error", "df")}
    known = {part: (name, "max") for part, name in known.items() if name in metrics}
    frame = grouped.agg(
        mean=(value, "mean"),
        sd=(value, "std"),
        least=(value, "min"),
        most=(value, "max"),
        seeds=(value, "count"),
        rows=("n", "max"),
        rows_fewest=("counted", "min"),
        clusters=("clusters", "max"),
        majority=("majority", "max"),
        seeds_planned=("seed", "nunique"),
        unfit=("unfit", "sum"),
        **known,
    ).reset_index()
    frame["rows_fewest"] = frame["rows_fewest"].fillna(0).astype(int)
    low, high, interval = _intervals(frame, value)
    frame = frame.assign(low=low, high=high, interval=interval, status=_status(frame))
    return frame[[*keys, *NUMBERS]]


def _intervals(frame: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high and claim [means] of the means of a score.

    Accuracies: `stats.share_bounds` of the crossed error of draws and rows, and of the error of
    rows where nothing is drawn (k = 0). An area under the ROC curve without draws: t of DeLong's
    error by cluster. Else Student's t over seeds. Where seeds agree, or no error is known, there is
    no interval: it would be a point.
    """
    low, high = stats.t_interval(frame["mean"], frame["sd"], frame["seeds"])
    claim = np.where(frame["most"] > frame["least"], "draws", "none")
    low, high = (np.where(claim == "draws", bound, np.nan) for bound in (low, high))
    drawn = frame["k"].to_numpy() > 0
    if value in SHARES or value == "roc_area":
        (lower, upper), there = _over_rows(frame, value)
        there &= np.where(drawn, value in SHARES and frame["seeds"] > 1, frame["seeds"] > 0)
        low, high = np.where(there, lower, low), np.where(there, upper, high)
        claim = np.where(there, np.where(drawn, "draws and rows", "rows"), claim)
    return *(np.clip(bound, *BOUNDS.get(value, (-np.inf, np.inf))) for bound in (low, high)), claim


def _over_rows(frame: pd.DataFrame, value: str) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the bounds of a score for other rows like these, and where there are any: one cluster
    does not tell how clusters vary."""
    mean, clusters, error = (frame[name].to_numpy(float) for name in ("mean", "clusters", "error"))
    if value == "roc_area":
        bounds = stats.t_bounds(mean, error, np.maximum(clusters - 1, 1))
        return bounds, (clusters > 1) & (error > 0)
    bounds = stats.share_bounds(mean, error, frame["df"].to_numpy(float), clusters)
    return bounds, (clusters > 1) & ~np.isnan(mean)


def _status(frame: pd.DataFrame) -> np.ndarray:
    done = frame["seeds"].astype(str) + "/" + frame["seeds_planned"].astype(str) + " seeds"
    none = np.where(frame["unfit"] == frame["seeds_planned"], "does not fit", "missing")
    some = np.where(frame["seeds"] == frame["seeds_planned"], "ok", done)
    return np.where(frame["seeds"] == 0, none, some)
