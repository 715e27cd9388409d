"""What training and predictions cost in money, and from how many on training is no dearer."""

import pandas as pd

from ...analysis import money as buying
from ...analysis.evidence import Evidence
from ...analysis.titles import arm_title, set_title
from ...formatting import BLANK
from ..table_text import Table, cell_names, seeds_text
from .costs import count_text

PREDICTIONS = 1000
"""Predictions whose cost is printed."""


def money(
    evidence: Evidence, catalog: dict, *, prices: dict | None = None, k: int | None = None
) -> Table:
    """Set training and 1,000 predictions of each fine-tuned cell beside the same model in context,
    by each of `prices` that fits, with whole prompts and with the context cached.

    `k` is the study's main number of shots if left out.
    """
    k, prices = catalog["main"]["k"] if k is None else k, prices or {}
    numbers = buying.money_contests(evidence, catalog, k, prices)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    rows = [_contest(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(rows), _sources(prices))


def _contest(row: dict, catalog: dict) -> dict:
    """Return the printed row of a fine-tuned cell, as bought, and of its rival."""
    rival = {name: row[f"rival_{name}"] for name in buying.OFFERED}
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        "By": row["price"],
        "Training": money_text(row["once"]),
        "1,000 rows": money_text(PREDICTIONS * row["each"]),
        "Against": arm_title(catalog, row["rival_method"], row["rival_pattern"]),
        "by": rival["price"],
        "Prompts": rival["reading"] or BLANK,
        "its 1,000 rows": money_text(rival["once"] + PREDICTIONS * rival["each"]),
        "Cheaper from": count_text(row["even"]),
        "Seeds": seeds_text(row),
    }


def money_text(value: float) -> str:
    """Return a sum of money: with cents from 100 on, else three digits that count."""
    if pd.isna(value):
        return BLANK
    if value >= 100:
        return f"{value:,.2f}"
    return f"{value:.3g}" if value >= 1e-4 or value == 0 else f"{value:.1e}"


def _sources(prices: dict) -> str:
    """Return a sentence with the currency, and when and where each price was looked up."""
    told = (
        f"{price.get('title', name)}: {price['date']}, {price['source']}"
        for name, price in prices.items()
    )
    return f"In {buying.currency(prices)}. Prices: {'; '.join(told)}."
