"""More than accuracy as a table: each gold label, Matthews correlation, F1 and calibration."""

from operator import itemgetter

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, summarise, with_absent
from ...analysis.titles import arm_title, label_title, ordered, titles
from ...formatting import BLANK, percent
from .. import select
from ..table_text import Table, claims_note, reach, seeds_text
from .comparisons import ORDER, self_chosen, where_text

SCORES = {
    "accuracy": "Accuracy",
    "mcc": "MCC",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "brier": "Brier",
    "ece": "ECE",
    "roc_area": "ROC area",
}
SHARES = ("accuracy", "f1", "macro_f1", "ece", "roc_area")
"""Scores that are printed in percent."""


def scores(evidence: Evidence, catalog: dict) -> Table:
    """List every score of the main cells, mean over seeds, a section per task and evaluation set.

    `numbers` has a row per cell, evaluation set and score (for "accuracy" also one per gold label)
    with interval, seeds and rows.
    """
    chosen = select.main_rows(evidence.metrics, catalog)
    chosen = chosen.reindex(columns=list(dict.fromkeys([*chosen.columns, *SCORES])))
    overall, labels = at_level(chosen), at_level(chosen, "label")
    frames = [summarise(overall, value=name).assign(score=name) for name in SCORES]
    frames.append(
        summarise(with_absent(labels, overall, ["label"]), ["label"]).assign(score="accuracy")
    )
    numbers = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    numbers["label"] = numbers.get("label", pd.Series(dtype=object))
    numbers = ordered(numbers, catalog, ORDER)
    cells: dict[tuple, list[dict]] = {}
    for item in numbers.to_dict("records"):
        cells.setdefault(tuple(item[name] for name in [*CELL, "evaluation_set"]), []).append(item)
    rows = [_row(part, catalog) for part in cells.values()]
    return Table(numbers, pd.DataFrame(rows).fillna(BLANK), _note(numbers, catalog) if rows else "")


def _row(part: list[dict], catalog: dict) -> dict:
    """Return the printed row of a cell on one set, from its numbers, one for each score."""
    overall = {item["score"]: item for item in part if pd.isna(item["label"])}
    labels = sorted((item for item in part if pd.notna(item["label"])), key=itemgetter("label"))
    accuracy = overall["accuracy"]
    row = {
        "section": _section(accuracy, catalog),
        "Model": titles(catalog, "models")[accuracy["model"]],
        "Accuracy": _text(accuracy, "accuracy"),
    }
    for item in labels:
        row[f"Label {int(item['label']) + 1}"] = _text(item, "accuracy", accuracy)
    for name in list(SCORES)[1:]:
        item = overall[name]
        row[SCORES[name]] = BLANK if item["seeds"] == 0 else _text(item, name, accuracy)
    return row | {"Seeds": seeds_text(accuracy)}


def _section(row: dict, catalog: dict) -> str:
    """Return the heading of a task's set, with its labels in order, and one way to use models."""
    name = row["evaluation_set"]
    labels = [
        f"{i + 1}: {label_title(catalog, name, i)}"
        for i in range(len(catalog["tasks"][name]["labels"]))
    ]
    arm = arm_title(catalog, row["method"], row["pattern"])
    return f"{where_text(row, catalog)} (labels {', '.join(labels)}): {arm}"


def _text(row: dict, score: str, beside: dict | None = None) -> str:
    """Return the mean, of accuracies ± the reach of their interval, marked where seeds lack.

    A number that rests on as many seeds as that `beside` it, which is marked, is not.
    """
    if row["seeds"] == 0:
        return row["status"]
    scale = percent if score in SHARES else "{:.2f}".format
    shown = score == "accuracy" and row["interval"] != "none"
    spread = f" ±{scale(reach(row))}" if shown else ""
    done = row["seeds"] == (row["seeds_planned"] if beside is None else beside["seeds"])
    return scale(row["mean"]) + spread + ("" if done else f" ({seeds_text(row)})")


def _note(numbers: pd.DataFrame, catalog: dict) -> str:
    selection = catalog["main"]["selection"]
    warnings = [self_chosen(domain, selection) for domain in numbers["domain"].unique()]
    return (
        f"{select.main_setting(catalog)}. "
        "Accuracy (over all rows and of each gold label), F1, macro F1, ECE and ROC area in "
        "percent. F1 is that of label 2. MCC: Matthews correlation, 0 where one answer is always "
        "given. Brier score and expected calibration error (ECE, 15 bins) are of the label words' "
        "probabilities, normalised to one; both are better when lower, and known where row "
        "predictions of the epoch were kept, as is the area under the ROC curve (chance 50). The "
        "Parquet and CSV files have the intervals of all scores and what they allow for. ±: the "
        f"distance to the farther bound. {claims_note(numbers[numbers['score'] == 'accuracy'])} "
        "Seeds are those of the whole row, unless a cell says otherwise."
        + "".join(f" {warning}" for warning in warnings if warning)
    )
