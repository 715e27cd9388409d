"""Differences with their intervals: fine-tuning minus in-context learning of the same model."""

import altair as alt
import pandas as pd

from ...analysis.comparisons import SAME_MODEL
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, ordered
from ..tables.comparisons import ALPHA, main_comparisons
from . import panels, select, theme
from .select import family_order, family_titles, set_heading, sizes_of, with_sizes

COLUMNS = [
    *("size", "title", "arm", "against", "where", "points", "low", "high", "p", "holm", "state"),
    *("text", "seeds", "seeds_planned", "rows", "status", "detectable"),
]
STEP = 11
"""Points between two models."""


def differences(
    evidence: Evidence,
    catalog: dict,
    *,
    task: str | None = None,
    evaluation_set: str | None = None,
    family: str | None = None,
    k: int | None = None,
    selection: str | None = None,
    arms: list[str] | None = None,
    pattern: str | None = None,
) -> panels.Chart:
    """Plot fine-tuning minus in context, in points, with crossed-bootstrap 95 % intervals.

    A row per model, a column per task and evaluation set. Filled: p < 0.05 after Holm's correction
    over all models of the method. Without a `selection`, checkpoints are those of
    `comparisons.main_comparisons`: in domain the last. `arms` picks ways of fine-tuning; without
    it, `pattern` is as in `panels.fewer_arms`.
    """
    select.check_options(
        evidence.metrics, catalog, task, evaluation_set, family, k, selection, arms
    )
    pairs = main_comparisons(evidence.comparisons, catalog, [SAME_MODEL], k, selection)
    if task is not None:
        pairs = pairs[select.called(pairs["task"], task)]
    if evaluation_set is not None:
        wanted = select.called(pairs["evaluation_set"], evaluation_set)
        pairs = pairs[wanted | (pairs["domain"] == "in")]
    if family is not None:
        kin = pairs["model"].map(lambda name: catalog["models"][name]["family"])
        pairs = pairs[kin == family]
    pairs = select.of_arms(pairs, catalog, arms)
    pairs = pairs if arms else panels.fewer_arms(pairs, catalog, pattern)
    if pairs.empty:
        return panels.nothing("No comparison of fine-tuning with in-context learning yet.")
    frame = _titled(pairs, catalog)
    return panels.footnote(_draw(frame, catalog), _notes(frame))


