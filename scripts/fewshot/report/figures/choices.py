"""Accuracy by way of choosing settings: from the shots alone, and by what no one may look at."""

import pandas as pd

from ...analysis.choices import WAYS
from ...analysis.evidence import Evidence
from ...analysis.summary import at_level
from .. import select
from ..tables.choices import in_order, summarised
from . import missing, panels, theme
from .by_size import by_model

SHORT = {
    "from-shots": "Shots",
    "first": "First",
    "mean": "Mean",
    "best-in-domain": "In domain",
    "oracle": "Oracle",
}
"""What ways of choosing are called on an axis."""


def honest_choice(
    evidence: Evidence, catalog: dict, *, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
) -> dict:  # fmt: skip
    """Plot accuracy by way of choosing settings: a column per size, a row per evaluation set, a
    line per choice."""
    k = select.main_k(catalog, k)
    choices = select.fitting(evidence.choices, catalog, task, evaluation_set, family)
    choices = choices[choices["k"] == k]
    if choices.empty:
        return panels.nothing(f"No choice of settings with {k} shots yet.")
    means = missing.with_states(_with_baselines(summarised(choices), evidence.metrics))
    means = select.headed(select.with_sizes(in_order(means, catalog), catalog), catalog)
    names = {name: entry["title"] for name, entry in catalog["choices"].items()}
    means = means.assign(group=means["choice"].map(names), x=means["way"].map(SHORT))
    xs = [SHORT[way] for way in WAYS]
    return by_model(means, catalog, xs, "Chosen by", theme.choice_styles(catalog))


def _with_baselines(means: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return means with the majority baseline of each evaluation set."""
    shares = at_level(metrics).groupby("evaluation_set")["majority"].max()
    return means.assign(majority=means["evaluation_set"].map(shares).astype(float))
