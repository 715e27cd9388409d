"""Draws of shots: balanced and nested, or those of the published code (Mosbach et al. 2023).

The published code uses numpy's legacy generator, whose `choice` without replacement permutes the
whole pool and takes a prefix, and the permutation of Hugging Face's `Dataset.shuffle`, which is
PCG64's. Its two kinds of method draw different rows.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .. import schemas, storage
from ..errors import UserError
from ..rng import generator
from . import factors


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
    chosen = _chosen(rows, [share] * labels, task, seed).drop(columns="rank")
    return _in_order(chosen, generator("order", task, seed, k))


def draw_changed(
    rows: pd.DataFrame, k: int, names: Sequence[str], task: str, seed: int, settings: Mapping
) -> pd.DataFrame:
    """Draw k shots as `draw_balanced` does, changed by the factors of the data in `settings`.

    `rows` has id, label and, for `augment`, text_a and text_b; the result has the columns of
    schemas.CHANGED_SHOTS. The rows are those of the plain draw, or prefixes of its classes where
    another share of a label, or fewer rows, are asked for.

    Raises UserError for factors that do not fit k, and where a label has too few rows.
    """
    where = f"task '{task}'"
    counts = factors.different_rows(k, len(names), settings, where)
    for label, count in enumerate(counts):
        _check_rows(rows, label, count, k, where, names)
    chosen = _chosen(rows, counts, task, seed)
    shots = factors.changed_shots(chosen, rows, len(names), task, seed, settings)
    number = settings.get("order")
    further = [] if number is None else [number]
    return _in_order(shots, generator("order", task, seed, k, *further))


def _chosen(rows: pd.DataFrame, counts: Sequence[int], task: str, seed: int) -> pd.DataFrame:
    """Return the first rows of each label's permutation: id, label and rank, label by label."""
    frames = []
    for label, count in enumerate(counts):
        members = np.sort(rows.loc[rows["label"] == label, "id"].to_numpy())
        order = generator("shots", task, seed, label).permutation(len(members))
        ids, rank = members[order[:count]], np.arange(count)
        frames.append(pd.DataFrame({"id": ids, "label": np.full(count, label), "rank": rank}))
    return pd.concat(frames, ignore_index=True)


def _in_order(shots: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    shuffled = shots.iloc[draw.permutation(len(shots))].reset_index(drop=True)
    shuffled.insert(0, "position", np.arange(len(shots)))
    return shuffled


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


def _check_rows(
    rows: pd.DataFrame, label: int, count: int, k: int, where: str, names: Sequence[str]
) -> None:
    there = int((rows["label"] == label).sum())
    if there < count:
        raise UserError(
            f"{where}: k = {k} needs {count} training rows of label '{names[label]}', but there "
            f"are only {there}"
        )


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


def write_draw(path: str, shots: pd.DataFrame, settings: Mapping) -> None:
    """Store a draw with the checksum of its rows and, if any, the factors that changed it."""
    told = {"checksum": storage.frame_checksum(shots.itertuples(index=False))}
    if settings:
        told["factors"] = json.dumps(settings, sort_keys=True)
    storage.write_table(path, shots, schemas.CHANGED_SHOTS if settings else schemas.SHOTS, **told)


def read_shots(train: str, paths: Mapping[Hashable, str]) -> dict[Hashable, pd.DataFrame]:
    """Return the training rows (schemas.ROWS) of each stored draw (schemas.SHOTS), in its order,
    with the labels and words that factors of the data gave them (schemas.CHANGED_SHOTS).

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
        shots[key] = _changed(chosen.astype(rows.dtypes), draw)
    return shots


def _changed(rows: pd.DataFrame, draw: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a draw as they are shown."""
    if "given" not in draw:
        return rows
    rows = rows.assign(label=draw["given"].to_numpy())
    for text, words in (("text_a", "words_a"), ("text_b", "words_b")):
        pairs = zip(rows[text], draw[words], strict=True)
        changed = [factors.reworded(old, places) for old, places in pairs]
        # In the column's own type: a missing text must equal that of other rows.
        rows[text] = pd.Series(changed, index=rows.index, dtype=rows[text].dtype)
    return rows


def describe_draws(paths: Mapping[int, str]) -> dict[str, object]:
    """Return what a run's manifest says of stored draws: `shots`, the checksum of each seed's,
    `draw`, their kind, and `factors`, what changed them, if anything did."""
    kinds = [Path(path).parents[2].name for path in paths.values()]
    shots = {str(seed): _stated(path, "checksum") for seed, path in paths.items()}
    changed = [told for path in paths.values() if (told := _stated(path, "factors"))]
    factors_told = {"factors": json.loads(changed[0])} if changed else {}
    return {"shots": shots, "draw": kinds[0] if kinds else "", **factors_told}


def _stated(path: str, key: str) -> str:
    return (pq.read_schema(path).metadata or {}).get(key.encode(), b"").decode()


def _check_draw(path: str, draw: pd.DataFrame) -> None:
    """Raise UserError for a draw whose rows are not those that were drawn."""
    schema = schemas.CHANGED_SHOTS if "given" in draw else schemas.SHOTS
    rows = draw[schema.names].itertuples(index=False)
    if _stated(path, "checksum") != storage.frame_checksum(rows):
        raise UserError(f"{path}: its rows are not those that were drawn; remove it")
