"""What is not there, so that figures show it: seeds, cells that do not fit, missing results."""

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.summary import summarise
from ...analysis.titles import arm_title, ordered, set_title, titles
from .. import select

RUN = ["task", "model", "method", "pattern", "seed"]
STATES = ("whole", "some")
"""States of a mean that there is: over all seeds planned, or over some."""


def with_states(means: pd.DataFrame) -> pd.DataFrame:
    """Return a summary in percent with `state`: whole, some (seeds), unfit or missing."""
    state = means["status"].map({"ok": "whole", "does not fit": "unfit", "missing": "missing"})
    return select.in_percent(means.assign(state=state.fillna("some")))


def with_state(means: pd.DataFrame) -> pd.DataFrame:
    """Return means over `seeds` with `state`: whole, or some where fewer than planned are there;
    of none, unfit or missing."""
    fewer = np.where(means["seeds"] < means["seeds_planned"], "some", "whole")
    if "status" not in means:
        return means.assign(state=fewer)
    absent = np.where(means["status"] == "does not fit", "unfit", "missing")
    return means.assign(state=np.where(means["seeds"] > 0, fewer, absent))


def mean_points(
    base: alt.Chart, size: int, states: tuple[str, str] = STATES, /, **encoding: object
) -> list[alt.Chart]:
    """Return the layers of means: points filled in the first of two states, hollow in the second;
    that is where seeds are missing, unless other `states` are given."""
    whole, some = (base.transform_filter(f"datum.state == '{state}'") for state in states)
    filled = whole.mark_point(filled=True, size=size, opacity=1)
    hollow = some.mark_point(filled=False, fill="white", size=size, strokeWidth=1, opacity=1)
    return [filled.encode(**encoding), hollow.encode(**encoding)]


def crosses(base: alt.Chart, foot: float, y: dict, **shared: object) -> alt.Chart:
    """Return the layer of cells without a mean, at the height `foot`: × does not fit, – missing."""
    absent = base.transform_filter("datum.state == 'unfit' || datum.state == 'missing'")
    text = alt.condition("datum.state == 'unfit'", alt.value("×"), alt.value("–"))
    mark = absent.mark_text(fontSize=9, baseline="bottom", fontWeight="bold")
    placed = mark.transform_calculate(foot=str(foot))
    return placed.encode(**shared, y=alt.Y("foot:Q", **y), text=text)


def hollow(means: pd.DataFrame, words: str = "Hollow: fewer seeds than planned") -> list[str]:
    """Return the line that explains hollow points of means with `size` and `arm`, if any."""
    counts = means["seeds"].map("{:.0f}".format) + "/" + means["seeds_planned"].map("{:.0f}".format)
    named = means.assign(title=means["size"], group=means["arm"], status=counts + " seeds")
    named = named[named["state"] == "some"]
    return [f"{words} ({_named(named, means['arm'].nunique())})."] if len(named) else []


def lacking(chosen: pd.DataFrame, catalog: dict) -> list[str]:
    """Return a line that names the cells with fewer points than seeds, and why."""
    scored = chosen[chosen["domain"] != "train"].drop_duplicates([*RUN, "evaluation_set"])
    cells = with_states(summarise(scored))
    cells = cells[cells["state"] != "whole"]
    cells = cells.drop_duplicates(["task", "model", "method", "pattern"])
    models = titles(catalog, "models")
    named = [
        f"{set_title(catalog, cell.task)}, {models[cell.model]}, "
        f"{arm_title(catalog, cell.method, cell.pattern)}: {cell.status}"
        for cell in ordered(cells, catalog, ["task", "method", "pattern", "model"]).itertuples()
    ]
    return [f"Not all seeds: {first_of(named, 4)}."] if named else []


def first_of(texts: list[str], most: int) -> str:
    """Return the first `most` texts in one line, and how many more there are."""
    more = f"; {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def incomplete(means: pd.DataFrame, styles: dict) -> list[str]:
    """Return lines that explain hollow points and crosses, where there are any."""
    states, lines = set(means["state"]), []
    if "some" in states:
        named = _named(means[means["state"] == "some"], len(styles))
        lines.append(f"Hollow: fewer seeds than planned ({named}).")
    return lines + absent(means)


def absent(means: pd.DataFrame) -> list[str]:
    """Return lines that explain crosses and dashes, where there are any."""
    states = set(means["state"])
    unfit = ["×: the examples exceed the model's window (does not fit)."]
    none = ["–: no result yet (missing)."]
    return unfit * ("unfit" in states) + none * ("missing" in states)


def _named(some: pd.DataFrame, groups: int) -> str:
    """Return which means lack seeds, by title; without their groups where that is all of them."""
    shown = []
    for (title, status), group in some.groupby(["title", "status"], sort=False)["group"]:
        names = dict.fromkeys(group)
        shown.append(f"{title}{'' if len(names) == groups else ', ' + ', '.join(names)}")
        shown[-1] += f": {status}"
    return first_of(shown, 3)
