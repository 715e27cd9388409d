"""Differences with their intervals: fine-tuning minus in-context learning of the same model."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.pairs import SAME_MODEL
from ...analysis.titles import arm_title, ordered, way_of
from ...analysis.verdicts import BETTER, EQUIVALENT, WORSE
from .. import select
from ..select import family_order, family_titles, sizes_of, with_sizes
from ..tables.comparisons import claims, main_comparisons, margin_of, verdict_text
from . import axes, missing, panels, theme

TIPS = (
    "where:N on; title:N model; arm:N fine-tuned; against:N minus; "
    "points:Q difference (points) |+.2f"
    + panels.interval_tips("+.2f")
    + "; t_low:Q for other draws alone from |+.2f; t_high:Q to |+.2f; said:N verdict; "
    "study_difference:Q p different |.4f; study_equivalent:Q p equivalent |.4f"
    + panels.SEEDS
    + "; rows:Q rows; status:N status"
)
STEP, LOWEST = 11, 24
"""Points between two models, and of a panel at least: its family stands upright beside it."""


def differences(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot fine-tuning minus in context, in points, with 95 % intervals for other draws and rows.

    A row per model, a column per task, evaluation set and way to show the shots. Filled: better or
    worse; “≈”: equivalent within the study's margin, which dotted lines show. Without a
    `selection`, checkpoints are those of `comparisons.main_comparisons`: in domain the last. `arms`
    picks ways of fine-tuning; without it, `pattern` is as in `select.fewer_arms`.
    """
    select.check_options(
        evidence.metrics, catalog, task, evaluation_set, family, k, selection, arms
    )
    pairs = main_comparisons(evidence.comparisons, catalog, [SAME_MODEL], k, selection)
    pairs = select.fitting(pairs, catalog, task, evaluation_set, family)
    pairs = select.of_arms(pairs, catalog, arms)
    pairs = pairs if arms else select.fewer_arms(pairs, catalog, pattern)
    if pairs.empty:
        return panels.nothing("No comparison of fine-tuning with in-context learning yet.")
    catalog, single = select.singled(select.both_sides(pairs), catalog)
    frame = _titled(pairs, catalog)
    if frame["arm"].nunique() == 1:
        single = {"Method": frame["arm"].iloc[0], **single}
    return panels.footnote(_draw(frame, catalog), _notes(frame, margin_of(catalog)), single)


