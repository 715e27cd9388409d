"""The mean difference of a whole study, from what is stored of each task, and p-values corrected.

The tasks are fixed: the mean is over these, each with the same weight, and within a task over its
evaluation sets. How errors of tasks that share models, patterns, draws or rows add up:
stats/crossed_means.py.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from . import stats
from .contrasts import tested
from .questions import MEAN, MEAN_OF_KIND
from .titles import varied_tasks

KEYS = ["question", "domain", "method", "reference_method"]
COLUMNS = [
    *(*KEYS, "tasks", "evaluation_sets", "models", "patterns", "k", "seeds", "seeds_planned"),
    *("varies", "estimate", "error", "df", "low", "high", "p", "low_draws", "high_draws"),
    *("p_draws", "status"),
]


def study_means(contrasts: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the mean differences over models, patterns and tasks, a row for each of KEYS: COLUMNS.

    `contrasts` (statistics_schemas.CONTRASTS) are those of all tasks. Tasks that differ from
    another of the study only in factors of the shots (wrong labels, order) are left out: they are
    no other tasks. A task without an estimate is left out and counted in the status. Where models
    or patterns differ between tasks there is no estimate.
    """
    varied = varied_tasks(catalog)
    asked = contrasts[contrasts["question"].isin([MEAN, MEAN_OF_KIND])]
    asked = asked[~asked["task"].isin(varied)]
    rows = [
        dict(zip(KEYS, key, strict=True)) | _mean(part.to_dict("records"))
        for key, part in asked.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _mean(rows: Sequence[Mapping]) -> dict:
    """Return the mean of the rows of one question, domain, method and reference."""
    made = [row for row in rows if not pd.isna(row["estimate"])]
    fewest = min(made or rows, key=lambda row: row["seeds"])
    tasks = list(dict.fromkeys(row["task"] for row in made))
    told = {
        "tasks": tasks,
        "evaluation_sets": list(dict.fromkeys(row["evaluation_set"] for row in made)),
        **{name: list(rows[0][name]) for name in ("models", "patterns")},
        **{name: rows[0][name] for name in ("varies", "k")},
        **{name: fewest[name] for name in ("seeds", "seeds_planned")},
    }
    if not made:
        return told | {"status": rows[0]["status"]}
    if len({(*row["models"], "", *row["patterns"]) for row in made}) > 1:
        return told | {"status": "models or patterns differ between tasks"}
    sets = pd.Series([row["task"] for row in made]).value_counts()
    shares = [
        stats.Share(
            _stored_parts(row),
            1 / len(tasks) / sets[row["task"]],
            row["task"],
            row["evaluation_set"],
        )
        for row in made
    ]
    mean = sum(share.weight * share.parts.mean for share in shares)
    found = tested(mean, stats.error_of_mean(shares), stats.draws_of_mean(shares))
    planned = len({row["task"] for row in rows})
    lacking = next((row["status"] for row in rows if row["status"] != "ok"), "ok")
    status = lacking if len(tasks) == planned else f"{len(tasks)}/{planned} tasks"
    return told | {"estimate": mean, **found, "status": status}


def _stored_parts(row: Mapping) -> stats.MeanParts:
    """Return the parts of a stored mean; its cells are by pattern, then model, of what varies."""
    shape = [len(row[name]) if name in row["varies"] else 1 for name in ("patterns", "models")]
    return stats.MeanParts(
        np.reshape(np.asarray(row["cells"], dtype=float), shape),
        row["draw_variance"],
        row["draw_df"],
        row["row_variance"],
        row["row_df"],
        row["joint_variance"],
        int(row["clusters"]),
    )


def corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `bh` and `bh_draws`: p and p_draws after Benjamini and Hochberg's correction, each over
    all rows with the same question."""
    adjusted = {"bh": "p", "bh_draws": "p_draws"}
    values = {name: np.full(len(frame), np.nan) for name in adjusted}
    for places in frame.groupby("question", sort=False).indices.values():
        for name, plain in adjusted.items():
            numbers = frame[plain].to_numpy(dtype=float)[places]
            values[name][places] = stats.benjamini_hochberg(numbers)
    return frame.assign(**values)
