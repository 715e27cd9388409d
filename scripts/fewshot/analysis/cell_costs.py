"""What cells cost, means over their seeds; which are worth it; where two ways cost the same."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .evidence import Evidence
from .flops import predictions_to_break_even
from .metrics import CELL
from .summary import at_level, seed_counts, summarise
from .titles import is_baseline, is_trained, ordered, way_of

SECONDS = ["seconds_load", "seconds_train", "seconds_curve", "seconds_score", "seconds_other"]
MEANS = [
    *(*SECONDS, "seconds_total", "device_seconds", "train_device_seconds"),
    *("prediction_device_seconds", "flops_train", "flops_context", "flops_cached"),
    *("flops_uncached", "context_tokens", "row_tokens", "disk_bytes", "cache_bytes"),
]
LARGEST = [
    "peak_memory_mib",
    "total_memory_mib",
    "predicted_memory_mib",
    "parameters",
    "trainable",
    "processes",
]
ORDER = CELL[1:]
"""What tells the cells of a study apart, which has one protocol."""


def cell_costs(evidence: Evidence, catalog: dict, ks: Sequence[int] | None = None) -> pd.DataFrame:
    """Return one row per cell that has a finished seed, in order, of the numbers of shots `ks`.

    Means are over the `seeds` that are done, of `seeds_planned`; memory and parameters are those of
    the largest, `total_memory_mib` of all processes together. `prediction_device_seconds` are
    seconds × processes of scoring a row, the context's encoding among them; `shape_known` holds
    where it does for all seeds.
    """
    costs = evidence.costs
    if ks is not None:
        costs = costs[costs["k"].isin(ks)]
    if costs.empty:
        return pd.DataFrame(columns=[*CELL, *MEANS, *LARGEST, "seeds", "seeds_planned", "device"])
    costs = _derived(costs)
    how = {name: (name, "mean") for name in MEANS} | {name: (name, "max") for name in LARGEST}
    frame = costs.groupby(CELL, as_index=False, sort=False).agg(
        **how,
        seeds=("seed", "nunique"),
        shape_known=("shape_known", "all"),
        device=("device", lambda names: ", ".join(sorted(set(names)))),
    )
    counts = seed_counts(evidence.metrics)[[*CELL, "seeds_planned"]]
    frame = frame.merge(counts, on=CELL, how="left")
    frame["seeds_planned"] = frame["seeds_planned"].fillna(frame["seeds"]).astype(int)
    return ordered(frame, catalog, ORDER)


def _derived(costs: pd.DataFrame) -> pd.DataFrame:
    """Return costs with numbers that are not null, and what follows from several columns."""
    measures = {*MEANS, *LARGEST} & set(costs)
    costs = costs.astype({name: float for name in measures})
    scoring = costs["seconds_curve"] + costs["seconds_score"]
    return costs.assign(
        seconds_total=costs[SECONDS].sum(axis=1),
        total_memory_mib=costs["processes"] * costs["peak_memory_mib"],
        train_device_seconds=costs["processes"] * costs["seconds_train"],
        prediction_device_seconds=costs["processes"] * scoring / costs["scored_rows"].astype(float),
    )


def totals(frame: pd.DataFrame, predictions: float) -> dict[str, pd.Series]:
    """Return what training and `predictions` rows cost by each measure, of rows of `cell_costs`."""
    m = predictions
    return {
        "flops_uncached": frame["flops_train"] + m * frame["flops_uncached"],
        "flops_cached": frame["flops_train"] + frame["flops_context"] + m * frame["flops_cached"],
        "device_seconds": frame["train_device_seconds"] + m * frame["prediction_device_seconds"],
        "memory": frame["total_memory_mib"],
        "disk": frame["disk_bytes"],
    }


def accuracies(evidence: Evidence, catalog: dict, ks: Sequence[int]) -> pd.DataFrame:
    """Return the mean accuracy of cells with these `ks` on each evaluation set, at the main
    selection (summary.summarise)."""
    metrics = at_level(evidence.metrics)
    chosen = metrics["k"].isin(ks) & (metrics["selection"] == catalog["main"]["selection"])
    return summarise(metrics[chosen])


def efficient(cost: pd.Series, value: pd.Series) -> np.ndarray:
    """Return bool [rows]: whether no other row costs less for at least as much value, or as much
    for more: the Pareto front. Rows without a cost or value are not on it."""
    costs, values = cost.to_numpy(float), value.to_numpy(float)
    order = np.lexsort((-values, costs))  # Not a number comes last.
    front, best = np.zeros(len(costs), dtype=bool), -np.inf
    for i in order:
        if np.isfinite(costs[i]) and values[i] > best:
            front[i], best = True, values[i]
    return front


def contests(evidence: Evidence, catalog: dict, k: int) -> pd.DataFrame:
    """Return each trained cell with k shots beside the same model in context (columns `rival_…`),
    and from how many predictions on training is cheaper.

    The rival shows all shots in one context and has the same pattern, or else it is the first one
    that has the former, or the latter, or neither. Both are means over their own seeds: `seeds` are
    the fewer of both. `even_uncached` compares operations with whole prompts, `even_cached` with an
    encoded context, `even_seconds` what was measured (with one). Infinite where training never
    becomes cheaper, null where a cost is not known.
    """
    cells = cell_costs(evidence, catalog, [k])
    cells = cells[~cells["method"].map(lambda name: is_baseline(catalog, name)).astype(bool)]
    if cells.empty:
        return pd.DataFrame(columns=[*cells, "rival_method", *EVEN])
    trained = cells["method"].map(lambda name: is_trained(catalog, name)).astype(bool)
    rivals = {
        key: part.to_dict("records")
        for key, part in cells[~trained].groupby(["protocol", "task", "model"])
    }
    rows = []
    for row in cells[trained].to_dict("records"):
        candidates = rivals.get((row["protocol"], row["task"], row["model"]), [])
        if not candidates:
            continue
        rival = min(
            candidates,
            key=lambda each, pattern=row["pattern"]: (
                way_of(catalog, each["method"]) != "",
                each["pattern"] != pattern,
            ),
        )
        row["seeds"] = min(row["seeds"], rival["seeds"])
        row["seeds_planned"] = max(row["seeds_planned"], rival["seeds_planned"])
        row["shape_known"] = row["shape_known"] and rival["shape_known"]
        columns = {f"rival_{name}": rival[name] for name in RIVAL}
        rows.append({**row, **columns, **_even(row, rival)})
    return pd.DataFrame(rows, columns=[*cells, *(f"rival_{name}" for name in RIVAL), *EVEN])


RIVAL = ["method", "pattern", "seeds", *MEANS, "total_memory_mib", "device"]
EVEN = ["even_uncached", "even_cached", "even_seconds"]


def _even(row: dict, rival: dict) -> dict[str, float]:
    """Return from how many predictions on `row` costs no more than `rival`, by each measure."""

    def solved(fixed: Sequence[str], measure: str) -> float:
        sums = [sum(way[name] for name in fixed) for way in (row, rival)]
        return predictions_to_break_even(sums[0], row[measure], sums[1], rival[measure])

    return {
        "even_uncached": solved(["flops_train"], "flops_uncached"),
        "even_cached": solved(["flops_train", "flops_context"], "flops_cached"),
        "even_seconds": solved(["train_device_seconds"], "prediction_device_seconds"),
    }
