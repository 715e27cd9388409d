"""Latency, memory and bytes of finished cells, in each way in which they can be deployed."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.cell_costs import ORDER
from ...analysis.evidence import Evidence
from ...analysis.titles import is_baseline, is_imported, ordered, set_title, titles
from ...formatting import BLANK, number_of, size_text
from ..table_text import Table, cell_names

MIB = 2**20
STARTED = "†"
"""What marks weights that are not the run's."""
STARTED_NOTE = (
    "the run keeps no weights; those that training started from, of the same shapes, were measured."
)


def latency(evidence: Evidence, catalog: dict) -> Table:
    """Return milliseconds per row, peak memory and kept bytes of each way to deploy each cell.

    Memory is the larger peak, weights included; `of it reading` what passes added to it. `Kept` is
    what there is for the task beside the base model, `Weights` are those that are read.
    """
    numbers = ordered(evidence.latency, catalog, ORDER)
    done = numbers[numbers["status"] == "ok"]
    rows = [_way(row, catalog) for row in done.to_dict("records")]
    notes = []
    if len(done):
        kinds = "; ".join(dict.fromkeys(done["memory_kind"]))
        notes = [machine_note(done, STARTED), f"Memory: {kinds}."]
    notes += [_note(numbers, catalog)] if len(numbers) else []
    return Table(numbers, pd.DataFrame(rows), " ".join(filter(None, notes)))


def _way(row: Mapping, catalog: dict) -> dict[str, str]:
    """Return the printed row of a way."""
    mark = "" if row["restored"] else f" {STARTED}"
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        "Prompts": row["reading"] or BLANK,
        "Adapter": row["merging"] or BLANK,
        "Batch 1 (ms)": _spread(row, "single") + mark,
        "Full batch (ms)": _spread(row, "batch") + mark,
        "Memory": size_text(MIB * max(row["single_peak_mib"], row["batch_peak_mib"])),
        "of it reading": size_text(MIB * max(row["single_growth_mib"], row["batch_growth_mib"])),
        "Kept": size_text(row["kept_bytes"]),
        "Weights": size_text(row["model_bytes"]),
    }


def _spread(row: Mapping, batch: str) -> str:
    """Return the median milliseconds with the quartiles."""
    middle, low, high = (
        milliseconds_text(row[f"{batch}_ms{end}"]) for end in ("", "_low", "_high")
    )
    return f"{middle} [{low}, {high}]"


def milliseconds_text(value: float) -> str:
    """Return milliseconds with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def way_text(row: Mapping) -> str:
    """Return in words how a cell is deployed; empty where there is one way alone."""
    return ", ".join(filter(None, (row["reading"], row["merging"])))


def machine_note(rows: pd.DataFrame, mark: str) -> str:
    """Return sentences on what was measured on, and on weights that are not the run's, which have
    this mark."""
    machines = [
        f"{device} ({number_of(int(threads), 'thread')}, {dtype})"
        for device, threads, dtype in dict.fromkeys(
            zip(rows["device"], rows["threads"], rows["dtype"], strict=True)
        )
    ]
    note = f"Device: {'; '.join(machines)}."
    every = rows["restored"].astype(bool).all()
    return note if every else f"{note} {mark}: {STARTED_NOTE}"


def _note(numbers: pd.DataFrame, catalog: dict) -> str:
    """Return sentences on what was not measured."""
    unfit = int((numbers["status"] != "ok").sum())
    names = [
        titles(catalog, "methods")[name] for name in catalog["methods"]
        if is_baseline(catalog, name) or is_imported(catalog, name)
    ]  # fmt: skip
    found = [f"Not measured, as they adapt no model here: {', '.join(names)}."] if names else []
    if unfit:
        found.append(f"Of {number_of(unfit, 'cell')} no draw fits the window.")
    return " ".join(found)