def _titled(pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return points, display titles and `state`: clear (better or worse), open or none."""
    keys = ["task", "domain", "evaluation_set", "reference_method", "model", "method", "pattern"]
    frame = with_sizes(ordered(pairs, catalog, keys), catalog)
    for name, side in (("arm", ""), ("against", "reference_")):
        both = zip(frame[f"{side}method"], frame[f"{side}pattern"], strict=True)
        frame[name] = [arm_title(catalog, *pair) for pair in both]
    frame = select.headed(frame, catalog).assign(points=frame["difference"])
    frame["where"] = frame["where"].str.replace(" in domain", "")
    ways = frame["reference_method"].map(lambda name: way_of(catalog, name))
    if ways.nunique() > 1:  # A panel for each.
        frame["where"] += ": minus " + frame["against"].map(_in_sentence)
    numbers = ["points", "low", "high", "t_low", "t_high"]
    frame = select.in_percent(frame, numbers)
    # To what a tooltip tells: of less it would make −0.00.
    frame[numbers] = frame[numbers].round(2)
    frame["interval"] = claims(frame)
    frame["said"] = [verdict_text(row) for row in frame.to_dict("records")]
    clear = frame["verdict"].isin([BETTER, WORSE])
    frame["state"] = clear.map({True: "clear", False: "open"}).where(
        frame["points"].notna(), "none"
    )
    counts = frame["seeds"].astype(str) + "/" + frame["seeds_planned"].astype(str)
    fewer = frame["seeds"] < frame["seeds_planned"]
    equivalent = (frame["verdict"] == EQUIVALENT).map({True: "≈ ", False: ""})
    text = equivalent + counts.where(fewer, "")
    frame["text"] = text.str.strip().where(frame["points"].notna(), frame["status"])
    return frame


def _draw(frame: pd.DataFrame, catalog: dict) -> dict:
    headings = list(dict.fromkeys(frame["where"]))
    columns = min(len(headings), 4)
    styles, y_titles, blocks = theme.arm_styles(catalog, frame), family_titles(catalog), []
    low, high = frame["low"].min(), frame["high"].max()
    room = 5 + 0.12 * (high - low) if pd.notna(low) else 5
    limits = [min(low, 0) - 2, max(high, 0) + room] if pd.notna(low) else [-10, 10]
    width = panels.panel_width(columns) + 2

    def cell(family, heading, place) -> dict:
        rows = frame[(frame["where"] == heading) & (frame["family"] == family)]
        sizes = sizes_of(frame, catalog, family)
        return _panel(rows, sizes, y_titles[family], place, styles, limits, margin_of(catalog))

    families = family_order(frame, catalog)
    for first in range(0, len(headings), columns):
        shown = headings[first : first + columns]
        rows = [
            panels.Row(shown, partial(cell, name), _height(frame, name, shown)) for name in families
        ]
        blocks += panels.stack(rows, columns, width)
    return panels.grid(blocks, columns)


def _height(frame: pd.DataFrame, family: str, headings: list[str]) -> int:
    """Return the height of a row of panels: room for the arms that stand side by side in any."""
    rows = frame[(frame["family"] == family) & frame["where"].isin(headings)]
    arms = rows.groupby("where")["arm"].nunique().max() if len(rows) else 1
    sizes = frame.loc[frame["family"] == family, "model"].nunique()
    return max(LOWEST, max(STEP, 8 * int(arms) + 2) * sizes)


def _panel(
    rows: pd.DataFrame, sizes: list[str], family: str, place: axes.GridPosition,
    styles: dict, limits: list[float], margin: float,
) -> dict:  # fmt: skip
    """Return one panel: models down, methods side by side within each, a line at zero and dotted
    ones at the margin."""
    base, legend = alt.Chart(), theme.legend(styles)
    beside = [arm for arm in styles if arm in set(rows["arm"])]
    x = axes.linear(place, "x", ["Fine-tuning −", "in context (points)"], limits, tickCount=5)
    y_axis = axes.axis(place, "y", family, grid=False)
    down = {
        "y": alt.Y("size:N", scale=alt.Scale(domain=sizes), axis=y_axis),
        "yOffset": alt.YOffset("arm:N", scale=alt.Scale(domain=beside)),
    }
    shared = {**down, "color": theme.color("arm", styles, legend)}
    at = {"x": alt.X("points:Q", **x), "shape": theme.shape("arm", styles, legend)}
    at |= {**shared, "tooltip": panels.tooltips(TIPS)}
    zero = base.mark_rule(color=theme.GREY).encode(x=alt.X("zero:Q", **x))
    bounds = base.mark_rule(color=theme.GREY, strokeDash=[1, 2]).encode(x=alt.X("margin:Q", **x))
    bars = base.mark_rule(strokeWidth=0.9).encode(**shared, x=alt.X("low:Q", **x), x2="high:Q")
    points = missing.mean_points(base, 22, ("clear", "open"), **at)
    text = base.mark_text(fontSize=7, align="right", color=theme.GREY, dx=-2)
    edge = text.transform_calculate(edge=str(limits[1]))
    edge = edge.encode(**down, x=alt.X("edge:Q", **x), text="text:N")
    inside = [each for each in (-margin, margin) if limits[0] < each < limits[1]]
    lines = [(pd.DataFrame({"zero": [0]}), zero), (pd.DataFrame({"margin": inside}), bounds)]
    return panels.panel(rows, *lines, bars, *points, edge)


def _notes(frame: pd.DataFrame, margin: float) -> list[str]:
    against = list(dict.fromkeys(frame["against"]))
    named = " or ".join(map(_in_sentence, against[:3])) + (" …" if len(against) > 3 else "")
    lines = [
        f"Filled: better or worse. Dotted: ±{margin:g} points, the margin. "
        f"Each difference is the method minus {named}."
    ]
    if (frame["verdict"] == EQUIVALENT).any():
        lines.append("≈: equivalent, within the margin.")
    if ((frame["seeds"] == 1) & frame["low"].notna()).any():
        lines.append("With one seed a bar is for other rows alone.")
    if (frame["text"].str.contains("/")).any():
        lines.append("At the right edge: seeds that both sides have, of those planned.")
    return lines


def _in_sentence(title: str) -> str:
    """Return a title with a small first letter, unless it begins with an abbreviation."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title
