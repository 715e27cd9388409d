"""All runs of a method in one number: interquartile mean and probability of improvement."""

from collections.abc import Callable, Mapping

import pandas as pd

from ...analysis.aggregates import aggregates
from ...analysis.evidence import Evidence
from ...analysis.pairs import SAME_MODEL
from ...analysis.questions import main_selection
from ...analysis.titles import arm_title, ordered, set_title, titles, varied_tasks
from ...formatting import BLANK, percent
from .. import select
from ..table_text import Table, seeds_text
from .comparisons import setting_text

DOMAINS = {"in": "In domain", "out": "Out of domain"}


def aggregated(
    evidence: Evidence, catalog: dict, *, k: int | None = None, selection: str | None = None,
    arms: list[str] | None = None, pattern: str | None = None, **options: str | None,
) -> pd.DataFrame:  # fmt: skip
    """Return `aggregates.aggregates` of the runs that the options ask for (`select.select_rows`);
    without `arms` of those of `select.fewer_arms`.

    Without `selection` the checkpoint of each domain is that of comparisons. Tasks that differ from
    another in a factor of the shots are left out: they have the same draws.
    """
    metrics = evidence.metrics
    runs = select.select_rows(metrics, catalog, k=select.main_k(catalog, k), arms=arms, **options)
    chosen = {domain: selection or main_selection(domain, catalog) for domain in DOMAINS}
    runs = runs[runs["selection"] == runs["domain"].map(chosen)]
    runs = runs[~runs["task"].isin(varied_tasks(catalog))]
    runs = runs if arms else select.fewer_arms(runs, catalog, pattern)
    pairs = evidence.comparisons
    pairs = pairs[(pairs["family"] == SAME_MODEL) & (pairs["score"] == "accuracy")]
    pairs = pairs[pairs["k"].isin(runs["k"]) & pairs["task"].isin(runs["task"])]
    return ordered(aggregates(runs, pairs, catalog), catalog, ["domain", "method", "pattern"])


def aggregate_table(evidence: Evidence, catalog: dict) -> Table:
    """Print the aggregates of each method, a section for each domain."""
    numbers = aggregated(evidence, catalog)
    rows = [
        {
            "section": DOMAINS[row["domain"]],
            "Method": arm_title(catalog, row["method"], row["pattern"]),
            "Interquartile mean [95 %]": _range(row, "interquartile_mean", "low", "high", percent),
            "P(better) [95 %]": _range(
                *(row, "improvement", "improvement_low", "improvement_high", "{:.2f}".format)
            ),
            "Runs": seeds_text(row),
        }
        for row in numbers.to_dict("records")
    ]
    note = f"{counted_text(numbers, catalog)} {setting_text(numbers, catalog)}" if rows else ""
    return Table(numbers, pd.DataFrame(rows), note)


def _range(row: Mapping, name: str, low: str, high: str, text: Callable[[float], str]) -> str:
    if pd.isna(row[name]):
        return BLANK
    bounds = "" if pd.isna(row[low]) else f" [{text(row[low])}, {text(row[high])}]"
    return f"{text(row[name])}{bounds}"


def counted_text(numbers: pd.DataFrame, catalog: dict) -> str:
    """Return over what the aggregates are, what is left out since a method lacks it, and over what
    a method improves."""
    most = numbers.loc[numbers["cells"].idxmax()]
    tasks = ", ".join(set_title(catalog, name) for name in most["tasks"])
    models = ", ".join(titles(catalog, "models")[name] for name in most["models"])
    lines = [f"Over {tasks} with {models}."]
    domains = numbers.drop_duplicates("domain")
    cells, planned = (int(domains[name].sum()) for name in ("cells", "cells_planned"))
    if cells < planned:
        lines.append(
            f"Left out: {planned - cells} of {planned} evaluation sets × models, of which a method "
            "has no run."
        )
    known = numbers[numbers["reference_method"].notna()]
    sides = dict.fromkeys(zip(known["reference_method"], known["reference_pattern"], strict=True))
    if sides:
        named = " or ".join(arm_title(catalog, *side) for side in sides)
        draw = ", by the same draw" if catalog.get("shared_draws", True) else ""
        lines.append(f"Reference of improvement: {named}{draw}.")
    return " ".join(lines)
