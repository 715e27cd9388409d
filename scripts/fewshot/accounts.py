"""Tables about the runs themselves: which are complete, and what they cost."""

import numpy as np
import pandas as pd

from .catalog import arm_title, ordered, set_title, titles
from .evidence import Evidence
from .metrics import CELL
from .summary import seed_counts
from .typeset import BLANK, Table

KEYS = ["task", "model", "method", "pattern", "k"]
CURVE, KEPT = "seconds_curve", "seconds_score"
"""The phases of a manifest in which evaluation rows are scored: for the curve after each epoch, and
all rows of the epochs that are kept."""
SHOWN = {
    "Load (s)": "seconds_load",
    "Train (s)": "seconds_train",
    "Curve (s)": CURVE,
    "Score (s)": KEPT,
}
"""Columns of the printed table and the phases that they show."""


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
        "Model": titles(catalog, "models")[row["model"]],
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
        "Done": f"{row['seeds_ok']}/{row['seeds_planned']}",
        "Does not fit": str(row["seeds_unfit"] or BLANK),
        "Missing": str(row["seeds_missing"] or BLANK),
        "Longest prompt (tokens)": tokens if row["longest_tokens"] > 0 else BLANK,
        "Last line of the log": row["log"],
    }


def costs(evidence: Evidence, catalog: dict) -> Table:
    """Return seconds per phase and seed, peak memory and parameters of every cell.

    Seconds are means over finished seeds; `scoring_share` is the part of them that goes into
    evaluation, `curve_share` that of the learning curve among it. A cell's peak is that of its
    largest job.
    """
    jobs = pd.DataFrame([_job_costs(manifest) for manifest in evidence.manifests])
    if jobs.empty or not jobs["seeds"].sum():
        return Table(pd.DataFrame(columns=[*KEYS, "seeds"]), pd.DataFrame())
    jobs = jobs[jobs["seeds"] > 0]
    phases = [name for name in jobs if name.startswith("seconds_")]
    for name in phases:  # Jobs of one cell differ in their number of seeds.
        jobs[name] = jobs[name].fillna(0) * jobs["seeds"]
    maxima = ["peak_memory_mib", "parameters", "trainable"]
    how = {name: "sum" for name in ["seeds", *phases]} | {name: "max" for name in maxima}
    numbers = jobs.groupby(KEYS, as_index=False, sort=False).agg(how)
    numbers[phases] = numbers[phases].div(numbers["seeds"], axis=0)
    numbers["seconds_total"] = numbers[phases].sum(axis=1)
    for name in (CURVE, KEPT):
        numbers[name] = numbers.get(name, 0.0)
    numbers["curve_share"] = numbers[CURVE] / numbers["seconds_total"]
    numbers["scoring_share"] = numbers["curve_share"] + numbers[KEPT] / numbers["seconds_total"]
    numbers["device"] = jobs.groupby(KEYS, sort=False)["device"].first().to_numpy()
    numbers = ordered(numbers, catalog, KEYS)
    rows = [_cost_row(row, catalog) for row in numbers.to_dict("records")]
    note = f"Device: {', '.join(sorted(set(numbers['device'])))}. Seconds are means per seed."
    return Table(numbers, pd.DataFrame(rows), note)


def _job_costs(manifest: dict) -> dict:
    """Return the costs of one run: means over its finished seeds."""
    done = [seed for seed in manifest["seeds"].values() if seed["status"] == "ok"]
    phases = list(dict.fromkeys(name for seed in done for name in seed["seconds"]))
    seconds = {
        f"seconds_{name}": np.mean([seed["seconds"].get(name, 0.0) for seed in done])
        for name in phases
    }
    parameters = manifest.get("parameters") or {}
    return {
        **{name: manifest[name] for name in KEYS},
        "seeds": len(done),
        **seconds,
        "peak_memory_mib": manifest.get("peak_memory_mib"),
        "parameters": parameters.get("total"),
        "trainable": parameters.get("trainable"),
        "device": str(manifest.get("device")),
    }


def _cost_row(row: dict, catalog: dict) -> dict:
    """Return the printed row of a cell: phases of which none is long are one column."""
    seconds = {title: row.get(name, 0.0) for title, name in SHOWN.items()}
    seconds["Other (s)"] = row["seconds_total"] - sum(seconds.values())
    share = row["trainable"] / row["parameters"] if row["parameters"] else 0
    return {
        "section": set_title(catalog, row["task"]),
        "Model": titles(catalog, "models")[row["model"]],
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
        **{title: f"{value:,.1f}" for title, value in seconds.items()},
        "Scoring (share)": f"{100 * row['scoring_share']:.0f} %",
        "of which curve": f"{100 * row['curve_share']:.0f} %" if row["trainable"] else BLANK,
        "Peak memory (MiB)": f"{row['peak_memory_mib']:,.0f}",
        "Trained parameters": f"{row['trainable']:,.0f} ({100 * share:.3g} %)",
        "Seeds": str(row["seeds"]),
    }
