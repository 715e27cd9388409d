"""The figure of what adaptation gains on its task against what it loses elsewhere."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.forgetting import ARM, ASKED, TEXT, gains, source_title, sources_in_order, worse
from ...analysis.titles import ordered, titles
from .. import select
from . import axes, missing, panels, theme

TIPS = (
    "size:N model; arm:N method; gain:Q points gained |.1f; lost:Q lost elsewhere |.3f; "
    "lost_low:Q 95 % interval from |.3f; lost_high:Q to |.3f" + panels.SEEDS
)
HEIGHT = 150


def forgetting(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> dict:
    """Plot what each cell with k shots (the study's main number if left out) gains in domain over
    the same model without shots, against what it loses on texts and other tasks.

    A row of panels for each text, and each other task by shots; a column for each task. `pattern`
    restricts the methods; with more than five methods × patterns the first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    k = select.main_k(catalog, k)
    points, asked = _points(evidence, catalog, k, pattern)
    if points.empty:
        return panels.nothing("Nothing was measured outside the tasks yet.")
    catalog, single = select.singled(points, catalog)
    points = missing.with_state(select.named(points, catalog))
    across = axes.margin(min(points["gain"].min(), 0), max(points["gain"].max(), 0))
    names = {task: titles(catalog, "tasks")[task] for task in dict.fromkeys(points["task"])}
    looks = (
        theme.arm_styles(catalog, points),
        theme.shaped(theme.model_styles(catalog, set(points["size"]))),
    )
    columns = min(len(names), 3)
    width = panels.panel_width(columns)
    height = min(HEIGHT, max(70, panels.HEIGHT // len(asked) - 24))

    def cell(rows, title, limits, task, place) -> dict:
        x = axes.linear(place, "x", "Gained in domain (points)", across, tickCount=4)
        y = axes.linear(place, "y", panels.along(title, height), limits, tickCount=4)
        return _panel(rows[rows["task"] == task], x, y, *looks)

    rows = []
    for each in asked:
        mine = points[(points[ASKED] == list(each)).all(axis=1)]
        unit = "more loss (nats per token)" if each[1] == TEXT else "accuracy lost (points)"
        title = [source_title(catalog, each[0], each[2]), unit]
        ends = pd.concat([mine[name] for name in ("lost", "lost_low", "lost_high")]).dropna()
        limits = axes.margin(min(ends.min(), 0), max(ends.max(), 0) or 1)
        rows.append(panels.Row(names, partial(cell, mine, title, limits), height))
    lines = [
        "In-context learning changes no weights: it stands on the zero line by definition. Other "
        "methods after the last epoch; bars are 95 % intervals for other draws and documents."
    ]
    if (points["lost_low"].notna() & (points["seeds"] == 1)).any():
        lines.append("With one seed a bar is for other documents alone.")
    blocks = panels.stack(rows, columns, width)
    return panels.footnote(panels.grid(blocks, columns), [*lines, *missing.hollow(points)], single)


def _points(
    evidence: Evidence, catalog: dict, k: int, pattern: str | None
) -> tuple[pd.DataFrame, list]:
    """Return a row per cell and measure, those in context with nothing lost; and the measures."""
    gained = select.fewer_arms(gains(evidence, catalog, k), catalog, pattern)
    changes = evidence.forgetting
    changes = worse(changes[(changes["k"] == k) & changes["change"].notna()])
    if changes.empty or gained.empty:
        return pd.DataFrame(), []
    asked = sources_in_order(changes, catalog)
    lost = ["lost", "lost_low", "lost_high", "seeds"]
    ours = gained.merge(changes[[*ARM, *ASKED, *lost]], on=ARM)
    shown = gained[~gained["trained"]].assign(lost=0.0).rename(columns={"seeds_gained": "seeds"})
    # Wherever the same model is measured that was trained.
    still = shown.merge(ours[["task", "model", *ASKED]].drop_duplicates(), on=["task", "model"])
    points = pd.concat([ours, still], ignore_index=True)
    return ordered(points.drop(columns="trained"), catalog, ARM), asked


def _panel(rows: pd.DataFrame, x: dict, y: dict, arms: dict, models: dict) -> dict:
    """Return one panel: methods are told apart by colour, models by shape."""
    base, color = alt.Chart(), theme.color("arm", arms, theme.legend(arms))
    above = theme.legend(models)
    above.orient = "top"  # Side by side below, two legends would be wider than the panels.
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(
        strokeWidth=0.8, color=theme.GREY
    )
    bars = base.mark_rule(strokeWidth=0.6, opacity=0.6).encode(
        x=alt.X("gain:Q", **x), y=alt.Y("lost_low:Q", **y), y2="lost_high:Q", color=color
    )
    at = {"x": alt.X("gain:Q", **x), "y": alt.Y("lost:Q", **y), "color": color}
    at |= {"shape": theme.shape("size", models, above), "tooltip": panels.tooltips(TIPS)}
    marks = missing.mean_points(base, 36, **at)
    return panels.panel(rows, zero.encode(y=alt.Y("zero:Q", **y)), bars, *marks)
