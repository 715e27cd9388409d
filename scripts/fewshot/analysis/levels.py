"""From counts by part of an evaluation set to metric rows, at every level of breakdown.

Counts of many runs are added up together: grouping each run apart takes longer than reading it.
"""

import numpy as np
import pandas as pd

from . import rowscores
from .evaluation import EvaluationSet

LEVELS = (
    [],
    ["label"],
    ["group"],
    ["group", "label"],
    ["group", "subset"],
    ["group", "subset", "label"],
)
COUNTS = ["n", "correct", "correct_vocabulary", "logprob"]
KEYS = ["job", "selection", "seed", "epoch", "evaluation_set"]


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
    rows[()] = rowscores.add_scores(rows[()], rows["label",], scored, labels)
    each = curve.assign(selection="each")
    epochs = _level_rows(each, [], sets)
    epochs = rowscores.add_scores(epochs, _level_rows(each, ["label"], sets), scored, labels)
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
