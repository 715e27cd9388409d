"""Figures by size: checkpoints, methods, patterns, shots and calibrations side by side."""

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import summarise
from ...analysis.titles import SELECTIONS, arms, is_baseline, is_trained, ordered, titles, way_of
from .. import select
from ..select import family_order, family_titles, sizes_of, with_sizes
from ..tables.calibration import SCORES
from . import mean_panels, missing, panels, theme

MOST_SLOTS = 44
"""Up to so many means stand side by side in a row of panels; with more, families get own rows."""
ORDER = ["task", "domain", "evaluation_set", "model", "method", "pattern", "k", "selection"]


def model_selection(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    arms: list[str] | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy under each checkpoint by size: runs, means and 95 % intervals.

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
    catalog, single = select.singled(chosen, catalog)
    present = [SELECTIONS[name] for name in select.CHOICES if name in set(chosen["selection"])]
    styles = {title: theme.selection_styles()[title] for title in present}
    frames = _summaries(chosen, catalog)
    frames = [frame.assign(group=frame["selection"].map(SELECTIONS)) for frame in frames]
    return by_size(*frames, catalog, styles, single=single)


def methods_compared(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy of methods side by side by size: runs, means and 95 % intervals.

    `arms` picks methods and patterns; without it, `pattern` is as in `select.fewer_arms`.
    """
    k = select.main_k(catalog, k)
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    if chosen.empty:
        return panels.nothing(f"No run with {k} shots yet.")
    catalog, single = select.singled(chosen, catalog)
    frames = [_with_arms(frame, catalog) for frame in _summaries(chosen, catalog)]
    return by_size(*frames, catalog, theme.arm_styles(catalog, chosen), single=single)


def icl_patterns_shots(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None,
) -> dict:  # fmt: skip
    """Plot in-context accuracy by size: a column per number of shots, a line per pattern.

    All shots stand in one context; other ways to show them are methods of their own elsewhere.
    """
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family,
        selection="last",
    )  # fmt: skip
    others = chosen["method"].map(
        lambda name: (
            is_trained(catalog, name) or is_baseline(catalog, name) or bool(way_of(catalog, name))
        )
    )
    chosen = chosen[~others.astype(bool)]
    if chosen.empty:
        return panels.nothing("No run in context yet.")
    _, single = select.singled(chosen, catalog)
    means, _ = _summaries(chosen, catalog)
    means = means.assign(
        group=means["pattern"].map(titles(catalog, "patterns")),
        column=means["k"].map(lambda count: f"{count} shots" if count else "No shots"),
    )
    styles = theme.pattern_styles(catalog)
    styles = {title: style for title, style in styles.items() if title in set(means["group"])}
    names = [f"{count} shots" if count else "No shots" for count in sorted(means["k"].unique())]
    return by_size(means, None, catalog, styles, names, join=True, single=single)


def effect_of_k(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, selection: str | None = None,
    arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot mean accuracy by number of shots, a column per size and a line per method.

    `arms` and `pattern` are as in `methods_compared`.
    """
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family,
        selection=selection, arms=arms,
    )  # fmt: skip
    if chosen.empty:
        return panels.nothing()
    catalog, single = select.singled(chosen, catalog)
    means = _with_arms(_summaries(chosen, catalog)[0], catalog)
    counts = [str(k) for k in sorted(means["k"].unique())]
    means = means.assign(x=means["k"].astype(str))
    return by_model(means, catalog, counts, "Shots", single=single)


def calibration(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot mean accuracy as scored and calibrated, and the area under the ROC curve: a column per
    size, a row per evaluation set, a line per method.

    Ranking by mutual information, which rests on one input, is left to the table. Options are those
    of `methods_compared`.
    """
    k = select.main_k(catalog, k)
    chosen = panels.select_arms(
        evidence, catalog, pattern, task=task, evaluation_set=evaluation_set, family=family, k=k,
        selection=selection, arms=arms,
    )  # fmt: skip
    shown = {name: title for name, title in SCORES.items() if name != "accuracy_pmi"}
    known = {name: title for name, title in shown.items() if chosen[name].notna().any()}
    if not known:
        return panels.nothing(f"No run with {k} shots yet.")
    catalog, single = select.singled(chosen, catalog)
    frames = [
        missing.with_states(summarise(chosen, value=name)).assign(x=title)
        for name, title in known.items()
    ]
    means = _with_arms(_headed(pd.concat(frames, ignore_index=True), catalog), catalog)
    return by_model(means, catalog, list(known.values()), "Score", single=single)


def by_model(
    means: pd.DataFrame, catalog: dict, xs: list[str], x_title: str, styles: dict | None = None, *,
    single: dict[str, str] | None = None,
) -> dict:  # fmt: skip
    """Return panels of means with those of `xs` on x that a family has: a column per size, a line
    per method, or per group of other `styles`."""
    styles = theme.arm_styles(catalog, means) if styles is None else styles
    means = means.assign(band=means["family"], column=means["size"])
    bands = []
    for family, whole in select.titles_by_size(means, catalog).items():
        there = set(means.loc[means["family"] == family, "x"])
        own = [x for x in xs if x in there]
        columns = [mean_panels.Column(size, title, own, x_title) for size, title in whole.items()]
        bands.append(mean_panels.Band(family, columns))
    return mean_panels.draw_panels(means, None, styles, bands, join=True, single=single)


def first_arm(rows: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the rows of the first fine-tuned method and pattern in the study's order."""
    trained = [pair for pair in arms(catalog, rows) if is_trained(catalog, pair[0])]
    if not trained:
        return rows.iloc[:0]
    method, pattern = trained[0]
    return rows[(rows["method"] == method) & (rows["pattern"] == pattern)]


def _summaries(chosen: pd.DataFrame, catalog: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the means (see `missing.with_states`) and the single runs, with headings and sizes."""
    means = missing.with_states(summarise(chosen))
    runs = chosen[chosen["status"] == "ok"]
    runs = runs.assign(mean=100 * runs["accuracy"].astype(float))
    return _headed(means, catalog), _headed(runs, catalog)


def _headed(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    return select.headed(with_sizes(ordered(frame, catalog, ORDER), catalog), catalog)


def _with_arms(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    return frame.assign(group=select.named(frame, catalog)["arm"])


def by_size(
    means: pd.DataFrame, runs: pd.DataFrame | None, catalog: dict, styles: dict[str, dict],
    names: list[str] | None = None, *, join: bool = False, single: dict[str, str] | None = None,
) -> dict:  # fmt: skip
    """Return panels with sizes on x; `names` are the values of `column`, or families are columns.

    Families get rows of their own where columns are taken or a row would be too dense; so do tasks
    that lack some of the columns.
    """
    families, x_titles = family_order(means, catalog), family_titles(catalog)
    sizes = {family: sizes_of(means, catalog, family) for family in families}
    alone = names is None and sum(map(len, sizes.values())) * len(styles) <= MOST_SLOTS
    band_of, columns = {}, {}
    for family in families:
        for task, rows in means[means["family"] == family].groupby("task", sort=False):
            present = [name for name in names or () if name in set(rows["column"])]
            band_of[family, task] = band = "" if alone else f"{family}: {present}"
            titled = {family: ""} if names is None else {name: name for name in present}
            for key, title in titled.items():
                column = mean_panels.Column(key, title, sizes[family], x_titles[family])
                columns.setdefault(band, {})[key] = column

    def placed(frame: pd.DataFrame) -> pd.DataFrame:
        band = [band_of[key] for key in zip(frame["family"], frame["task"], strict=True)]
        column = frame["family" if names is None else "column"]
        return frame.assign(x=frame["size"], band=band, column=column)

    means, runs = placed(means), None if runs is None else placed(runs)
    bands = [mean_panels.Band(band, list(found.values())) for band, found in columns.items()]
    return mean_panels.draw_panels(means, runs, styles, bands, join=join, single=single)
