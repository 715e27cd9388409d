"""The figure of bias probes: pairs that are called neutral, and how groups differ in it."""

from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.bias import FRACTION, LEAN, MEASURES, NET, one_sided
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title, titles
from ...errors import unknown
from ...formatting import number_of
from .. import select
from ..tables.bias import checkpoint_note, shown
from . import axes, missing, panels, theme

SIZE = 22
STEP, BESIDE = 14, 7
"""Points between two methods, and what each further group takes between them."""
MOST = 4
SHARE = "Called neutral"
UNITS = {
    FRACTION: "Called neutral",
    NET: "P(neutral)",
    LEAN: "P(entailment) − P(contradiction)",
}
"""What groups differ in, as the axis says it."""
ENDS = {"mean": "", "low": "_low", "high": "_high"}
"""Columns of what is drawn → how those of a difference end."""
TIPS = (
    "panel:N of; group:N group; arm:N method; mean:Q mean |.1f; low:Q 95 % interval from |.1f; "
    "high:Q to |.1f" + panels.SEEDS
)


def bias(
    evidence: Evidence, catalog: dict, *, task: str | None = None, family: str | None = None,
    k: int | None = None, pattern: str | None = None, measure: str = NET,
) -> dict:  # fmt: skip
    """Plot the share of neutral pairs that each method calls neutral, with `k` shots (the study's
    main number if left out) and without any, and how groups differ in a `measure`.

    A row of panels for each task, probe and model; first the share by attribute, then a panel for
    each attribute with every group less the mean of the others, of two groups the first less the
    second. `pattern` restricts the methods as in `select.fewer_arms`.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES, f"{select.WHERE}.measure")
    select.check_options(evidence.metrics, catalog, task, None, family, k, pattern=pattern)
    rows = shown(evidence.bias, catalog, k)
    rows = select.fitting(rows, catalog, task, family=family)
    rows = select.fewer_arms(rows, catalog, pattern)
    rows = rows[rows["seeds"] > 0]
    if rows.empty:
        return panels.nothing("No answer to a bias probe yet.")
    catalog, single = select.singled(rows, catalog)
    frame = _numbers(rows, catalog, measure)
    return panels.footnote(_draw(frame), [*_notes(frame), checkpoint_note(catalog)], single)


def _numbers(rows: pd.DataFrame, catalog: dict, measure: str) -> pd.DataFrame:
    """Return what is drawn, in percent and points: `panel`, `unit`, `arm`, `group`, mean and
    interval."""
    whole = rows[rows["group"].isna() & (rows["measure"] == FRACTION)]
    named = {"panel": SHARE, "unit": "%", "group": whole["attribute"], "mean": whole["estimate"]}
    whole = whole.assign(**named)
    every = rows[rows["group"].notna() & (rows["measure"] == measure)]
    groups = every.groupby(["evaluation_set", "attribute"])["group"].unique()
    apart, against, units = one_sided(every), [], []
    for probe, attribute, group in zip(
        apart["evaluation_set"], apart["attribute"], apart["group"], strict=True
    ):
        others = [each for each in groups[probe, attribute] if each != group]
        two = len(others) == 1
        against.append(f"{group} less {others[0]}" if two else group)
        units.append(f"{UNITS[measure]}{'' if two else ' less the others’'}, points")
    named = {"panel": apart["attribute"].str.capitalize(), "unit": units}
    named |= {name: apart[f"difference{end}"] for name, end in ENDS.items()}
    apart = apart.assign(group=against, **named)
    frame = missing.with_state(pd.concat([whole, apart], ignore_index=True))
    frame = select.in_percent(frame, ("mean", "low", "high"))
    shots = frame["k"].map(lambda count: number_of(int(count), "shot"))
    pairs = zip(frame["method"], frame["pattern"], shots, strict=True)
    frame["arm"] = [f"{arm_title(catalog, *arm)}, {count}" for *arm, count in pairs]
    frame["size"] = frame["model"].map(titles(catalog, "models"))
    places = zip(frame["task"], frame["evaluation_set"], frame["size"], strict=True)
    several = frame["size"].nunique() > 1
    frame["place"] = [
        (f"{set_title(catalog, task)} →", set_title(catalog, probe), *[size] * several)
        for task, probe, size in places
    ]
    return frame


def _draw(frame: pd.DataFrame) -> dict:
    names = list(dict.fromkeys(frame["panel"]))
    columns = min(len(names), MOST)
    width = panels.width_beside(frame["arm"], columns, frame["place"].str.len().max())
    limits = {SHARE: axes.domain(*(frame.loc[frame["panel"] == SHARE, n] for n in ENDS))}
    apart = frame[frame["panel"] != SHARE]
    most = max(1.0, float(np.nanmax(np.abs(apart[[*ENDS]].to_numpy(dtype=float)))))
    limits |= dict.fromkeys(names[1:], axes.margin(-most, most))
    styles = {name: _styles(frame[frame["panel"] == name]) for name in names}
    beside = max(len(each) for each in styles.values())
    draws = []
    for place, rows in frame.groupby("place", sort=False):
        arms = list(dict.fromkeys(rows["arm"]))
        height = (STEP + BESIDE * (beside - 1)) * len(arms)
        cell = partial(_cell, rows, arms, styles, limits, panels.along(place, height))
        draws.append(panels.Row(names, cell, height))
    blocks = panels.stack(draws, columns, width)
    return _own_legends(panels.grid(blocks, columns))


def _styles(rows: pd.DataFrame) -> dict[str, dict]:
    """Return the colours and shapes of the groups of a panel."""
    looks = zip(dict.fromkeys(rows["group"]), theme.PATTERNS * 9, strict=False)
    return {group: {"color": color, "shape": mark} for group, (color, mark) in looks}


def _own_legends(chart: dict) -> dict:
    """Return the chart with a legend for each column: their groups are others."""
    scales = {**chart["resolve"]["scale"], "color": "independent", "shape": "independent"}
    return {**chart, "resolve": {"scale": scales}}


def _cell(
    rows: pd.DataFrame, arms: list[str], styles: dict, limits: dict, where: list[str],
    name: str, place: axes.GridPosition,
) -> dict:  # fmt: skip
    """Return one panel: methods down, groups beside each other, a line where there is no
    difference."""
    base, looks = alt.Chart(), styles[name]
    legend = theme.legend(looks, place.width) if place.bottom else None
    own = rows[rows["panel"] == name]
    unit = panels.along([own["unit"].iloc[0]], place.width) if len(own) else None
    x = axes.linear(place, "x", unit, limits[name], tickCount=4)
    y = axes.axis(place, "y", where, grid=True, labelLimit=400)
    down = {
        "y": alt.Y("arm:N", scale=alt.Scale(domain=arms), axis=y),
        "yOffset": alt.YOffset("group:N", scale=alt.Scale(domain=list(looks))),
        "color": theme.color("group", looks, legend),
    }
    at = {**down, "x": alt.X("mean:Q", **x), "shape": theme.shape("group", looks, legend)}
    bars = base.mark_rule(strokeWidth=0.9).encode(**down, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(base, SIZE, **at, tooltip=panels.tooltips(TIPS))
    zero = base.mark_rule(color=theme.GREY).encode(x=alt.X("zero:Q", **x))
    at_zero = [] if name == SHARE else [(pd.DataFrame({"zero": [0]}), zero)]
    return panels.panel(own, *at_zero, bars, *points)


def _notes(frame: pd.DataFrame) -> list[str]:
    return missing.hollow(frame.drop_duplicates(["place", "arm"]))
