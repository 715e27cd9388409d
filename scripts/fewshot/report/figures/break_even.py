"""The figure of total cost by number of predictions: where fine-tuning becomes the cheaper way."""

import math
from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.cell_costs import contests
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title, titles
from .. import select
from . import axes, missing, panels, theme

TIPS = "line:N method; m:Q predictions |,.0f; cost:Q cost |.3g" + panels.SEEDS
MOST = 6
"""Powers of ten up to which predictions are counted."""
KEPT = ("task", "model", "arm", "seeds", "seeds_planned", "state")
"""What a break-even point has of its contest."""
STEPS = 4
"""Points of a line for each power of ten."""
DASHES = {"whole prompts": [4, 2], "context cached": [1, 0]}
TRAINED = ([1, 0], [5, 5])
"""Dashes of trained methods in turn: of two that cost the same both colours are seen."""


def break_even(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> dict:
    """Plot total cost by number of predictions: operations, and measured time.

    Shown are the largest models of each family, with k shots (the study's main number if left
    out). Fine-tuned methods stand against in-context learning that reads whole prompts, and that
    caches its context; points mark where they cost the same. `pattern` restricts the methods; with
    more than five methods × patterns the first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    k = select.main_k(catalog, k)
    pairs = contests(evidence, catalog, k)
    pairs = select.fewer_arms(pairs, catalog, pattern) if len(pairs) else pairs
    if pairs.empty:
        return panels.nothing("No costs to compare yet.")
    shown = select.largest_by_family(pairs, catalog)
    sides = select.both_sides(pairs[pairs["model"].isin(shown)], "rival_")
    catalog, single = select.singled(sides, catalog)
    pairs = missing.with_state(select.named(pairs[pairs["model"].isin(shown)], catalog))
    lines, marks = _lines(pairs, catalog), _marks(pairs, catalog)
    styles = _styles(lines, pairs, catalog)
    groups = list(lines.groupby(["task", "measure"], sort=False))
    width = panels.panel_width(len(shown))
    height = min(120, max(50, panels.HEIGHT // len(groups) - 12))
    named = {name: titles(catalog, "models")[name] for name in shown}

    def cell(task, measure, rows, name, place) -> dict:
        limits = axes.span(lines.loc[lines["measure"] == measure, "cost"])
        points = marks[(marks["task"] == task) & (marks["measure"] == measure)]
        points = points[(points["model"] == name) & points["cost"].between(*limits)]
        title = [measure, set_title(catalog, task)]
        y = axes.logarithmic(place, "y", title, limits, most=5)
        return _panel(rows[rows["model"] == name], points, place, y, styles)

    draws = [panels.Row(named, partial(cell, *key, rows), height) for key, rows in groups]
    chart = panels.grid(panels.stack(draws, len(shown), width), len(shown))
    words = "Means over fewer seeds than planned, with hollow points"
    return panels.footnote(chart, missing.hollow(pairs, words), single)


def _measure(device: str) -> str:
    """Return the title of measured time."""
    return "GPU seconds" if device.startswith("cuda") else "Processor seconds"


def _ways(row: dict, catalog: dict) -> dict[tuple[str, str], tuple[float, float]]:
    """Return (line, measure) -> what a method costs once and for each prediction: of a contest's
    trained method, and of its rival.

    A trained method whose prompts share no context reads them alike in both ways and has one line.
    Measured time is that of cached contexts.
    """
    cached, whole, *rivals = _titles(row, catalog)
    seconds = _measure(row["device"])
    train, context = row["flops_train"], row["flops_context"]
    return {
        (cached, "FLOPs"): (train + context, row["flops_cached"]),
        (whole, "FLOPs"): (train, row["flops_uncached"]),
        (rivals[0], "FLOPs"): (0.0, row["rival_flops_uncached"]),
        (rivals[1], "FLOPs"): (row["rival_flops_context"], row["rival_flops_cached"]),
        (cached, seconds): (row["train_device_seconds"], row["prediction_device_seconds"]),
        (rivals[1], seconds): (0.0, row["rival_prediction_device_seconds"]),
    }


def _titles(row: dict, catalog: dict) -> tuple[str, str, str, str]:
    """Return the lines of a contest: the trained method that encodes its context once, that reads
    whole prompts; its rival that reads whole prompts, that encodes its context once."""
    arm = row["arm"]
    rival = arm_title(catalog, row["rival_method"], row["rival_pattern"])
    whole, cached = DASHES
    uncached = f"{arm}, {whole}" if row["flops_context"] else arm
    return arm, uncached, f"{rival}, {whole}", f"{rival}, {cached}"


def _lines(pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return points of every line: cost of M predictions, a trained method's or its rival's.

    A rival that several methods have is drawn once.
    """
    counts = np.logspace(0, MOST, MOST * STEPS + 1)
    frames: dict[tuple, pd.DataFrame] = {}
    for row in pairs.to_dict("records"):
        trained = _titles(row, catalog)[:2]
        for (line, measure), (fixed, each) in _ways(row, catalog).items():
            key = (row["task"], row["model"], measure, line)
            if key not in frames and not math.isnan(fixed + each):
                frames[key] = pd.DataFrame({"m": counts, "cost": fixed + each * counts}).assign(
                    **dict(zip(("task", "model", "measure", "line"), key, strict=True)),
                    seeds=row["seeds"] if line in trained else row["rival_seeds"],
                    seeds_planned=row["seeds_planned"],
                )
    return missing.with_state(pd.concat(frames.values(), ignore_index=True))


def _marks(pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the points where a trained method and its rival cost the same, as far as shown."""
    rows = []
    for row in pairs.to_dict("records"):
        cached, whole, *rivals = _titles(row, catalog)
        ways, seconds = _ways(row, catalog), _measure(row["device"])
        for line, rival, measure, even in (
            (whole, rivals[0], "FLOPs", "even_uncached"),
            (cached, rivals[1], "FLOPs", "even_cached"),
            (cached, rivals[1], seconds, "even_seconds"),
        ):
            fixed, each = ways[rival, measure]
            point = {"m": row[even], "cost": fixed + row[even] * each, "against": rival}
            base = {name: row[name] for name in KEPT}
            rows.append({**base, **point, "line": line, "measure": measure})
    marks = pd.DataFrame(rows)
    return marks[marks["m"].between(1, 10**MOST)]


def _styles(lines: pd.DataFrame, pairs: pd.DataFrame, catalog: dict) -> dict[str, dict]:
    """Return the styles of the lines, in order; dashed where prompts are read whole."""
    rivals = pairs[["rival_method", "rival_pattern"]].set_axis(["method", "pattern"], axis=1)
    arms = theme.arm_styles(catalog, pd.concat([pairs[["method", "pattern"]], rivals]))
    styles, ways = {}, []
    for title, style in arms.items():
        for line in (title, *(f"{title}, {way}" for way in DASHES)):
            if line in set(lines["line"]):
                turn = TRAINED[sum(way not in DASHES for way in ways) % 2]
                ways.append(line.removeprefix(f"{title}, "))
                styles[line] = {**style, "dash": DASHES.get(ways[-1], turn)}
    return styles


def _panel(
    rows: pd.DataFrame, points: pd.DataFrame, place: axes.GridPosition, y: dict, styles: dict
) -> dict:
    """Return one panel: a line for each way, a point at each break-even."""
    legend, base, tips = theme.legend(styles), alt.Chart(), panels.tooltips(TIPS)
    legend.symbolType, legend.symbolFillColor, legend.symbolSize = "stroke", "transparent", 140
    x = alt.X("m:Q", **axes.logarithmic(place, "x", "Predictions", [1, 10**MOST], most=4))
    shared = {"x": x, "y": alt.Y("cost:Q", **y), "color": theme.color("line", styles, legend)}
    dash = theme.dash("line", styles, legend)
    layers = []
    for line, style in styles.items():
        points_of_line = rows[rows["line"] == line]
        mark = base.mark_line(clip=True, strokeWidth=2 if style["dash"] == [1, 0] else 1.4)
        drawn = mark.encode(**shared, strokeDash=dash, tooltip=tips)
        layers += [(points_of_line, drawn)] if len(points_of_line) else []
    # Of points in one place each is smaller than those below it.
    order = list(points["arm"].unique())
    points = points.assign(area=[60 * 0.5 ** order.index(arm) for arm in points["arm"]])
    area = alt.Size("area:Q", scale=None, legend=None)
    tips = [*tips, *panels.tooltips("against:N costs the same as")]
    marks = missing.mean_points(base, 60, **shared, size=area, tooltip=tips)
    return panels.panel(points, *layers, *[(points, mark) for mark in marks])
