"""Accuracy without a bias towards one answer: each arm, and fine-tuning minus in context."""

from collections.abc import Iterable

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.label_probabilities import FITTED
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, summarise, with_absent
from ...analysis.titles import arm_title, label_title, ordered, titles
from ...formatting import BLANK, percent, points
from .. import select
from ..table_text import Table, bounds_text, claims_note, reach, seeds_text
from .comparisons import (
    ALPHA,
    BY_PAIR,
    ORDER,
    difference_text,
    main_comparisons,
    setting_text,
    sides_text,
    where_text,
)

SCORES = {
    "accuracy": "As scored",
    "accuracy_pmi": "PMI",
    "accuracy_contextual": "Contextual",
    "accuracy_batch": "Batch",
    "accuracy_bias": "Bias",
    "accuracy_affine": "Affine",
    "roc_area": "ROC area",
}
"""Columns of the metrics and what they are called, from biased to what no bias can change."""


def calibration(evidence: Evidence, catalog: dict) -> Table:
    """List accuracy and that of each gold label before and after each calibration, with the area
    under the ROC curve, a section per task and evaluation set.

    `numbers` has a row per cell, evaluation set, score and, of accuracies, gold label.
    """
    chosen = select.main_rows(evidence.metrics, catalog)
    shown = _shown(name for name in FITTED if chosen[f"accuracy_{name}"].notna().any())
    overall, labels = at_level(chosen), at_level(chosen, "label")
    parts = with_absent(labels, overall, ["label"])
    frames = [summarise(overall, value=name).assign(score=name) for name in shown]
    frames += [
        summarise(parts, ["label"], name).assign(score=name) for name in shown if name != "roc_area"
    ]
    numbers = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    numbers = ordered(numbers, catalog, [*ORDER[:3], "model", "method", "pattern"])
    cells: dict[tuple, list[dict]] = {}
    for item in numbers.to_dict("records"):
        cells.setdefault(tuple(item[name] for name in [*CELL, "evaluation_set"]), []).append(item)
    rows = [_row(part, catalog, shown) for part in cells.values()]
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog, shown) if rows else "")


def _shown(fitted: Iterable[str]) -> dict[str, str]:
    """Return SCORES, of those that are fitted to the shots the `fitted` ones alone: few studies
    hold shots out."""
    absent = {f"accuracy_{name}" for name in set(FITTED) - set(fitted)}
    return {score: title for score, title in SCORES.items() if score not in absent}


def _row(part: list[dict], catalog: dict, shown: dict[str, str]) -> dict:
    """Return the printed row of a cell on one set."""
    overall = {item["score"]: item for item in part if pd.isna(item.get("label"))}
    first = overall["accuracy"]
    row = {
        "section": _section(first, catalog),
        "Model": titles(catalog, "models")[first["model"]],
        "Method": arm_title(catalog, first["method"], first["pattern"]),
    }
    for score, title in shown.items():
        labels = [item for item in part if item["score"] == score and pd.notna(item.get("label"))]
        row[title] = _with_spread(overall[score], overall["accuracy"]) + _by_label(labels)
    return row | {"Seeds": seeds_text(first)}


def _section(row: dict, catalog: dict) -> str:
    """Return the heading of a task's set, with its labels in order."""
    name = row["evaluation_set"]
    labels = range(len(catalog["tasks"][name]["labels"]))
    named = ", ".join(label_title(catalog, name, label) for label in labels)
    return f"{where_text(row, catalog)} (by label: {named})"


def _with_spread(row: dict, first: dict) -> str:
    """Return the mean in percent ± the reach of its interval; why there is no mean stands in the
    first."""
    if row["seeds"] == 0:
        return row["status"] if row is first else BLANK
    spread = "" if row["interval"] == "none" else f" ±{percent(reach(row))}"
    fewer = "" if row["seeds"] == first["seeds"] else f" ({seeds_text(row)})"
    return percent(row["mean"]) + spread + fewer


