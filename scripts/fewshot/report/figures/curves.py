"""Figures of accuracy against something that grows: shots, epochs, the share of wrong labels."""

from collections.abc import Callable
from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, seed_counts, summarise
from ...analysis.titles import is_trained, ordered, set_title
from .. import select
from . import axes, missing, panels, theme

FEW = 6
"""Numbers of shots up to which points are large."""
TIPS = (
    "size:N model; arm:N method; {}; mean:Q mean |.2f"
    + panels.interval_tips(".2f")  # Losses are small.
    + panels.SEEDS
    + "; rows:Q rows counted"
)


def accuracy_by_k(evidence: Evidence, catalog: dict, *, pattern: str | None = None) -> dict:
    """Plot mean accuracy by number of shots with its 95 % interval, a row per evaluation set.

    `pattern` restricts it; with more than five methods × patterns the first of a task's does.
    """
    select.check_options(evidence.metrics, catalog, pattern=pattern)
    chosen = select.fewer_arms(at_level(evidence.metrics), catalog, pattern)
    chosen = chosen[chosen["selection"] == catalog["main"]["selection"]]
    means = summarise(chosen)
    if not means["seeds"].any():
        return panels.nothing()
    catalog, single = select.singled(chosen, catalog)
    means = _titled(missing.with_state(means), catalog)
    means = _with_sizes(means, evidence.metrics)
    ks = sorted(int(k) for k in means["k"].unique())
    look = {"tips": TIPS.format("k:O shots"), "stroke": 1.1, "size": 20 if len(ks) <= FEW else 12}
    chart = _rows(means, catalog, lambda rows, *rest: panels.by_shots(rows, ks, *rest, **look))
    return panels.footnote(chart, missing.hollow(means) + missing.absent(means), single)


def accuracy_by_wrong_labels(
    evidence: Evidence, catalog: dict, *, k: int | None = None, selection: str | None = None,
    pattern: str | None = None,
) -> dict:  # fmt: skip
    """Plot mean accuracy by the share of wrong labels among the shots, as `accuracy_by_k` by shots.

    A row is a task and evaluation set: its own shots are at 0, and those of the tasks that differ
    from it in `draw: {flip: …}` alone at their shares (Min et al. 2022).
    """
    select.check_options(evidence.metrics, catalog, k=k, selection=selection, pattern=pattern)
    chosen = select.fewer_arms(at_level(evidence.metrics), catalog, pattern)
    chosen = chosen[chosen["k"] == select.main_k(catalog, k)]
    chosen = chosen[chosen["selection"] == select.main_selection(catalog, selection)]
    means = _by_share(summarise(chosen), catalog.get("variants", {}).get("flip", {}))
    if means.empty or not means["seeds"].any():
        return panels.nothing("No run with wrong labels yet.")
    catalog, single = select.singled(means, catalog)
    means = _with_sizes(_titled(missing.with_state(means), catalog), evidence.metrics)
    shares = sorted(means["k"].unique())
    look = {"tips": TIPS.format("k:O wrong labels (%)"), "stroke": 1.1, "size": 20}
    look["title"] = "Wrong labels (%)"
    chart = _rows(means, catalog, lambda rows, *rest: panels.by_shots(rows, shares, *rest, **look))
    return panels.footnote(chart, missing.hollow(means) + missing.absent(means), single)


