"""Figures with the sizes of a family on x: checkpoints, methods and patterns side by side."""

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import summarise
from ...analysis.titles import SELECTIONS, arms, is_trained, ordered, titles
from .. import select
from ..select import family_order, family_titles, set_heading, sizes_of, with_sizes
from . import mean_panels, missing, panels, theme
from .panels import Chart

MOST_SLOTS = 44
"""Up to so many means stand side by side in a row of panels; with more, families get own rows."""
ORDER = ["task", "domain", "evaluation_set", "model", "method", "pattern", "k", "selection"]


def model_selection(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    arms: list[str] | None = None,
) -> Chart:  # fmt: skip
    """Plot accuracy under the three checkpoints by size: runs, means and 95 % intervals.

    Shown is one way of fine-tuning: that of `arms`, or the study's first.
    """
    k = select.main_k(catalog, k)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        arms=arms,
    )  # fmt: skip
    chosen = first_arm(chosen[chosen["selection"].isin(select.CHOICES)], catalog)
    if chosen.empty:
        return panels.nothing(f"No fine-tuned run with {k} shots yet.")
    styles = theme.selection_styles()
    frames = _summaries(chosen, catalog)
    frames = [frame.assign(group=frame["selection"].map(SELECTIONS)) for frame in frames]
    return by_size(*frames, catalog, styles)


def methods_compared(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> Chart:  # fmt: skip
    """Plot accuracy of methods side by side by size: runs, means and 95 % intervals.

    `arms` picks methods and patterns; without it, `pattern` is as in `panels.fewer_arms`.
    """
    k, selection = select.main_k(catalog, k), select.main_selection(catalog, selection)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    chosen = chosen if arms else panels.fewer_arms(chosen, catalog, pattern)
    if chosen.empty:
        return panels.nothing(f"No run with {k} shots yet.")
    frames = [_with_arms(frame, catalog) for frame in _summaries(chosen, catalog)]
    return by_size(*frames, catalog, theme.arm_styles(catalog, chosen))


def icl_patterns_shots(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None,
) -> Chart:  # fmt: skip
    """Plot in-context accuracy by size: a column per number of shots, a line per pattern."""
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family,
        selection="last",
    )  # fmt: skip
    trained = chosen["method"].map(lambda name: is_trained(catalog, name)).astype(bool)
    chosen = chosen[~trained]
    if chosen.empty:
        return panels.nothing("No run in context yet.")
    means, _ = _summaries(chosen, catalog)
    means = means.assign(
        group=means["pattern"].map(titles(catalog, "patterns")),
        column=means["k"].map(lambda count: f"{count} shots" if count else "No shots"),
    )
    styles = theme.pattern_styles(catalog)
    styles = {title: style for title, style in styles.items() if title in set(means["group"])}
    names = [f"{count} shots" if count else "No shots" for count in sorted(means["k"].unique())]
    return by_size(means, None, catalog, styles, names, join=True)


def effect_of_k(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, selection: str | None = None,
    arms: list[str] | None = None, pattern: str | None = None,
) -> Chart:  # fmt: skip
    """Plot mean accuracy by number of shots, a column per size and a line per method.

    `arms` and `pattern` are as in `methods_compared`.
    """
    selection = select.main_selection(catalog, selection)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family,
        selection=selection, arms=arms,
    )  # fmt: skip
    chosen = chosen if arms else panels.fewer_arms(chosen, catalog, pattern)
    if chosen.empty:
        return panels.nothing()
    means = _with_arms(_summaries(chosen, catalog)[0], catalog)
    counts = [str(k) for k in sorted(means["k"].unique())]
    means = means.assign(x=means["k"].astype(str), band=means["family"], column=means["size"])
    whole = means.drop_duplicates("model").set_index(["family", "size"])["title"]
    bands = [
        mean_panels.Band(
            name,
            [
                mean_panels.Column(size, whole[name, size], counts, "Shots")
                for size in sizes_of(means, catalog, name)
            ],
        )
        for name in family_order(means, catalog)
    ]
    return mean_panels.draw_panels(means, None, theme.arm_styles(catalog, chosen), bands, join=True)


def first_arm(rows: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the rows of the first fine-tuned method and pattern in the study's order."""
    trained = [pair for pair in arms(catalog, rows) if is_trained(catalog, pair[0])]
    if not trained:
        return rows.iloc[:0]
    method, pattern = trained[0]
    return rows[(rows["method"] == method) & (rows["pattern"] == pattern)]


def _summaries(
    chosen: pd.DataFrame, catalog: dict, by: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the means (see `missing.with_states`) and the single runs, with headings and sizes."""
    means = missing.with_states(summarise(chosen, by))
    runs = chosen[chosen["status"] == "ok"]
    runs = runs.assign(mean=100 * runs["accuracy"].astype(float))
    return _headed(means, catalog), _headed(runs, catalog)


def _headed(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    frame = with_sizes(ordered(frame, catalog, ORDER), catalog)
    keys = list(zip(frame["task"], frame["evaluation_set"], frame["domain"], strict=True))
    headings = {key: tuple(set_heading(catalog, *key)) for key in dict.fromkeys(keys)}
    where = [" ".join(headings[key]).replace(" (%)", "") for key in keys]
    return frame.assign(heading=[headings[key] for key in keys], where=where)


def _with_arms(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    return frame.assign(group=select.named(frame, catalog)["arm"])


def by_size(
    means: pd.DataFrame, runs: pd.DataFrame | None, catalog: dict, styles: dict[str, dict],
    names: list[str] | None = None, *, join: bool = False,
) -> Chart:  # fmt: skip
    """Return panels with sizes on x; `names` are the values of `column`, or families are columns.

    Families get rows of their own where columns are taken or a row would be too dense.
    """
    found, known = family_order(means, catalog), family_titles(catalog)
    sizes = {family: sizes_of(means, catalog, family) for family in found}
    alone = names is None and sum(map(len, sizes.values())) * len(styles) <= MOST_SLOTS
    frames = [
        None
        if frame is None
        else frame.assign(
            x=frame["size"],
            band="" if alone else frame["family"],
            column=frame["family"] if names is None else frame["column"],
        )
        for frame in (means, runs)
    ]
    columns = {
        family: mean_panels.Column(family, "", sizes[family], known[family]) for family in found
    }
    if alone:
        bands = [mean_panels.Band("", list(columns.values()))]
    elif names is None:
        bands = [mean_panels.Band(family, [columns[family]]) for family in found]
    else:
        bands = [
            mean_panels.Band(
                family,
                [mean_panels.Column(name, name, sizes[family], known[family]) for name in names],
            )
            for family in found
        ]
    return mean_panels.draw_panels(*frames, styles, bands, join=join)
