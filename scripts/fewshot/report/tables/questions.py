"""The questions beside each comparison: gap, size, shots, methods, patterns, the study's mean.

What is tested is in analysis/contrasts.py and analysis/study_means.py; here it is put into words.
"""

from collections.abc import Mapping

import pandas as pd

from ...analysis import questions as asked
from ...analysis.evidence import Evidence
from ...analysis.study_means import corrected, study_means
from ...analysis.titles import (
    SELECTIONS,
    arm_title,
    language_models,
    ordered,
    set_title,
    titles,
)
from ...formatting import number_of, p_value, points
from ..table_text import Table, bounds_text, change_text, seeds_text
from .comparisons import sides_text, where_text

ORDER = ["task", "domain", "evaluation_set", "method", "pattern", "model"]
MOST = 4
"""Up to so many methods are printed in all pairs, more methods against the first alone; up to so
many models are printed, else the largest of each family."""
WHERE = {"in": "in domain", "out": "out of domain"}
DROPPED = ["cells", "draw_variance", "draw_df", "row_variance", "row_df", "joint_variance"]


def questions(evidence: Evidence, catalog: dict) -> Table:
    """Print every question with its estimate, the intervals of both claims and the corrected p."""
    stored = ordered(evidence.contrasts.drop(columns=DROPPED), catalog, ORDER)
    means = study_means(evidence.contrasts, catalog)
    # A mean over one set is among the stored ones.
    means = means[means["evaluation_sets"].map(len) + means["tasks"].map(len) > 2]
    numbers = corrected(pd.concat([each for each in (means, stored) if len(each)] or [stored]))
    rank = numbers["question"].map(list(asked.TITLES).index)
    numbers = numbers.iloc[rank.argsort(kind="stable")].reset_index(drop=True)
    lists = [name for name in ("models", "patterns", "tasks", "evaluation_sets") if name in numbers]
    printed = _printed(numbers, catalog).to_dict("records")
    numbers[lists] = numbers[lists].map(_joined)
    text = pd.DataFrame([_row(row, catalog) for row in printed])
    return Table(numbers, text, _note(catalog) if printed else "")


def study_sentences(contrasts: pd.DataFrame, catalog: dict) -> list[str]:
    """Return what the mean over models and tasks says of each method and reference, by domain.

    `contrasts` are those of statistics_schemas.CONTRASTS, of all tasks; a sentence names what its
    intervals allow for. Empty where no fine-tuned model has a reference in context.
    """
    means = study_means(contrasts, catalog)
    found = []
    by = ["domain", "method", "reference_method"]
    for (domain, *_), part in means.groupby(by, sort=False):
        row = part.iloc[0].to_dict()
        sizes = [len(row[name]) for name in ("models", "patterns", "tasks", "evaluation_sets")]
        if max(sizes) == 1:
            continue  # It is the one comparison.
        names = [set_title(catalog, name) for name in row["tasks"]]
        tasks = f"{number_of(len(names), 'task')} ({', '.join(names)})" if names else "no task"
        head = f"{WHERE[domain].capitalize()}, on average over {_over(row, tasks)}: "
        head += _sides(row, catalog)
        if pd.isna(row["estimate"]):
            found.append(f"{head} has no estimate ({row['status']}).")
            continue
        claims = [
            f"{bounds_text(each['low'], each['high'])} for other {each['varies']} like these"
            for each in part.to_dict("records")
            if not pd.isna(each["low"])
        ]
        short = f" ({row['status']})" if row["status"] != "ok" else ""
        ranges = f"; 95 % interval {', '.join(claims)}" if claims else ", without any variance"
        found.append(f"{head} is {points(row['estimate'])} points{ranges}{short}.")
    return found


