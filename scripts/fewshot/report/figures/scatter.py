"""Each run's accuracy in domain against that out of domain: the main figure, and size by size."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import arms, is_trained, ordered, set_title, titles
from ...errors import unknown
from .. import select
from ..select import with_sizes
from . import axes, missing, panels, theme

TIPS = (
    "{}:N model; panel:N method; seed:Q seed; x:Q in domain{unit} |.1f; n_x:Q rows in domain; "
    "y:Q out of domain{unit} |.1f; n_y:Q rows out of domain"
)
KEYS = ["task", "model", "method", "pattern", "seed"]
ROOM = 600
"""Points that a figure may take above its legend."""
COLUMNS, MOST_PANELS = 3, 9
"""Panels beside each other, and in all: more would be too small to read points off."""
HEADING, BELOW = 18, 44
"""Points that the heading of a row of panels takes, and the x axis of a task with its title."""
METRICS = {
    "accuracy": ("accuracy", "%"),
    "mcc": ("Matthews correlation", "× 100"),
    "roc_area": ("ROC area", "%"),
    "accuracy_batch": ("batch-calibrated accuracy", "%"),
    "accuracy_contextual": ("contextually calibrated accuracy", "%"),
    "accuracy_pmi": ("accuracy by mutual information", "%"),
    "accuracy_bias": ("accuracy with a bias fitted to the shots", "%"),
    "accuracy_affine": ("accuracy with an affine map fitted to the shots", "%"),
}
"""What can be plotted, its name and its unit."""
CHANCE = {"mcc": 0.0, "roc_area": 0.5}
"""What any constant answer scores, where that is not the majority's share."""


