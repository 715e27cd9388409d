"""The figure of milliseconds per row, of each way to deploy the cells of the largest models."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.cell_costs import ORDER
from ...analysis.evidence import Evidence
from ...analysis.titles import ordered, set_title
from .. import select
from ..tables.latency import machine_note, way_text
from . import axes, panels, theme

BATCHES = {"single": "Batch 1", "batch": "Full batch"}
TIPS = (
    "size:N model; arm:N method; way:N deployed; ms:Q ms per row |.3g; low:Q quartiles from |.3g; "
    "high:Q to |.3g"
)
STEP, LOWEST = 13, 30
"""Points between two ways, and of a panel at least."""


def latency(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> dict:
    """Plot the median milliseconds per row at batch 1 and in full batches, with their quartiles.

    Shown are the largest models of each family, with k shots (the study's main number if left out).
    `pattern` restricts the methods; with more than five methods × patterns the first of a task's
    does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    rows = evidence.latency
    rows = rows[(rows["status"] == "ok") & (rows["k"] == select.main_k(catalog, k))]
    rows = select.fewer_arms(rows, catalog, pattern)
    rows = rows[rows["model"].isin(select.largest_by_family(rows, catalog))]
    if rows.empty:
        return panels.nothing("No latency was measured yet.")
    catalog, single = select.singled(rows, catalog)
    rows = select.named(ordered(rows, catalog, ORDER), catalog)
    rows["way"] = [way_text(row) for row in rows.to_dict("records")]
    rows["label"] = [
        " · ".join(filter(None, pair)) for pair in zip(rows["arm"], rows["way"], strict=True)
    ]
    groups = list(rows.groupby(["task", "model"], sort=False))
    width = panels.width_beside(rows["label"], len(BATCHES))
    spans = {batch: _span(rows, batch) for batch in BATCHES}
    styles = theme.arm_styles(catalog, rows)

    def cell(part: pd.DataFrame, title: list[str], batch: str, place) -> dict:
        return _panel(part, batch, title, spans[batch], styles, place)

    draws = []
    for (task, _), part in groups:
        title = [part["size"].iloc[0]] * ("Model" not in single)
        title += [set_title(catalog, task)] * (rows["task"].nunique() > 1)
        height = max(LOWEST, STEP * part["label"].nunique())
        draws.append(panels.Row(BATCHES, partial(cell, part, title or None), height))
    blocks = panels.stack(draws, len(BATCHES), width)
    note = machine_note(rows, "Hollow")
    return panels.footnote(panels.grid(blocks, len(BATCHES)), [note], single)


def _span(rows: pd.DataFrame, batch: str) -> list[float]:
    return axes.span(pd.concat([rows[f"{batch}_ms{end}"] for end in ("", "_low", "_high")]))


def _panel(
    rows: pd.DataFrame, batch: str, title: list[str] | None, span: list[float], styles: dict,
    place: axes.GridPosition,
) -> dict:  # fmt: skip
    """Return one panel: ways down, milliseconds across; those of weights that are not the run's are
    hollow."""
    ends = {"ms": "", "low": "_low", "high": "_high"}
    rows = rows.assign(**{name: rows[f"{batch}_ms{end}"] for name, end in ends.items()})
    x = axes.logarithmic(place, "x", "Milliseconds per row", span)
    down = axes.axis(place, "y", title, grid=True, labelLimit=400)
    order = list(dict.fromkeys(rows["label"]))
    shared = {"y": alt.Y("label:N", scale=alt.Scale(domain=order), axis=down)}
    shared["color"] = theme.color("arm", styles, None)
    base = alt.Chart()
    bars = base.mark_rule(strokeWidth=0.9)
    bars = bars.encode(**shared, x=alt.X("low:Q", **x), x2="high:Q")
    at = {**shared, "x": alt.X("ms:Q", **x), "shape": theme.shape("arm", styles, None)}
    at["tooltip"] = panels.tooltips(TIPS)
    own, other = (base.transform_filter(f"{sign}datum.restored") for sign in ("", "!"))
    filled = own.mark_point(filled=True, size=26, opacity=1).encode(**at)
    hollow = other.mark_point(filled=False, fill="white", size=26, strokeWidth=1, opacity=1)
    return panels.panel(rows, bars, filled, hollow.encode(**at))