def _by_label(labels: list[dict]) -> str:
    """Return the accuracy of each gold label in whole percent: ' (29/82)'; nothing without."""
    if not labels or any(item["seeds"] == 0 for item in labels):
        return ""
    labels = sorted(labels, key=lambda item: item["label"])
    return f" ({'/'.join(format(100 * item['mean'], '.0f') for item in labels)})"


FITTED_NOTE = (
    "Bias and affine are fitted to the shots alone, each scored by what is learned from others: a "
    "number added for each label word, and logistic regression on their log-probabilities. "
)


def _note(numbers: pd.DataFrame, catalog: dict, shown: dict[str, str]) -> str:
    return (
        f"{select.main_setting(catalog)}. Accuracies and areas in percent, mean over seeds ± the "
        "distance to the farther bound of the interval (in brackets the accuracy of each gold "
        f"label). {claims_note(numbers)} PMI divides by what an empty input gets, "
        "contextual calibration by the mean of inputs without content, batch calibration by the "
        "mean over all evaluation rows, whose texts it so uses without their labels. "
        f"{FITTED_NOTE if 'accuracy_bias' in shown else ''}Blank where row predictions or those "
        "inputs were not stored, as where each row has shots of its own. ROC area: the probability "
        "that a row of a label is ranked above a row of another, chance 50."
    )


def calibrated_comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print fine-tuning minus in context before and after calibration, and of areas under the ROC
    curve, a section per task, evaluation set and arm."""
    frames = [main_comparisons(evidence.comparisons, catalog, score=score) for score in SCORES]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return Table(main_comparisons(evidence.comparisons, catalog), pd.DataFrame())
    numbers = ordered(pd.concat(frames, ignore_index=True), catalog, BY_PAIR)
    present = set(numbers["score"])
    shown = _shown(name for name in FITTED if f"accuracy_{name}" in present)
    rows: dict[tuple, dict] = {}
    for item in numbers.to_dict("records"):
        key = tuple(item[name] for name in [*BY_PAIR, "reference_pattern"])
        heads = {
            "section": f"{where_text(item, catalog)}: {sides_text(item, catalog)}",
            "Model": titles(catalog, "models")[item["model"]],
        }
        row = rows.setdefault(key, heads | dict.fromkeys(shown.values(), BLANK))
        # Where accuracies differ by a number, another score without one is only not known.
        known = pd.notna(item["difference"]) or item["score"] == "accuracy"
        row[SCORES[item["score"]]] = _difference(item) if known else BLANK
        if item["score"] == "accuracy":
            row["Seeds"] = seeds_text(item)
    return Table(numbers, pd.DataFrame(rows.values()), _comparison_note(numbers, catalog, shown))


def _difference(row: dict) -> str:
    """Return a difference with its interval, and a star where its corrected test is below ALPHA."""
    if row["score"] != "roc_area":
        return difference_text(row) + _star(row["holm_crossed"])
    interval = f" {bounds_text(row['t_low'], row['t_high'])}"
    p = row["holm_paired"]
    if pd.isna(p):
        interval, p = "", row["holm_welch"]
    return points(row["difference"]) + interval + _star(p)


def _star(p: float) -> str:
    return " *" if p < ALPHA else ""


def _comparison_note(numbers: pd.DataFrame, catalog: dict, shown: dict[str, str]) -> str:
    seeds = "paired t" if catalog.get("shared_draws", True) else "Welch's t"
    return (
        "Differences in percentage points. Of accuracies with the 95 % interval for other draws "
        f"and rows like these; of ROC areas for other draws alone ({seeds}). *: p < {ALPHA:g} "
        "after Holm's correction over the models under one heading, each column by itself. "
        f"{FITTED_NOTE if 'accuracy_bias' in shown else ''}Blank where one side has no such score. "
        f"{setting_text(numbers[numbers['score'] == 'accuracy'], catalog)}"
    )