def id_ood_scatter(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
    metric: str = "accuracy",
) -> dict:  # fmt: skip
    """Plot a point per run, a panel per method and task; dashed lines are majority baselines.

    Shows one pattern (`pattern`, or the task's first) where a task has more than five arms, unless
    `arms` picks some; and where that is more than MOST_PANELS, the first method in context and the
    first fine-tuned one, and says so. Both axes are of the same `metric`, one of METRICS.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, f"{select.WHERE}.metric")
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family,
        k=select.main_k(catalog, k), selection=selection, arms=arms,
    )  # fmt: skip
    runs = runs_of(chosen, catalog, metric)
    if runs.empty:
        return panels.nothing()
    many = len(runs.drop_duplicates(["task", "evaluation_set", "method", "pattern"])) > MOST_PANELS
    lines = []
    if many and not arms:
        kept, lines = _main_methods(runs, catalog)
        chosen = chosen[chosen["method"].isin(kept)]
    catalog, single = select.singled(chosen, catalog)
    runs = runs_of(chosen, catalog, metric)
    styles = theme.model_styles(catalog, set(runs["model"]))
    chart = _by_task(runs, catalog, styles, *METRICS[metric])
    return panels.footnote(chart, [*lines, *missing.lacking(chosen, catalog)], single)


def _main_methods(runs: pd.DataFrame, catalog: dict) -> tuple[list[str], list[str]]:
    """Return the first method in context and the first fine-tuned one, and a line that names what
    is not shown."""
    present = [name for name in catalog["methods"] if name in set(runs["method"])]
    kept = [next((n for n in present if is_trained(catalog, n) == flag), None) for flag in (0, 1)]
    kept = [name for name in kept if name]
    others = [titles(catalog, "methods")[name] for name in present if name not in kept]
    return kept, [f"Not shown: {missing.first_of(others, 8)}."] if others else []


def _by_task(runs: pd.DataFrame, catalog: dict, styles: dict, measure: str, unit: str) -> dict:
    """Return a block for each task and evaluation set, a panel per method."""
    groups = list(runs.groupby(["task", "evaluation_set"], sort=False))
    counts = [rows["panel"].nunique() for _, rows in groups]
    columns = 2 if max(counts) == 4 else min(max(counts), COLUMNS)
    lines, blocks = sum(-(-count // columns) for count in counts), []
    width = panels.panel_width(columns)
    room = ROOM - HEADING * lines - BELOW * len(groups)
    height = min(width, max(50, room // lines))
    tips = TIPS.format("model", unit="")
    look = {"field": "model", "ticks": 5, "size": 26, "opacity": 0.85, "tips": tips}

    def cell(rows, sides, title, place) -> dict:
        return _panel(rows[rows["panel"] == title], place, sides, styles, **look)

    for (task, name), rows in groups:
        named = {
            "x": panels.along(
                [f"In-domain {measure}", f"on {set_title(catalog, task)} ({unit})"], width
            ),
            "y": [f"{measure[0].upper()}{measure[1:]} on", f"{set_title(catalog, name)} ({unit})"],
        }
        sides = _sides(runs, named, low=0 if unit == "%" else -100)
        order = list(arms(catalog, rows).values())
        blocks.append(panels.block(order, columns, partial(cell, rows, sides), width, height))
    return panels.grid(blocks, columns)


def _sides(rows: pd.DataFrame, named: dict, low: float = 0) -> dict[str, tuple]:
    """Return the title and range (percent) of both axes of the panels, which show `rows`."""
    return {
        side: (title, axes.domain(rows[side], rows[f"majority_{side}"], low=low, step=5))
        for side, title in named.items()
    }


def runs_of(chosen: pd.DataFrame, catalog: dict, metric: str = "accuracy") -> pd.DataFrame:
    """Return one row per run and out-of-domain set: x and y in percent, titles for display.

    The baseline is what a constant answer scores.
    """
    chosen = chosen[(chosen["status"] == "ok") & chosen[metric].notna()]
    chosen = chosen.assign(value=chosen[metric])
    if metric in CHANCE:
        chosen = chosen.assign(majority=CHANCE[metric])
    columns = [*KEYS, "value", "majority", "n"]
    inside = chosen[chosen["domain"] == "in"][columns]
    runs = chosen[chosen["domain"] == "out"].merge(inside, on=KEYS, suffixes=("_y", "_x"))
    if runs.empty:
        return runs
    runs = ordered(runs, catalog, ["task", "evaluation_set", "model", "method", "pattern", "seed"])
    shares = runs[["value_x", "value_y", "majority_x", "majority_y"]].astype(float) * 100
    shares.columns = ["x", "y", "majority_x", "majority_y"]
    titled = select.named(runs, catalog)
    keys = runs[["task", "evaluation_set", "method", "pattern", "seed", "n_x", "n_y"]]
    names = {"panel": titled["arm"], "model": titled["size"], "name": runs["model"]}
    return pd.concat([keys, shares], axis=1).assign(**names)


def _panel(
    rows: pd.DataFrame, place: axes.GridPosition, sides: dict, styles: dict, *,
    field: str, ticks: int, size: int, opacity: float, tips: str,
) -> dict:  # fmt: skip
    """Return one panel: baselines below, points above, with the look of what `field` names."""
    x, y = (axes.linear(place, side, *sides[side], tickCount=ticks) for side in "xy")
    base, legend = alt.Chart(), theme.legend(styles)
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    points = base.mark_point(
        filled=True, size=size, opacity=opacity, stroke="white", strokeWidth=0.3
    ).encode(
        x=alt.X("x:Q", **x),
        y=alt.Y("y:Q", **y),
        color=theme.color(field, styles, legend),
        shape=theme.shape(field, styles, legend),
        tooltip=panels.tooltips(tips),
    )
    lines = (
        rule.encode(x=alt.X("min(majority_x):Q", **x)),
        rule.encode(y=alt.Y("min(majority_y):Q", **y)),
    )
    return panels.panel(rows, *lines, points)


def individual_runs(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot a point per run, a column per size and a row per task; colours are methods.

    Dashed lines are majority baselines. `arms` and `pattern` are as in `id_ood_scatter`.
    """
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family,
        k=select.main_k(catalog, k), selection=selection, arms=arms,
    )  # fmt: skip
    catalog, single = select.singled(chosen, catalog)
    runs = runs_of(chosen, catalog)
    if runs.empty:
        return panels.nothing()
    styles = theme.arm_styles(catalog, runs)
    chart = _scattered(runs, catalog, styles)
    return panels.footnote(chart, missing.lacking(chosen, catalog), single)


def _scattered(runs: pd.DataFrame, catalog: dict, styles: dict) -> dict:
    """Return blocks by family, in each a row of sizes for every task and evaluation set."""
    sized = with_sizes(runs.assign(model=runs["name"]), catalog)
    pairs = list(dict.fromkeys(zip(runs["task"], runs["evaluation_set"], strict=True)))
    families = select.titles_by_size(sized, catalog)
    most = max(map(len, families.values()))
    width = panels.panel_width(most)
    height = max(44, min(width, (ROOM - 40) // (len(pairs) * len(families)) - 30))
    look = {"field": "panel", "ticks": 3, "size": 15, "opacity": 0.8}
    look["tips"] = TIPS.format("name", unit=" (%)")

    def cell(rows, sides, size, place) -> dict:
        return _panel(rows[rows["size"] == size], place, sides, styles, **look)

    blocks = []
    for family, whole in families.items():
        for task, evaluation_set in pairs:
            rows = sized[(sized["task"] == task) & (sized["evaluation_set"] == evaluation_set)]
            x, y = (f"{set_title(catalog, name)} (%)" for name in (task, evaluation_set))
            sides = _sides(runs, {"x": x, "y": y})
            draw = partial(cell, rows[rows["family"] == family], sides)
            blocks.append(panels.block(whole, most, draw, width, height))
    return panels.grid(blocks, most)
