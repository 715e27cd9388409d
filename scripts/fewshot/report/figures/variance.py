"""Where the variance of an accuracy comes from: draws, patterns, evaluation rows."""

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import ordered, titles
from .. import select
from ..select import family_order, family_titles, set_heading, sizes_of, with_sizes
from . import axes, mean_panels, panels, theme
from .by_size import by_size

ROWS = ["row", "seed_row", "pattern_row", "residual"]
TIPS = (
    "where:N on; title:N model; group:N method; part:N part; points:Q variance (points²) |.2f; "
    "share:Q of the sum (%) |.0f; patterns:Q patterns" + panels.SEEDS + "; rows:Q rows; "
    "status:N status"
)
HEIGHT = 70


def variance(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None,
) -> panels.Chart:  # fmt: skip
    """Stack the parts of the variance of one run's accuracy, a bar per size and method.

    One run has one draw and one pattern, and all R evaluation rows: its variance is that between
    draws, between patterns, of draws and patterns together, and what a row adds, over R. In squared
    points, so that parts add up. Cells with one pattern or one seed lack those parts and say so.
    """
    frame = _chosen(evidence, catalog, task, evaluation_set, family, k, selection)
    if frame.empty:
        return panels.nothing("No variance yet: it takes two seeds with row predictions.")
    return panels.footnote(_draw(_long(frame), catalog), _notes(frame))


def prompt_sensitivity(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None,
) -> panels.Chart:  # fmt: skip
    """Plot by size how far the best pattern is above the worst, in points, mean over seeds."""
    frame = _chosen(evidence, catalog, task, evaluation_set, family, k, selection)
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
    return by_size(means, None, catalog, styles, join=True)


def _chosen(
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
    places = list(zip(frame["task"], frame["evaluation_set"], frame["domain"], strict=True))
    lines = [set_heading(catalog, *place) for place in places]
    clean = [tuple(part.replace(" (%)", "") for part in each) for each in lines]
    group = frame["method"].map(titles(catalog, "methods"))
    return frame.assign(
        heading=clean, where=[" ".join(each) for each in clean], group=group, x=frame["size"]
    )


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per part: squared points, share of the sum, and what the cell rests on."""
    parts = {
        "seed": frame["seed"],
        "pattern": frame["pattern"],
        "seed × pattern": frame["seed_pattern"],
        "rows": frame[ROWS].astype(float).sum(axis=1, min_count=1) / frame["rows"],
    }
    parts = {name: 1e4 * values.astype(float) for name, values in parts.items()}
    total = pd.DataFrame(parts).sum(axis=1, min_count=1)
    counts = frame["patterns"].astype(str) + " × " + frame["seeds"].astype(str)
    long = [
        frame.assign(
            part=name, order=i, points=values, total=total, share=100 * values / total, text=counts
        )
        for i, (name, values) in enumerate(parts.items())
    ]
    return pd.concat(long, ignore_index=True)


def _draw(frame: pd.DataFrame, catalog: dict) -> panels.Grid:
    """Return stacked bars by size: a column per method, rows by family and evaluation set."""
    methods = list(dict.fromkeys(ordered(frame, catalog, ["method"])["group"]))
    found, known, blocks = family_order(frame, catalog), family_titles(catalog), []
    headings = list(dict.fromkeys(frame["heading"]))
    width = panels.panel_width(len(methods))
    height = max(44, min(HEIGHT, mean_panels.HEIGHT // (len(headings) * len(found)) - 20))
    for name in found:
        sizes = sizes_of(frame, catalog, name)
        for i, heading in enumerate(headings):
            rows = frame[(frame["heading"] == heading) & (frame["family"] == name)]
            titled = panels.upright(heading, height)

            def cell(method, place, rows=rows, sizes=sizes, name=name, titled=titled) -> dict:
                channels = _channels(rows, sizes, known[name], titled, place, width)
                return _bars(rows[rows["group"] == method], channels)

            ends = {"first": i == 0, "last": i == len(headings) - 1}
            blocks.append(panels.block(methods, len(methods), cell, width, height, **ends))
    return panels.grid(blocks, len(methods))


def _channels(
    rows: pd.DataFrame, sizes: list[str], family: str, heading: list[str],
    place: axes.GridPosition, width: int,
) -> dict:  # fmt: skip
    """Return the channels x, y and foot (nothing) of a row of panels, which share the scale."""
    upright = 4.2 * max(map(len, sizes)) + 4 > width / len(sizes)
    turn = {"labelAngle": -90 if upright else 0, "labelOverlap": False}
    x_axis = axes.axis(place, "x", family, grid=False, **turn)
    y_axis = axes.axis(place, "y", [*heading, "(points²)"], tickCount=4)
    top = rows["total"].max() if rows["total"].notna().any() else 1
    scale = alt.Scale(domain=[0, 1.08 * max(float(top), 0.01)], nice=False)
    names = alt.Scale(domain=sizes, type="band", paddingInner=0.3, paddingOuter=0.2)
    return {
        "x": alt.X("x:O", scale=names, axis=x_axis),
        "y": alt.Y("points:Q", scale=scale, axis=y_axis, stack="zero"),
        "foot": alt.Y("foot:Q", scale=scale, axis=y_axis),
    }


def _bars(rows: pd.DataFrame, channels: dict) -> dict:
    """Return one panel of stacked bars."""
    styles = {name: {"color": color} for name, color in theme.COMPONENTS.items()}
    base, color = alt.Chart(), theme.color("part", styles, theme.legend(styles))
    known = base.transform_filter("isValid(datum.points)")
    bars = known.mark_bar(stroke="white", strokeWidth=0.3)
    shown = {"color": color, "order": alt.Order("order:Q"), "tooltip": panels.tooltips(TIPS)}
    empty = base.transform_filter("!isValid(datum.total) && datum.order === 0")
    dash = empty.transform_calculate(foot="0").mark_text(text="–", baseline="bottom", fontSize=9)
    layers = [bars.encode(x=channels["x"], y=channels["y"], **shown)]
    layers += [dash.encode(x=channels["x"], y=channels["foot"])]
    layers += [panels.words("not in the study")] if rows.empty else []
    return panels.panel(rows, *layers)


def _notes(frame: pd.DataFrame) -> list[str]:
    """Return lines about cells without a part, and about those that lack seeds or patterns."""
    single = list(dict.fromkeys(frame.loc[frame["patterns"] == 1, "group"]))
    lines = [f"Cells with one pattern have no such part: {', '.join(single)}."] if single else []
    if frame["mean"].isna().any():
        lines.append("–: no result, or it does not fit.")
    lacking = frame[frame["status"] != "ok"].drop_duplicates(["title", "group", "status"])
    named = [f"{row.title}, {row.group}: {row.status}" for row in lacking.itertuples()]
    more = f"; {len(named) - 3} more" if len(named) > 3 else ""
    return lines + ([f"Not whole: {'; '.join(named[:3])}{more}."] if named else [])
