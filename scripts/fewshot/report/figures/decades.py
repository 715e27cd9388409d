"""Logarithmic axes: ranges, a few ticks at round numbers, and labels that fit a small panel."""

import math

import altair as alt
import numpy as np
import pandas as pd

from . import panels

MOST = 3
"""Ticks of a panel at most."""
EDGE = 0.04
"""Share of a vertical axis at both ends that has no label."""


def span(values: pd.Series) -> list[float]:
    """Return the range of an axis: that of the positive values, and a little more."""
    numbers = values.astype(float)
    logs = np.log10(numbers[numbers > 0])
    room = max(0.06 * (logs.max() - logs.min()), 0.08)
    return [float(f"{10**bound:.4g}") for bound in (logs.min() - room, logs.max() + room)]


def ticks(limits: list[float], most: int = MOST) -> list[float]:
    """Return powers of ten between limits, every other one where there are many; for less than two
    of them their multiples as well."""
    first, last = (math.log10(limit) for limit in limits)
    powers = range(math.ceil(first), math.floor(last) + 1)
    if len(powers) >= 2:
        return [10.0**power for power in powers[:: math.ceil(len(powers) / most)]]
    for multiples in ((1, 2, 5), range(1, 10)):
        near = [
            m * 10.0**p for p in range(math.floor(first), math.ceil(last) + 1) for m in multiples
        ]
        found = [value for value in near if limits[0] <= value <= limits[1]]
        if len(found) >= 2:
            return found[:: math.ceil(len(found) / most)]
    return found or [float(f"{math.sqrt(limits[0] * limits[1]):.2g}")]


def channel(
    place: panels.Place, side: str, title: str | list[str] | None, limits: list[float], most=MOST
) -> dict:
    """Return scale and axis of a logarithmic channel; `side` is "x" or "y"."""
    inner = limits
    if side == "y":  # A label at an edge would stand out of its panel and move it.
        first, last = np.log10(limits)
        room = EDGE * (last - first)
        inner = [10 ** (first + room), 10 ** (last - room)]
    text = "replace(format(datum.value, '.0e'), 'e+', 'e')"
    axis = panels.axis(
        place,
        side,
        title,
        values=ticks(inner, most),
        labelExpr=f"datum.value < 1e4 ? format(datum.value, '~r') : {text}",
    )
    return {"scale": alt.Scale(type="log", domain=limits, nice=False), "axis": axis}
