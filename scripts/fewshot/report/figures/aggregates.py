"""All runs of a method in one number: interquartile mean and probability of improvement."""

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from .. import select
from ..tables.aggregates import DOMAINS, aggregated, counted_text
from . import axes, missing, panels, theme

TIPS = (
    "arm:N method; value:Q {} |{}; low:Q 95 % interval from |{}; high:Q to |{}; seeds:Q runs; "
    "seeds_planned:Q of planned runs"
)
BOUNDS = ("improvement_low", "improvement_high")
MEASURES = {
    "interquartile_mean": (["Interquartile", "mean (%)"], "low", "high", ".1f"),
    "improvement": (["Probability", "of improvement"], *BOUNDS, ".2f"),
}
"""Column of the aggregates → title of its axis, bounds and format in a tooltip."""
STEP, LOWEST, HIGHEST = 16, 40, 500
"""Points between two methods at most, and of a panel at least and at most."""


def aggregates(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot the interquartile mean of each method's runs, and how probable it is that it improves on
    in-context learning, with 95 % bootstrap intervals for other draws: a row per method.

    `arms` picks methods and patterns; without it, `pattern` is as in `select.fewer_arms`.
    """
    numbers = aggregated(
        evidence, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms, pattern=pattern,
    )  # fmt: skip
    if numbers.empty:
        return panels.nothing("No runs that all methods have yet.")
    catalog, single = select.singled(numbers, catalog)
    frame = missing.with_state(select.arm_named(numbers, catalog))
    lines = [counted_text(numbers, catalog), *_hollow(frame)]
    return panels.footnote(_draw(_long(frame), catalog), lines, single)


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per measure, with its value and bounds; means in percent."""
    references = set(zip(frame["reference_method"], frame["reference_pattern"], strict=True))
    own = [pair in references for pair in zip(frame["method"], frame["pattern"], strict=True)]
    frame = frame.assign(why=["reference" if each else "–" for each in own])
    parts = []
    for name, (_, low, high, _) in MEASURES.items():
        scale = 1 if name == "improvement" else 100
        values = {"value": frame[name], "low": frame[low], "high": frame[high]}
        values = {key: scale * column.astype(float) for key, column in values.items()}
        parts.append(frame.assign(measure=name, **values))
    return pd.concat(parts, ignore_index=True)


def _draw(frame: pd.DataFrame, catalog: dict) -> dict:
    """Return one row of panels: a measure in domain and out of domain, then the next."""
    styles = theme.arm_styles(catalog, frame)
    known = frame[frame["value"].notna()]
    present = set(zip(known["measure"], known["domain"], strict=True))
    keys = [(name, domain) for name in MEASURES for domain in DOMAINS]
    shown = {key: DOMAINS[key[1]] for key in keys if key in present}
    width = panels.width_beside(styles, len(shown))

    def cell(key, place) -> dict:
        name, domain = key
        rows = frame[frame["measure"] == name]
        limits = axes.domain(rows["value"], rows["low"], rows["high"], step=5)
        limits = [-0.05, 1.05] if name == "improvement" else limits
        return _panel(rows[rows["domain"] == domain], name, limits, styles, place)

    height = max(LOWEST, int(min(STEP, HIGHEST / len(styles)) * len(styles)))
    return panels.grid([panels.block(shown, len(shown), cell, width, height)], len(shown))


def _panel(
    rows: pd.DataFrame, name: str, limits: list[float], styles: dict, place: axes.GridPosition
) -> dict:
    """Return one panel: methods down, the measure with its interval across; improvement has a line
    at one half."""
    title, _, _, form = MEASURES[name]
    x = axes.linear(place, "x", title, limits, tickCount=4)
    y_axis = axes.axis(place, "y", None, grid=True, labelLimit=400)
    down = {"y": alt.Y("arm:N", scale=alt.Scale(domain=list(styles)), axis=y_axis)}
    down["color"] = theme.color("arm", styles, None)
    at = {**down, "x": alt.X("value:Q", **x), "shape": theme.shape("arm", styles, None)}
    base, tips = alt.Chart(), panels.tooltips(TIPS.format(" ".join(title).lower(), *[form] * 3))
    known = base.transform_filter("isValid(datum.value)")
    bars = known.mark_rule(strokeWidth=0.9).encode(**down, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(known, 24, **at, tooltip=tips)
    if name != "improvement":
        return panels.panel(rows, bars, *points)
    half = base.mark_rule(color=theme.GREY, strokeDash=[3, 2]).encode(x=alt.X("half:Q", **x))
    none = base.transform_filter("!isValid(datum.value)")
    none = none.mark_text(fontSize=7, color=theme.GREY, align="left", dx=2)
    none = none.encode(y=down["y"], x=alt.X("least:Q", **x), text="why:N")
    rows = rows.assign(half=0.5, least=0.0)
    return panels.panel(rows, (rows.head(1), half), bars, *points, none)


def _hollow(frame: pd.DataFrame) -> list[str]:
    """Return the line that explains hollow points, where there are any."""
    some = frame[frame["state"] == "some"].drop_duplicates("arm")
    named = [f"{row.arm}: {row.seeds}/{row.seeds_planned} runs" for row in some.itertuples()]
    return [f"Hollow: fewer runs than planned ({missing.first_of(named, 3)})."] if named else []
