"""Small multiples: blocks of panels in rows, with shared legends and aligned axes."""

import json
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.titles import arms, model_order, titles
from .. import select
from . import axes, missing, theme
from .axes import GridPosition, grid_positions

AXIS = 54
"""Points that a block's y axis, its labels and title take."""
GAP = 10
LETTER, LINE = 4.3, 10
"""Points that a letter of an axis' labels and a line of its title take."""
FEW_MODELS = 4
"""Up to so many models, a panel is a model and a line a method; else the other way round."""
SEEDS = "; seeds:Q seeds; seeds_planned:Q of planned seeds"
"""What most tooltips end with (see `tooltips`)."""
TOP_LEVEL = ("$schema", "config")
HEIGHT = 600
"""Points that the panels of a figure may take, so that it fits on a page with its caption."""


@dataclass(frozen=True)
class Row:
    """A row of panels: names (key → title), what draws one of them, how high they are and, where
    rows differ in it, what their x axis shows."""

    names: Mapping[str, str] | Sequence[str]
    draw: Callable[[str, GridPosition], dict]
    height: int | None = None
    across: str = ""


def panel(rows: pd.DataFrame, *layers: "Layer", **properties: object) -> dict:
    """Return a panel: layers over `rows`, the lowest first, as a plain Vega-Lite specification.

    A layer with rows of its own comes as a pair (rows, chart). Of rows only the columns are stored
    that a layer encodes or filters by: five digits, null for nan, the same bytes every time.
    """
    datasets: dict = {}
    pairs = [layer if isinstance(layer, tuple) else (None, layer) for layer in layers]
    parts = [_bare(chart, datasets) for _, chart in pairs]
    shared = []
    for part, (layer_rows, _) in zip(parts, pairs, strict=True):
        if layer_rows is None:
            shared.append(part)
        else:
            part["data"] = _stored(layer_rows, [part], datasets)
    data = {"data": _stored(rows, shared, datasets)} if shared else {}
    return {**data, "layer": parts, "datasets": datasets, **properties}


Layer = alt.Chart | tuple[pd.DataFrame, alt.Chart]


def _bare(chart: alt.Chart, datasets: dict) -> dict:
    """Return a chart's specification as part of another; its data join `datasets`."""
    spec = chart.to_dict(validate=False)
    if chart.data is alt.Undefined:  # Altair puts an empty row in the place of data.
        spec.pop("data", None), spec.pop("datasets", None)
    datasets.update(spec.pop("datasets", {}))
    return {key: part for key, part in spec.items() if key not in TOP_LEVEL}


def _stored(rows: pd.DataFrame, parts: Sequence[dict], datasets: dict) -> dict:
    """Add the columns of `rows` that the parts of a specification use; return their reference."""
    text = json.dumps(parts)
    used = {*re.findall(r'"field": "(\w+)"', text), *re.findall(r"datum\.(\w+)", text)}
    rows = rows[[name for name in rows if name in used]]
    plain = rows.astype(object).where(rows.notna(), None)
    values = [
        {name: _plain(value) for name, value in row.items()} for row in plain.to_dict("records")
    ]
    return _bare(alt.Chart(alt.InlineData(values=values)).mark_point(), datasets)["data"]


def _plain(value: object) -> object:
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}") + 0.0  # No −0.0.
    return value.item() if isinstance(value, np.generic) else value


def interval_tips(form: str = ".1f") -> str:
    """Return the part of a tooltip that tells an interval, in a number format (see `tooltips`)."""
    return f"; low:Q 95 % interval from |{form}; high:Q to |{form}; interval:N for other"


def tooltips(text: str) -> list[alt.Tooltip]:
    """Return what is shown under the pointer, from "field title |format; field title; …"."""
    tips = []
    for part in text.split(";"):
        field, _, title = part.strip().partition(" ")
        title, _, form = title.partition("|")
        tips.append(alt.Tooltip(field, title=title.strip(), **({"format": form} if form else {})))
    return tips


def roles(frame: pd.DataFrame, catalog: dict) -> tuple[pd.DataFrame, list[str], dict]:
    """Decide what is a panel and what a line of rows with `arm` and `size` (`select.named`).

    Returns the rows with both, the titles of the panels in order, and the styles of the lines.
    """
    if frame["model"].nunique() <= FEW_MODELS:
        frame = frame.assign(panel=frame["size"], line=frame["arm"])
        styles = theme.arm_styles(catalog, frame)
    else:
        styles = theme.model_styles(catalog, set(frame["size"]))
        frame = frame.assign(panel=frame["arm"], line=frame["size"])
    by_model = [titles(catalog, "models")[name] for name in model_order(catalog)]
    order, present = [*by_model, *arms(catalog, frame).values()], set(frame["panel"])
    return frame, [title for title in order if title in present], styles


