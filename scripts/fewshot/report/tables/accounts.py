"""Tables about the runs themselves: which are complete, and what they cost."""

import pandas as pd

from ...analysis.catalog import arm_title, ordered, set_title, titles
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.outlay import cell_costs
from ...analysis.summary import seed_counts
from ..typeset import BLANK, Table, seeds_text

KEYS = ["task", "model", "method", "pattern", "k"]
SHOWN = {
    "Load (s)": "seconds_load",
    "Train (s)": "seconds_train",
    "Curve (s)": "seconds_curve",
    "Score (s)": "seconds_score",
    "Other (s)": "seconds_other",
}
"""Columns of the printed table of costs and what they show."""


def coverage(evidence: Evidence, catalog: dict) -> Table:
    """Count the seeds of every cell; print the cells that are not complete, and why."""
    counts = seed_counts(evidence.metrics)
    tokens = evidence.fit.astype({name: object for name in KEYS})
    tokens = tokens.groupby([*CELL], as_index=False)[["longest_tokens", "window"]].max()
    numbers = counts.merge(tokens.astype({"protocol": object}), on=CELL, how="left")
    numbers["log"] = [
        evidence.logs.get(tuple(row), "") for row in numbers[KEYS].itertuples(index=False)
    ]
    numbers = ordered(numbers, catalog, KEYS)
    open_cells = numbers[numbers["seeds_ok"] < numbers["seeds_planned"]]
    text = pd.DataFrame([_open_cell(row, catalog) for _, row in open_cells.iterrows()])
    if len(text) and not text["Last line of the log"].any():
        text = text.drop(columns="Last line of the log")
    total = len(numbers)
    note = f"{total - len(open_cells)} of {total} cells are complete."
    note += _truncation_note(evidence.manifests)
    return Table(numbers, text, note if total else "")


def _truncation_note(manifests: list[dict]) -> str:
    """Return a sentence on the runs whose prompts were cut, or nothing where none was."""
    counts = [seed.get("truncated", {}) for each in manifests for seed in each["seeds"].values()]
    cut = [
        (sum(n for name, n in own.items() if name != "train"), own["train"])
        for own in counts
        if any(own.values())
    ]
    if not cut:
        return ""
    rows, shots = (max(column) for column in zip(*cut, strict=True))
    return (
        f" Their methods cut prompts in {len(cut)} runs: of up to {rows} evaluation rows and "
        f"{shots} shots each."
    )


def _open_cell(row: pd.Series, catalog: dict) -> dict:
    """Return the printed row of a cell that lacks seeds."""
    unfit = row["seeds_unfit"] > 0
    tokens = f"{row['longest_tokens']:.0f} of {row['window']:.0f}" if unfit else BLANK
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row.to_dict(), catalog),
        "Done": f"{row['seeds_ok']}/{row['seeds_planned']}",
        "Does not fit": str(row["seeds_unfit"] or BLANK),
        "Missing": str(row["seeds_missing"] or BLANK),
        "Longest prompt (tokens)": tokens if row["longest_tokens"] > 0 else BLANK,
        "Last line of the log": row["log"],
    }


def costs(evidence: Evidence, catalog: dict) -> Table:
    """Return seconds per phase and seed, memory and parameters of every cell.

    Seconds are means over finished seeds; `scoring_share` is the part of them that goes into
    evaluation, `curve_share` that of the learning curve among it. A cell's peak is that of its
    largest seed; on GPUs what was planned stands beside it.
    """
    numbers = cell_costs(evidence, catalog)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    total = numbers["seconds_total"]
    numbers["curve_share"] = numbers["seconds_curve"] / total
    numbers["scoring_share"] = numbers["curve_share"] + numbers["seconds_score"] / total
    planned = numbers["predicted_memory_mib"].notna().any()
    rows = [_cost_row(row, catalog, planned) for row in numbers.to_dict("records")]
    note = f"Device: {', '.join(sorted(set(numbers['device'])))}. Seconds are means per seed."
    return Table(numbers, pd.DataFrame(rows), note)


def _cost_row(row: dict, catalog: dict, planned: bool) -> dict:
    """Return the printed row of a cell, with the planned memory where there is any."""
    share = row["trainable"] / row["parameters"] if row["parameters"] else 0
    plan = {"Planned (MiB)": number(row["predicted_memory_mib"])} if planned else {}
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        **{title: f"{row[name]:,.1f}" for title, name in SHOWN.items()},
        "Scoring (share)": f"{100 * row['scoring_share']:.0f} %",
        "of which curve": f"{100 * row['curve_share']:.0f} %" if row["trainable"] else BLANK,
        "Peak memory (MiB)": number(row["peak_memory_mib"]),
        **plan,
        "Trained parameters": f"{row['trainable']:,.0f} ({100 * share:.3g} %)",
        "Seeds": seeds_text(row),
    }


def cell_names(row: dict, catalog: dict) -> dict[str, str]:
    """Return the printed columns that name a cell."""
    return {
        "Model": titles(catalog, "models")[row["model"]],
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
    }


def number(value: float, kind: str = ",.0f") -> str:
    """Return a number as text, or a dash for what is not known."""
    return BLANK if pd.isna(value) else format(value, kind)
