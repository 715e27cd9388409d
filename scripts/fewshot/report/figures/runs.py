"""Single runs, size by size: accuracy in domain against that out of domain."""

import altair as alt
import pandas as pd

from ...analysis.catalog import set_title
from ...analysis.evidence import Evidence
from . import absence, panels, scope, theme
from .scatter import runs_of
from .sizes import family_order, sizes_of, whole_title, with_sizes

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
    k, selection = scope.main_k(catalog, k), scope.main_selection(catalog, selection)
    chosen = scope.choose(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    chosen = chosen if arms else panels.fewer_arms(chosen, catalog, pattern)
    runs = runs_of(chosen, catalog)
    if runs.empty:
        return panels.nothing()
    styles = theme.arm_styles(catalog, runs)
    return panels.footnote(_scattered(runs, catalog, styles), absence.lacking(chosen, catalog))


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
    place = panels.Place(left=left, bottom=True, top=True)
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
    return alt.layer(*lines, points, data=panels.data(rows, RUN))
