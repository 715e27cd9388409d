"""Fine-tuning against in-context learning in words, with what the study measured beside them.

After the discussion of Mosbach et al. (2023). The words are this project's own: theirs could not be
read.
"""

import numpy as np
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import at_level
from ...analysis.titles import is_imported, is_trained
from ...formatting import BLANK
from ..table_text import Table

WORDS = {
    "What changes": ("weights: all, or a small part", "nothing; the prompt carries the task"),
    "Who can do it": ("whoever has the weights and trains", "whoever can write a prompt"),
    "Reuse": ("one model or adapter per task", "one model for all tasks, one prompt per task"),
    "Number of examples": ("any; more cost training only", "as many as the window holds"),
    "Cost before the first answer": ("training", "encoding the examples once"),
    "Cost of each answer": ("reads the row alone", "reads the row and attends to all examples"),
    "Small models": ("can be trained at any size", "must have learnt to learn in context"),
    "Variance over draws": ("examples; order and dropout too", "examples and their order"),
    "Prompt wording": ("weights adapt to it", "has to be found"),
    "How well understood": ("long studied", "its mechanism is still debated"),
}
"""Criterion → what is said of fine-tuning and of in-context learning."""


def qualitative(evidence: Evidence, catalog: dict) -> Table:
    """Print the criteria with medians over the main cells of each side, where measured.

    `numbers` has the measured values: criterion, side ("trained" or "context"), value and the cells
    and runs that it rests on.
    """
    columns = ["criterion", "side", "value", "unit", "cells", "runs"]
    numbers = pd.DataFrame(_measured(evidence, catalog), columns=columns)
    rows = []
    for criterion, words in WORDS.items():
        row = {"Criterion": criterion}
        for title, words_of, side in zip(
            ("Fine-tuning", "In-context learning"), words, ("trained", "context"), strict=True
        ):
            row[title] = words_of
            found = numbers[(numbers["criterion"] == criterion) & (numbers["side"] == side)]
            row[f"Measured, {title[0].lower()}{title[1:]}"] = _shown(found)
        rows.append(row)
    order = ["Criterion", "Fine-tuning", "Measured, fine-tuning", "In-context learning",
             "Measured, in-context learning"]  # fmt: skip
    return Table(numbers, pd.DataFrame(rows)[order], _note(catalog))


def _shown(found: pd.DataFrame) -> str:
    if found.empty:
        return BLANK
    row = found.iloc[0]
    counts = f"{_count(row['cells'], 'cell')}, {_count(row['runs'], 'run')}"
    return f"{row['value']:,.3g} {row['unit']}; {counts}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _measured(evidence: Evidence, catalog: dict) -> list[dict]:
    """Return the measured rows; what was not recorded has none."""
    k, selection = catalog["main"]["k"], catalog["main"]["selection"]
    runs = at_level(evidence.metrics)
    runs = runs[(runs["selection"] == selection) & (runs["status"] == "ok")]
    # How results made elsewhere came about is not known.
    runs = runs[~runs["method"].map(lambda name: is_imported(catalog, name)).astype(bool)]
    main = runs[runs["k"] == k]
    cell = ["task", "model", "method", "pattern", "evaluation_set"]
    spread = _per_cell(main, cell, "accuracy", "std")
    found = _medians("Variance over draws", "points of standard deviation", spread, catalog, 100)
    patterns = _per_cell(main, cell, "accuracy", "mean").reset_index()
    if patterns["pattern"].nunique() > 1:
        keys = [name for name in cell if name != "pattern"]
        groups = patterns.groupby(keys)["value"]
        between = groups.max().sub(groups.min())[groups.count() > 1].rename("value")
        counts = patterns.groupby(keys)["runs"].sum()
        frame = pd.concat([between, counts], axis=1).dropna()
        unit = "points between the best and the worst pattern"
        found += _medians("Prompt wording", unit, frame, catalog, 100)
    shots = runs[runs["k"] > 0].groupby("method")["k"].max()
    for trained, side in ((True, "trained"), (False, "context")):
        mine = shots[[is_trained(catalog, name) == trained for name in shots.index]]
        if len(mine):
            part = runs[(runs["k"] == mine.max()) & runs["method"].isin(mine.index)]
            cells = part[cell[:4]].drop_duplicates()
            found.append({"criterion": "Number of examples", "side": side, "value": mine.max(),
                          "unit": "at most here", "cells": len(cells),
                          "runs": part.drop_duplicates([*cell[:4], "seed"]).shape[0]})  # fmt: skip
    return found + _cost_rows(evidence.costs, k, catalog)


def _cost_rows(costs: pd.DataFrame, k: int, catalog: dict) -> list[dict]:
    """Return what training and scoring took, in seconds of a seed's run, and what was trained."""
    main = costs[costs["k"] == k]
    if main.empty:
        return []
    main = main.assign(share=100 * main["trainable"].astype(float) / main["parameters"])
    found = []
    for criterion, column, unit in (
        ("What changes", "share", "% of the parameters"),
        ("Cost before the first answer", "seconds_train", "s of training per seed"),
        ("Cost of each answer", "seconds_score", "s to score all rows once"),
    ):
        frame = _per_cell(main, ["task", "model", "method", "pattern"], column, "mean")
        found += _medians(criterion, unit, frame, catalog)
    return found


def _per_cell(runs: pd.DataFrame, cell: list[str], column: str, how: str) -> pd.DataFrame:
    """Return `how` of a column over the seeds of each cell, and how many there were."""
    groups = runs.groupby(cell)[column]
    return pd.DataFrame({"value": groups.agg(how), "runs": groups.count()}).dropna()


def _medians(
    criterion: str, unit: str, frame: pd.DataFrame, catalog: dict, scale: float = 1
) -> list[dict]:
    """Return the medians over the cells of each side, times `scale`.

    A cell has a value for each of its evaluation sets, and counts once, as do its runs.
    """
    methods = frame.index.get_level_values("method")
    trained = np.array([is_trained(catalog, name) for name in methods], dtype=bool)
    found = []
    for side, part in (("trained", frame[trained]), ("context", frame[~trained])):
        if len(part):
            levels = [name for name in part.index.names if name != "evaluation_set"]
            runs = part.groupby(levels)["runs"].max()
            row = {
                "criterion": criterion,
                "side": side,
                "value": scale * float(part["value"].median()),
            }
            row |= {"unit": unit, "cells": len(runs), "runs": int(runs.sum())}
            found.append(row)
    return found


def _note(catalog: dict) -> str:
    return (
        "The criteria follow the discussion in Mosbach et al. (2023); the wording is this "
        "project's. Measured: medians over the cells of this study (accuracies: over "
        "cells and their evaluation sets) with "
        f"{catalog['main']['k']} shots; “–”: not measured here."
    )
