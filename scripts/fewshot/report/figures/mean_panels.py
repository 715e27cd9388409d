"""Panels of means with intervals and the runs behind them, in rows and columns.

One layout serves every figure whose x axis is a list of names (sizes, shots) within which groups
(methods, checkpoints, patterns) stand side by side. What is missing is shown: a mean over fewer
seeds than planned is hollow, a cell that does not fit is a cross.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from . import axes, missing, panels, theme

TIPS = (
    "where:N on; title:N model; group:N group; x:N at; mean:Q mean (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
    + "; rows:Q rows; status:N status"
)
HEIGHT = 520
TICKS, LINE = 24, 10
"""Points that the labels of a y axis take, and each line of its title."""
LOWEST, HIGHEST = 44, 92
"""Points between which a panel's height lies."""


@dataclass(frozen=True)
class Column:
    """One column of panels: its key in the data, title, the names on its x axis and their title."""

    key: str
    title: str
    xs: list[str]
    x_title: str


@dataclass(frozen=True)
class Band:
    """Rows of panels with the same columns: those of one key in the column `band`."""

    key: str
    columns: list[Column]


def draw_panels(
    means: pd.DataFrame, runs: pd.DataFrame | None, styles: dict[str, dict], bands: Sequence[Band],
    *, join: bool = False, single: dict[str, str] | None = None,
) -> dict:  # fmt: skip
    """Return rows of panels, one for each band and heading, with what is missing named below.

    `means` (see `missing.with_states`) and `runs` have columns band, column, heading (tuple of
    lines), x and group; `styles` gives the groups' looks in order. `join` connects the means of a
    group; `single` is as in `panels.footnote`. All panels have one range.
    """
    most = max(len(band.columns) for band in bands)
    of_band = {band.key: means[means["band"] == band.key] for band in bands}
    headings = {key: list(dict.fromkeys(rows["heading"])) for key, rows in of_band.items()}
    height = min(HIGHEST, max(LOWEST, HEIGHT // sum(map(len, headings.values())) - 20))
    wrapped = {heading: panels.along(heading, height) for heading in set(means["heading"])}
    room = TICKS + LINE * max(map(len, wrapped.values()))
    scale, blocks = _y_scale(means, runs, height), []
    for band in bands:
        widths = _widths(band.columns, most, theme.WIDTH - room)
        for heading in headings[band.key]:
            rows = _at(of_band[band.key], heading=heading)
            points = None if runs is None else _at(runs, band=band.key, heading=heading)
            first, last = (heading == headings[band.key][at] for at in (0, -1))
            block = []
            for column, width in zip(band.columns, widths, strict=True):
                panel = _Panel(
                    *(column, styles, scale, wrapped[heading], width),
                    *(column is band.columns[0], last, join),
                )
                size = {"width": width, "height": height}
                if first and column.title:
                    size["title"] = panels.heading(column.title, width)
                shown = [
                    None if frame is None else _at(frame, column=column.key)
                    for frame in (rows, points)
                ]
                block.append(panel.draw(*shown, size))
            blocks.append(block)
    lines = missing.incomplete(means, styles)
    return panels.footnote(panels.grid(blocks, most), lines, single)


def _at(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    mask = pd.Series(True, frame.index)
    for name, value in values.items():
        mask &= frame[name].map(lambda each, value=value: each == value).astype(bool)
    return frame[mask]


def _widths(columns: Sequence[Column], most: int, room: int) -> list[int]:
    """Return the panels' widths: in proportion to their names on x where columns differ."""
    room = room - panels.GAP * (most - 1) - 2 * most
    names = [len(column.xs) for column in columns]
    if len(columns) < most or len(set(names)) == 1:
        return [room // most] * len(columns)
    return [max(40, room * count // sum(names)) for count in names]


def _y_scale(rows: pd.DataFrame, points: pd.DataFrame | None, height: int) -> alt.Scale:
    """Return the scale of the panels, with room for half a tick label at both ends."""
    values = [rows["mean"], rows["low"], rows["high"], rows["majority"]]
    values += [] if points is None else [points["mean"]]
    joined = pd.concat([column.astype(float).dropna() for column in values])
    low, high = axes.domain(joined, step=10 if joined.max() - joined.min() > 15 else 5)
    extra = (high - low) * max(0, 5 / height - 0.05)
    return alt.Scale(domain=[low - extra, high + extra], nice=False)


@dataclass(frozen=True)
class _Panel:
    """What one panel needs besides its data."""

    column: Column
    styles: dict[str, dict]
    scale: alt.Scale
    heading: list[str]
    width: int
    left: bool
    last: bool
    join: bool

    def draw(self, rows: pd.DataFrame, points: pd.DataFrame | None, size: dict) -> dict:
        """Return the panel: baseline and runs below, intervals and means above."""
        base, y = alt.Chart(), self._y()
        frames = [rows] if points is None else [rows, points.assign(state="run", majority=None)]
        legend, joined = theme.legend(self.styles), pd.concat(frames, ignore_index=True)
        shared = {**self._x(rows), "color": theme.color("group", self.styles, legend)}
        layers = self._means(base, shared, y)
        if not rows["state"].isin(["whole", "some"]).any():
            return panels.panel(joined, *layers[:2], self._empty(rows), **size)
        scored = base.transform_filter("isValid(datum.majority)")
        return panels.panel(joined, axes.baseline(scored, y), *layers, **size)

    def _means(self, base: alt.Chart, shared: dict, y: dict) -> list[alt.Chart]:
        """Return the layers of runs, intervals, lines, means and crosses."""
        legend = theme.legend(self.styles)
        at = {**shared, "y": alt.Y("mean:Q", **y)}
        shape = theme.shape("group", self.styles, legend)
        layers = [
            _where(base, "run").mark_point(filled=True, size=5, opacity=0.45).encode(**at),
            _where(base, "whole", "some")
            .mark_rule(strokeWidth=0.9)
            .encode(**shared, y=alt.Y("low:Q", **y), y2="high:Q"),
        ]
        if self.join:
            line = _where(base, "whole", "some").mark_line(strokeWidth=0.9)
            layers.insert(0, line.encode(**at))
        size = 22 if len(self.styles) < 4 else 16
        tips = panels.tooltips(TIPS)
        return [
            *layers,
            *missing.mean_points(base, size, **at, shape=shape, tooltip=tips),
            missing.crosses(base, self.scale.domain[0], y, **shared, tooltip=tips),
        ]

    def _empty(self, rows: pd.DataFrame) -> alt.Chart:
        """Return the words of a panel without any result."""
        states = set(rows["state"])
        words = "does not fit" if states == {"unfit"} else "no results yet"
        return panels.words(words if len(rows) else "not in the study")

    def _x(self, rows: pd.DataFrame) -> dict:
        beside = [name for name in self.styles if name in set(rows["group"])]
        place = axes.GridPosition(left=self.left, bottom=self.last, top=False)
        axis = axes.named(place, self.column.x_title, self.column.xs, self.width)
        scale = alt.Scale(domain=self.column.xs, type="band", paddingInner=0.15, paddingOuter=0.1)
        # What belongs together stays closer to its tick than to the next one's.
        band = 0.85 * self.width / (len(self.column.xs) + 0.05)
        wide = (0.25, 2.5) if self.join else (0.3, 5)
        half = min(wide[0] * band, wide[1] * len(beside))
        across = {"range": [band / 2 - half, band / 2 + half], "type": "point", "padding": 0}
        aside = alt.Scale(domain=beside, **across)
        return {
            "x": alt.X("x:O", scale=scale, axis=axis),
            "xOffset": alt.XOffset("group:N", scale=aside),
        }

    def _y(self) -> dict:
        place = axes.GridPosition(left=self.left, bottom=self.last, top=False)
        return {"scale": self.scale, "axis": axes.axis(place, "y", self.heading, tickCount=4)}


def _where(base: alt.Chart, *states: str) -> alt.Chart:
    return base.transform_filter(alt.FieldOneOfPredicate(field="state", oneOf=list(states)))
