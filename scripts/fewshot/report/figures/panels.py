"""Small multiples: blocks of panels in rows, with shared legends and aligned axes."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from . import theme

AXIS = 54
"""Points that a block's y axis, its labels and title take."""
GAP = 10
MOST_ARMS = 5
TOP_LEVEL = ("$schema", "config")
HEIGHT = 600
"""Points that the panels of a figure may take, so that it fits on a page with its caption."""


def inline_data(frame: pd.DataFrame, columns: Sequence[str]) -> alt.InlineData:
    """Return columns as inline data: five digits, null for nan; the same bytes every time."""
    frame = frame[[name for name in columns if name in frame]]
    plain = frame.astype(object).where(frame.notna(), None)
    # Altair copies lists with every chart that a chart becomes part of, tuples never.
    values = tuple(
        {name: _plain(value) for name, value in row.items()} for row in plain.to_dict("records")
    )
    return alt.InlineData(values=values)


def _plain(value: object) -> object:
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}")
    return value.item() if isinstance(value, np.generic) else value


def columns_for(count: int, most: int = 4) -> int:
    """Return in how many columns to set `count` panels: full rows where possible."""
    if count <= most + 1:
        return max(count, 1)
    return next((n for n in (most, most - 1) if count % n == 0), most)


def panel_width(columns: int, width: int = theme.WIDTH) -> int:
    """Return the width of each of `columns` panels; few panels make a smaller figure."""
    return min(math.floor((width - AXIS - GAP * (columns - 1)) / columns) - 2, theme.COLUMN)


def heading(title: str, width: int) -> list[str]:
    """Return a panel's title in lines that fit its width; a pattern's name begins a line."""
    most = max(8, int(width / 4.4))
    if len(title) <= most:
        return [title]
    lines = (textwrap.wrap(part, most, break_on_hyphens=False) for part in title.split(" · "))
    return [line for part in lines for line in part]


def upright(title: Sequence[str], height: int) -> list[str]:
    """Return the lines of a y axis' title, none longer than its panel is high."""
    most = max(9, int(height / 4.1))
    return [line for part in title for line in textwrap.wrap(part, most)]


def fewer_arms(frame: pd.DataFrame, catalog: dict, pattern: str | None) -> pd.DataFrame:
    """Return the rows with one pattern where there are more than five methods × patterns.

    That is `pattern` if given, else the study's first one.
    """
    many = len(frame[["method", "pattern"]].drop_duplicates()) > MOST_ARMS
    if pattern is None and not many:
        return frame
    return frame[frame["pattern"] == (pattern or next(iter(catalog["patterns"])))]


@dataclass(frozen=True)
class GridPosition:
    """Where a panel stands in its block: it alone decides which axis labels and titles it needs."""

    left: bool
    bottom: bool
    top: bool


def grid_positions(count: int, columns: int) -> list[GridPosition]:
    """Return the places of `count` panels set in rows of `columns`."""
    return [GridPosition(i % columns == 0, i + columns >= count, i < columns) for i in range(count)]


@dataclass(frozen=True)
class Grid:
    """A finished grid of panels as a plain Vega-Lite specification.

    Altair copies every part of a chart, each with all the properties that it does not have, with
    every chart that it becomes part of: seconds for a figure of many panels.
    """

    spec: dict

    def properties(self, **changes: object) -> "Grid":
        """Return the grid with properties such as `title` set."""
        plain = {
            key: value.to_dict() if isinstance(value, alt.SchemaBase) else value
            for key, value in changes.items()
        }
        return Grid({**self.spec, **plain})

    def to_dict(self, validate: bool = True) -> dict:
        """Return the specification, checked against Vega-Lite's schema if `validate`."""
        if validate:
            alt.ConcatChart.from_dict(self.spec)
        return self.spec


Chart = alt.TopLevelMixin | Grid
"""What a figure's function returns."""


def grid(blocks: Sequence[Sequence[alt.TopLevelMixin]], columns: int) -> Grid:
    """Return blocks of panels one above the other, with aligned axes and one legend.

    All go into one flat grid, since only there are the axes of different rows aligned; an
    unfinished row is filled up with nothing.
    """
    cells, datasets = [], {}
    for panels in blocks:
        for panel in [*panels, *(blank() for _ in range(-len(panels) % columns))]:
            cell = panel.to_dict(validate=False)
            datasets.update(cell.pop("datasets", {}))
            cells.append({key: part for key, part in cell.items() if key not in TOP_LEVEL})
    resolve = dict.fromkeys(("color", "shape", "strokeDash"), "shared")
    # An offset is a part of its own panel's band, which may be higher or wider elsewhere.
    resolve |= dict.fromkeys(("xOffset", "yOffset"), "independent")
    return Grid(
        {
            "$schema": alt.SCHEMA_URL,
            "concat": cells,
            "columns": columns,
            "spacing": {"row": 7, "column": GAP},
            "align": "each",
            "resolve": {"scale": resolve},
            "datasets": datasets,
        }
    )


def blank() -> alt.Chart:
    """Return a panel that shows nothing."""
    mark = alt.Chart(alt.InlineData(values=[{}])).mark_point(opacity=0)
    return mark.properties(width=1, height=1, view=alt.ViewConfig(stroke=None))


def footnote(chart: Grid, lines: Sequence[str]) -> Grid:
    """Return the chart with small grey lines of text below it; without lines as it is."""
    if not lines:
        return chart
    wrapped = [each for line in lines for each in textwrap.wrap(line, 135)]
    return chart.properties(
        title=alt.TitleParams(
            wrapped,
            orient="bottom",
            anchor="start",
            align="left",
            fontSize=7,
            fontWeight="normal",
            color=theme.GREY,
            offset=6,
        )
    )


def axis(place: GridPosition, side: str, title: str | list[str] | None, **settings) -> alt.Axis:
    """Return the axis of a panel: labels and title only where its place asks for them.

    `side` is "x" or "y". Grid lines are drawn everywhere.
    """
    shown = place.left if side == "y" else place.bottom
    if shown:
        return alt.Axis(title=title, labelFlush=False, **settings)
    return alt.Axis(title=None, labels=False, ticks=False, domain=False, **settings)


def nothing(text: str = "No results yet.") -> alt.Chart:
    """Return a figure that says why it is empty."""
    mark = alt.Chart(alt.InlineData(values=[{"text": text}])).mark_text(fontSize=9)
    return mark.encode(text="text:N").properties(width=theme.COLUMN, height=40)


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
    place: GridPosition, side: str, title: str | list[str] | None, limits: list[float], most=MOST
) -> dict:
    """Return scale and axis of a logarithmic channel; `side` is "x" or "y"."""
    inner = limits
    if side == "y":  # A label at an edge would stand out of its panel and move it.
        first, last = np.log10(limits)
        room = EDGE * (last - first)
        inner = [10 ** (first + room), 10 ** (last - room)]
    text = "replace(format(datum.value, '.0e'), 'e+', 'e')"
    drawn = axis(
        place,
        side,
        title,
        values=ticks(inner, most),
        labelExpr=f"datum.value < 1e4 ? format(datum.value, '~r') : {text}",
    )
    return {"scale": alt.Scale(type="log", domain=limits, nice=False), "axis": drawn}
