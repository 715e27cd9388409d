"""Where the variance of an accuracy comes from: draws, patterns, evaluation rows."""

from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import ordered, titles
from ...formatting import BLANK
from .. import select
from ..select import family_order, family_titles, sizes_of, with_sizes
from . import axes, mean_panels, missing, panels, theme
from .by_size import by_size

ROWS = ["row", "seed_row", "pattern_row", "residual"]
COLUMNS = {"seed": "seed", "order": "order", "pattern": "pattern", "seed × pattern": "seed_pattern"}
TIPS = (
    "where:N on; title:N model; group:N method; part:N part; points:Q variance (points²) |.2f; "
    "interval:N 95 % interval; share:Q of the sum (%) |.0f; patterns:Q patterns"
    + panels.SEEDS
    + "; rows:Q rows; status:N status"
)
HEIGHT = 70


def variance(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None,
) -> dict:  # fmt: skip
    """Stack the parts of the variance of one run's accuracy, a bar per size and method.

    One run has one draw and one pattern, and all R evaluation rows: its variance is that between
    draws, between patterns, of draws and patterns together, and what a row adds, over R. In squared
    points, so that parts add up. Cells with one pattern or one seed lack those parts and say so.
    """
    frame = chosen_rows(evidence, catalog, task, evaluation_set, family, k, selection)
    if frame.empty:
        return panels.nothing("No variance yet: it takes two seeds with row predictions.")
    _, single = select.singled(frame, catalog)
    return panels.footnote(_draw(_long(frame), catalog), _notes(frame), single)


def prompt_sensitivity(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None,
) -> dict:  # fmt: skip
    """Plot by size how far the best pattern is above the worst, in points, mean over seeds."""
    frame = chosen_rows(evidence, catalog, task, evaluation_set, family, k, selection)
    frame = frame[frame["spread"].notna()] if len(frame) else frame
    if frame.empty:
        return panels.nothing("No cell has results with two patterns yet.")
    fewer = frame["status"].map(lambda status: "whole" if status == "ok" else "some")
    interval = frame["patterns"].map(lambda count: f"none (range of {count} patterns)")
    heading = frame["heading"].map(lambda lines: ("Range of patterns", "(points)", *lines))
    means = frame.assign(
        mean=100 * frame["spread"].astype(float), low=None, high=None, majority=None,
        state=fewer, interval=interval, heading=heading,
    )  # fmt: skip
    present = set(means["group"])
    looks = theme.method_styles(catalog)
    styles = {title: look for title, look in looks.items() if title in present}
    _, single = select.singled(means, catalog)
    return by_size(means, None, catalog, styles, join=True, single=single)


