"""Axes of small multiples: ranges, ticks, and which panels have labels and titles."""

import math
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from . import theme

MOST = 3
"""Ticks of a panel at most."""
EDGE = 0.04
"""Share of a vertical axis at both ends that has no label."""


@dataclass(frozen=True)
class GridPosition:
    """Where a panel stands in its block, and its points in width: they alone decide which axis
    labels and titles it needs, and how these stand."""

    left: bool
    bottom: bool
    top: bool
    width: int = 0


def grid_positions(count: int, columns: int) -> list[GridPosition]:
    """Return the places of `count` panels set in rows of `columns`."""
    return [GridPosition(i % columns == 0, i + columns >= count, i < columns) for i in range(count)]


def axis(place: GridPosition, side: str, title: str | list[str] | None, **settings) -> alt.Axis:
    """Return the axis of a panel: labels and title only where its place asks for them.

    `side` is "x" or "y". Grid lines are drawn everywhere.
    """
    shown = place.left if side == "y" else place.bottom
    if shown:
        return alt.Axis(title=title, labelFlush=False, **settings)
    return alt.Axis(title=None, labels=False, ticks=False, domain=False, **settings)


def named(place: GridPosition, title: str, names: list[str], width: int) -> alt.Axis:
    """Return an x axis of `names`, which stand upright where one is wider than its share."""
    upright = 4.2 * max(map(len, names)) + 4 > width / len(names)
    angle = -90 if upright else 0
    return axis(place, "x", title, grid=False, labelAngle=angle, labelOverlap=False)


def domain(*values: pd.Series, low: float = 0, high: float = 100, step: int = 10) -> list[float]:
    """Return an axis range (percent) from one multiple of `step` to another, and a little more.

    The margin keeps points at the ends whole, and tick labels within the panel's height.
    """
    joined = pd.concat(values).dropna()
    first, last = low, high
    if len(joined):
        first = max(low, math.floor((joined.min() - 1) / step) * step)
        last = min(high, math.ceil((joined.max() + 1) / step) * step)
    return margin(first, last)


def margin(first: float, last: float) -> list[float]:
    """Return a range widened by a twentieth on both sides."""
    room = 0.05 * (last - first)
    return [first - room, last + room]


def span(values: pd.Series) -> list[float]:
    """Return the range of an axis: that of the positive values, and a little more."""
    numbers = values.astype(float)
    logs = np.log10(numbers[numbers > 0])
    room = max(0.06 * (logs.max() - logs.min()), 0.08)
    return [float(f"{10**bound:.4g}") for bound in (logs.min() - room, logs.max() + room)]


def ticks(limits: list[float], most: int = MOST) -> list[float]:
    """Return powers of ten between limits, every other one where there are many; for less than two
    of them their multiples as well, as fine as gives two."""
    first, last = (math.log10(limit) for limit in limits)
    powers = range(math.ceil(first), math.floor(last) + 1)
    if len(powers) >= 2:
        return [10.0**power for power in powers[:: math.ceil(len(powers) / most)]]
    for multiples in ((1, 2, 5), range(1, 10), np.arange(1, 10, 0.5), np.arange(1, 10, 0.1)):
        near = [
            float(f"{m * 10.0**p:.3g}")
            for p in range(math.floor(first), math.ceil(last) + 1)
            for m in multiples
        ]
        found = [value for value in near if limits[0] <= value <= limits[1]]
        if len(found) >= 2:
            return found[:: math.ceil(len(found) / most)]
    return found or [float(f"{math.sqrt(limits[0] * limits[1]):.2g}")]


def linear(
    place: GridPosition, side: str, title: str | list[str] | None, limits: list[float], **settings
) -> dict:
    """Return scale and axis of a linear channel; `side` is "x" or "y"."""
    drawn = axis(place, side, title, **settings)
    return {"scale": alt.Scale(domain=limits, nice=False), "axis": drawn}


def logarithmic(
    place: GridPosition, side: str, title: str | list[str] | None, limits: list[float], most=MOST
) -> dict:
    """Return scale and axis of a logarithmic channel; `side` is "x" or "y"."""
    inner = limits
    if side == "y":  # A label at an edge would stand out of its panel and move it.
        first, last = np.log10(limits)
        room = EDGE * (last - first)
        inner = [10 ** (first + room), 10 ** (last - room)]
    text = "replace(format(datum.value, '.2~e'), 'e+', 'e')"
    drawn = axis(
        place,
        side,
        title,
        values=ticks(inner, most),
        labelExpr=f"datum.value < 1e4 ? format(datum.value, '~r') : {text}",
    )
    return {"scale": alt.Scale(type="log", domain=limits, nice=False), "axis": drawn}


def baseline(base: alt.Chart, y: dict, field: str = "majority") -> alt.Chart:
    """Return the dashed line of always giving the most frequent label."""
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    return rule.encode(y=alt.Y(f"min({field}):Q", **y))
