"""Named random generators and balanced, nested k-shot draws."""

import hashlib

import numpy as np
import pandas as pd

from .errors import UserError


def generator(*parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to `parts`, for example ("shots", task, seed).

    The same parts give the same stream on every machine; streams of different parts are
    independent, so no result depends on the order in which draws are made.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def draw_balanced(rows: pd.DataFrame, k: int, labels: int, task: str, seed: int) -> pd.DataFrame:
    """Draw k rows of a training set, k / labels of each label.

    `rows` has the columns id and label (0 .. labels - 1); the result has position, id and label
    in the order of the context. Draws of one (task, seed) are nested: each class is permuted once
    and a draw takes prefixes, so the 2-shot rows are among the 16-shot rows. The order is a
    permutation of its own for each k, as in Mosbach et al. 2023.

    Raises UserError where k is not a multiple of the number of labels, or a class is too small.
    """
    if k <= 0 or k % labels:
        raise UserError(
            f"task '{task}': k = {k} cannot be balanced over {labels} labels; "
            f"valid: positive multiples of {labels}"
        )
    share = k // labels
    chosen = []
    for label in range(labels):
        members = rows.loc[rows["label"] == label, "id"].to_numpy()
        members = np.sort(members)
        if len(members) < share:
            raise UserError(
                f"task '{task}': k = {k} needs {share} training rows of label {label}, "
                f"but there are only {len(members)}"
            )
        order = generator("shots", task, seed, label).permutation(len(members))
        chosen.append(members[order[:share]])
    ids = np.concatenate(chosen)
    gold = np.repeat(np.arange(labels), share)
    order = generator("order", task, seed, k).permutation(k)
    return pd.DataFrame({"position": np.arange(k), "id": ids[order], "label": gold[order]})
