"""Matrices of fine-tuned sizes against sizes in context: who is better, and is it significant?"""

from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.comparisons import ACROSS_PATTERNS, MATRIX
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title
from ...errors import unknown
from ...study.figure_needs import in_arms
from ..tables.comparisons import ALPHA
from . import panels, select, theme
from .select import family_order, family_titles, short_titles, sizes_of, with_sizes

TESTS = {
    "welch": "Welch's t",
    "paired": "Paired t",
    "permutation": "Sign flips",
    "bootstrap": "Crossed bootstrap",
}
CORRECTIONS = {"none": "uncorrected", "holm": "Holm", "bh": "Benjamini–Hochberg"}
COLUMNS = [
    *("row", "column", "size", "reference_size", "points", "low", "high", "p", "colour", "number"),
    *("count", "seeds", "seeds_planned", "rows", "verdict", "status", "dark"),
]
CELL = 25
"""Points of a cell's side at least: a number of four characters, and a count of seeds below it."""


def welch_matrix(
    evidence: Evidence,
    catalog: dict,
    *,
    task: str | None = None,
    evaluation_set: str | None = None,
    family: str | None = None,
    k: int | None = None,
    selection: str | None = None,
    arms: list[str] | None = None,
    tests: list[str] | None = None,
) -> panels.Chart:
    """Print mean differences, fine-tuning (rows) minus in context (columns), in points.

    Panels are the `tests`, "test" or "test-correction": Welch's as published and the crossed
    bootstrap after Holm's correction if left out. Cells that are not significant at 0.05 are pale.
    `task` and `evaluation_set` are the first with results if left out; of `arms` one is fine-tuned
    and one in context.
    """
    tests = ["welch", "bootstrap-holm"] if tests is None else tests
    select.check_options(
        evidence.metrics, catalog, task, evaluation_set, family, k, selection, arms
    )
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    pairs = evidence.comparisons
    pairs = pairs[(pairs["k"] == k) & (pairs["selection"] == selection)]
    pairs = _one_matrix(pairs, catalog, task, evaluation_set, family, arms)
    if pairs.empty:
        return panels.nothing("No comparison of fine-tuning with in-context learning yet.")
    pairs, known = with_sizes(pairs, catalog), family_titles(catalog)
    pairs["reference_size"] = pairs["reference_model"].map(short_titles(catalog))
    largest = pairs["difference"].astype(float).abs().max()
    limit = 5.0 if pd.isna(largest) else max(5.0, np.ceil(20 * largest) * 5)
    blocks = []
    for name in family_order(pairs, catalog):
        rows = pairs[pairs["family"] == name]
        sizes = sizes_of(rows, catalog, name)
        block = []
        for i, test in enumerate(tests):
            cells, title = judged(rows, test, limit)
            frame = _Frame(sizes, known[name], *_sides(rows, catalog), i == 0, limit)
            block.append(_panel(cells, title, frame))
        blocks.append(block)
    return panels.footnote(panels.grid(blocks, len(tests)), _notes(pairs, catalog))


def _one_matrix(
    pairs: pd.DataFrame,
    catalog: dict,
    task: str | None,
    evaluation_set: str | None,
    family: str | None,
    arms: list[str] | None,
) -> pd.DataFrame:
    """Return the pairs of one task, evaluation set, way of fine-tuning and way in context."""
    pairs = pairs[pairs["family"].isin([MATRIX, ACROSS_PATTERNS])]
    models = {name: entry["family"] for name, entry in catalog["models"].items()}
    pairs = pairs.assign(family_of_model=pairs["model"].map(models))
    if family is not None:
        pairs = pairs[pairs["family_of_model"] == family]
    if task is not None:
        pairs = pairs[select.called(pairs["task"], task)]
    if evaluation_set is None:
        pairs = pairs[pairs["domain"] == "out"]
    else:
        pairs = pairs[select.called(pairs["evaluation_set"], evaluation_set)]
    if arms is None:
        pairs = pairs[pairs["family"] == MATRIX]
    else:
        for columns in (["method", "pattern"], ["reference_method", "reference_pattern"]):
            keys = zip(*(pairs[name] for name in columns), strict=True)
            kept = [in_arms(arms, catalog["methods"], *key) for key in keys]
            pairs = pairs[np.array(kept, dtype=bool)]  # An empty list would pick no columns.
    if pairs.empty:
        return pairs
    order = {
        "task": list(catalog["tasks"]),
        "evaluation_set": list(catalog["tasks"]),
        "method": list(catalog["methods"]),
        "pattern": list(catalog["patterns"]),
        "reference_method": list(catalog["methods"]),
        "reference_pattern": list(catalog["patterns"]),
    }
    for name, known in order.items():
        pairs = pairs[pairs[name] == min(set(pairs[name]), key=known.index)]
    return pairs


