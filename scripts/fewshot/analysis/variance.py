"""Where the variance of a cell's answers comes from: draws, patterns and evaluation rows."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from . import result_schemas, stats
from .arms import Arms, arms_of
from .predictions import unpack

CELL = ["model", "method", "k", "selection"]
COMPONENTS = {
    "seed": "seed",
    "pattern": "pattern",
    "seed_pattern": "pattern:seed",
    "row": "row",
    "seed_row": "seed:row",
    "pattern_row": "pattern:row",
    "residual": "residual",
}


def split_variance(
    metrics: pd.DataFrame, outcomes: pd.DataFrame, sets: Iterable[EvaluationSet]
) -> pd.DataFrame:
    """Return the variance components (result_schemas.VARIANCE) of one task's models and methods.

    Each rests on a full table of patterns × seeds × rows: of the patterns that have any seed with
    row predictions, the seeds that all of them have. A cell without two patterns, two seeds or two
    rows lacks the components in question; what is missing is told by the counts and `status`.
    """
    frames = [_split_on(item, metrics, outcomes) for item in sets if len(metrics)]
    frames = [frame for frame in frames if len(frame)]
    columns = result_schemas.VARIANCE.names
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _split_on(item: EvaluationSet, metrics: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    arms = arms_of(metrics, outcomes, item.name)
    packed = outcomes["correct"].to_numpy(dtype=object)
    components: dict[bytes, dict] = {}
    rows = []
    for key, members in arms.keys.groupby(CELL, sort=False):
        patterns = members.index.to_numpy()
        runs, counts = _full_table(arms, patterns)
        if runs.tobytes() not in components:  # Selections often choose the same epochs.
            components[runs.tobytes()] = _components(runs, packed, len(item.labels))
        rows.append(dict(zip(CELL, key, strict=True)) | counts | components[runs.tobytes()])
    if not rows:
        return pd.DataFrame()
    first = metrics.iloc[0]
    frame = pd.DataFrame(rows).assign(
        protocol=first["protocol"],
        task=first["task"],
        evaluation_set=item.name,
        domain="in" if item.name == first["task"] else "out",
        rows=len(item.labels),
    )
    return frame[result_schemas.VARIANCE.names]


def _full_table(arms: Arms, patterns: np.ndarray) -> tuple[np.ndarray, dict]:
    """Return the outcomes' rows [P, S] of a full table, and what it has of what was planned."""
    planned = arms.planned[patterns]
    there = arms.outcome[patterns] >= 0
    some = there.any(axis=1)
    seeds = there[some].all(axis=0) if some.any() else np.zeros(there.shape[1], dtype=bool)
    runs = arms.outcome[patterns][some][:, seeds]
    wanted = planned.any(axis=0).sum()
    counts = {
        "patterns": len(runs),
        "patterns_planned": len(patterns),
        "seeds": runs.shape[1],
        "seeds_planned": wanted,
        "status": _status(runs, len(patterns), wanted, arms, patterns),
    }
    return runs, counts


def _status(runs: np.ndarray, patterns: int, seeds: int, arms: Arms, at: np.ndarray) -> str:
    if runs.shape == (patterns, seeds):
        return "ok"
    if runs.size:
        return f"{runs.shape[0]}/{patterns} patterns, {runs.shape[1]}/{seeds} seeds"
    if (arms.rows[at] > 0).any():
        return "no common row predictions"
    return "does not fit" if (arms.unfit[at] == arms.planned[at]).all() else "missing"


def _components(runs: np.ndarray, packed: np.ndarray, n: int) -> dict[str, float]:
    """Return mean, components and spread of the answers at `runs` [P, S]."""
    found = dict.fromkeys(["mean", "spread", *COMPONENTS], np.nan)
    if not runs.size:
        return found
    values = unpack(packed[runs.ravel()], n).reshape(*runs.shape, n)
    found["mean"] = float(values.mean())
    found["spread"] = stats.prompt_sensitivity(values.mean(axis=2)).spread
    axes = ["pattern", "seed", "row"]
    factors = [name for name, size in zip(axes, values.shape, strict=True) if size > 1]
    if len(factors) > 1:
        parts = stats.variance_components(np.squeeze(values), factors)
        named = {column: name for column, name in COMPONENTS.items() if name in parts}
        found |= {column: parts[name].variance for column, name in named.items()}
    return found
