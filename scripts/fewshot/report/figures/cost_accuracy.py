"""The figure of accuracy against what it costs, by several measures, with the Pareto front."""

from dataclasses import dataclass

import altair as alt
import pandas as pd

from ...analysis.cell_costs import ORDER, accuracies, cell_costs, efficient, totals
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.titles import arm_title, ordered, set_title, titles
from . import missing, panels, select, theme

COLUMNS = [
    *("size", "arm", "k", "cost", "mean", "low", "high", "front"),
    *("seeds", "seeds_planned", "state"),
]
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
    evidence: Evidence,
    catalog: dict,
    *,
    predictions: int = PREDICTIONS,
    k: int | None = None,
    pattern: str | None = None,
) -> panels.Chart:
    """Plot accuracy against the cost of training and `predictions` rows, a panel per measure.

    Points are cells with k shots (the study's main number if left out); a step line joins those
    that no other cell beats. `pattern` restricts them; with more than five methods × patterns the
    study's first one does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern, predictions=predictions)
    k = select.main_k(catalog, k)
    cells = _cells(evidence, catalog, predictions, k, pattern)
    if cells.empty:
        return panels.nothing("No costs yet.")
    looks = Looks(*_styles(cells, catalog))
    groups = list(cells.groupby(["task", "domain", "evaluation_set"], sort=False))
    shown = [name for name in MEASURES if (cells[name] > 0).any()]
    width = panels.panel_width(len(shown))
    height = min(width, max(50, panels.HEIGHT // len(groups) - 12))
    spans = {name: panels.span(cells[name]) for name in shown}
    blocks = []
    for i, ((task, domain, name), rows) in enumerate(groups):
        title = [f"{set_title(catalog, task)} (%)", "in domain"]
        if domain == "out":
            title = [f"{set_title(catalog, task)} →", f"{set_title(catalog, name)} (%)"]
        limits = panels.domain(rows["mean"], rows["low"], rows["high"])
        block = []
        for j, measure in enumerate(shown):
            place = panels.GridPosition(j == 0, i == len(groups) - 1, i == 0)
            y_axis = panels.axis(place, "y", title, tickCount=4)
            y = {"scale": alt.Scale(domain=limits, nice=False), "axis": y_axis}
            chart = _panel(
                rows.assign(cost=rows[measure]), measure, spans[measure], place, y, looks
            )
            block.append(chart.properties(width=width, height=height))
        blocks.append(block)
    return panels.footnote(panels.grid(blocks, len(shown)), missing.hollow(cells))


@dataclass(frozen=True)
class Looks:
    """Styles of models (colours) and of arms (shapes), by title."""

    models: dict
    arms: dict


def _styles(cells: pd.DataFrame, catalog: dict) -> tuple[dict, dict]:
    models = {
        name: style
        for name, style in theme.model_styles(catalog).items()
        if name in set(cells["size"])
    }
    return models, theme.arm_styles(catalog, cells)


def _cells(
    evidence: Evidence, catalog: dict, predictions: int, k: int, pattern: str | None
) -> pd.DataFrame:
    """Return a row per cell and evaluation set: cost by each measure, accuracy in percent."""
    costs = panels.fewer_arms(cell_costs(evidence, catalog, [k]), catalog, pattern)
    means = accuracies(evidence, catalog, [k])
    means = missing.with_state(means[means["seeds"] > 0])
    if costs.empty or means.empty:
        return pd.DataFrame()
    for name, values in totals(costs, predictions).items():
        costs[name] = values * MEASURES[name][1]
    cells = costs[[*CELL, *MEASURES]].merge(means, on=CELL)
    cells = ordered(cells, catalog, ["task", "domain", "evaluation_set", *ORDER[1:]])
    for name in ("mean", "low", "high"):
        cells[name] = 100 * cells[name].astype(float)
    pairs = zip(cells["method"], cells["pattern"], strict=True)
    return cells.assign(
        arm=[arm_title(catalog, *pair) for pair in pairs],
        size=cells["model"].map(titles(catalog, "models")),
    )


def _panel(
    rows: pd.DataFrame,
    measure: str,
    span: list[float],
    place: panels.GridPosition,
    y: dict,
    looks: Looks,
) -> alt.LayerChart:
    """Return one panel: the front below, points above; no cost is drawn at the left edge."""
    rows = rows[rows["cost"].notna()]
    rows = rows.assign(front=efficient(rows["cost"], rows["mean"]), cost=rows["cost"].clip(span[0]))
    front = rows[rows["front"]].sort_values("cost")
    # The best accuracy costs no more at any higher price.
    end = front.iloc[-1:].assign(cost=span[1])
    titled = MEASURES[measure][0]
    x = alt.X("cost:Q", **panels.channel(place, "x", titled, span))
    base, above = alt.Chart(), theme.legend(looks.arms)
    above.orient = "top"  # Side by side below, two legends would be wider than the page.
    color = theme.color("size", looks.models, theme.legend(looks.models))
    step = alt.Chart(panels.inline_data(pd.concat([front, end]), ["cost", "mean"])).mark_line(
        interpolate="step-after", strokeWidth=0.9, color=theme.GREY, strokeDash=[3, 2]
    )
    points = missing.mean_points(
        base,
        26,
        x=x,
        y=alt.Y("mean:Q", **y),
        color=color,
        shape=theme.shape("arm", looks.arms, above),
        tooltip=[
            alt.Tooltip("size:N", title="model"),
            alt.Tooltip("arm:N", title="method"),
            alt.Tooltip("k:Q", title="shots"),
            alt.Tooltip("cost:Q", title=" ".join(titled), format=".3g"),
            alt.Tooltip("mean:Q", title="accuracy (%)", format=".1f"),
            alt.Tooltip("low:Q", title="interval from", format=".1f"),
            alt.Tooltip("high:Q", title="to", format=".1f"),
            alt.Tooltip("seeds:Q", title="seeds"),
            alt.Tooltip("seeds_planned:Q", title="of planned seeds"),
        ],
    )
    layers = [step.encode(x=x, y=alt.Y("mean:Q", **y)), *points]
    if len(rows) <= FEW:
        bars = base.mark_rule(strokeWidth=0.6, opacity=0.6).encode(
            x=x,
            y=alt.Y("low:Q", **y),
            y2="high:Q",
            color=color,
        )
        layers.insert(1, bars)
    return alt.layer(*layers, data=panels.inline_data(rows, COLUMNS))
