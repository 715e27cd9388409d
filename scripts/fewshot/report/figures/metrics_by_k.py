"""Small multiples of what a method gives and takes, by shots: accuracy, loss, time, memory."""

from dataclasses import replace

import altair as alt
import pandas as pd

from ...analysis.cell_costs import cell_costs
from ...analysis.evidence import Evidence
from ...analysis.summary import at_level, summarise
from ...analysis.titles import arm_title, arms, model_order, ordered, set_title, titles
from . import missing, panels, select, theme

COLUMNS = [
    *("line", "arm", "size", "k", "mean", "low", "high", "majority"),
    *("seeds", "seeds_planned", "state"),
]
CELL = ["task", "model", "method", "pattern", "k"]
FEW = 4
"""Up to so many models, a panel is a model and a line a method; else the other way round."""
MOST_TASKS = 2
COSTS = {
    "seconds_total": (["Run time", "per seed (s)"], 1),
    "total_memory_mib": (["Peak memory", "(GB)"], 2**20 / 1e9),
}
"""Column of costs → the title of its row, and what its numbers are multiplied with."""


def metrics_panels(
    evidence: Evidence,
    catalog: dict,
    *,
    tasks: list[str] | None = None,
    pattern: str | None = None,
) -> panels.Chart:
    """Plot accuracy in and out of domain, loss, run time and peak memory by number of shots.

    Shown are the given `tasks`, or the study's first two. `pattern` restricts the methods; with
    more than five methods × patterns the study's first one does.
    """
    select.check_options(evidence.metrics, catalog, tasks=tasks, pattern=pattern)
    present = [name for name in catalog["tasks"] if name in set(evidence.metrics["task"])]
    present = present[:MOST_TASKS] if tasks is None else [n for n in present if n in tasks]
    rows = pd.concat([_scores(evidence, catalog), _prices(evidence, catalog)], ignore_index=True)
    rows = panels.fewer_arms(rows[rows["task"].isin(present)], catalog, pattern)
    if rows.empty:
        return panels.nothing()
    rows, styles = _roles(missing.with_state(rows), catalog)
    order = _order(rows, catalog)
    columns = panels.columns_for(len(order))
    groups = [
        (task, name, part)
        for task, of_task in ordered(rows, catalog, ["task"]).groupby("task", sort=False)
        for name, part in of_task.groupby("row", sort=False)
    ]
    size = {"width": panels.panel_width(columns)}
    lines = len(groups) * -(-len(order) // columns)
    size["height"] = max(32, min(76, panels.HEIGHT // lines - 16))
    ks = sorted(int(k) for k in rows["k"].unique())
    blocks = []
    for i, (task, name, part) in enumerate(groups):
        last, wrapped = i == len(groups) - 1, len(order) > columns
        block = []
        for title, place in zip(order, panels.grid_positions(len(order), columns), strict=True):
            place = replace(place, bottom=place.bottom and (last or wrapped))
            y = _y(task, name, part, place, catalog, size["height"])
            chart = _panel(part[part["panel"] == title], ks, place, y, styles)
            heading = panels.heading(title, size["width"])
            named = {"title": heading} if i == 0 or wrapped else {}
            block.append(chart.properties(**size, **named))
        blocks.append(block)
    return panels.footnote(panels.grid(blocks, columns), missing.hollow(rows))


def _scores(evidence: Evidence, catalog: dict) -> pd.DataFrame:
    """Return mean accuracy of each evaluation set (percent) and loss in domain, by `row`."""
    chosen = at_level(evidence.metrics)
    chosen = chosen[chosen["selection"] == catalog["main"]["selection"]]
    means = summarise(chosen)
    for name in ("mean", "low", "high", "majority"):
        means[name] = 100 * means[name].astype(float)
    loss = summarise(chosen[chosen["domain"] == "in"], value="mean_logprob")
    loss[["mean", "low", "high"]] = -loss[["mean", "high", "low"]]
    order = ["task", "domain", "evaluation_set", *CELL[1:]]
    frames = [
        ordered(means.assign(row=means["evaluation_set"]), catalog, order),
        ordered(loss.assign(row="loss", majority=float("nan")), catalog, order),
    ]
    frame = pd.concat([each for each in frames if len(each)] or frames[:1], ignore_index=True)
    return frame[frame["seeds"] > 0]


def _prices(evidence: Evidence, catalog: dict) -> pd.DataFrame:
    """Return run time and memory of each cell, by `row`; they have no interval."""
    costs = cell_costs(evidence, catalog)
    frames = [
        costs[[*CELL, "seeds", "seeds_planned"]].assign(row=name, mean=costs[name] * factor)
        for name, (_, factor) in COSTS.items()
        if len(costs)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=CELL)


def _roles(rows: pd.DataFrame, catalog: dict) -> tuple[pd.DataFrame, dict]:
    """Decide what is a panel and what is a line; return the rows with both, and the styles."""
    pairs = zip(rows["method"], rows["pattern"], strict=True)
    rows = rows.assign(
        arm=[arm_title(catalog, *pair) for pair in pairs],
        size=rows["model"].map(titles(catalog, "models")),
    )
    if rows["model"].nunique() <= FEW:
        rows = rows.assign(panel=rows["size"], line=rows["arm"])
        return rows, theme.arm_styles(catalog, rows)
    styles = theme.model_styles(catalog)
    present = {name: style for name, style in styles.items() if name in set(rows["size"])}
    return rows.assign(panel=rows["arm"], line=rows["size"]), present


def _order(rows: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the titles of the panels in order."""
    by_model = [titles(catalog, "models")[name] for name in model_order(catalog)]
    known = [*by_model, *arms(catalog, rows).values()]
    return [name for name in known if name in set(rows["panel"])]


def _y(
    task: str, name: str, part: pd.DataFrame, place: panels.GridPosition, catalog: dict, height: int
) -> dict:
    """Return title, scale and axis of a row's y channel; costs are on a logarithmic one."""
    if name in COSTS:
        titled = panels.upright(COSTS[name][0], height)
        return panels.channel(place, "y", titled, panels.span(part["mean"]))
    if name == "loss":
        titled = ["Loss", "in domain"]
        values = pd.concat([part["mean"], part["low"], part["high"]]).dropna()
        limits = panels.margin(float(values.min()), float(values.max() + 1e-6))
    else:
        inside = name == task
        titled = [f"{set_title(catalog, name)} (%)", "in domain" if inside else "out of domain"]
        limits = panels.domain(part["mean"], part["low"], part["high"], part["majority"])
    axis = panels.axis(place, "y", panels.upright(titled, height), tickCount=4)
    return {"scale": alt.Scale(domain=limits, nice=False), "axis": axis}


def _panel(
    rows: pd.DataFrame, ks: list[int], place: panels.GridPosition, y: dict, styles: dict
) -> alt.LayerChart:
    """Return one panel: a line per method (or model), with intervals where lines are few."""
    base, legend = alt.Chart(), theme.legend(styles)
    axis = panels.axis(place, "x", "Shots", labelAngle=0, labelOverlap=True, grid=False)
    x = alt.X("k:O", scale=alt.Scale(domain=ks, type="band", padding=0.2), axis=axis)
    shared = {"x": x, "color": theme.color("line", styles, legend)}
    few = len(styles) <= panels.MOST_ARMS
    if few:
        shared["xOffset"] = alt.XOffset(
            "line:N", scale=alt.Scale(domain=list(styles), paddingOuter=1)
        )
    value = alt.Y("mean:Q", **y)
    line = base.mark_line(strokeWidth=1).encode(
        **shared, y=value, strokeDash=theme.dash("line", styles, legend)
    )
    points = missing.mean_points(
        base,
        18,
        **shared,
        y=value,
        shape=theme.shape("line", styles, legend),
        tooltip=[
            alt.Tooltip("size:N", title="model"),
            alt.Tooltip("arm:N", title="method"),
            alt.Tooltip("k:O", title="shots"),
            alt.Tooltip("mean:Q", title="mean", format=".4g"),
            alt.Tooltip("low:Q", title="interval from", format=".4g"),
            alt.Tooltip("high:Q", title="to", format=".4g"),
            alt.Tooltip("seeds:Q", title="seeds"),
            alt.Tooltip("seeds_planned:Q", title="of planned seeds"),
        ],
    )
    layers = [line, *points]
    if few and rows["low"].notna().any():
        bars = base.mark_rule(strokeWidth=0.8).encode(**shared, y=alt.Y("low:Q", **y), y2="high:Q")
        layers.insert(1, bars)
    if rows["majority"].notna().any():
        rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
        layers.insert(0, rule.encode(y=alt.Y("min(majority):Q", **y)))
    return alt.layer(*layers, data=panels.inline_data(rows, COLUMNS))
