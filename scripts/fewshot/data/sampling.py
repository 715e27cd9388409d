"""Named random generators and balanced, nested k-shot draws."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import UserError


def generator(*parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to `parts`, for example ("shots", task, seed).

    The same parts give the same stream on every machine; streams of different parts are
    independent, so no result depends on the order in which draws are made.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


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
