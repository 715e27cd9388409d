"""The figure of accuracy against what one, a thousand and a million predictions cost in money."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.cell_costs import ORDER, accuracies, cell_costs
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.money import MILLION, OFFERED, bought, currency
from ...analysis.titles import ordered
from .. import select
from . import axes, missing, panels, theme

COUNTS = {1: "1 prediction", 1000: "1,000 predictions", MILLION: "1,000,000 predictions"}
TIPS = (
    "size:N model; arm:N method; way:N bought; cost:Q cost |.3g; mean:Q accuracy (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
)


def money(
    evidence: Evidence, catalog: dict, *, prices: dict | None = None, k: int | None = None,
    pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy against the price of training and 1, 1,000 and 1,000,000 predictions.

    Shown are the largest models of each family, with k shots (the study's main number if left out),
    and each way to buy their predictions by one of `prices`. `pattern` restricts the methods; with
    more than five methods × patterns the first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    k, prices = select.main_k(catalog, k), prices or {}
    cells = _cells(evidence, catalog, k, pattern, prices)
    if cells.empty:
        return panels.nothing("No costs that a price fits yet.")
    catalog, single = select.singled(cells, catalog)
    cells = select.named(cells, catalog)
    limits = axes.domain(cells["mean"], cells["low"], cells["high"])
    looks = theme.arm_styles(catalog, cells), theme.shaped(dict.fromkeys(cells["way"]))
    groups = list(cells.groupby(["model", "task", "domain", "evaluation_set"], sort=False))
    width = panels.panel_width(len(COUNTS))
    height = min(width, max(50, panels.HEIGHT // len(groups) - 12))
    spans = {n: axes.span(cells["once"] + n * cells["each"]) for n in COUNTS}
    several = cells["model"].nunique() > 1

    def cell(rows, title, count, place) -> dict:
        y = axes.linear(place, "y", title, limits, tickCount=4)
        rows = rows.assign(cost=rows["once"] + count * rows["each"])
        x = axes.logarithmic(place, "x", f"Cost ({currency(prices)})", spans[count])
        return _panel(rows, x, y, *looks)

    draws = []
    for (_, task, domain, name), rows in groups:
        title = select.set_heading(catalog, task, name, domain)
        title = [rows["size"].iloc[0], *title] if several else title
        draws.append(panels.Row(COUNTS, partial(cell, rows, title), height))
    blocks = panels.stack(draws, len(COUNTS), width)
    return panels.footnote(panels.grid(blocks, len(COUNTS)), missing.hollow(cells), single)


def _cells(
    evidence: Evidence, catalog: dict, k: int, pattern: str | None, prices: dict
) -> pd.DataFrame:
    """Return a row per cell, way to buy its predictions and evaluation set, accuracy in percent."""
    costs = select.fewer_arms(cell_costs(evidence, catalog, [k]), catalog, pattern)
    costs = costs[costs["model"].isin(select.largest_by_family(costs, catalog))]
    sold = bought(costs, catalog, prices)
    means = missing.with_state(accuracies(evidence, catalog, [k]))
    if sold.empty or means.empty:
        return pd.DataFrame()
    sold["way"] = [
        " · ".join(filter(None, pair)) for pair in zip(sold["price"], sold["reading"], strict=True)
    ]
    cells = sold[[*CELL, *OFFERED, "way"]].merge(means[means["seeds"] > 0], on=CELL)
    cells = ordered(cells, catalog, ["task", "domain", "evaluation_set", *ORDER[1:]])
    return select.in_percent(cells, ("mean", "low", "high"))


def _panel(rows: pd.DataFrame, x: dict, y: dict, arms: dict, ways: dict) -> dict:
    """Return one panel: methods are told apart by colour, ways to buy them by shape."""
    base, above = alt.Chart(), theme.legend(ways)
    above.orient = "top"  # Side by side below, two legends would be wider than the page.
    color = theme.color("arm", arms, theme.legend(arms))
    across = alt.X("cost:Q", **x)
    bars = base.mark_rule(strokeWidth=0.6, opacity=0.6)
    bars = bars.encode(x=across, y=alt.Y("low:Q", **y), y2="high:Q", color=color)
    points = missing.mean_points(
        base, 30, x=across, y=alt.Y("mean:Q", **y), color=color,
        shape=theme.shape("way", ways, above), tooltip=panels.tooltips(TIPS),
    )  # fmt: skip
    return panels.panel(rows, bars, *points)
