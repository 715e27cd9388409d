"""Accuracy over training, in domain and out of domain: a line per seed, a panel per size."""

from functools import partial

import altair as alt
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import summarise
from ...analysis.titles import arms as arms_in
from ...analysis.titles import ordered, set_title
from .. import select
from ..select import with_sizes
from . import axes, missing, panels, theme
from .by_size import first_arm

TIPS = (
    "title:N model; arm:N method; part:N accuracy; epoch:Q epoch; mean:Q mean (%) |.1f"
    + panels.interval_tips()
    + panels.SEEDS
    + "; rows:Q rows counted"
)
PARTS = {"in": "in domain", "out": "out of domain"}
ROOM = 540


def over_training(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    arms: list[str] | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy by epoch in and out of domain: a thin line per seed, a thick mean.

    A column per size, a row per task, family and out-of-domain set, for one way of fine-tuning:
    that of `arms`, or the study's first.
    """
    k = select.main_k(catalog, k)
    chosen = select.select_rows(
        evidence.metrics, catalog, task=task, evaluation_set=evaluation_set, family=family, k=k,
        arms=arms,
    )  # fmt: skip
    chosen = first_arm(chosen, catalog)
    scored = chosen[(chosen["selection"] == "each") & chosen["domain"].isin(["in", "out"])]
    if scored.empty:
        return panels.nothing(f"No learning curve with {k} shots yet.")
    catalog, single = select.singled(chosen, catalog)
    [arm] = arms_in(catalog, scored).values()
    means, seeds = (with_sizes(make(scored), catalog) for make in (_means, _seeds))
    last = chosen[chosen["selection"] == "last"]
    single["Shots"] = str(k)
    lines = [
        *_sampled(scored, last, catalog),
        *missing.lacking(last, catalog),
    ]
    return panels.footnote(_curves(means.assign(arm=arm), seeds, catalog), lines, single)


def _means(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each epoch, in percent."""
    means = missing.with_states(summarise(chosen, ["epoch"]))
    return means.assign(part=means["domain"].map(PARTS))


def _seeds(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return each seed's own accuracy, in percent."""
    mean = 100 * chosen["accuracy"].astype(float)
    return chosen.assign(mean=mean, part=chosen["domain"].map(PARTS))


def _sampled(scored: pd.DataFrame, last: pd.DataFrame, catalog: dict) -> list[str]:
    """Return a line about sets of which the curve counts a sample of the rows."""
    sizes = last.groupby("evaluation_set")["n"].max()
    counted = scored.groupby("evaluation_set", sort=False)["n"].max()
    fewer = {name: n for name, n in counted.items() if n < sizes[name]}
    named = [
        f"{n:,} of {sizes[name]:,} rows of {set_title(catalog, name)}" for name, n in fewer.items()
    ]
    return [f"Curves count a sample, the same for all: {'; '.join(named)}."] if fewer else []


def _curves(means: pd.DataFrame, seeds: pd.DataFrame, catalog: dict) -> dict:
    """Return rows of panels by family, task and out-of-domain set, a column per size."""
    outside = ordered(means[means["domain"] == "out"], catalog, ["task", "evaluation_set"])
    pairs = dict.fromkeys(zip(outside["task"], outside["evaluation_set"], strict=True))
    # A task without an out-of-domain set has a curve in domain alone.
    alone = [task for task in means["task"].unique() if task not in {pair[0] for pair in pairs}]
    pairs = [*pairs, *((task, task) for task in alone)]
    families = select.titles_by_size(means, catalog)
    most = max(map(len, families.values()))
    width = panels.panel_width(most)
    height = min(110, max(50, ROOM // (len(pairs) * len(families)) - 28))
    span = [int(means["epoch"].min()), int(means["epoch"].max())]
    limits = axes.domain(means["mean"], seeds["mean"], means["majority"])

    def cell(frames, family, title, size, place) -> dict:
        shown = [rows[(rows["family"] == family) & (rows["size"] == size)] for rows in frames]
        return _panel(*shown, title, limits, span, place)

    blocks = []
    for family, whole in families.items():
        for task, evaluation_set in pairs:
            frames = [_of(frame, task, evaluation_set) for frame in (means, seeds)]
            title = ["Accuracy (%)", f"{set_title(catalog, task)},"]
            title += [set_title(catalog, evaluation_set)] if task != evaluation_set else []
            draw = partial(cell, frames, family, title)
            blocks.append(panels.block(whole, most, draw, width, height))
    return panels.grid(blocks, most)


def _of(frame: pd.DataFrame, task: str, evaluation_set: str) -> pd.DataFrame:
    return frame[(frame["task"] == task) & frame["evaluation_set"].isin([task, evaluation_set])]


def _panel(
    means: pd.DataFrame, seeds: pd.DataFrame, title: list[str], limits: list[float],
    span: list[int], place: axes.GridPosition,
) -> dict:  # fmt: skip
    """Return one size: a thin line per seed below, the means and baselines above."""
    styles = {PARTS[name]: {"color": color} for name, color in theme.DOMAINS.items()}
    x = axes.linear(place, "x", "Epoch", span, tickMinStep=1, tickCount=4, grid=False)
    y = axes.linear(place, "y", title, limits, tickCount=4)
    color, base = theme.color("part", styles, theme.legend(styles)), alt.Chart()
    shared = {"x": alt.X("epoch:Q", **x), "y": alt.Y("mean:Q", **y), "color": color}
    rule = base.mark_rule(strokeDash=[3, 2], strokeWidth=0.6)
    thin = base.mark_line(strokeWidth=0.4, opacity=0.5).encode(**shared, detail="seed:N")
    line = base.mark_line(strokeWidth=1.4).encode(**shared, tooltip=panels.tooltips(TIPS))
    least = rule.encode(y=alt.Y("min(majority):Q", **y), color=color)
    return panels.panel(means, least, (seeds, thin), line)
