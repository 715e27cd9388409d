"""HANS by subcase: what follows and what does not, apart."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import summarise, with_absent
from ...analysis.titles import label_title, ordered, set_title
from .. import select
from ..select import with_sizes
from . import axes, missing, panels, theme
from .by_size import by_size

TIPS = (
    "panel:N task, model; arm:N method; subset:N subcase; mean:Q accuracy (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
    + "; rows:Q rows"
)
KEYS = ["task", "evaluation_set", "label", "model", "method", "pattern"]
MOST_PANELS = 4
HEIGHT = 560
TITLE = 66
"""Points that the longest usual title of a block takes, upright."""
LABELS = 130
"""Points that the subcases' names may take."""


def hans_by_subcase(evidence: Evidence, catalog: dict, *, pattern: str | None = None) -> dict:
    """Plot mean accuracy by subcase of out-of-domain sets with its 95 % interval, grouped by gold
    label and heuristic.

    Shown is the largest model of each family, or the largest of all where that gives more than
    four panels in a row. `pattern` is as in `curves.accuracy_by_k`.
    """
    main = catalog["main"]
    chosen, overall = (
        select.select_rows(
            evidence.metrics, catalog, level=level, k=main["k"], selection=main["selection"]
        )
        for level in (("subset", "label"), ())
    )
    # After rows of what is absent have come in: a set may be out of one task's domain alone.
    chosen = with_absent(chosen, overall, ["group", "subset", "label"])
    chosen = chosen[chosen["domain"] == "out"]
    if chosen.empty:
        return panels.nothing("No out-of-domain set with subsets has results yet.")
    chosen = select.fewer_arms(chosen, catalog, pattern)
    chosen = chosen[chosen["model"].isin(_largest(chosen, catalog))]
    shown = set(zip(chosen["model"], chosen["method"], chosen["pattern"], strict=True))
    keys = zip(overall["model"], overall["method"], overall["pattern"], strict=True)
    catalog, single = select.singled(chosen, catalog)
    notes = missing.lacking(overall[[key in shown for key in keys]], catalog)
    frame = _titled(summarise(chosen, ["group", "subset", "label"]), catalog)
    styles = theme.arm_styles(catalog, frame)
    order = list(dict.fromkeys(frame["panel"]))
    room = HEIGHT // frame.groupby(["evaluation_set", "label", "subset"]).ngroups
    labels = int(min(LABELS, 4 * frame["subcase"].str.len().max()))
    width = (theme.WIDTH - labels - 38 - panels.GAP * (len(order) - 1)) // len(order)
    groups = list(frame.groupby(["evaluation_set", "label", "group"], sort=False, dropna=False))

    def cell(name, label, group, rows, title, place) -> dict:
        # A set may have subsets without groups.
        titled = [label_title(catalog, name, label)]
        titled += [group.replace("_", " ")] if pd.notna(group) else []
        extent = {"minExtent": labels, "maxExtent": labels} if place.left else {}
        axis = axes.axis(place, "y", titled, grid=True, **extent)
        return _panel(rows[rows["panel"] == title], rows, axis, place, styles, room)

    draws = [panels.Row(order, partial(cell, *key, rows)) for key, rows in groups]
    blocks = panels.stack(draws, len(order), width)
    return panels.footnote(panels.grid(blocks, len(order)), notes, single)


