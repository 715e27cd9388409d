"""Tables of what accuracy costs: per prediction and once, and where fine-tuning pays off."""

import math

import pandas as pd

from ...analysis.catalog import arm_title, ordered, set_title, titles
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.outlay import ORDER, accuracies, cell_costs, contests
from ...analysis.summary import NUMBERS
from ..typeset import BLANK, Table, percent, seeds_text, size_text
from .accounts import cell_names, number

ROUGH = (
    " ≈ counts two operations for each parameter and token alone, since the model's shape is not "
    "known: attention is left out."
)


def cost_accuracy(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Set operations, seconds, disk and memory of each cell beside its accuracy.

    Cells with k shots (the study's main number if left out), and without any for comparison.
    """
    k = catalog["main"]["k"] if k is None else k
    costs = cell_costs(evidence, catalog, sorted({0, k}))
    if costs.empty:
        return Table(costs, pd.DataFrame())
    means = accuracies(evidence, catalog, sorted({0, k}))
    means = means[[*CELL, "evaluation_set", "domain", *NUMBERS]].rename(
        columns={name: f"accuracy_{name}" for name in NUMBERS}
    )
    numbers = costs.merge(means, on=CELL, how="left")
    numbers = ordered(numbers, catalog, [*ORDER, "evaluation_set"])
    rows = [_priced(cell, catalog) for _, cell in numbers.groupby(CELL, sort=False)]
    devices = ", ".join(sorted(set(costs["device"])))
    note = f"Device: {devices}. Seconds and memory are added up over processes."
    return Table(numbers, pd.DataFrame(rows).fillna(BLANK), note + _rough(numbers))


def _priced(cell: pd.DataFrame, catalog: dict) -> dict:
    """Return the printed row of a cell, which has a row for each evaluation set."""
    row = cell.iloc[0].to_dict()
    several = (cell["domain"] == "out").sum() > 1
    shown = {}
    for item in cell[cell["evaluation_set"].notna()].to_dict("records"):
        outside = set_title(catalog, item["evaluation_set"]) if several else "Out of domain"
        title = "In domain" if item["domain"] == "in" else outside
        shown[f"{title} (%)"] = accuracy_text(item)
    known = bool(row["shape_known"])
    return {
        "section": f"{set_title(catalog, row['task'])} · {titles(catalog, 'models')[row['model']]}",
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
        "FLOPs": operations_text(row["flops_uncached"], known),
        "cached": operations_text(row["flops_cached"], known),
        "training": operations_text(row["flops_train"], known),
        "Training (s)": number(row["train_device_seconds"], ",.1f"),
        "1,000 rows (s)": number(1000 * row["prediction_device_seconds"], ",.1f"),
        "Disk": size_text(row["disk_bytes"]),
        "Memory": size_text(row["total_memory_mib"] * 2**20),
        **shown,
        "Seeds": seeds_text(row),
    }


def accuracy_text(row: dict) -> str:
    """Return a mean accuracy in percent, with half of its interval where there is one."""
    if not row["accuracy_seeds"]:
        return BLANK
    half = (row["accuracy_high"] - row["accuracy_low"]) / 2
    return percent(row["accuracy_mean"]) + ("" if pd.isna(half) else f" ± {percent(half)}")


def operations_text(value: float, known: bool) -> str:
    """Return operations as 1.4e15; ≈ where they rest on the number of parameters alone."""
    if pd.isna(value) or value == 0:
        return BLANK if pd.isna(value) else "0"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{'' if known else '≈ '}{digits}e{int(power)}"


def _rough(numbers: pd.DataFrame) -> str:
    """Return a sentence on operations that leave attention out, where some do."""
    return "" if numbers["shape_known"].astype(bool).all() else ROUGH


def break_even(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Tell from how many predictions on fine-tuning is cheaper than the same model in context.

    `k` is the study's main number of shots if left out.
    """
    numbers = contests(evidence, catalog, catalog["main"]["k"] if k is None else k)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    rows = [_contest(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(rows), _rough(numbers).strip())


def _contest(row: dict, catalog: dict) -> dict:
    """Return the printed row of a fine-tuned cell and its rival."""
    sign = "" if row["shape_known"] else "≈ "
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        "Against": arm_title(catalog, row["rival_method"], row["rival_pattern"]),
        "Context (tokens)": number(row["rival_context_tokens"]),
        "Cache": size_text(row["rival_cache_bytes"]),
        "From (whole prompts)": sign + count_text(row["even_uncached"]),
        "From (cached context)": sign + count_text(row["even_cached"]),
        "From (measured)": count_text(row["even_seconds"]),
        "Memory (×)": number(row["total_memory_mib"] / row["rival_total_memory_mib"], ".2f"),
        "Seeds": seeds_text(row),
    }


def count_text(count: float) -> str:
    """Return a number of predictions, rounded up; 'never' where it is infinite."""
    if pd.isna(count):
        return BLANK
    if math.isinf(count):
        return "never"
    return f"{math.ceil(count):,}" if count < 1e9 else operations_text(count, True)
