"""Factors of the data: what becomes of the rows of a draw, the same for all methods.

A task's key `draw` names them: wrong or random labels (Min et al. 2022; Cheng et al. 2023,
arXiv 2307.15411), class imbalance, duplicates, easy data augmentation (Wei and Zou 2019) and other
orders (Lu et al. 2022). All follow from (task, seed) and the rows drawn: a row is the same in every
draw that has it, and its place in the context that of the plain draw.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import UserError
from ..rng import generator


def different_rows(k: int, labels: int, settings: Mapping, where: str) -> list[int]:
    """Return how many different rows of each label a draw of k shots takes.

    Raises UserError, which begins with `where`, for factors that do not go together or into k.
    """
    if "flip" in settings and "labels" in settings:
        raise UserError(f"{where}: draw: 'flip' and 'labels' both give labels; valid: one of them")
    copies = settings.get("duplicate", 1)
    if k % copies:
        raise UserError(
            f"{where}: draw: duplicate: k = {k} is no multiple of {copies}; valid: numbers of "
            "shots that are"
        )
    rows = k // copies
    if "flip" in settings:
        _whole("flip", settings["flip"], rows, where)
    if "imbalance" not in settings:
        if not rows or rows % labels:
            raise UserError(
                f"{where}: k = {k} cannot be balanced over {labels} labels; valid: positive "
                f"multiples of {labels * copies}"
            )
        return [rows // labels] * labels
    first = _whole("imbalance", settings["imbalance"], rows, where)
    if (rows - first) % (labels - 1):
        raise UserError(
            f"{where}: draw: imbalance: {rows - first} of {rows} rows cannot be shared by "
            f"{labels - 1} labels; valid: shares that leave a multiple of {labels - 1}"
        )
    return [first, *[(rows - first) // (labels - 1)] * (labels - 1)]


def _whole(factor: str, share: float, rows: int, where: str) -> int:
    """Return a share of rows; raises UserError where that is no whole number."""
    count = round(share * rows)
    if abs(share * rows - count) > 1e-6:
        raise UserError(
            f"{where}: draw: {factor}: {share} of {rows} rows is no whole number; valid: "
            f"multiples of 1/{rows}"
        )
    return count


def changed_shots(
    chosen: pd.DataFrame,
    rows: pd.DataFrame,
    labels: int,
    task: str,
    seed: int,
    settings: Mapping,
) -> pd.DataFrame:
    """Return the shots that factors make of the rows drawn, copies behind each other.

    `chosen` has id, label and rank, a row's place among those of its label; `rows` are all training
    rows (id, label and, to augment, text_a and text_b). The result has id, label, given (the label
    that is shown), words_a and words_b (see `reworded`).
    """
    shots = chosen.assign(given=_given(chosen, labels, task, seed, settings))
    shots = shots.assign(words_a="", words_b="")
    copies = [shots]
    for number in range(1, settings.get("duplicate", 1)):
        copies.append(_augmented(shots, rows, number, task, seed, settings.get("augment", {})))
    return pd.concat(copies, ignore_index=True).drop(columns="rank")


def _given(
    chosen: pd.DataFrame, labels: int, task: str, seed: int, settings: Mapping
) -> np.ndarray:
    """Return the label that each row is shown with, int64 [rows]."""
    gold, rank = (chosen[name].to_numpy(np.int64) for name in ("label", "rank"))
    given = gold.copy()
    for label in range(labels):
        own = gold == label
        # Streams by label and rank, so that a row has the same one in every draw that it is in.
        most = int(rank[own].max(initial=-1)) + 1
        if settings.get("labels") == "random":
            stream = generator("random labels", task, seed, label)
            given[own] = stream.integers(labels, size=most)[rank[own]]
        elif "flip" in settings:
            stream = generator("wrong labels", task, seed, label)
            wrong = label + 1 + stream.integers(labels - 1, size=most)
            given[own] = wrong[rank[own]] % labels
    if "flip" in settings:
        kept = _flip_order(gold, rank, labels, task, seed)[round(settings["flip"] * len(gold)) :]
        given[kept] = gold[kept]
    return given


def _flip_order(
    gold: np.ndarray, rank: np.ndarray, labels: int, task: str, seed: int
) -> np.ndarray:
    """Return the places of rows in the order in which they get a wrong label.

    A share is the first of them, so that shares are nested, with all labels in turn. Within a label
    ranks come by their bits reversed (0, 8, 4, 12, …: van der Corput's sequence): where k doubles,
    a share takes the same rows of the smaller draw. Rows are ranked at random, so which of them
    have wrong labels is random all the same.
    """
    turn = generator("flip", task, seed).permutation(labels)
    reversed_bits = [int(format(each, "032b")[::-1], 2) for each in rank]
    return np.lexsort((turn[gold], reversed_bits))


def _augmented(
    shots: pd.DataFrame,
    rows: pd.DataFrame,
    number: int,
    task: str,
    seed: int,
    shares: Mapping,
) -> pd.DataFrame:
    """Return the `number`-th further copy of shots, each reworded by one of `shares`: in turn for a
    row's copies, and for the rows of a label in one copy."""
    if not shares:
        return shots
    ways = [name for name in WAYS if name in shares]
    texts = rows.set_index("id").loc[shots["id"], ["text_a", "text_b"]]
    words: dict[str, list[str]] = {"words_a": [], "words_b": []}
    for rank, (place, text_a, text_b) in zip(shots["rank"], texts.itertuples(), strict=True):
        way = ways[(number - 1 + rank) % len(ways)]
        draw = generator("augment", task, seed, int(place), number)
        for column, text in (("words_a", text_a), ("words_b", text_b)):
            count = len(text.split()) if isinstance(text, str) else 0  # There may be no second.
            words[column].append(" ".join(map(str, WAYS[way](count, shares[way], draw))))
    return shots.assign(**words)


def swapped(words: int, share: float, draw: np.random.Generator) -> list[int]:
    """Return the places of `words` words after share × words swaps of two, one at least."""
    places = list(range(words))
    for _ in range(max(1, int(share * words)) if words > 1 else 0):
        a, b = draw.choice(words, size=2, replace=False)
        places[a], places[b] = places[b], places[a]
    return places


def deleted(words: int, share: float, draw: np.random.Generator) -> list[int]:
    """Return the places of the words that are left where each is deleted with probability `share`;
    of none, one at random."""
    kept = np.flatnonzero(draw.random(words) >= share).tolist()
    return kept or ([int(draw.integers(words))] if words else [])


WAYS = {"swap": swapped, "delete": deleted}
"""Ways to change a text: words, share and generator → the places of words in their new order."""


def reworded(text: str, places: str) -> str:
    """Return the words of a text at `places`, numbers with blanks between, joined by blanks; the
    text as it is without any.

    Draws store places and no texts, which have licences of their own and never leave with results.
    """
    if not places:
        return text
    words = text.split()
    return " ".join(words[int(place)] for place in places.split())