def names_by_task(frame: pd.DataFrame, order: Sequence[str]) -> dict[str, list[str]]:
    """Return task -> those of the panels' titles `order` that its rows have in `panel`."""
    return {
        task: [title for title in order if title in set(rows["panel"])]
        for task, rows in frame.groupby("task", sort=False)
    }


def columns_for(count: int, most: int = 4) -> int:
    """Return in how many columns to set `count` panels: full rows where possible."""
    if count <= most + 1:
        return max(count, 1)
    return next((n for n in (most, most - 1) if count % n == 0), most)


def panel_width(columns: int, width: int = theme.WIDTH) -> int:
    """Return the width of each of `columns` panels; few panels make a smaller figure."""
    return min(math.floor((width - AXIS - GAP * (columns - 1)) / columns) - 2, theme.COLUMN)


def width_beside(names: Iterable[str], columns: int, lines: int = 0) -> int:
    """Return the width of each of `columns` panels beside `names`, such as those of methods, on the
    y axis and its title of some `lines`: they may take more room than an axis has elsewhere."""
    room = int(LETTER * max(map(len, names))) + LINE * lines
    return panel_width(columns, theme.WIDTH - max(0, room - AXIS))


def heading(title: str, width: int) -> list[str]:
    """Return a panel's title in lines that fit its width; a pattern's name begins a line."""
    if "\n" in title:
        return title.split("\n")
    most = max(8, int(width / 4.4))
    if len(title) <= most:
        return [title]
    lines = (textwrap.wrap(part, most, break_on_hyphens=False) for part in title.split(" · "))
    return [line for part in lines for line in part]


def along(title: Sequence[str], length: int) -> list[str]:
    """Return the lines of an axis' title, none longer than its panel along it."""
    most = max(9, int(length / 4.1))
    return [line for part in title for line in textwrap.wrap(part, most)]


def select_arms(
    evidence: Evidence, catalog: dict, pattern: str | None, *, arms: list[str] | None,
    selection: str | None, **options: object,
) -> pd.DataFrame:  # fmt: skip
    """Return the metrics that `options` ask for (`select.select_rows`), of `arms` or, without, of
    `select.fewer_arms`, at `selection` or, without, the study's main checkpoint."""
    selection = select.main_selection(catalog, selection)
    rows = select.select_rows(evidence.metrics, catalog, arms=arms, selection=selection, **options)
    return rows if arms else select.fewer_arms(rows, catalog, pattern)


def block(
    names: Mapping[str, str] | Sequence[str], columns: int,
    draw: Callable[[str, GridPosition], dict], width: int, height: int | None = None, *,
    first: bool = True, last: bool = True,
) -> list[dict]:  # fmt: skip
    """Return a panel for each of `names` (key → title) as `draw`, given key and place, has it.

    Panels have their titles in the `first` block of a figure and labels on x in the `last`, or in
    every block where one takes several rows of `columns`.
    """
    names = names if isinstance(names, Mapping) else {name: name for name in names}
    wrapped, cells = len(names) > columns, []
    places = grid_positions(len(names), columns)
    for (key, title), place in zip(names.items(), places, strict=True):
        bottom = place.bottom and (last or wrapped)
        cell = draw(key, replace(place, bottom=bottom, top=first or wrapped, width=width))
        size = {"width": width} if height is None else {"width": width, "height": height}
        named = {"title": heading(title, width)} if title and (first or wrapped) else {}
        cells.append({**cell, **size, **named})
    return cells


def stack(rows: Sequence[Row], columns: int, width: int) -> list[list[dict]]:
    """Return a `block` for each of `rows`: of those one below the other with the same names and x
    axis, the first has titles above and the last labels below."""
    keys = [(row.across, *row.names) for row in rows]
    return [
        block(
            *(row.names, columns, row.draw, width, row.height),
            first=i == 0 or keys[i] != keys[i - 1],
            last=i == len(rows) - 1 or keys[i] != keys[i + 1],
        )
        for i, row in enumerate(rows)
    ]


def grid(blocks: Sequence[Sequence[dict]], columns: int) -> dict:
    """Return the specification of blocks one above the other, with aligned axes and one legend.

    All go into one flat grid, since only there are the axes of different rows aligned; an
    unfinished row is filled up with nothing. The specification is a plain one: Altair copies every
    part of a chart, each with all the properties that it does not have, with every chart that it
    becomes part of: seconds for a figure of many panels.
    """
    cells, datasets = [], {}
    for panels in blocks:
        for cell in [*panels, *(_blank() for _ in range(-len(panels) % columns))]:
            datasets.update(cell["datasets"])
            cells.append({key: part for key, part in cell.items() if key != "datasets"})
    resolve = dict.fromkeys(("color", "shape", "strokeDash"), "shared")
    # An offset is a part of its own panel's band, which may be higher or wider elsewhere.
    resolve |= dict.fromkeys(("xOffset", "yOffset"), "independent")
    return {
        "$schema": alt.SCHEMA_URL,
        "concat": cells,
        "columns": columns,
        "spacing": {"row": 7, "column": GAP},
        "align": "each",
        "resolve": {"scale": resolve},
        "datasets": datasets,
    }


