"""The main figure: each run's accuracy in domain against that out of domain."""

from dataclasses import dataclass

import altair as alt
import pandas as pd

from . import panels, theme
from .catalog import arm_title, arms, ordered, set_title, titles
from .evidence import Evidence
from .summary import at_level

COLUMNS = ["model", "panel", "seed", "x", "y", "majority_x", "majority_y"]
KEYS = ["task", "model", "method", "pattern", "seed"]


def id_ood_scatter(
    evidence: Evidence, catalog: dict, *, pattern: str | None = None
) -> alt.TopLevelMixin:
    """Plot a point per run, a panel per method and task; dashed lines are majority baselines.

    Shows one pattern (`pattern`, or the study's first) where there are more than five arms.
    """
    runs = _runs(panels.fewer_arms(evidence.metrics, catalog, pattern), catalog)
    if runs.empty:
        return panels.nothing()
    styles = theme.model_styles(catalog)
    styles = {name: styles[name] for name in styles if name in set(runs["model"])}
    groups = list(runs.groupby(["task", "evaluation_set"], sort=False))
    columns = panels.columns_for(runs["panel"].nunique())
    blocks, count = [], len(groups) * -(-runs["panel"].nunique() // columns)
    for (task, name), rows in groups:
        frame = Frame(
            ["In-domain accuracy", f"on {set_title(catalog, task)} (%)"],
            ["Accuracy on", f"{set_title(catalog, name)} (%)"],
            panels.domain(rows["x"], rows["majority_x"]),
            panels.domain(rows["y"], rows["majority_y"]),
            panels.panel_width(columns),
            min(panels.panel_width(columns), max(50, panels.HEIGHT // count - 32)),
        )
        order = list(arms(catalog, rows).values())
        places = panels.places(len(order), columns)
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


def _runs(metrics: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return one row per run and out-of-domain set: x and y in percent, titles for display."""
    main, chosen = catalog["main"], at_level(metrics)
    chosen = chosen[(chosen["k"] == main["k"]) & (chosen["selection"] == main["selection"])]
    chosen = chosen[chosen["status"] == "ok"]
    inside = chosen[chosen["domain"] == "in"][[*KEYS, "accuracy", "majority"]]
    runs = chosen[chosen["domain"] == "out"].merge(inside, on=KEYS, suffixes=("_y", "_x"))
    if runs.empty:
        return runs
    runs = ordered(runs, catalog, ["task", "evaluation_set", "model", "method", "pattern", "seed"])
    shares = runs[["accuracy_x", "accuracy_y", "majority_x", "majority_y"]].astype(float) * 100
    shares.columns = ["x", "y", "majority_x", "majority_y"]
    pairs = zip(runs["method"], runs["pattern"], strict=True)
    panel = [arm_title(catalog, *pair) for pair in pairs]
    model = runs["model"].map(titles(catalog, "models"))
    keys = runs[["task", "evaluation_set", "method", "pattern", "seed"]]
    return pd.concat([keys, shares], axis=1).assign(panel=panel, model=model)


def _panel(
    rows: pd.DataFrame, title: str, place: panels.Place, frame: Frame, styles: dict
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
            alt.Tooltip("x:Q", title="in domain (%)", format=".1f"),
            alt.Tooltip("y:Q", title="out of domain (%)", format=".1f"),
        ],
    )
    baselines = (
        rule.encode(x=alt.X("min(majority_x):Q", **x)),
        rule.encode(y=alt.Y("min(majority_y):Q", **y)),
    )
    heading = panels.heading(title, frame.width)
    size = {"width": frame.width, "height": frame.height, "title": heading}
    return alt.layer(*baselines, points, data=panels.data(rows, COLUMNS)).properties(**size)