def _printed(numbers: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the rows that are printed: the most shots against the fewest; of many methods each
    against the first, of many models the largest of each family."""
    keys = ["question", "task", "evaluation_set", "model", "method", "pattern"]
    keys += ["reference_method", "reference_pattern"]
    fewest = numbers.groupby(keys, dropna=False)["reference_k"].transform("min")
    kept = numbers["reference_k"].isna() | (numbers["reference_k"] == fewest)
    for question in (asked.METHODS, asked.WAYS):
        own = numbers["question"] == question
        known = {*numbers.loc[own, "method"], *numbers.loc[own, "reference_method"]}
        first = next((name for name in catalog["methods"] if name in known), None)
        if len(known) > MOST:
            kept &= ~own | (numbers["reference_method"] == first)
    models = language_models(catalog)
    largest = {catalog["models"][name]["family"]: name for name in models}
    shown = models if len(models) <= MOST else list(largest.values())
    return numbers[kept & (numbers["model"].isna() | numbers["model"].isin(shown))]


def _row(row: Mapping, catalog: dict) -> dict:
    """Return the printed row of a question."""
    unknown = pd.isna(row["estimate"])
    return {
        "section": asked.TITLES[row["question"]],
        "Where": _where(row, catalog),
        "Contrast": _sides(row, catalog),
        "Models": _models(row, catalog),
        "Points [rows like these]": row["status"] if unknown else _estimate(row),
        "[These rows]": bounds_text(row["low_draws"], row["high_draws"]),
        "p": p_value(row["bh"]),
        "Seeds": seeds_text(row),
    }


def _estimate(row: Mapping) -> str:
    return change_text(row, "estimate", "low", "high")


def _where(row: Mapping, catalog: dict) -> str:
    if isinstance(row.get("tasks"), list):
        names = ", ".join(set_title(catalog, name) for name in row["tasks"])
        return f"{names or 'no task'}, {WHERE[row['domain']]}"
    minus = " minus in domain" if row["question"] == asked.GAP else ""
    return f"{where_text(row, catalog)}{minus}"


def _sides(row: Mapping, catalog: dict) -> str:
    """Return what is subtracted from what, or the one arm; a mean has no one pattern."""
    sides = {**row}
    if row["question"] in (asked.MEAN, asked.MEAN_OF_KIND):
        sides |= {"pattern": None, "reference_pattern": None}
    if pd.isna(row["reference_method"]):
        return arm_title(catalog, row["method"], row["pattern"])
    return sides_text(sides, catalog)


def _models(row: Mapping, catalog: dict) -> str:
    """Return the models of a contrast, and the numbers of shots where these make it."""
    question = row["question"]
    if question == asked.MEAN:
        return f"mean over {_over(row)}"
    if question == asked.MEAN_OF_KIND:
        return f"mean over {_over(row)}; for other {row['varies']}"
    if question in (asked.SIZE, asked.SIZE_OF_ARM):
        return _sizes(row["models"], catalog)
    model = titles(catalog, "models")[row["model"]]
    if question in (asked.SHOTS, asked.SHOTS_OF_ARM):
        return f"{model}, {row['k']:.0f} minus {row['reference_k']:.0f} shots"
    return model


def _sizes(models: list[str], catalog: dict) -> str:
    """Return the models of a trend, and what it is counted in."""
    named = titles(catalog, "models")
    size = {name: catalog["models"][name]["parameters"] for name in models}
    small, large = min(models, key=size.get), max(models, key=size.get)
    if len(models) == 2:
        return f"{named[large]} minus {named[small]}"
    unit = "larger minus smaller" if len(set(size.values())) == 2 else "per factor of ten"
    return f"{named[small]} to {named[large]} ({len(models)}), {unit}"


def _over(row: Mapping, *more: str) -> str:
    """Return how many models, patterns where there are several, and what `more` a mean is over."""
    models, patterns = (number_of(len(row[f"{noun}s"]), noun) for noun in ("model", "pattern"))
    *first, last = [models, *([patterns] if len(row["patterns"]) > 1 else []), *more]
    return f"{', '.join(first)} and {last}" if first else last


def _joined(names: object) -> object:
    return names if isinstance(names, str) or not hasattr(names, "__iter__") else ", ".join(names)


def _note(catalog: dict) -> str:
    main = catalog["main"]
    apart = (
        " Draws are not shared: those of fine-tuned models and those in context vary apart; "
        "contrasts within either are paired by seed."
    )
    out, inside = (SELECTIONS[asked.main_selection(side, catalog)] for side in ("out", "in"))
    checkpoint = f"{out} out of domain, {inside} in domain and in gaps, which need one for both"
    return (
        f"Estimates in percentage points at {main['k']} shots, but for the effect of shots; "
        f"checkpoint: {out if out == inside else checkpoint}. Rows like these: 95 % interval for "
        "other draws and other evaluation rows (crossed error with t, clusters of rows whole); "
        "these rows: for other draws alone (Student's t over seeds). p: two-sided, for rows like "
        "these, after Benjamini and Hochberg's correction over all contrasts under one heading. "
        "The Parquet file has all of them; printed are the most shots that fit minus the fewest, "
        f"where there are more than {MOST} methods each minus the first, and where there are more "
        f"than {MOST} models the largest of each family."
        f"{'' if catalog.get('shared_draws', True) else apart}"
    )