def _blank() -> dict:
    """Return a panel that shows nothing."""
    mark = alt.Chart(alt.InlineData(values=[{}])).mark_point(opacity=0)
    datasets: dict = {}
    spec = _bare(mark.properties(width=1, height=1, view=alt.ViewConfig(stroke=None)), datasets)
    return {**spec, "datasets": datasets}


def footnote(chart: dict, lines: Sequence[str], single: Mapping[str, str] | None = None) -> dict:
    """Return the chart with small grey lines of text below it; without lines as it is.

    `single` (see `select.singled`) is what all panels share: the first line names it, and no
    heading or legend does.
    """
    if single:
        chart = _unsaid(chart, set(single.values()))
        lines = [" ".join(f"{what}: {title}." for what, title in single.items()), *lines]
    before = chart.get("title", {}).get("text", [])
    wrapped = [*before, *(part for line in lines for part in textwrap.wrap(line, 135))]
    if not wrapped:
        return chart
    title = alt.TitleParams(
        wrapped, orient="bottom", anchor="start", align="left", fontSize=7, fontWeight="normal",
        color=theme.GREY, offset=6,
    )  # fmt: skip
    return {**chart, "title": title.to_dict()}


def _unsaid(chart: dict, names: set[str]) -> dict:
    """Return the chart without headings and legends that say one of `names` alone."""
    cells = []
    for cell in chart.get("concat", []):
        for layer in cell.get("layer", ()):
            for channel in map(layer["encoding"].get, ("color", "shape", "strokeDash")):
                domain = (channel or {}).get("scale", {}).get("domain")
                if domain and len(domain) == 1 and domain[0] in names:
                    channel["legend"] = None
        said = " ".join(cell.get("title", ())) in names
        cells.append({key: part for key, part in cell.items() if not (said and key == "title")})
    return {**chart, "concat": cells} if cells else chart


def words(text: str) -> alt.Chart:
    """Return the layer of a panel that says why it is empty."""
    mark = alt.Chart(alt.InlineData(values=[{"text": text}]))
    return mark.mark_text(fontSize=7.5, color=theme.GREY).encode(text="text:N")


def nothing(text: str = "No results yet.") -> dict:
    """Return a figure that says why it is empty."""
    mark = alt.Chart(alt.InlineData(values=[{"text": text}])).mark_text(fontSize=9)
    chart = mark.encode(text="text:N").properties(width=theme.COLUMN, height=40)
    return chart.to_dict(validate=False)


def by_shots(
    rows: pd.DataFrame, ks: Sequence[int], place: GridPosition, y: dict, styles: dict, tips: str,
    *, stroke: float, size: int, bars: bool = True, title: str = "Shots",
) -> dict:  # fmt: skip
    """Return a panel with a line per method (or model) over the numbers of shots `ks`, or over
    other numbers in the column k, which the axis calls `title`.

    Lines are `stroke` points wide, points have an area of `size`; `bars` are the intervals. Those
    of the lines that the panel has stand side by side where they are few: more would drift too far
    from their tick.
    """
    base, legend = alt.Chart(), theme.legend(styles)
    drawn = axes.named(place, title, [str(k) for k in ks], place.width)
    x = alt.X("k:O", scale=alt.Scale(domain=ks, type="band", padding=0.2), axis=drawn)
    shared = {"x": x, "color": theme.color("line", styles, legend)}
    beside = [line for line in styles if line in set(rows["line"])]
    if 1 < len(beside) <= select.MOST_ARMS:
        scale = alt.Scale(domain=beside, paddingOuter=1)
        shared["xOffset"] = alt.XOffset("line:N", scale=scale)
    mean, shape = alt.Y("mean:Q", **y), theme.shape("line", styles, legend)
    line = base.mark_line(strokeWidth=stroke)
    rule = base.mark_rule(strokeWidth=round(stroke - 0.2, 1))
    ends = {"y": alt.Y("low:Q", **y), "y2": "high:Q"}
    tipped = {**shared, "tooltip": tooltips(tips)}
    empty = rows["state"].isin(["unfit", "missing"]).any()
    return panel(
        rows,
        *([axes.baseline(base, y)] if rows["majority"].notna().any() else []),
        line.encode(**shared, y=mean, strokeDash=theme.dash("line", styles, legend)),
        *([rule.encode(**shared, **ends)] if bars else []),
        *missing.mean_points(base, size, **tipped, y=mean, shape=shape),
        *([missing.crosses(base, y["scale"].domain[0], y, **tipped)] if empty else []),
    )
