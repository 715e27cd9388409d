"""Each run's accuracy in domain against that out of domain: the main figure, and size by size."""

from dataclasses import dataclass

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, arms, ordered, set_title, titles
from ...errors import unknown
from . import missing, panels, select, theme
from .missing import lacking
from .select import family_order, sizes_of, whole_title, with_sizes

COLUMNS = ["model", "panel", "seed", "x", "y", "majority_x", "majority_y", "n_x", "n_y"]
KEYS = ["task", "model", "method", "pattern", "seed"]


METRICS = {"accuracy": ("accuracy", "%"), "mcc": ("Matthews correlation", "× 100")}
"""What can be plotted, its name and its unit."""


def id_ood_scatter(
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
    metric: str = "accuracy",
) -> panels.Chart:
    """Plot a point per run, a panel per method and task; dashed lines are majority baselines.

    Shows one pattern (`pattern`, or the study's first) where there are more than five arms, unless
    `arms` picks some. With `metric: mcc`, both axes are Matthews correlations.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, f"{select.WHERE}.metric")
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    chosen = chosen if arms else panels.fewer_arms(chosen, catalog, pattern)
    runs = runs_of(chosen, catalog, metric)
    if runs.empty:
        return panels.nothing()
    styles = theme.model_styles(catalog)
    styles = {name: styles[name] for name in styles if name in set(runs["model"])}
    drawn = _draw(runs, catalog, styles, *METRICS[metric])
    return panels.footnote(drawn, lacking(chosen, catalog))


def _draw(runs: pd.DataFrame, catalog: dict, styles: dict, measure: str, unit: str) -> panels.Grid:
    groups = list(runs.groupby(["task", "evaluation_set"], sort=False))
    columns = panels.columns_for(runs["panel"].nunique())
    blocks, count = [], len(groups) * -(-runs["panel"].nunique() // columns)
    low = 0 if measure == "accuracy" else -100
    for (task, name), rows in groups:
        frame = Frame(
            [f"In-domain {measure}", f"on {set_title(catalog, task)} ({unit})"],
            [f"{measure.capitalize()} on", f"{set_title(catalog, name)} ({unit})"],
            panels.domain(rows["x"], rows["majority_x"], low=low),
            panels.domain(rows["y"], rows["majority_y"], low=low),
            panels.panel_width(columns),
            min(panels.panel_width(columns), max(50, panels.HEIGHT // count - 32)),
        )
        order = list(arms(catalog, rows).values())
        places = panels.grid_positions(len(order), columns)
        blocks.append(
            [
                _panel(rows[rows["panel"] == title], title, place, frame, styles)
                for title, place in zip(order, places, strict=True)
            ]
        )
    return panels.grid(blocks, columns)


@dataclass(frozen=True)
class Frame:
    """What the panels of one block share: axis titles, ranges (percent) and size."""

    x_title: list[str]
    y_title: list[str]
    x_range: list[float]
    y_range: list[float]
    width: int
    height: int


def runs_of(chosen: pd.DataFrame, catalog: dict, metric: str = "accuracy") -> pd.DataFrame:
    """Return one row per run and out-of-domain set: x and y in percent, titles for display.

    The baseline of a Matthews correlation is that of any constant answer, nothing.
    """
    chosen = chosen[chosen["status"] == "ok"]
    chosen = chosen.assign(value=chosen[metric])
    if metric != "accuracy":
        chosen = chosen.assign(majority=0.0)
    columns = [*KEYS, "value", "majority", "n"]
    inside = chosen[chosen["domain"] == "in"][columns]
    runs = chosen[chosen["domain"] == "out"].merge(inside, on=KEYS, suffixes=("_y", "_x"))
    if runs.empty:
        return runs
    runs = ordered(runs, catalog, ["task", "evaluation_set", "model", "method", "pattern", "seed"])
    shares = runs[["value_x", "value_y", "majority_x", "majority_y"]].astype(float) * 100
    shares.columns = ["x", "y", "majority_x", "majority_y"]
    pairs = zip(runs["method"], runs["pattern"], strict=True)
    panel = [arm_title(catalog, *pair) for pair in pairs]
    model = runs["model"].map(titles(catalog, "models"))
    keys = runs[["task", "evaluation_set", "method", "pattern", "seed", "n_x", "n_y"]]
    names = {"panel": panel, "model": model, "name": runs["model"]}
    return pd.concat([keys, shares], axis=1).assign(**names)


def _panel(
    rows: pd.DataFrame, title: str, place: panels.GridPosition, frame: Frame, styles: dict
) -> alt.LayerChart:
    """Return one panel: baselines below, points above."""
    x_axis = panels.axis(place, "x", frame.x_title, tickCount=5)
    y_axis = panels.axis(place, "y", frame.y_title, tickCount=5)
    x = {"scale": alt.Scale(domain=frame.x_range, nice=False), "axis": x_axis}
    y = {"scale": alt.Scale(domain=frame.y_range, nice=False), "axis": y_axis}
    base = alt.Chart()
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    legend = theme.legend(styles)
    points = base.mark_point(filled=True, size=26, opacity=0.85, stroke="white", strokeWidth=0.3)
    points = points.encode(
        x=alt.X("x:Q", **x),
        y=alt.Y("y:Q", **y),
        color=theme.color("model", styles, legend),
        shape=theme.shape("model", styles, legend),
        tooltip=[
            alt.Tooltip("model:N", title="model"),
            alt.Tooltip("panel:N", title="method"),
            alt.Tooltip("seed:Q", title="seed"),
            alt.Tooltip("x:Q", title="in domain", format=".1f"),
            alt.Tooltip("n_x:Q", title="rows in domain"),
            alt.Tooltip("y:Q", title="out of domain", format=".1f"),
            alt.Tooltip("n_y:Q", title="rows out of domain"),
        ],
    )
    baselines = (
        rule.encode(x=alt.X("min(majority_x):Q", **x)),
        rule.encode(y=alt.Y("min(majority_y):Q", **y)),
    )
    heading = panels.heading(title, frame.width)
    size = {"width": frame.width, "height": frame.height, "title": heading}
    return alt.layer(*baselines, points, data=panels.inline_data(rows, COLUMNS)).properties(**size)


RUN = ["name", "panel", "seed", "x", "y", "majority_x", "majority_y", "n_x", "n_y", "model"]
ROOM = 560


def individual_runs(
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
    """Plot a point per run, a column per size and a row per task; colours are methods.

    Dashed lines are majority baselines. `arms` and `pattern` are as in `id_ood_scatter`.
    """
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    chosen = chosen if arms else panels.fewer_arms(chosen, catalog, pattern)
    runs = runs_of(chosen, catalog)
    if runs.empty:
        return panels.nothing()
    styles = theme.arm_styles(catalog, runs)
    return panels.footnote(_scattered(runs, catalog, styles), missing.lacking(chosen, catalog))


def _scattered(runs: pd.DataFrame, catalog: dict, styles: dict) -> panels.Grid:
    """Return blocks by family, in each a row of sizes for every task and evaluation set."""
    sized = with_sizes(runs.assign(title=runs["model"], model=runs["name"]), catalog)
    pairs = list(dict.fromkeys(zip(runs["task"], runs["evaluation_set"], strict=True)))
    found = family_order(sized, catalog)
    most = max(len(sizes_of(sized, catalog, name)) for name in found)
    width = panels.panel_width(most)
    height = max(44, min(width, ROOM // (len(pairs) * len(found)) - 30))
    blocks = []
    for name in found:
        for task, evaluation_set in pairs:
            at = (sized["task"] == task) & (sized["evaluation_set"] == evaluation_set)
            ranges = {
                axis: panels.domain(sized.loc[at, axis], sized.loc[at, f"majority_{axis}"])
                for axis in "xy"
            }
            sizes = sizes_of(sized, catalog, name)
            names = [set_title(catalog, each) for each in (task, evaluation_set)]
            block = []
            for i, size in enumerate(sizes):
                rows = sized[at & (sized["family"] == name) & (sized["size"] == size)]
                chart = _runs_panel(rows, styles, ranges, names, i == 0)
                heading = panels.heading(whole_title(sized, name, size), width)
                block.append(chart.properties(width=width, height=height, title=heading))
            blocks.append(block)
    return panels.grid(blocks, most)


def _runs_panel(
    rows: pd.DataFrame, styles: dict, ranges: dict, names: list[str], left: bool
) -> alt.LayerChart:
    """Return the runs of one size on one task; `names` are the sets in and out of domain."""
    place = panels.GridPosition(left=left, bottom=True, top=True)
    x_axis = panels.axis(place, "x", f"{names[0]} (%)", tickCount=3)
    y_axis = panels.axis(place, "y", f"{names[1]} (%)", tickCount=3)
    x = {"scale": alt.Scale(domain=ranges["x"], nice=False), "axis": x_axis}
    y = {"scale": alt.Scale(domain=ranges["y"], nice=False), "axis": y_axis}
    base, legend = alt.Chart(), theme.legend(styles)
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    points = base.mark_point(filled=True, size=15, opacity=0.8, stroke="white", strokeWidth=0.3)
    points = points.encode(
        x=alt.X("x:Q", **x),
        y=alt.Y("y:Q", **y),
        color=theme.color("panel", styles, legend),
        shape=theme.shape("panel", styles, legend),
        tooltip=[
            alt.Tooltip("name:N", title="model"),
            alt.Tooltip("panel:N", title="method"),
            alt.Tooltip("seed:Q", title="seed"),
            alt.Tooltip("x:Q", title="in domain (%)", format=".1f"),
            alt.Tooltip("n_x:Q", title="rows in domain"),
            alt.Tooltip("y:Q", title="out of domain (%)", format=".1f"),
            alt.Tooltip("n_y:Q", title="rows out of domain"),
        ],
    )
    lines = [
        rule.encode(x=alt.X("min(majority_x):Q", **x)),
        rule.encode(y=alt.Y("min(majority_y):Q", **y)),
    ]
    return alt.layer(*lines, points, data=panels.inline_data(rows, RUN))
