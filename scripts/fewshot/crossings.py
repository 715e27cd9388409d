"""The figure of total cost by number of predictions: where fine-tuning becomes the cheaper way."""

import math

import altair as alt
import numpy as np
import pandas as pd

from . import decades, panels, theme
from .catalog import arm_title, model_order, set_title, titles
from .evidence import Evidence
from .outlay import contests

COLUMNS = ["line", "m", "cost", "seeds", "against", "area"]
MOST = 6
"""Powers of ten up to which predictions are counted."""
STEPS = 4
"""Points of a line for each power of ten."""
WAYS = {
    "flops_uncached": ("whole prompts", "even_uncached"),
    "flops_cached": ("context cached", "even_cached"),
}
"""Operations of a prediction → how it reads its context, and the column of break-even points."""
DASHES = {"whole prompts": [4, 2], "context cached": [1, 0]}
TRAINED = ([1, 0], [5, 5])
"""Dashes of trained methods in turn: of two that cost the same both colours are seen."""


def break_even(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> panels.Chart:
    """Plot total cost by number of predictions: operations, and measured time.

    Shown are the largest models of each family, with k shots (the study's main number if left
    out). Fine-tuned methods stand against in-context learning that reads whole prompts, and that
    caches its context; points mark where they cost the same. `pattern` restricts the methods; with
    more than five methods × patterns the study's first one does.
    """
    k = catalog["main"]["k"] if k is None else k
    found = contests(evidence, catalog, k)
    found = panels.fewer_arms(found, catalog, pattern) if len(found) else found
    if found.empty:
        return panels.nothing("No costs to compare yet.")
    present = [name for name in model_order(catalog) if name in set(found["model"])]
    shown = list({catalog["models"][name]["family"]: name for name in present}.values())
    found = found[found["model"].isin(shown)]
    lines, marks = _lines(found, catalog), _marks(found, catalog)
    styles = _styles(lines, found, catalog)
    groups = list(lines.groupby(["task", "measure"], sort=False))
    width = panels.panel_width(len(shown))
    height = min(120, max(50, panels.HEIGHT // len(groups) - 12))
    blocks = []
    for i, ((task, measure), rows) in enumerate(groups):
        limits = decades.span(rows["cost"])
        points = marks[(marks["task"] == task) & (marks["measure"] == measure)]
        block = []
        for j, name in enumerate(shown):
            place = panels.Place(j == 0, i == len(groups) - 1, i == 0)
            title = [measure, set_title(catalog, task)]
            y = decades.channel(place, "y", title, limits, most=5)
            own = points[(points["model"] == name) & points["cost"].between(*limits)]
            chart = _panel(rows[rows["model"] == name], own, place, y, styles)
            chart = chart.properties(width=width, height=height)
            heading = panels.heading(titles(catalog, "models")[name], width)
            block.append(chart.properties(title=heading) if i == 0 else chart)
        blocks.append(block)
    return panels.grid(blocks, len(shown))


def _measure(device: str) -> str:
    """Return the title of measured time."""
    return "GPU seconds" if device.startswith("cuda") else "Processor seconds"


def _lines(found: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return points of every line: cost of M predictions, a trained method's or its rival's.

    A rival that several methods have is drawn once. Measured time is that of cached contexts.
    """
    made: dict[tuple, dict] = {}
    for row in found.to_dict("records"):
        own = arm_title(catalog, row["method"], row["pattern"])
        rival = arm_title(catalog, row["rival_method"], row["rival_pattern"])
        seconds = _measure(row["device"])
        fixed = (row["flops_train"] + row["flops_context"], row["train_device_seconds"])
        ways = {
            (own, "FLOPs"): (fixed[0], row["flops_cached"]),
            (f"{rival}, whole prompts", "FLOPs"): (0.0, row["rival_flops_uncached"]),
            (f"{rival}, context cached", "FLOPs"): (
                row["rival_flops_context"],
                row["rival_flops_cached"],
            ),
            (own, seconds): (fixed[1], row["prediction_device_seconds"]),
            (f"{rival}, context cached", seconds): (0.0, row["rival_prediction_device_seconds"]),
        }
        for (line, measure), way in ways.items():
            key = (row["task"], row["model"], measure, line)
            seeds = row["seeds"] if line == own else row["rival_seeds"]
            made.setdefault(key, {"way": way, "seeds": seeds})
    counts = np.logspace(0, MOST, MOST * STEPS + 1)
    frames = [
        pd.DataFrame({"m": counts, "cost": each["way"][0] + each["way"][1] * counts}).assign(
            **dict(zip(("task", "model", "measure", "line"), key, strict=True)),
            seeds=each["seeds"],
        )
        for key, each in made.items()
        if not any(map(math.isnan, each["way"]))
    ]
    return pd.concat(frames, ignore_index=True)


def _marks(found: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the points where a trained method and its rival cost the same, as far as shown."""
    rows = []
    for row in found.to_dict("records"):
        own = arm_title(catalog, row["method"], row["pattern"])
        rival = arm_title(catalog, row["rival_method"], row["rival_pattern"])
        base = {"task": row["task"], "model": row["model"], "line": own, "seeds": row["seeds"]}
        for name, (way, even) in WAYS.items():
            fixed = 0.0 if name == "flops_uncached" else row["rival_flops_context"]
            cost = fixed + row[even] * row[f"rival_{name}"]
            point = {"measure": "FLOPs", "m": row[even], "cost": cost}
            rows.append({**base, **point, "against": f"{rival}, {way}"})
        cost = row["even_seconds"] * row["rival_prediction_device_seconds"]
        point = {"measure": _measure(row["device"]), "m": row["even_seconds"], "cost": cost}
        rows.append({**base, **point, "against": f"{rival}, context cached"})
    marks = pd.DataFrame(rows)
    return marks[marks["m"].between(1, 10**MOST)]


def _styles(lines: pd.DataFrame, found: pd.DataFrame, catalog: dict) -> dict[str, dict]:
    """Return the styles of the lines, in order; dashed where prompts are read whole."""
    rivals = found[["rival_method", "rival_pattern"]].set_axis(["method", "pattern"], axis=1)
    arms = theme.arm_styles(catalog, pd.concat([found[["method", "pattern"]], rivals]))
    styles, ways = {}, []
    for title, style in arms.items():
        for line in (title, *(f"{title}, {way}" for way in DASHES)):
            if line in set(lines["line"]):
                turn = TRAINED[sum(each not in DASHES for each in ways) % 2]
                ways.append(line.removeprefix(f"{title}, "))
                styles[line] = {**style, "dash": DASHES.get(ways[-1], turn)}
    return styles


def _panel(
    rows: pd.DataFrame, points: pd.DataFrame, place: panels.Place, y: dict, styles: dict
) -> alt.LayerChart:
    """Return one panel: a line for each way, a point at each break-even."""
    legend = theme.legend(styles)
    legend.symbolType, legend.symbolFillColor, legend.symbolSize = "stroke", "transparent", 140
    x = alt.X("m:Q", **decades.channel(place, "x", "Predictions", [1, 10**MOST], most=4))
    shared = {"x": x, "y": alt.Y("cost:Q", **y), "color": theme.color("line", styles, legend)}
    tooltip = [
        alt.Tooltip("line:N", title="method"),
        alt.Tooltip("m:Q", title="predictions", format=",.0f"),
        alt.Tooltip("cost:Q", title="cost", format=".3g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    dash = theme.dash("line", styles, legend)
    layers = [
        alt.Chart(panels.data(rows[rows["line"] == line], COLUMNS))
        .mark_line(clip=True, strokeWidth=2 if style["dash"] == [1, 0] else 1.4)
        .encode(**shared, strokeDash=dash, tooltip=tooltip)
        for line, style in styles.items()
        if (rows["line"] == line).any()
    ]
    # Of points in one place each is smaller than those below it.
    order = [line for line in styles if line in set(points["line"])]
    points = points.assign(area=[60 * 0.5 ** order.index(line) for line in points["line"]])
    marks = alt.Chart(panels.data(points, COLUMNS)).mark_point(filled=True, opacity=1)
    against = alt.Tooltip("against:N", title="costs the same as")
    area = alt.Size("area:Q", scale=None, legend=None)
    return alt.layer(*layers, marks.encode(**shared, size=area, tooltip=[*tooltip, against]))
