"""Draws of the published code (Mosbach et al. 2023), row by row as it makes them.

It uses numpy's legacy generator, whose `choice` without replacement permutes the whole pool and
takes a prefix, and the permutation of Hugging Face's `Dataset.shuffle`, which is PCG64's. The two
kinds of method draw different rows; `sampling.py` has the draw that all methods share.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import UserError
from .sampling import share_of


def draw_in_context(
    rows: pd.DataFrame, k: int, labels: int, task: str, seed: int, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Draw a balanced context: k / labels ids of each label, in the order of its shuffle.

    `rows` (id, label) are in data-set order; the result has position, id and label. The published
    code draws for label 0, then 1, from one stream; keeps the rows in data-set order; and shuffles
    them with the same seed (eval_utils.py). It knows two labels. Raises UserError as
    `sampling.share_of` does.
    """
    share = share_of(rows, k, labels, task, names)
    stream = np.random.RandomState(seed)
    chosen: list[int] = []
    for label in range(labels):
        members = rows.loc[rows["label"] == label, "id"].to_numpy()
        chosen += stream.choice(members, size=share, replace=False).tolist()
    kept = rows[rows["id"].isin(chosen)]
    return _shots(kept.iloc[np.random.default_rng(seed).permutation(len(kept))])


def draw_fine_tuning(
    rows: pd.DataFrame, k: int, labels: int, task: str, seed: int, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Draw k rows of the whole training set, of any labels, in the order drawn (ft.py).

    Takes and returns what `draw_in_context` does; neither `labels` nor `names` matter here. Raises
    UserError for too few rows.
    """
    if len(rows) < k:
        raise UserError(
            f"task '{task}': k = {k} needs {k} training rows, but there are only {len(rows)}; "
            f"valid: {len(rows)} at most"
        )
    return _shots(rows.iloc[np.random.RandomState(seed).choice(len(rows), size=k, replace=False)])


def cut_of_split(sizes: Sequence[int], count: int, seed: int) -> np.ndarray:
    """Return the positions that are kept of the last of several splits, in the order drawn.

    The published code cuts QQP's splits to `count` rows each, one after another from one stream
    (task_utils.py); `sizes` are the rows of the splits up to this one.
    """
    stream = np.random.RandomState(seed)
    return [stream.choice(size, size=count, replace=False) for size in sizes][-1]


def _shots(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "position": np.arange(len(rows)),
            "id": rows["id"].to_numpy(),
            "label": rows["label"].to_numpy(),
        }
    )
