"""Matrices of fine-tuned sizes against sizes in context: who is better, where one is?"""

import altair as alt
import numpy as np
import pandas as pd

from ... import formatting
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title
from ...analysis.verdicts import ALPHA, UNTESTED
from ...errors import unknown
from .. import select
from ..select import family_order, family_titles, short_titles, sizes_of, with_sizes
from ..tables.comparisons import TESTS, claims
from . import panels, theme

CORRECTIONS = {"none": "uncorrected", "holm": "Holm", "bh": "Benjamini–Hochberg"}
TIPS = (
    "size:N fine-tuned; reference_size:N in context; points:Q difference (points) |+.2f"
    + panels.interval_tips("+.2f")
    + "; p:Q p as tested |.4f; verdict:N better"
    + panels.SEEDS
    + "; rows:Q rows; status:N status"
)
CELL = 25
"""Points of a cell's side at least: a number of four characters, and a count of seeds below it."""


def welch_matrix(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, tests: list[str] | None = None,
) -> dict:  # fmt: skip
    """Print mean differences, fine-tuning (rows) minus in context (columns), in points.

    Panels are the `tests`, "test" or "test-correction": Welch's as published and the crossed t-test
    after Holm's correction if left out. Cells with p of 0.05 and more are pale.
    `task` and `evaluation_set` are the first with results if left out; of `arms` one is fine-tuned
    and one in context.
    """
    tests = ["welch", "crossed-holm"] if tests is None else tests
    select.check_options(
        evidence.metrics, catalog, task, evaluation_set, family, k, selection, arms
    )
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    pairs = evidence.comparisons
    pairs = pairs[(pairs["k"] == k) & (pairs["selection"] == selection)]
    if evaluation_set is None:
        pairs = pairs[pairs["domain"] == "out"]
    pairs = select.one_matrix(pairs, catalog, task, evaluation_set, family, arms)
    pairs = select.first_of(pairs, catalog, "task", "evaluation_set", *select.SIDES)
    if pairs.empty:
        return panels.nothing("No comparison of fine-tuning with in-context learning yet.")
    pairs, known = with_sizes(pairs, catalog), family_titles(catalog)
    pairs["reference_size"] = pairs["reference_model"].map(short_titles(catalog))
    largest = pairs["difference"].astype(float).abs().max()
    limit = 5.0 if pd.isna(largest) else max(5.0, np.ceil(20 * largest) * 5)
    arm, rival = (
        arm_title(catalog, pairs[f"{side}method"].iloc[0], pairs[f"{side}pattern"].iloc[0])
        for side in ("", "reference_")
    )
    blocks = []
    for name in family_order(pairs, catalog):
        rows = pairs[pairs["family"] == name]
        sizes = sizes_of(rows, catalog, name)
        titled = {"y": (arm, known[name]), "x": (rival, known[name])}
        blocks.append([])
        for i, test in enumerate(tests):
            cells, title = judged(rows, test, limit)
            shown = titled if i == 0 else titled | {"y": None}
            blocks[-1].append(_panel(cells, title, sizes, shown, limit))
    return panels.footnote(panels.grid(blocks, len(tests)), _notes(pairs, catalog))


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
    points = (100 * pairs["difference"].astype(float)).round(2)
    p = pairs[column].astype(float)
    below = (p < ALPHA).to_numpy()
    better = np.where(points > 0, "fine-tuning", "in-context learning")
    done = pairs["seeds"].astype(str) + "/" + pairs["seeds_planned"].astype(str)
    fewer = (pairs["seeds"] < pairs["seeds_planned"]) & points.notna()
    empty = pairs["status"].map({"does not fit": "×"}).fillna("–")
    cells = pairs.assign(
        points=points,
        p=p,
        low=(100 * pairs["low"].astype(float)).round(2),
        high=(100 * pairs["high"].astype(float)).round(2),
        colour=points.where(below),
        dark=(points.abs() > 0.7 * limit) & below,
        interval=claims(pairs),
        number=pairs["difference"].map(formatting.points).where(points.notna(), empty),
        count=done.where(fewer, None),
        verdict=np.select([below, p.isna()], [better, UNTESTED], "no difference found"),
    )
    return cells, [TESTS[name], f"p < {ALPHA}, {CORRECTIONS[correction]}"]


def _panel(
    cells: pd.DataFrame, title: list[str], sizes: list[str], titled: dict, limit: float
) -> dict:
    """Return one matrix: coloured where p < ALPHA, with the difference printed in each cell.

    `titled` has arm and family of both axes; a y axis without them has no labels either.
    """
    count = len(sizes)
    side = max(CELL, min(42, 84 // count))
    titles = {
        at: each and [*panels.heading(each[0], side * count), each[1]]
        for at, each in titled.items()
    }
    bare = {"grid": False, "ticks": False, "domain": False}
    y_axis = alt.Axis(title=titles["y"], labels=titles["y"] is not None, **bare)
    x_axis = alt.Axis(title=titles["x"], labelAngle=0, **bare)
    base = alt.Chart().encode(
        x=alt.X("reference_size:N", scale=_bands(sizes), axis=x_axis),
        y=alt.Y("size:N", scale=_bands(sizes[::-1]), axis=y_axis),
        tooltip=panels.tooltips(TIPS),
    )
    legend = alt.Legend(
        title="Fine-tuning − in context (points)", gradientLength=110, gradientThickness=7,
        titleFontWeight="normal", direction="horizontal", titleOrient="left", titleLimit=240,
        values=[-limit, 0, limit],
    )  # fmt: skip
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
    size = {"width": side * count, "height": side * count, "title": title}
    return panels.panel(cells, pale, full, *texts, **size)


def _bands(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, type="band", paddingInner=0, paddingOuter=0)


def _notes(pairs: pd.DataFrame, catalog: dict) -> list[str]:
    """Return lines that name the data and explain pale cells and marks."""
    first, statuses = pairs.iloc[0], set(pairs["status"])
    where = f"{set_title(catalog, first['task'])} → {set_title(catalog, first['evaluation_set'])}"
    single = ((pairs["seeds"] == 1) & pairs["difference"].notna()).any()
    pale = f"p ≥ {ALPHA}{', or no test (one seed)' if single else ''}"
    lines = [f"{where}, {first['k']} shots. Pale: {pale}."]
    if (pairs["seeds"] < pairs["seeds_planned"]).any():
        lines[0] += " Small numbers: seeds that both sides have, of those planned."
    if "does not fit" in statuses:
        lines.append("×: the examples exceed the model's window (does not fit).")
    if pairs["difference"].isna().any() and statuses - {"does not fit"}:
        lines.append("–: no comparison (results are missing).")
    return lines
