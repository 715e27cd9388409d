"""Figures of accuracy against something that grows: the number of shots, the epochs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, seed_counts, summarise
from ...analysis.titles import arm_title, arms, is_trained, model_order, ordered, set_title, titles
from . import missing, panels, select, theme

COLUMNS = [
    *("kind", "line", "arm", "size", "k", "epoch", "seed"),
    *("mean", "low", "high", "majority", "seeds", "seeds_planned", "state", "rows"),
]
FEW = 4
"""Up to so many models, a panel is a model and a line a method; else the other way round."""


def accuracy_by_k(evidence: Evidence, catalog: dict, *, pattern: str | None = None) -> panels.Chart:
    """Plot mean accuracy by number of shots with its 95 % interval, a row per evaluation set.

    `pattern` restricts it; with more than five methods × patterns the study's first one does.
    """
    select.check_options(evidence.metrics, catalog, pattern=pattern)
    chosen = panels.fewer_arms(at_level(evidence.metrics), catalog, pattern)
    chosen = chosen[chosen["selection"] == catalog["main"]["selection"]]
    means = summarise(chosen)
    means = _titled(means[means["seeds"] > 0], catalog)
    means = _with_sizes(missing.with_state(means), evidence.metrics)
    if means.empty:
        return panels.nothing()
    means, styles = _roles(means, catalog)
    ks = sorted(int(k) for k in means["k"].unique())
    chart = _rows(means, catalog, styles, partial(_by_k, ks))
    return panels.footnote(chart, missing.hollow(means))


def learning_curves(
    evidence: Evidence, catalog: dict, *, k: int | None = None, pattern: str | None = None
) -> panels.Chart:
    """Plot accuracy by epoch, and the training loss: means, and each seed where models are few.

    `k` is the study's main one if left out; `pattern` is as in `accuracy_by_k`.
    """
    select.check_options(evidence.metrics, catalog, k=k, pattern=pattern)
    k = select.main_k(catalog, k)
    chosen = at_level(evidence.metrics)
    chosen = chosen[(chosen["selection"] == "each") & (chosen["k"] == k)]
    chosen = chosen[chosen["method"].map(lambda name: is_trained(catalog, name)).astype(bool)]
    chosen = panels.fewer_arms(chosen, catalog, pattern)
    if chosen.empty:
        return panels.nothing(f"No fine-tuned run with {k} shots yet.")
    scored, train = (chosen[(chosen["domain"] == "train") == flag] for flag in (False, True))
    planned = seed_counts(evidence.metrics)[[*CELL, "seeds_planned"]]
    means = _titled(_by_plan(summarise(scored, ["epoch"]), planned), catalog)
    loss = _by_plan(summarise(train, ["epoch"], "mean_logprob"), planned)
    loss = _titled(loss, catalog)
    loss[["mean", "low", "high"]] = -loss[["mean", "high", "low"]] / 100
    frames = [means.assign(kind="mean"), loss.assign(kind="mean")]
    if chosen["model"].nunique() <= FEW:
        frames.append(_titled(_seeds(scored), catalog).assign(kind="seed"))
    joined, styles = _roles(
        _with_sizes(pd.concat(frames, ignore_index=True), evidence.metrics), catalog
    )
    span = [int(joined["epoch"].min()), int(joined["epoch"].max())]
    chart = _rows(joined, catalog, styles, partial(_by_epoch, span))
    return panels.footnote(chart, missing.hollow(joined[joined["kind"] == "mean"]))


def _by_plan(means: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return means of epochs with the seeds planned: a seed that is missing has no epochs."""
    means = means.drop(columns="seeds_planned").merge(planned, on=CELL, how="left")
    return missing.with_state(means)


def _seeds(scored: pd.DataFrame) -> pd.DataFrame:
    """Return each seed's own accuracy in the columns of a summary."""
    own = {"mean": scored["accuracy"].astype(float), "low": None, "high": None, "seeds": 1}
    return scored.assign(**own, rows=scored["n"], rows_fewest=scored["n"])


