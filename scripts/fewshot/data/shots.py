"""Draws of shots: balanced and nested, or those of the published code (Mosbach et al. 2023).

The published code uses numpy's legacy generator, whose `choice` without replacement permutes the
whole pool and takes a prefix, and the permutation of Hugging Face's `Dataset.shuffle`, which is
PCG64's. Its two kinds of method draw different rows.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .. import schemas, storage
from ..errors import UserError
from ..rng import generator


def draw_balanced(
    rows: pd.DataFrame, k: int, labels: int, task: str, seed: int, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Draw k rows of a training set, k / labels of each label.

    `rows` has the columns id and label (0 .. labels - 1); the result has position, id and label
    in the order of the context. Draws of one (task, seed) are nested: each class is permuted once
    and a draw takes prefixes, so the 2-shot rows are among the 16-shot rows. The order is a
    permutation of its own for each k, as in Mosbach et al. 2023.

    Raises UserError as `share_of` does.
    """
    share = share_of(rows, k, labels, task, names)
    chosen = []
    for label in range(labels):
        members = np.sort(rows.loc[rows["label"] == label, "id"].to_numpy())
        order = generator("shots", task, seed, label).permutation(len(members))
        chosen.append(members[order[:share]])
    ids = np.concatenate(chosen)
    gold = np.repeat(np.arange(labels), share)
    order = generator("order", task, seed, k).permutation(k)
    return pd.DataFrame({"position": np.arange(k), "id": ids[order], "label": gold[order]})


def share_of(rows: pd.DataFrame, k: int, labels: int, task: str, names: Sequence[str] = ()) -> int:
    """Return how many of k shots each label has.

    Raises UserError where k is not a multiple of the number of labels, or where `rows` has too few
    of one, which is called by its name among `names`, if those are given.
    """
    if k <= 0 or k % labels:
        raise UserError(
            f"task '{task}': k = {k} cannot be balanced over {labels} labels; "
            f"valid: positive multiples of {labels}"
        )
    share = k // labels
    counts = [int((rows["label"] == label).sum()) for label in range(labels)]
    for label, count in enumerate(counts):
        if count < share:
            called = f"'{names[label]}'" if names else label
            raise UserError(
                f"task '{task}': k = {k} needs {share} training rows of label {called}, but there "
                f"are only {count}; valid: {labels * min(counts)} at most"
            )
    return share


def draw_in_context(
    rows: pd.DataFrame, k: int, labels: int, task: str, seed: int, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Draw a balanced context: k / labels ids of each label, in the order of its shuffle.

    `rows` (id, label) are in data-set order; the result has position, id and label. The published
    code draws for label 0, then 1, from one stream; keeps the rows in data-set order; and shuffles
    them with the same seed (eval_utils.py). It knows two labels. Raises UserError as
    `shots.share_of` does.
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


DRAWS = {
    "fair": draw_balanced,
    "mosbach2023-in-context": draw_in_context,
    "mosbach2023-fine-tuning": draw_fine_tuning,
}


def draw_shots(
    kind: str, rows: pd.DataFrame, k: int, labels: Sequence[str], task: str, seed: int
) -> pd.DataFrame:
    """Draw k of `rows` (id, label, in data-set order); return position, id and label.

    `labels` are the names of the task's labels.

    Raises UserError where the rows do not allow it.
    """
    return DRAWS[kind](rows, k, len(labels), task, seed, labels)


def read_shots(train: str, paths: Mapping[Hashable, str]) -> dict[Hashable, pd.DataFrame]:
    """Return the training rows (schemas.ROWS) of each stored draw (schemas.SHOTS), in its order.

    `train` is the file of all training rows. Raises UserError for a draw from other rows.
    """
    rows = storage.read_table(train).set_index("id", drop=False)
    shots = {}
    for key, path in paths.items():
        draw = storage.read_table(path).sort_values("position")
        _check_draw(path, draw)
        chosen = rows.reindex(draw["id"]).reset_index(drop=True)
        if not (chosen["label"].to_numpy() == draw["label"].to_numpy()).all():
            raise UserError(f"{path}: drawn from other rows than those of {train}; remove it")
        shots[key] = chosen.astype(rows.dtypes)
    return shots


def describe_draws(paths: Mapping[int, str]) -> dict[str, object]:
    """Return what a run's manifest says of stored draws: `shots`, the checksum of each seed's, and
    `draw`, their kind."""
    shots = {str(seed): _stated_checksum(path) for seed, path in paths.items()}
    return {
        "shots": shots,
        "draw": "".join({Path(path).parents[2].name for path in paths.values()}),
    }


def _stated_checksum(path: str) -> str:
    return (pq.read_schema(path).metadata or {}).get(b"checksum", b"").decode()


def _check_draw(path: str, draw: pd.DataFrame) -> None:
    """Raise UserError for a draw whose rows are not those that were drawn."""
    if _stated_checksum(path) != storage.frame_checksum(
        draw[schemas.SHOTS.names].itertuples(index=False)
    ):
        raise UserError(f"{path}: its rows are not those that were drawn; remove it")
