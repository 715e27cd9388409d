"""Differences with their intervals: fine-tuning minus in-context learning of the same model."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.comparisons import SAME_MODEL
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, ordered, way_of
from .. import select
from ..select import family_order, family_titles, sizes_of, with_sizes
from ..tables.comparisons import ALPHA, main_comparisons
from . import axes, missing, panels, theme

TIPS = (
    "where:N on; title:N model; arm:N fine-tuned; against:N minus; "
    "points:Q difference (points) |+.2f; low:Q 95 % interval (crossed bootstrap) from |+.2f; "
    "high:Q to |+.2f; p:Q p |.4f; holm:Q p after Holm |.4f; "
    "detectable:Q detectable difference (points) |.1f" + panels.SEEDS + "; rows:Q rows; "
    "status:N status"
)
STEP = 11
"""Points between two models."""


def differences(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot fine-tuning minus in context, in points, with crossed-bootstrap 95 % intervals.

    A row per model, a column per task, evaluation set and way to show the shots. Filled: p < 0.05
    after Holm's correction over all models of the method. Without a `selection`, checkpoints are
    those of `comparisons.main_comparisons`: in domain the last. `arms` picks ways of fine-tuning;
    without it, `pattern` is as in `panels.fewer_arms`.
    """
    select.check_options(
        evidence.metrics, catalog, task, evaluation_set, family, k, selection, arms
    )
    pairs = main_comparisons(evidence.comparisons, catalog, [SAME_MODEL], k, selection)
    pairs = select.fitting(pairs, catalog, task, evaluation_set, family)
    pairs = select.of_arms(pairs, catalog, arms)
    pairs = pairs if arms else panels.fewer_arms(pairs, catalog, pattern)
    if pairs.empty:
        return panels.nothing("No comparison of fine-tuning with in-context learning yet.")
    frame = _titled(pairs, catalog)
    return panels.footnote(_draw(frame, catalog), _notes(frame))


def _titled(pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return points, display titles and `state`: clear, open (not significant) or none."""
    keys = ["task", "domain", "evaluation_set", "reference_method", "model", "method", "pattern"]
    frame = with_sizes(ordered(pairs, catalog, keys), catalog)
    for name, side in (("arm", ""), ("against", "reference_")):
        both = zip(frame[f"{side}method"], frame[f"{side}pattern"], strict=True)
        frame[name] = [arm_title(catalog, *pair) for pair in both]
    frame = select.headed(frame, catalog).assign(points=frame["difference"])
    frame["where"] = frame["where"].str.replace(" in domain", "")
    ways = frame["reference_method"].map(lambda name: way_of(catalog, name))
    if ways.nunique() > 1:  # A panel for each.
        frame["where"] += ": minus " + frame["against"].map(_in_sentence)
    frame = select.in_percent(frame, ("points", "low", "high", "detectable"))
    frame["p"], frame["holm"] = (frame[n].astype(float) for n in ("p_bootstrap", "holm_bootstrap"))
    clear = frame["holm"] < ALPHA
    frame["state"] = clear.map({True: "clear", False: "open"}).where(
        frame["points"].notna(), "none"
    )
    counts = frame["seeds"].astype(str) + "/" + frame["seeds_planned"].astype(str)
    fewer = frame["seeds"] < frame["seeds_planned"]
    frame["text"] = counts.where(fewer, "").where(frame["points"].notna(), frame["status"])
    return frame


def _draw(frame: pd.DataFrame, catalog: dict) -> dict:
    headings = list(dict.fromkeys(frame["where"]))
    columns = min(len(headings), 4)
    styles, y_titles, blocks = theme.arm_styles(catalog, frame), family_titles(catalog), []
    low, high = frame["low"].min(), frame["high"].max()
    room = 5 + 0.12 * (high - low) if pd.notna(low) else 5
    limits = [min(low, 0) - 2, max(high, 0) + room] if pd.notna(low) else [-10, 10]
    width = panels.panel_width(columns) + 2

    def cell(family, heading, place) -> dict:
        rows = frame[(frame["where"] == heading) & (frame["family"] == family)]
        sizes = sizes_of(frame, catalog, family)
        return _panel(rows, sizes, y_titles[family], place, styles, limits)

    draws = [partial(cell, family) for family in family_order(frame, catalog)]
    for first in range(0, len(headings), columns):
        blocks += panels.stack(headings[first : first + columns], columns, draws, width)
    return panels.grid(blocks, columns)


def _panel(
    rows: pd.DataFrame, sizes: list[str], family: str, place: axes.GridPosition,
    styles: dict, limits: list[float],
) -> dict:  # fmt: skip
    """Return one panel: models down, methods side by side within each, nothing at zero."""
    base, legend = alt.Chart(), theme.legend(styles)
    x = axes.linear(place, "x", ["Fine-tuning −", "in context (points)"], limits, tickCount=5)
    y_axis = axes.axis(place, "y", family, grid=False)
    down = {
        "y": alt.Y("size:N", scale=alt.Scale(domain=sizes), axis=y_axis),
        "yOffset": alt.YOffset("arm:N", scale=alt.Scale(domain=list(styles))),
    }
    shared = {**down, "color": theme.color("arm", styles, legend)}
    at = {"x": alt.X("points:Q", **x), "shape": theme.shape("arm", styles, legend)}
    at |= {**shared, "tooltip": panels.tooltips(TIPS)}
    zero = base.mark_rule(color=theme.GREY).encode(x=alt.X("zero:Q", **x))
    bars = base.mark_rule(strokeWidth=0.9).encode(**shared, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(base, 22, ("clear", "open"), **at)
    text = base.mark_text(fontSize=7, align="right", color=theme.GREY, dx=-2)
    edge = text.transform_calculate(edge=str(limits[1]))
    edge = edge.encode(**down, x=alt.X("edge:Q", **x), text="text:N")
    height = max(STEP, 8 * len(styles) + 2) * len(sizes)
    origin = (pd.DataFrame({"zero": [0]}), zero)
    return panels.panel(rows, origin, bars, *points, edge, height=height)


def _notes(frame: pd.DataFrame) -> list[str]:
    against = list(dict.fromkeys(frame["against"]))
    named = " or ".join(map(_in_sentence, against[:3])) + (" …" if len(against) > 3 else "")
    filled = f"Filled: p < {ALPHA} after Holm's correction."
    lines = [f"{filled} Each difference is the method minus {named}."]
    if (frame["text"].str.contains("/")).any():
        lines.append("At the right edge: seeds that both sides have, of those planned.")
    return lines


def _in_sentence(title: str) -> str:
    """Return a title with a small first letter, unless it begins with an abbreviation."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title
