"""All methods down a page: accuracy in and out of domain, with intervals, for many of them."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import summarise
from ...analysis.titles import arms, ordered
from .. import select
from . import axes, missing, panels, theme

TIPS = (
    "where:N on; title:N model; arm:N method; mean:Q mean (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
    + "; status:N status"
)
ORDER = ["task", "domain", "evaluation_set", "model", "method", "pattern"]
STEP, BESIDE = 13, 6
"""Points between two methods, and what each further model takes between them."""
MOST = 3


def methods_listed(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot mean accuracy of each method, with 95 % intervals: a row per method, a column per
    evaluation set, a colour per model.

    `arms` picks methods and patterns; without it, `pattern` is as in `select.fewer_arms`.
    """
    k = select.main_k(catalog, k)
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    if chosen.empty:
        return panels.nothing(f"No run with {k} shots yet.")
    catalog, single = select.singled(chosen, catalog)
    means = ordered(missing.with_states(summarise(chosen)), catalog, ORDER)
    means = select.headed(select.named(means, catalog), catalog)
    return panels.footnote(_draw(means, catalog), missing.hollow(means), single)


def _draw(means: pd.DataFrame, catalog: dict) -> dict:
    styles = theme.model_styles(catalog, set(means["size"]))
    columns = min(int(means.groupby("task")["where"].nunique().max()), MOST)
    width = panels.width_beside(means["arm"], columns)
    limits = axes.domain(means["mean"], means["low"], means["high"], means["majority"])
    blocks = []
    for _, rows in means.groupby("task", sort=False):
        names = list(arms(catalog, rows).values())
        draw = partial(_cell, rows, names, styles, limits)
        blocks.append(panels.block(list(dict.fromkeys(rows["where"])), columns, draw, width))
    return panels.grid(blocks, columns)


def _cell(
    rows: pd.DataFrame, names: list[str], styles: dict, limits: list[float], heading: str,
    place: axes.GridPosition,
) -> dict:  # fmt: skip
    return _panel(rows[rows["where"] == heading], names, styles, limits, place)


def _panel(
    rows: pd.DataFrame, names: list[str], styles: dict, limits: list[float],
    place: axes.GridPosition,
) -> dict:  # fmt: skip
    """Return one panel: methods down, models beside each other, the majority's share dashed."""
    base, legend = alt.Chart(), theme.legend(styles)
    x = axes.linear(place, "x", "Accuracy (%)", limits, tickCount=4)
    y_axis = axes.axis(place, "y", None, grid=True, labelLimit=400)
    down = {
        "y": alt.Y("arm:N", scale=alt.Scale(domain=names), axis=y_axis),
        "yOffset": alt.YOffset("size:N", scale=alt.Scale(domain=list(styles))),
        "color": theme.color("size", styles, legend),
    }
    at = {**down, "x": alt.X("mean:Q", **x), "shape": theme.shape("size", styles, legend)}
    bars = base.mark_rule(strokeWidth=0.9).encode(**down, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(base, 24, **at, tooltip=panels.tooltips(TIPS))
    chance = base.mark_rule(color=theme.GREY, strokeDash=[3, 3])
    chance = chance.encode(x=alt.X("majority:Q", **x))
    height = (STEP + BESIDE * (len(styles) - 1)) * len(names)
    return panels.panel(rows, (rows.head(1), chance), bars, *points, height=height)