def judged(pairs: pd.DataFrame, test: str, limit: float) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells with p, verdict, colour and texts, and the panel's title.

    `test` is as in `welch_matrix`, `limit` the end of the colour scale in points. Raises UserError
    for an unknown test or correction.
    """
    name, _, correction = test.partition("-")
    correction = correction or "none"
    if name not in TESTS:
        raise unknown("test", name, TESTS, f"{select.WHERE}.tests")
    if correction not in CORRECTIONS:
        raise unknown("correction", correction, CORRECTIONS, f"{select.WHERE}.tests")
    column = f"{'p' if correction == 'none' else correction}_{name}"
    if column not in pairs:
        raise unknown("correction", f"{correction} of {name}", ["none", "holm"], select.WHERE)
    points = 100 * pairs["difference"].astype(float)
    p = pairs[column].astype(float)
    significant = (p < ALPHA).to_numpy()
    better = np.where(points > 0, "fine-tuning", "in-context learning")
    done = pairs["seeds"].astype(str) + "/" + pairs["seeds_planned"].astype(str)
    fewer = (pairs["seeds"] < pairs["seeds_planned"]) & points.notna()
    empty = pairs["status"].map({"does not fit": "×"}).fillna("–")
    number = points.map(lambda each: f"{each:+.1f}".replace("-", "−"))
    cells = pairs.assign(
        points=points,
        p=p,
        low=100 * pairs["low"].astype(float),
        high=100 * pairs["high"].astype(float),
        colour=points.where(significant),
        dark=(points.abs() > 0.7 * limit) & significant,
        number=number.where(points.notna(), empty),
        count=done.where(fewer, None),
        verdict=np.where(significant, better, "not significant"),
    )
    return cells, [TESTS[name], f"p < {ALPHA}, {CORRECTIONS[correction]}"]


@dataclass(frozen=True)
class _Frame:
    """What a matrix has besides its cells."""

    sizes: list[str]
    family: str
    trained: str
    context: str
    left: bool
    limit: float


def _sides(rows: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the titles of the fine-tuned arm and of that in context."""
    first = rows.iloc[0]
    return [
        arm_title(catalog, first[f"{side}method"], first[f"{side}pattern"])
        for side in ("", "reference_")
    ]


def _panel(cells: pd.DataFrame, title: list[str], frame: _Frame) -> alt.LayerChart:
    """Return one matrix: coloured where significant, with the difference printed in each cell."""
    count = len(frame.sizes)
    side = max(CELL, min(42, 84 // count))
    y_title = [*panels.heading(frame.trained, side * count), frame.family] if frame.left else None
    y_axis = alt.Axis(title=y_title, labels=frame.left, grid=False, ticks=False, domain=False)
    x_title = [*panels.heading(frame.context, side * count), frame.family]
    x_axis = alt.Axis(title=x_title, labelAngle=0, grid=False, ticks=False, domain=False)
    shared = {
        "x": alt.X("reference_size:N", scale=_bands(frame.sizes), axis=x_axis),
        "y": alt.Y("size:N", scale=_bands(frame.sizes[::-1]), axis=y_axis),
    }
    base = alt.Chart().encode(**shared, tooltip=_tooltips())
    legend = alt.Legend(
        title="Fine-tuning − in context (points)", gradientLength=110, gradientThickness=7,
        titleFontWeight="normal", direction="horizontal", titleOrient="left", titleLimit=240,
        values=[-frame.limit, 0, frame.limit],
    )  # fmt: skip
    limit = frame.limit
    scale = alt.Scale(domain=[-limit, -0.001, 0, 0.001, limit], range=theme.DIVERGING, clamp=True)
    color = alt.Color("colour:Q", scale=scale, legend=legend)
    found = base.mark_rect(stroke="white", strokeWidth=1)
    pale = found.transform_filter("!isValid(datum.colour)").encode(color=alt.value(theme.PALE))
    full = found.transform_filter("isValid(datum.colour)").encode(color=color)
    ink = alt.condition("datum.dark", alt.value("white"), alt.value(theme.INK))
    two = "isValid(datum.count)"
    number = base.mark_text(fontSize=7.5).encode(text="number:N", color=ink)
    above = base.mark_text(fontSize=7.5, dy=-4).encode(text="number:N", color=ink)
    below = base.mark_text(fontSize=7, dy=5).encode(text="count:N", color=ink)
    texts = [number.transform_filter(f"!{two}")]
    texts += [each.transform_filter(two) for each in (above, below)]
    data = panels.inline_data(cells, COLUMNS)
    return alt.layer(pale, full, *texts, data=data).properties(
        width=side * count, height=side * count, title=title
    )


def _bands(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, type="band", paddingInner=0, paddingOuter=0)


def _tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("size:N", title="fine-tuned"),
        alt.Tooltip("reference_size:N", title="in context"),
        alt.Tooltip("points:Q", title="difference (points)", format="+.2f"),
        alt.Tooltip("low:Q", title="95 % interval (crossed bootstrap) from", format="+.2f"),
        alt.Tooltip("high:Q", title="to", format="+.2f"),
        alt.Tooltip("p:Q", title="p as tested", format=".4f"),
        alt.Tooltip("verdict:N", title="better"),
        alt.Tooltip("seeds:Q", title="seeds"),
        alt.Tooltip("seeds_planned:Q", title="of planned seeds"),
        alt.Tooltip("rows:Q", title="rows"),
        alt.Tooltip("status:N", title="status"),
    ]


def _notes(pairs: pd.DataFrame, catalog: dict) -> list[str]:
    """Return lines that name the data and explain pale cells and marks."""
    first, statuses = pairs.iloc[0], set(pairs["status"])
    where = f"{set_title(catalog, first['task'])} → {set_title(catalog, first['evaluation_set'])}"
    lines = [f"{where}, {first['k']} shots. Pale: p ≥ {ALPHA}."]
    if (pairs["seeds"] < pairs["seeds_planned"]).any():
        lines[0] += " Small numbers: seeds that both sides have, of those planned."
    if "does not fit" in statuses:
        lines.append("×: the examples exceed the model's window (does not fit).")
    if pairs["difference"].isna().any() and statuses - {"does not fit"}:
        lines.append("–: no comparison (results are missing, or of fewer than two seeds).")
    return lines