def _titled(pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return points, display titles and `state`: clear, open (not significant) or none."""
    keys = ["task", "domain", "evaluation_set", "model", "method", "pattern"]
    frame = with_sizes(ordered(pairs, catalog, keys), catalog)
    sides = (("arm", ""), ("against", "reference_"))
    for name, side in sides:
        both = zip(frame[f"{side}method"], frame[f"{side}pattern"], strict=True)
        frame[name] = [arm_title(catalog, *pair) for pair in both]
    places = list(zip(frame["task"], frame["evaluation_set"], frame["domain"], strict=True))
    frame["heading"] = [" ".join(set_heading(catalog, *place)) for place in places]
    frame["heading"] = frame["heading"].str.replace(" (%)", "").str.replace(" in domain", "")
    frame["where"] = frame["heading"]
    for name, column in (("points", "difference"), ("low", "low"), ("high", "high")):
        frame[name] = 100 * frame[column].astype(float)
    frame["detectable"] = 100 * frame["detectable"].astype(float)
    frame["p"], frame["holm"] = (frame[n].astype(float) for n in ("p_bootstrap", "holm_bootstrap"))
    clear = frame["holm"] < ALPHA
    frame["state"] = clear.map({True: "clear", False: "open"}).where(
        frame["points"].notna(), "none"
    )
    counts = frame["seeds"].astype(str) + "/" + frame["seeds_planned"].astype(str)
    fewer = frame["seeds"] < frame["seeds_planned"]
    frame["text"] = counts.where(fewer, "").where(frame["points"].notna(), frame["status"])
    return frame


def _draw(frame: pd.DataFrame, catalog: dict) -> panels.Grid:
    headings = list(dict.fromkeys(frame["heading"]))
    columns = min(len(headings), 4)
    styles = theme.arm_styles(catalog, frame)
    known, blocks = family_titles(catalog), []
    low, high = frame["low"].min(), frame["high"].max()
    room = 5 + 0.12 * (high - low) if pd.notna(low) else 5
    limits = [min(low, 0) - 2, max(high, 0) + room] if pd.notna(low) else [-10, 10]
    found = family_order(frame, catalog)
    width = panels.panel_width(columns) + 2
    for at in range(0, len(headings), columns):
        for name in found:
            sizes, block = sizes_of(frame, catalog, name), []
            for i, heading in enumerate(headings[at : at + columns]):
                rows = frame[(frame["heading"] == heading) & (frame["family"] == name)]
                place = panels.GridPosition(
                    left=i == 0, bottom=name == found[-1], top=name == found[0]
                )
                chart = _panel(rows, sizes, known[name], place, styles, limits)
                chart = chart.properties(width=width)
                title = panels.heading(heading, width)
                block.append(chart.properties(title=title) if place.top else chart)
            blocks.append(block)
    return panels.grid(blocks, columns)


def _panel(
    rows: pd.DataFrame,
    sizes: list[str],
    family: str,
    place: panels.GridPosition,
    styles: dict,
    limits: list[float],
) -> alt.LayerChart:
    """Return one panel: models down, methods side by side within each, nothing at zero."""
    step = max(STEP, 8 * len(styles) + 2)
    base, legend = alt.Chart(), theme.legend(styles)
    y_axis = panels.axis(place, "y", family, grid=False)
    x_axis = panels.axis(place, "x", ["Fine-tuning −", "in context (points)"], tickCount=5)
    x = {"scale": alt.Scale(domain=limits, nice=False), "axis": x_axis}
    shared = {
        "y": alt.Y("size:N", scale=alt.Scale(domain=sizes), axis=y_axis),
        "yOffset": alt.YOffset("arm:N", scale=alt.Scale(domain=list(styles))),
        "color": theme.color("arm", styles, legend),
    }
    at = {
        **shared,
        "x": alt.X("points:Q", **x),
        "shape": theme.shape("arm", styles, legend),
        "tooltip": _tooltips(),
    }
    zero = alt.Chart(alt.InlineData(values=({"zero": 0},))).mark_rule(color=theme.GREY)
    bars = base.mark_rule(strokeWidth=0.9).encode(**shared, x=alt.X("low:Q", **x), x2="high:Q")
    clear = base.transform_filter("datum.state == 'clear'").mark_point(
        filled=True, size=22, opacity=1
    )
    open_ = base.transform_filter("datum.state == 'open'").mark_point(
        filled=False, fill="white", size=22, strokeWidth=1, opacity=1
    )
    text = base.mark_text(fontSize=7, align="right", color=theme.GREY, dx=-2)
    edge = text.transform_calculate(edge=str(limits[1])).encode(
        y=shared["y"], yOffset=shared["yOffset"], x=alt.X("edge:Q", **x), text="text:N"
    )
    layers = [zero.encode(x=alt.X("zero:Q", **x)), bars, clear.encode(**at), open_.encode(**at)]
    data = panels.inline_data(rows, COLUMNS)
    return alt.layer(*layers, edge, data=data).properties(height=step * len(sizes))


def _tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("where:N", title="on"),
        alt.Tooltip("title:N", title="model"),
        alt.Tooltip("arm:N", title="fine-tuned"),
        alt.Tooltip("against:N", title="minus"),
        alt.Tooltip("points:Q", title="difference (points)", format="+.2f"),
        alt.Tooltip("low:Q", title="95 % interval (crossed bootstrap) from", format="+.2f"),
        alt.Tooltip("high:Q", title="to", format="+.2f"),
        alt.Tooltip("p:Q", title="p", format=".4f"),
        alt.Tooltip("holm:Q", title="p after Holm", format=".4f"),
        alt.Tooltip("detectable:Q", title="detectable difference (points)", format=".1f"),
        alt.Tooltip("seeds:Q", title="seeds"),
        alt.Tooltip("seeds_planned:Q", title="of planned seeds"),
        alt.Tooltip("rows:Q", title="rows"),
        alt.Tooltip("status:N", title="status"),
    ]


def _notes(frame: pd.DataFrame) -> list[str]:
    against = list(dict.fromkeys(frame["against"]))
    named = "; ".join(against[:3]) + ("; …" if len(against) > 3 else "")
    lines = [f"Filled: p < {ALPHA} after Holm's correction. Minus: {named}."]
    if (frame["text"].str.contains("/")).any():
        lines.append("At the right edge: seeds that both sides have, of those planned.")
    return lines
