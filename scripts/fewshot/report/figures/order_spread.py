"""How far accuracy moves with the order of the shots, against how far it moves with the draw."""

from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import titles
from .. import select
from . import axes, missing, panels, theme
from .variance import chosen_rows

TIPS = (
    "size:N model; group:N method; where:N on; x:Q between draws (points) |.2f; "
    "y:Q between orders (points) |.2f; orders:Q orders" + panels.SEEDS
)
PARTS = {"x": "seed", "y": "order"}
"""The component that each axis shows the root of."""
HEIGHT = 300


def order_spread(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None,
) -> dict:  # fmt: skip
    """Plot the standard deviation between orders of the same shots against that between draws.

    A point per model, a panel per method, a row per task and evaluation set; both are the roots of
    variance components (analysis/variance.py), in points. Above the dashed line the order matters
    more than the rows do (Lu et al. 2022).
    """
    frame = _spreads(chosen_rows(evidence, catalog, task, evaluation_set, family, k, selection))
    if frame.empty:
        return panels.nothing("No cell has results with two orders and two draws yet.")
    _, single = select.singled(frame, catalog)
    frame = frame.assign(panel=frame["group"])
    names = panels.names_by_task(frame, list(titles(catalog, "methods").values()))
    columns = panels.columns_for(max(map(len, names.values())))
    width = panels.panel_width(columns)
    groups = list(frame.groupby(["task", "domain", "evaluation_set"], sort=False))
    height = max(60, min(width, HEIGHT // len(groups)))
    styles = theme.model_styles(catalog, set(frame["size"]))
    # One range for both axes of all panels, since only the last row has labels on x.
    most = max(1.0, 1.1 * float(frame[["x", "y"]].max().max()))
    shown = [
        panels.Row(names[key[0]], partial(_cell, rows, styles, most), height)
        for key, rows in groups
    ]
    chart = panels.grid(panels.stack(shown, columns, width), columns)
    return panels.footnote(chart, _notes(frame), single)


def _spreads(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with several orders: x between draws and y between orders, in points."""
    frame = frame[frame["order"].notna() & frame["seed"].notna()]
    spread = {name: 100 * np.sqrt(frame[part].astype(float)) for name, part in PARTS.items()}
    where = frame["heading"].map(" ".join)
    return frame.assign(**spread, size=frame["title"], where=where)


def _cell(
    rows: pd.DataFrame, styles: dict, most: float, title: str, place: axes.GridPosition
) -> dict:
    """Return one panel: its points, and the line on which both spreads are the same."""
    limits = axes.margin(0, most)
    x = axes.linear(place, "x", ["Between draws", "(SD, points)"], limits, tickCount=4)
    named = ["Between orders", "(SD, points)", *rows["heading"].iloc[0]]
    y = axes.linear(place, "y", named, limits, tickCount=4)
    base, legend = alt.Chart(), theme.legend(styles)
    points = base.mark_point(filled=True, size=26, opacity=0.85, stroke="white", strokeWidth=0.3)
    points = points.encode(
        x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), color=theme.color("size", styles, legend),
        shape=theme.shape("size", styles, legend), tooltip=panels.tooltips(TIPS),
    )  # fmt: skip
    ends = pd.DataFrame({"x": [0.0, most], "y": [0.0, most]})
    line = base.mark_line(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    line = line.encode(x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y))
    return panels.panel(rows[rows["group"] == title], (ends, line), points)


def _notes(frame: pd.DataFrame) -> list[str]:
    """Return a line about cells that lack orders or seeds."""
    fewer = frame["orders"] < frame["orders_planned"]
    fewer |= frame["seeds"] < frame["seeds_planned"]
    named = [
        f"{row.size}, {row.group}: {row.orders}/{row.orders_planned} orders, "
        f"{row.seeds}/{row.seeds_planned} seeds"
        for row in frame[fewer][
            ["size", "group", "orders", "orders_planned", "seeds", "seeds_planned"]
        ]
        .drop_duplicates()
        .itertuples()
    ]
    return [f"Not whole: {missing.first_of(named, 3)}."] if named else []