def _with_sizes(frame: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with `size_of_set`: how many rows the evaluation set has in all."""
    sizes = metrics.groupby(["task", "evaluation_set"], as_index=False)["n"].max()
    return frame.merge(
        sizes.rename(columns={"n": "size_of_set"}), how="left", on=["task", "evaluation_set"]
    )


def _titled(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return percentages and display titles instead of shares and names."""
    keys = ["task", "domain", "evaluation_set", "model", "method", "pattern", "k"]
    frame = ordered(frame, catalog, keys)
    for name in ("mean", "low", "high", "majority"):
        frame[name] = 100 * frame[name].astype(float)
    pairs = zip(frame["method"], frame["pattern"], strict=True)
    frame["arm"] = [arm_title(catalog, *pair) for pair in pairs]
    frame["size"] = frame["model"].map(titles(catalog, "models"))
    return frame


def _roles(frame: pd.DataFrame, catalog: dict) -> tuple[pd.DataFrame, dict]:
    """Decide what is a panel and what is a line; return the frame with both, and the styles."""
    if frame["model"].nunique() <= FEW:
        return frame.assign(panel=frame["size"], line=frame["arm"]), theme.arm_styles(
            catalog, frame
        )
    styles = theme.model_styles(catalog)
    present = {name: style for name, style in styles.items() if name in set(frame["size"])}
    return frame.assign(panel=frame["arm"], line=frame["size"]), present


def _rows(
    frame: pd.DataFrame, catalog: dict, styles: dict, layer: Callable[..., alt.LayerChart]
) -> panels.Chart:
    """Return a block of panels per task and evaluation set, drawn by `layer`."""
    by_model = [titles(catalog, "models")[name] for name in model_order(catalog)]
    known = [*by_model, *arms(catalog, frame).values()]
    order = [name for name in known if name in set(frame["panel"])]
    columns = panels.columns_for(len(order))
    frame = ordered(frame, catalog, ["task", "domain", "evaluation_set"])
    groups = list(frame.groupby(["task", "domain", "evaluation_set"], sort=False))
    blocks = []
    for i, (key, rows) in enumerate(groups):
        last, wrapped = i == len(groups) - 1, len(order) > columns
        block = []
        for title, place in zip(order, panels.grid_positions(len(order), columns), strict=True):
            place = replace(place, bottom=place.bottom and (last or wrapped))
            chart = layer(
                rows[rows["panel"] == title], place, _y(key, rows, place, catalog), styles
            )
            width = panels.panel_width(columns)
            chart = chart.properties(width=width, height=48 if key[1] == "train" else 76)
            heading = panels.heading(title, panels.panel_width(columns))
            block.append(chart.properties(title=heading) if i == 0 or wrapped else chart)
        blocks.append(block)
    return panels.grid(blocks, columns)


def _y(key: tuple, rows: pd.DataFrame, place: panels.GridPosition, catalog: dict) -> dict:
    """Return title, scale and axis of a block's y channel; `key` is task, domain, set."""
    task, domain, name = key
    title = [f"{set_title(catalog, task)} →", f"{set_title(catalog, name)} (%)"]
    if domain == "in":
        title = [f"{set_title(catalog, task)} (%)", "in domain"]
    values = [rows["mean"], rows["low"], rows["high"]]
    if domain == "train":
        title = ["Training loss", set_title(catalog, task)]
        limits = panels.margin(0, float(rows["mean"].max()))
    else:
        limits = panels.domain(*values, rows["majority"])
        title += _sampled(rows)
    axis = panels.axis(place, "y", title, tickCount=4)
    scale = alt.Scale(domain=limits, nice=False, clamp=domain == "train")
    return {"scale": scale, "axis": axis}


def _sampled(rows: pd.DataFrame) -> list[str]:
    """Return the line of an axis title that names the size of a sample, where one is counted."""
    fewest, most, total = rows["rows_fewest"].min(), rows["rows"].max(), rows["size_of_set"].max()
    if pd.isna(fewest) or fewest == total:
        return []
    count = f"{fewest:,.0f}" if fewest == most else f"{fewest:,.0f}–{most:,.0f}"
    return [f"{count} of {total:,.0f} rows"]


def _tooltips(first: str, title: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("size:N", title="model"),
        alt.Tooltip("arm:N", title="method"),
        alt.Tooltip(first, title=title),
        alt.Tooltip("mean:Q", title="mean", format=".2f"),
        alt.Tooltip("low:Q", title="interval from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
        alt.Tooltip("seeds:Q", title="seeds"),
        alt.Tooltip("seeds_planned:Q", title="of planned seeds"),
        alt.Tooltip("rows:Q", title="rows counted"),
    ]


def _majority(base: alt.Chart, y: dict) -> alt.Chart:
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.7, color=theme.GREY)
    return rule.encode(y=alt.Y("min(majority):Q", **y))


def _by_k(
    ks: list[int], rows: pd.DataFrame, place: panels.GridPosition, y: dict, styles: dict
) -> alt.LayerChart:
    """Return one panel: a line per method (or model) with intervals side by side."""
    base, legend = alt.Chart(), theme.legend(styles)
    axis = panels.axis(place, "x", "Shots", labelAngle=0, labelOverlap=True, grid=False)
    x = alt.X("k:O", scale=alt.Scale(domain=ks, type="band", padding=0.2), axis=axis)
    shared = {"x": x, "color": theme.color("line", styles, legend)}
    if len(styles) <= panels.MOST_ARMS:  # More would drift too far from their tick.
        scale = alt.Scale(domain=list(styles), paddingOuter=1)
        shared["xOffset"] = alt.XOffset("line:N", scale=scale)
    line = base.mark_line(strokeWidth=1.1).encode(
        **shared, y=alt.Y("mean:Q", **y), strokeDash=theme.dash("line", styles, legend)
    )
    bars = base.mark_rule(strokeWidth=0.9).encode(**shared, y=alt.Y("low:Q", **y), y2="high:Q")
    points = missing.mean_points(
        base,
        20,
        **shared,
        y=alt.Y("mean:Q", **y),
        shape=theme.shape("line", styles, legend),
        tooltip=_tooltips("k:O", "shots"),
    )
    return alt.layer(
        _majority(base, y), line, bars, *points, data=panels.inline_data(rows, COLUMNS)
    )


def _by_epoch(
    span: list[int], rows: pd.DataFrame, place: panels.GridPosition, y: dict, styles: dict
) -> alt.LayerChart:
    """Return one panel: the mean with its interval as a ribbon, seeds as thin lines."""
    base, legend = alt.Chart(), theme.legend(styles)
    axis = panels.axis(place, "x", "Epoch", tickMinStep=1, tickCount=5, grid=False)
    x = alt.X("epoch:Q", axis=axis, scale=alt.Scale(domain=span, nice=False))
    shared = {"x": x, "color": theme.color("line", styles, legend)}
    means = base.transform_filter("datum.kind == 'mean'")
    ribbon = means.mark_area(opacity=0.15, line=False).encode(
        **shared, y=alt.Y("low:Q", **y), y2="high:Q"
    )
    line = means.mark_line(strokeWidth=1.3).encode(
        **shared,
        y=alt.Y("mean:Q", **y),
        strokeDash=theme.dash("line", styles, legend),
        tooltip=_tooltips("epoch:Q", "epoch"),
    )
    _, hollow = missing.mean_points(means, 10, **shared, y=alt.Y("mean:Q", **y))
    layers = [line, hollow] if len(styles) > panels.MOST_ARMS else [ribbon, line, hollow]
    if (rows["domain"] == "train").all():
        return alt.layer(*layers, data=panels.inline_data(rows, COLUMNS))
    seeds = base.transform_filter("datum.kind == 'seed'").mark_line(strokeWidth=0.4, opacity=0.5)
    thin = seeds.encode(**shared, y=alt.Y("mean:Q", **y), detail="seed:N")
    layers.insert(len(layers) - 2, thin)
    return alt.layer(_majority(base, y), *layers, data=panels.inline_data(rows, COLUMNS))
