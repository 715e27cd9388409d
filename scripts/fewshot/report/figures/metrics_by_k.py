"""Small multiples of what a method gives and takes, by shots: accuracy, loss, time, memory."""

from functools import partial

import pandas as pd

from ...analysis.cell_costs import cell_costs
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, summarise
from ...analysis.titles import ordered, set_title
from .. import select
from . import axes, missing, panels

TIPS = (
    "size:N model; arm:N method; k:O shots; mean:Q mean |.4g"
    + panels.interval_tips(".4g")
    + panels.SEEDS
)
MOST_TASKS = 2
BELOW = 60
"""Points that headings and the x axis of a task take, where tasks have panels of their own."""
COSTS = {
    "seconds_total": (["Run time", "per seed (s)"], 1),
    "total_memory_mib": (["Peak memory", "(GB)"], 2**20 / 1e9),
}
"""Column of costs → the title of its row, and what its numbers are multiplied with."""

OTHERS = ("loss", *COSTS)
"""Rows that show no accuracy."""


def metrics_panels(
    evidence: Evidence,
    catalog: dict,
    *,
    tasks: list[str] | None = None,
    pattern: str | None = None,
) -> dict:
    """Plot accuracy in and out of domain, loss, run time and peak memory by number of shots.

    Shown are the given `tasks`, or the study's first two. `pattern` restricts the methods; with
    more than five methods × patterns the first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, tasks=tasks, pattern=pattern)
    present = [name for name in catalog["tasks"] if name in set(evidence.metrics["task"])]
    present = present[:MOST_TASKS] if tasks is None else [n for n in present if n in tasks]
    rows = pd.concat([_scores(evidence, catalog), _prices(evidence, catalog)], ignore_index=True)
    rows = select.fewer_arms(rows[rows["task"].isin(present)], catalog, pattern)
    if rows.empty:
        return panels.nothing()
    catalog, single = select.singled(rows, catalog)
    rows, order, styles = panels.roles(select.named(missing.with_state(rows), catalog), catalog)
    names = panels.names_by_task(rows, order)
    columns = panels.columns_for(max(map(len, names.values())))
    groups = [
        (task, name, part)
        for task, of_task in ordered(rows, catalog, ["task"]).groupby("task", sort=False)
        for name, part in of_task.groupby("row", sort=False)
    ]
    lines = sum(-(-len(names[task]) // columns) for task, _, _ in groups)
    room = panels.HEIGHT - BELOW * (len({tuple(each) for each in names.values()}) - 1)
    width, height = panels.panel_width(columns), max(32, min(76, room // lines - 16))
    ks = sorted(int(k) for k in rows["k"].unique())

    def cell(task, name, part, title, place) -> dict:
        same = rows["row"] == name if name in OTHERS else ~rows["row"].isin(OTHERS)
        y = _y(task, name, rows[same], place, catalog, height)
        shown = part[part["panel"] == title]
        bars = len(styles) <= select.MOST_ARMS and shown["low"].notna().any()
        return panels.by_shots(shown, ks, place, y, styles, TIPS, stroke=1, size=18, bars=bars)

    shown = [panels.Row(names[group[0]], partial(cell, *group), height) for group in groups]
    blocks = panels.stack(shown, columns, width)
    return panels.footnote(panels.grid(blocks, columns), missing.hollow(rows), single)


def _scores(evidence: Evidence, catalog: dict) -> pd.DataFrame:
    """Return mean accuracy of each evaluation set (percent) and loss in domain, by `row`."""
    chosen = at_level(evidence.metrics)
    chosen = chosen[chosen["selection"] == catalog["main"]["selection"]]
    means = select.in_percent(summarise(chosen))
    loss = summarise(chosen[chosen["domain"] == "in"], value="mean_logprob")
    loss[["mean", "low", "high"]] = -loss[["mean", "high", "low"]]
    order = ["task", "domain", "evaluation_set", *CELL[1:]]
    frames = [
        ordered(means.assign(row=means["evaluation_set"]), catalog, order),
        ordered(loss.assign(row="loss", majority=float("nan")), catalog, order),
    ]
    frame = pd.concat([part for part in frames if len(part)] or frames[:1], ignore_index=True)
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


def _y(
    task: str, name: str, part: pd.DataFrame, place: axes.GridPosition, catalog: dict, height: int
) -> dict:
    """Return title, scale and axis of a row's y channel; costs are on a logarithmic one."""
    if name in COSTS:
        titled = panels.along(COSTS[name][0], height)
        return axes.logarithmic(place, "y", titled, axes.span(part["mean"]))
    if name == "loss":
        titled = ["Loss", "in domain"]
        values = pd.concat([part["mean"], part["low"], part["high"]]).dropna()
        limits = axes.margin(float(values.min()), float(values.max() + 1e-6))
    else:
        inside = name == task
        titled = [f"{set_title(catalog, name)} (%)", "in domain" if inside else "out of domain"]
        limits = axes.domain(part["mean"], part["low"], part["high"], part["majority"])
    return axes.linear(place, "y", panels.along(titled, height), limits, tickCount=4)