def hans_by_heuristic(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy by size on each group of an out-of-domain set (HANS: heuristic), by gold label.

    A column per group, a line per method; `arms` and `pattern` as in `by_size.methods_compared`.
    """
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    chosen, overall = (
        select.select_rows(
            evidence.metrics, catalog, level=level, task=task, family=family, k=k,
            evaluation_set=evaluation_set, selection=selection, arms=arms,
        )
        for level in (("group", "label"), ())
    )  # fmt: skip
    chosen = with_absent(chosen, overall, ["group", "label"])
    chosen = chosen[chosen["domain"] == "out"]
    chosen = chosen if arms else select.fewer_arms(chosen, catalog, pattern)
    if chosen.empty:
        return panels.nothing("No out-of-domain set with groups has results yet.")
    catalog, single = select.singled(chosen, catalog)
    means = missing.with_states(summarise(chosen, ["group", "label"]))
    means = with_sizes(ordered(means, catalog, [*KEYS[:3], "group", *KEYS[3:]]), catalog)
    keys = list(zip(means["task"], means["evaluation_set"], means["label"], strict=True))
    headings = {key: _heading(catalog, *key) for key in dict.fromkeys(keys)}
    means = means.assign(
        heading=[headings[key] for key in keys],
        where=[" ".join(headings[key]).replace(" (%)", "") for key in keys],
        column=means["group"],
        group=select.named(means, catalog)["arm"],
        majority=50.0 if means["label"].nunique() == 2 else None,
    )
    names = {name: name.replace("_", " ") for name in dict.fromkeys(means["column"])}
    means = means.assign(column=means["column"].map(names))
    styles = theme.arm_styles(catalog, chosen)
    names = list(names.values())
    return by_size(means, None, catalog, styles, names, join=True, single=single)


def _heading(catalog: dict, task: str, evaluation_set: str, label: int) -> tuple[str, ...]:
    gold = label_title(catalog, evaluation_set, label)
    return (f"{set_title(catalog, task)} →", f"{set_title(catalog, evaluation_set)} (%)", gold)


def _largest(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the largest model of each family, or of all if that makes too many panels."""
    largest = select.largest_by_family(frame, catalog)
    if len(largest) * frame["task"].nunique() <= MOST_PANELS:
        return largest
    return [max(largest, key=lambda name: catalog["models"][name]["parameters"])]


def _titled(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    keys = ["evaluation_set", "label", "group", "subset", "task", "model", "method", "pattern"]
    frame = select.named(missing.with_states(ordered(frame, catalog, keys)), catalog)
    tasks = frame["task"].map(lambda name: set_title(catalog, name))
    several = frame["size"].nunique() > 1  # One alone is named in the note.
    frame["panel"] = tasks + "\n" + frame["size"] if several else tasks
    blocks = frame.groupby(["evaluation_set", "label", "group"], dropna=False)["subset"]
    frame["subcase"] = blocks.transform(readable)
    return frame


def readable(names: pd.Series) -> list[str]:
    """Return subset names without underscores and without a prefix that all of them share."""
    words = names.astype(str)
    first = words.str.split("_").str[0]
    if first.nunique() == 1 and words.str.contains("_").all():
        words = words.str.split("_", n=1).str[1]
    return words.str.replace("_", " ").tolist()


def _panel(
    shown: pd.DataFrame, rows: pd.DataFrame, y_axis: alt.Axis, place: axes.GridPosition,
    styles: dict, room: int,
) -> dict:  # fmt: skip
    """Return one panel of `shown`: subcases down, methods side by side within each.

    `rows` are those of the whole block, whose subcases all its panels list; each gets at most
    `room` points, unless the block would be too low for its title.
    """
    names = list(dict.fromkeys(rows["subcase"]))
    beside = [arm for arm in styles if arm in set(shown["arm"])]
    step = max(10, min(5 * len(styles) + 2, room), TITLE // len(names))
    x = axes.linear(place, "x", "Accuracy (%)", axes.margin(0, 100), values=[0, 50, 100])
    base, legend = alt.Chart(), theme.legend(styles)
    shared = {
        "y": alt.Y("subcase:N", scale=alt.Scale(domain=names), axis=y_axis),
        "yOffset": alt.YOffset("arm:N", scale=alt.Scale(domain=beside)),
        "color": theme.color("arm", styles, legend),
    }
    bars = base.mark_rule(strokeWidth=0.8).encode(**shared, x=alt.X("low:Q", **x), x2="high:Q")
    shape, tips = theme.shape("arm", styles, legend), panels.tooltips(TIPS)
    shared |= {"x": alt.X("mean:Q", **x), "shape": shape, "tooltip": tips}
    points = missing.mean_points(base, 18 if len(styles) < 4 else 13, **shared)
    return panels.panel(shown, bars, *points, height=step * len(names))
