"""The figure of accuracy against what it costs, by several measures, with the Pareto front."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.cell_costs import ORDER, accuracies, cell_costs, efficient, totals
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.titles import ordered
from .. import select
from . import axes, missing, panels, theme

TIPS = (
    "size:N model; arm:N method; k:Q shots; cost:Q {} |.3g; mean:Q accuracy (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
)
MEASURES = {
    "flops_uncached": (["FLOPs,", "whole prompts"], 1),
    "flops_cached": (["FLOPs,", "context cached"], 1),
    "device_seconds": (["Time on", "device (s)"], 1),
    "memory": (["Memory", "(GB)"], 2**20 / 1e9),
    "disk": (["Disk", "(kB)"], 1e-3),
}
"""Measure → the axis title and what its numbers are multiplied with."""
PREDICTIONS = 1000
FEW = 15
"""Up to so many points, each shows its interval."""


def cost_accuracy(
    evidence: Evidence, catalog: dict, *, predictions: int = PREDICTIONS, k: int | None = None,
    pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy against the cost of training and `predictions` rows, a panel per measure.

    Points are cells with k shots (the study's main number if left out); a step line joins those
    that no other cell beats. `pattern` restricts them; with more than five methods × patterns the
    first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern, predictions=predictions)
    k = select.main_k(catalog, k)
    cells = _cells(evidence, catalog, predictions, k, pattern)
    if cells.empty:
        return panels.nothing("No costs yet.")
    catalog, single = select.singled(cells, catalog)
    cells = select.named(cells, catalog)
    limits = axes.domain(cells["mean"], cells["low"], cells["high"])
    models = theme.model_styles(catalog, set(cells["size"]))
    looks = models, theme.arm_styles(catalog, cells)
    groups = list(cells.groupby(["task", "domain", "evaluation_set"], sort=False))
    shown = {name: "" for name in MEASURES if (cells[name] > 0).any()}
    width = panels.panel_width(len(shown))
    height = min(width, max(50, panels.HEIGHT // len(groups) - 12))

    def cell(rows, title, measure, place) -> dict:
        y = axes.linear(place, "y", title, limits, tickCount=4)
        span, rows = axes.span(cells[measure]), rows.assign(cost=rows[measure])
        return _panel(rows, measure, span, place, y, *looks)

    draws = []
    for (task, domain, name), rows in groups:
        title = select.set_heading(catalog, task, name, domain)
        draws.append(panels.Row(shown, partial(cell, rows, title), height))
    blocks = panels.stack(draws, len(shown), width)
    return panels.footnote(panels.grid(blocks, len(shown)), missing.hollow(cells), single)


def _cells(
    evidence: Evidence, catalog: dict, predictions: int, k: int, pattern: str | None
) -> pd.DataFrame:
    """Return a row per cell and evaluation set: cost by each measure, accuracy in percent."""
    costs = select.fewer_arms(cell_costs(evidence, catalog, [k]), catalog, pattern)
    means = accuracies(evidence, catalog, [k])
    means = missing.with_state(means[means["seeds"] > 0])
    if costs.empty or means.empty:
        return pd.DataFrame()
    for name, values in totals(costs, predictions).items():
        costs[name] = values * MEASURES[name][1]
    cells = costs[[*CELL, *MEASURES]].merge(means, on=CELL)
    cells = ordered(cells, catalog, ["task", "domain", "evaluation_set", *ORDER[1:]])
    return select.in_percent(cells, ("mean", "low", "high"))


def _panel(
    rows: pd.DataFrame, measure: str, span: list[float], place: axes.GridPosition, y: dict,
    models: dict, arms: dict,
) -> dict:  # fmt: skip
    """Return one panel: the front below, points above; no cost is drawn at the left edge.

    Models are told apart by colour, arms by shape.
    """
    rows = rows[rows["cost"].notna()]
    rows = rows.assign(front=efficient(rows["cost"], rows["mean"]), cost=rows["cost"].clip(span[0]))
    front = rows[rows["front"]].sort_values("cost")
    # The best accuracy costs no more at any higher price.
    end = front.iloc[-1:].assign(cost=span[1])
    titled = MEASURES[measure][0]
    x = alt.X("cost:Q", **axes.logarithmic(place, "x", titled, span))
    base, above, mean = alt.Chart(), theme.legend(arms), alt.Y("mean:Q", **y)
    above.orient = "top"  # Side by side below, two legends would be wider than the page.
    color = theme.color("size", models, theme.legend(models))
    step = base.mark_line(
        interpolate="step-after", strokeWidth=0.9, color=theme.GREY, strokeDash=[3, 2]
    )
    bars = base.mark_rule(strokeWidth=0.6, opacity=0.6)
    bars = bars.encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", color=color)
    shape, tips = theme.shape("arm", arms, above), panels.tooltips(TIPS.format(" ".join(titled)))
    points = missing.mean_points(base, 26, x=x, y=mean, color=color, shape=shape, tooltip=tips)
    line = pd.concat([front, end]), step.encode(x=x, y=mean)
    return panels.panel(rows, line, *([bars] if len(rows) <= FEW else []), *points)