def chosen_rows(
    evidence: Evidence, catalog: dict, task: str | None, evaluation_set: str | None,
    family: str | None, k: int | None, selection: str | None,
) -> pd.DataFrame:  # fmt: skip
    """Return the variance rows that the options ask for, with titles, sizes and headings."""
    select.check_options(evidence.metrics, catalog, task, evaluation_set, family, k, selection)
    frame = evidence.variance
    frame = frame[frame["k"] == select.main_k(catalog, k)]
    frame = frame[frame["selection"] == select.main_selection(catalog, selection)]
    frame = select.fitting(frame, catalog, task, evaluation_set, family)
    keys = ["task", "domain", "evaluation_set", "model", "method"]
    frame = with_sizes(ordered(frame, catalog, keys), catalog)
    frame = select.headed(frame, catalog)
    plain = [tuple(line.replace(" (%)", "") for line in lines) for lines in frame["heading"]]
    group = frame["method"].map(titles(catalog, "methods"))
    return frame.assign(heading=plain, group=group, x=frame["size"])


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per part: squared points, share of the sum, and what the cell rests on."""
    # Most studies have one order of each draw, and no such part.
    orders = frame["order"].notna().any()
    columns = {name: column for name, column in COLUMNS.items() if orders or name != "order"}
    parts = {
        **{name: frame[column] for name, column in columns.items()},
        "rows": frame[ROWS].astype(float).sum(axis=1, min_count=1) / frame["rows"],
    }
    parts = {name: 1e4 * values.astype(float) for name, values in parts.items()}
    told = {name: _intervals(frame, column) for name, column in columns.items()}
    total = pd.DataFrame(parts).sum(axis=1, min_count=1)
    counts = frame["patterns"].astype(str) + " × " + frame["seeds"].astype(str)
    frame = frame.assign(total=total, text=counts)
    long = [
        frame.assign(
            part=name,
            order=i,
            points=values,
            share=100 * values / total,
            interval=told.get(name, BLANK),
        )
        for i, (name, values) in enumerate(parts.items())
    ]
    return pd.concat(long, ignore_index=True)


def _intervals(frame: pd.DataFrame, column: str) -> list[str]:
    """Return the intervals of a part in squared points, as they are told."""
    bounds = 1e4 * frame[[f"{column}_low", f"{column}_high"]].astype(float).to_numpy()
    return [BLANK if np.isnan(low) else f"{low:.2f} to {high:.2f}" for low, high in bounds]


def _draw(frame: pd.DataFrame, catalog: dict) -> dict:
    """Return stacked bars by size: a column per method, rows by family and evaluation set."""
    order = list(dict.fromkeys(ordered(frame, catalog, ["method"])["group"]))
    x_titles = family_titles(catalog)
    groups = [
        (family, heading, part, [name for name in order if name in set(part["group"])])
        for family in family_order(frame, catalog)
        for heading, part in frame[frame["family"] == family].groupby("heading", sort=False)
    ]
    columns = max(len(methods) for *_, methods in groups)
    width = panels.panel_width(columns)
    parts = list(dict.fromkeys(frame["part"]))
    styles = {name: {"color": theme.COMPONENTS[name]} for name in parts}
    height = max(44, min(HEIGHT, mean_panels.HEIGHT // len(groups) - 20))
    highest = frame["total"].max() if frame["total"].notna().any() else 1

    def cell(family, heading, rows, method, place) -> dict:
        sizes, titled = sizes_of(frame, catalog, family), panels.along(heading, height)
        channels = _channels(highest, sizes, x_titles[family], titled, place, width)
        return _bars(rows[rows["group"] == method], channels, styles)

    shown = [
        panels.Row(methods, partial(cell, family, heading, part), height, across=family)
        for family, heading, part, methods in groups
    ]
    return panels.grid(panels.stack(shown, columns, width), columns)


def _channels(
    highest: float, sizes: list[str], x_title: str, heading: list[str],
    place: axes.GridPosition, width: int,
) -> dict:  # fmt: skip
    """Return the channels x, y and foot (nothing) of a row of panels; y reaches the `highest` of
    all, in squared points."""
    x_axis = axes.named(place, x_title, sizes, width)
    y_axis = axes.axis(place, "y", [*heading, "(points²)"], tickCount=4)
    scale = alt.Scale(domain=[0, 1.08 * max(float(highest), 0.01)], nice=False)
    names = alt.Scale(domain=sizes, type="band", paddingInner=0.3, paddingOuter=0.2)
    return {
        "x": alt.X("x:O", scale=names, axis=x_axis),
        "y": alt.Y("points:Q", scale=scale, axis=y_axis, stack="zero"),
        "foot": alt.Y("foot:Q", scale=scale, axis=y_axis),
    }


def _bars(rows: pd.DataFrame, channels: dict, styles: dict) -> dict:
    """Return one panel of stacked bars."""
    base, color = alt.Chart(), theme.color("part", styles, theme.legend(styles))
    valued = base.transform_filter("isValid(datum.points)")
    bars = valued.mark_bar(stroke="white", strokeWidth=0.3)
    shown = {"color": color, "order": alt.Order("order:Q"), "tooltip": panels.tooltips(TIPS)}
    empty = base.transform_filter("!isValid(datum.total) && datum.order === 0")
    dash = empty.transform_calculate(foot="0").mark_text(text="–", baseline="bottom", fontSize=9)
    layers = [bars.encode(x=channels["x"], y=channels["y"], **shown)]
    layers += [dash.encode(x=channels["x"], y=channels["foot"])]
    return panels.panel(rows, *layers)


def _notes(frame: pd.DataFrame) -> list[str]:
    """Return lines about cells without a part, and about those that lack seeds or patterns."""
    single = list(dict.fromkeys(frame.loc[frame["patterns"] == 1, "group"]))
    lines = [f"Cells with one pattern have no such part: {', '.join(single)}."] if single else []
    if frame["mean"].isna().any():
        lines.append("–: no result, or it does not fit.")
    lacking = frame[frame["status"] != "ok"].drop_duplicates(["title", "group", "status"])
    named = [f"{row.title}, {row.group}: {row.status}" for row in lacking.itertuples()]
    return lines + ([f"Not whole: {missing.first_of(named, 3)}."] if named else [])
