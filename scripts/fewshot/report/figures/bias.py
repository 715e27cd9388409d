"""The figure of bias probes: pairs that are called neutral, and how groups differ in it."""

from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.bias import FRACTION, NET, one_sided
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title, titles
from ...formatting import number_of
from .. import select
from ..tables.bias import shown
from . import axes, missing, panels, theme

SIZE = 22
STEP, BESIDE = 14, 7
"""Points between two methods, and what each further group takes between them."""
MOST = 4
TIPS = (
    "what:N of; group:N group; arm:N method; mean:Q mean |.1f; low:Q 95 % interval from |.1f; "
    "high:Q to |.1f" + panels.SEEDS
)


def bias(
    evidence: Evidence, catalog: dict, *, task: str | None = None, family: str | None = None,
    k: int | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot the share of neutral pairs that each method calls neutral, with `k` shots (the study's
    main number if left out) and without any, and how groups differ in its mean probability.

    A row of panels for each task, probe and model; first the share by attribute, then a panel for
    each attribute with every group less the mean of the others, of two groups the first less the
    second. `pattern` restricts the methods as in `select.fewer_arms`.
    """
    select.check_options(evidence.metrics, catalog, task, None, family, k, pattern=pattern)
    rows = shown(evidence.bias, catalog, k)
    rows = select.fewer_arms(_fitting(rows, catalog, task, family), catalog, pattern)
    rows = rows[rows["seeds"] > 0]
    if rows.empty:
        return panels.nothing("No answer to a bias probe yet.")
    catalog, single = select.singled(rows, catalog)
    frame = _numbers(rows, catalog)
    return panels.footnote(_draw(frame), _notes(frame), single)


def _fitting(
    rows: pd.DataFrame, catalog: dict, task: str | None, family: str | None
) -> pd.DataFrame:
    return select.fitting(rows.assign(domain="out"), catalog, task, family=family)


def _numbers(rows: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return what is drawn, in percent and points: `panel`, `what` it shows, `arm`, `group`, mean
    and interval."""
    whole = rows[rows["group"].isna() & (rows["measure"] == FRACTION)]
    whole = whole.assign(
        panel="Called neutral (%)", what="called neutral (%)", group=whole["attribute"],
        mean=whole["estimate"],
    )  # fmt: skip
    apart = one_sided(rows[rows["measure"] == NET])
    two = apart.groupby(["evaluation_set", "attribute"])["group"].transform("nunique") == 1
    named = [
        f"{group} less {'the other' if alone else 'the others'}"
        for group, alone in zip(apart["group"], two, strict=True)
    ]
    apart = apart.assign(
        panel=apart["attribute"].str.capitalize() + " (points)",
        what="P(neutral), difference in points", group=named, mean=apart["difference"],
        low=apart["difference_low"], high=apart["difference_high"],
    )  # fmt: skip
    frame = missing.with_state(pd.concat([whole, apart], ignore_index=True))
    frame = select.in_percent(frame, ("mean", "low", "high"))
    shots = frame["k"].map(lambda count: number_of(int(count), "shot"))
    pairs = zip(frame["method"], frame["pattern"], shots, strict=True)
    frame["arm"] = [f"{arm_title(catalog, *arm)}, {count}" for *arm, count in pairs]
    frame["size"] = frame["model"].map(titles(catalog, "models"))
    places = zip(frame["task"], frame["evaluation_set"], frame["size"], strict=True)
    frame["place"] = [
        (f"{set_title(catalog, task)} → {set_title(catalog, probe)}", size)
        for task, probe, size in places
    ]
    return frame


def _draw(frame: pd.DataFrame) -> dict:
    names = list(dict.fromkeys(frame["panel"]))
    columns = min(len(names), MOST)
    labels = max(map(len, frame["arm"]))
    width = panels.panel_width(columns, theme.WIDTH - max(0, int(4.1 * labels) - panels.AXIS))
    limits = {names[0]: axes.domain(*(frame.loc[frame["panel"] == names[0], n] for n in ENDS))}
    apart = frame[frame["panel"] != names[0]]
    most = max(1.0, float(np.nanmax(np.abs(apart[[*ENDS]].to_numpy(dtype=float)))))
    limits |= dict.fromkeys(names[1:], axes.margin(-most, most))
    styles = {name: _styles(frame[frame["panel"] == name]) for name in names}
    draws = []
    for place, rows in frame.groupby("place", sort=False):
        arms = list(dict.fromkeys(rows["arm"]))
        cell = partial(_cell, rows, arms, styles, limits, place)
        beside = max(len(each) for each in styles.values())
        draws.append(panels.Row(names, cell, (STEP + BESIDE * (beside - 1)) * len(arms)))
    blocks = panels.stack(draws, columns, width)
    return _own_legends(panels.grid(blocks, columns))


ENDS = ("mean", "low", "high")


def _styles(rows: pd.DataFrame) -> dict[str, dict]:
    """Return the colours and shapes of the groups of a panel."""
    looks = zip(dict.fromkeys(rows["group"]), theme.PATTERNS * 9, strict=False)
    return {group: {"color": color, "shape": mark} for group, (color, mark) in looks}


def _own_legends(chart: dict) -> dict:
    """Return the chart with a legend for each column: their groups are others."""
    scales = {**chart["resolve"]["scale"], "color": "independent", "shape": "independent"}
    return {**chart, "resolve": {"scale": scales}}


def _cell(
    rows: pd.DataFrame, arms: list[str], styles: dict, limits: dict, where: tuple[str, str],
    name: str, place: axes.GridPosition,
) -> dict:  # fmt: skip
    """Return one panel: methods down, groups beside each other, a line where there is no
    difference."""
    base, looks = alt.Chart(), styles[name]
    legend = theme.legend(looks, place.width) if place.bottom else None
    x = axes.linear(place, "x", name, limits[name], tickCount=4)
    y = axes.axis(place, "y", list(where), grid=True, labelLimit=400)
    down = {
        "y": alt.Y("arm:N", scale=alt.Scale(domain=arms), axis=y),
        "yOffset": alt.YOffset("group:N", scale=alt.Scale(domain=list(looks))),
        "color": theme.color("group", looks, legend),
    }
    at = {**down, "x": alt.X("mean:Q", **x), "shape": theme.shape("group", looks, legend)}
    bars = base.mark_rule(strokeWidth=0.9).encode(**down, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(base, SIZE, **at, tooltip=panels.tooltips(TIPS))
    zero = base.mark_rule(color=theme.GREY).encode(x=alt.X("zero:Q", **x))
    own = rows[rows["panel"] == name]
    at_zero = [] if name.endswith("(%)") else [(pd.DataFrame({"zero": [0]}), zero)]
    return panels.panel(own, *at_zero, bars, *points)


def _notes(frame: pd.DataFrame) -> list[str]:
    return missing.hollow(frame.drop_duplicates(["place", "arm"]))
