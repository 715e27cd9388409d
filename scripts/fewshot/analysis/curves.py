"""Read a run's curves and check them against the prepared rows and the run's settings."""

from pathlib import Path

import numpy as np
import pandas as pd

from .. import records
from ..data.samples import STRATUM, curve_epochs, row_limit
from ..errors import UserError
from .evaluation import EvaluationSet

CORRUPT = "an epoch lacks or repeats an evaluation set; corrupt run"


def read_curves(folder: str, seeds: list[int]) -> pd.DataFrame:
    """Return a run's curves with plain columns; '' stands for no group or subset."""
    path = Path(folder, "curves.parquet")
    curves = records.read_table(path)
    absent = [name for name in records.CURVES.names if name not in curves]
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

    Epochs and sample are those of the run's `settings` (in context and of results made elsewhere:
    epoch 0, all rows). A set is
    counted in one form throughout: all rows, or the sample. Of a sampled set all rows may be
    counted besides, at any of the epochs; `predictions.score_predictions` says where they must be.
    """
    path = Path(folder, "curves.parquet")
    unknown = set(curves["evaluation_set"]) - {item.name for item in sets}
    if unknown:
        raise UserError(f"{path}: {sorted(unknown)[0]} is no evaluation set of it; corrupt run")
    epochs, limit = [0], None
    if settings["family"] not in ("in_context", "imported"):
        epochs = curve_epochs(settings["curve_epochs"], settings["epochs"])
        limit = row_limit(settings["curve_rows"])
    wanted = {(seed, epoch) for seed in seeds for epoch in epochs}
    for item in sets:
        rows = curves[curves["evaluation_set"] == item.name]
        found = _blocks(path, rows[~rows["sampled"]], item)
        if rows["sampled"].any():
            sample = item.sample(limit)
            if sample is item:
                raise UserError(
                    f"{path}: '{item.name}' is sampled against its settings; corrupt run"
                )
            whole, found = found, _blocks(path, rows[rows["sampled"]], sample)
            if not whole <= found:
                raise UserError(f"{path}: {CORRUPT}")
        if found != wanted:
            raise UserError(f"{path}: {CORRUPT}")


def _blocks(path: Path, rows: pd.DataFrame, item: EvaluationSet) -> set[tuple[int, int]]:
    """Return the (seed, epoch) whose rows count every part of the set, each with all its rows."""
    parts = pd.MultiIndex.from_frame(item.parts[STRATUM])
    place = parts.get_indexer(pd.MultiIndex.from_frame(rows[STRATUM].astype({"label": "int64"})))
    wrong = rows["n"].to_numpy() != np.append(item.parts["n"].to_numpy(), -1)[place]
    if wrong.any():
        row = rows[wrong].astype({"label": "int64"}).iloc[0]
        names = [item.name, *(str(row[name]) for name in STRATUM)]
        part = "/".join(name for name in names if name)
        raise UserError(f"{path}: {row['n']} rows in part {part}, not as prepared; corrupt run")
    key = [rows["seed"].to_numpy(), rows["epoch"].to_numpy()]
    sizes = pd.Series(place).groupby(key).agg(["size", "nunique"])
    if (sizes != len(parts)).any(axis=None):
        raise UserError(f"{path}: {CORRUPT}")
    return set(sizes.index)
