"""What is not there, so that figures show it: seeds, cells that do not fit, missing results."""

import altair as alt
import numpy as np
import pandas as pd

from ...analysis.summary import summarise
from ...analysis.titles import arm_title, ordered, set_title, titles

RUN = ["task", "model", "method", "pattern", "seed"]
STATES = ("whole", "some")
"""States of a mean that there is: over all seeds planned, or over some."""


def with_states(means: pd.DataFrame) -> pd.DataFrame:
    """Return a summary in percent with `state`: whole, some (seeds), unfit or missing."""
    means = means.copy()
    for name in ("mean", "low", "high", "majority"):
        means[name] = 100 * means[name].astype(float)
    state = means["status"].map({"ok": "whole", "does not fit": "unfit", "missing": "missing"})
    return means.assign(state=state.fillna("some"))


def with_state(means: pd.DataFrame) -> pd.DataFrame:
    """Return means over `seeds` with `state`: whole, or some where fewer than planned are there."""
    fewer = means["seeds"] < means["seeds_planned"]
    return means.assign(state=np.where(fewer, "some", "whole"))


def mean_points(
    base: alt.Chart, size: int, states: tuple[str, str] = STATES, /, **encoding: object
) -> list[alt.Chart]:
    """Return the layers of means: points filled in the first of two states, hollow in the second;
    that is where seeds are missing, unless other `states` are given."""
    whole, some = (base.transform_filter(f"datum.state == '{state}'") for state in states)
    filled = whole.mark_point(filled=True, size=size, opacity=1)
    hollow = some.mark_point(filled=False, fill="white", size=size, strokeWidth=1, opacity=1)
    return [filled.encode(**encoding), hollow.encode(**encoding)]


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
    more = f"; {len(named) - 4} more" if len(named) > 4 else ""
    return [f"Not all seeds: {'; '.join(named[:4])}{more}."] if named else []


def incomplete(means: pd.DataFrame, styles: dict) -> list[str]:
    """Return lines that explain hollow points and crosses, where there are any."""
    found, lines = set(means["state"]), []
    if "some" in found:
        named = _named(means[means["state"] == "some"], len(styles))
        lines.append(f"Hollow: fewer seeds than planned ({named}).")
    if "unfit" in found:
        lines.append("×: the examples exceed the model's window (does not fit).")
    if "missing" in found:
        lines.append("–: no result yet (missing).")
    return lines


def _named(some: pd.DataFrame, groups: int) -> str:
    """Return which means lack seeds, by title; without their groups where that is all of them."""
    shown = []
    for (title, status), found in some.groupby(["title", "status"], sort=False)["group"]:
        names = dict.fromkeys(found)
        shown.append(f"{title}{'' if len(names) == groups else ', ' + ', '.join(names)}")
        shown[-1] += f": {status}"
    return "; ".join(shown[:3]) + (f"; {len(shown) - 3} more" if len(shown) > 3 else "")