def _by_share(means: pd.DataFrame, variants: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Return the means of tasks with wrong labels as those of their first task, with the share in
    percent in the place of k."""
    frames = [means.iloc[:0]]
    for base, values in variants.items():
        found = means[means["task"].isin(values)]
        name = found["evaluation_set"].where(found["domain"] != "in", base)
        share = found["task"].map(lambda task, values=values: float(f"{100 * values[task]:g}"))
        frames.append(found.assign(task=base, evaluation_set=name, k=share))
    frame = pd.concat([each for each in frames if len(each)] or frames[:1], ignore_index=True)
    whole = (frame["k"] % 1 == 0).all()
    return frame.astype({"k": int}) if whole else frame


def learning_curves(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> dict:
    """Plot accuracy by epoch, and the training loss: means, and each seed where models are few.

    `k` is the study's main one if left out; `pattern` is as in `accuracy_by_k`.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    k = select.main_k(catalog, k)
    chosen = at_level(evidence.metrics)
    chosen = chosen[(chosen["selection"] == "each") & (chosen["k"] == k)]
    chosen = chosen[chosen["method"].map(lambda name: is_trained(catalog, name)).astype(bool)]
    chosen = select.fewer_arms(chosen, catalog, pattern)
    if chosen.empty:
        return panels.nothing(f"No fine-tuned run with {k} shots yet.")
    catalog, single = select.singled(chosen, catalog)
    scored, train = (chosen[(chosen["domain"] == "train") == flag] for flag in (False, True))
    planned = seed_counts(evidence.metrics)[[*CELL, "seeds_planned"]]
    means = _titled(_by_plan(summarise(scored, ["epoch"]), planned), catalog)
    loss = _by_plan(summarise(train, ["epoch"], "mean_logprob"), planned)
    loss = _titled(loss, catalog)
    loss[["mean", "low", "high"]] = -loss[["mean", "high", "low"]] / 100
    frames = [means.assign(kind="mean"), loss.assign(kind="mean")]
    if chosen["model"].nunique() <= panels.FEW_MODELS:
        frames.append(_titled(_seeds(scored), catalog).assign(kind="seed"))
    joined = _with_sizes(pd.concat(frames, ignore_index=True), evidence.metrics)
    span = [int(joined["epoch"].min()), int(joined["epoch"].max())]
    chart = _rows(joined, catalog, partial(_by_epoch, span))
    return panels.footnote(chart, missing.hollow(joined[joined["kind"] == "mean"]), single)


def _by_plan(means: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return means of epochs with the seeds planned: a seed that is missing has no epochs."""
    means = means.drop(columns="seeds_planned").merge(planned, on=CELL, how="left")
    return missing.with_state(means)


def _seeds(scored: pd.DataFrame) -> pd.DataFrame:
    """Return each seed's own accuracy in the columns of a summary."""
    mean, rows = scored["accuracy"].astype(float), scored["n"]
    return scored.assign(mean=mean, low=None, high=None, seeds=1, rows=rows, rows_fewest=rows)


def _with_sizes(frame: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with `size_of_set`: how many rows the evaluation set has in all."""
    sizes = metrics.groupby(["task", "evaluation_set"], as_index=False)["n"].max()
    return frame.merge(
        sizes.rename(columns={"n": "size_of_set"}), how="left", on=["task", "evaluation_set"]
    )


def _titled(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return percentages and display titles instead of shares and names."""
    keys = ["task", "domain", "evaluation_set", "model", "method", "pattern", "k"]
    return select.named(select.in_percent(ordered(frame, catalog, keys)), catalog)


def _rows(frame: pd.DataFrame, catalog: dict, draw: Callable[..., dict]) -> dict:
    """Return a block of panels per task and evaluation set, as `draw` makes each of its rows,
    place, y channel and styles. A task has the panels in which it has anything."""
    frame, order, styles = panels.roles(frame, catalog)
    frame = ordered(frame, catalog, ["task", "domain", "evaluation_set"])
    names = panels.names_by_task(frame, order)
    columns = panels.columns_for(max(map(len, names.values())))
    width = panels.panel_width(columns)
    groups = list(frame.groupby(["task", "domain", "evaluation_set"], sort=False))

    def cell(key: tuple, rows: pd.DataFrame, title: str, place: axes.GridPosition) -> dict:
        y = _y(key, frame, rows, place, catalog)
        return draw(rows[rows["panel"] == title], place, y, styles)

    lines = [
        panels.Row(names[key[0]], partial(cell, key, rows), 48 if key[1] == "train" else 76)
        for key, rows in groups
    ]
    return panels.grid(panels.stack(lines, columns, width), columns)


def _y(
    key: tuple, frame: pd.DataFrame, rows: pd.DataFrame, place: axes.GridPosition, catalog: dict
) -> dict:
    """Return title, scale and axis of the y channel of `rows`; `key` is task, domain, set. The
    range is that of all of `frame` with the same measure: accuracy, or loss."""
    task, domain, name = key
    same = frame[(frame["domain"] == "train") == (domain == "train")]
    if domain == "train":
        title = ["Training loss", set_title(catalog, task)]
        limits = axes.margin(0, float(same["mean"].max()))
    else:
        title = select.set_heading(catalog, task, name, domain) + _sampled(rows)
        limits = axes.domain(same["mean"], same["low"], same["high"], same["majority"])
    channel = axes.linear(place, "y", title, limits, tickCount=4)
    channel["scale"].clamp = domain == "train"
    return channel


def _sampled(rows: pd.DataFrame) -> list[str]:
    """Return the line of an axis title that names the size of a sample, where one is counted."""
    rows = rows[rows["seeds"] > 0]
    fewest, most, total = rows["rows_fewest"].min(), rows["rows"].max(), rows["size_of_set"].max()
    if pd.isna(fewest) or fewest == total:
        return []
    count = f"{fewest:,.0f}" if fewest == most else f"{fewest:,.0f}–{most:,.0f}"
    return [f"{count} of {total:,.0f} rows"]


def _by_epoch(
    span: list[int], rows: pd.DataFrame, place: axes.GridPosition, y: dict, styles: dict
) -> dict:
    """Return one panel: the mean with its interval as a ribbon, seeds as thin lines."""
    base, legend = alt.Chart(), theme.legend(styles)
    x = axes.linear(place, "x", "Epoch", span, tickMinStep=1, tickCount=5, grid=False)
    shared = {"x": alt.X("epoch:Q", **x), "color": theme.color("line", styles, legend)}
    mean, dash = alt.Y("mean:Q", **y), theme.dash("line", styles, legend)
    means = base.transform_filter("datum.kind == 'mean'")
    area = means.mark_area(opacity=0.15, line=False)
    ribbon = area.encode(**shared, y=alt.Y("low:Q", **y), y2="high:Q")
    tips = panels.tooltips(TIPS.format("epoch:Q epoch"))
    line = means.mark_line(strokeWidth=1.3).encode(**shared, y=mean, strokeDash=dash, tooltip=tips)
    _, hollow = missing.mean_points(means, 10, **shared, y=mean)
    layers = [line, hollow] if len(styles) > select.MOST_ARMS else [ribbon, line, hollow]
    if (rows["domain"] == "train").all():
        return panels.panel(rows, *layers)
    seeds = base.transform_filter("datum.kind == 'seed'").mark_line(strokeWidth=0.4, opacity=0.5)
    layers.insert(len(layers) - 2, seeds.encode(**shared, y=mean, detail="seed:N"))
    return panels.panel(rows, axes.baseline(base, y), *layers)
