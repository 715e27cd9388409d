"""What training and predictions cost in money, by prices that the user states (config/prices.yaml).

Nothing is known here of any price. A machine's price is that of measured seconds; an API's that of
the tokens that a cell in context reads here: its own tokenizer may count others.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from .cell_costs import RIVAL, contests
from .evidence import Evidence
from .flops import predictions_to_break_even
from .latency_schema import CACHED, NO_CONTEXT, WHOLE
from .titles import is_baseline, is_trained

MILLION = 1_000_000
HOUR = 3600


@dataclass(frozen=True)
class Offer:
    """A way to buy a cell's predictions: at which price (its title), how prompts are read, and what
    it costs once and for each prediction."""

    price: str
    reading: str
    once: float
    each: float


def offers(cell: Mapping, catalog: dict, prices: Mapping[str, dict]) -> list[Offer]:
    """Return the ways to buy predictions of a cell, a row of `cell_costs.cell_costs`; none where no
    price fits it or what it needs was not counted."""
    found = []
    for name, price in prices.items():
        title = price.get("title", name)
        ways = _machine(cell, title, price["machine"]) if "machine" in price else ()
        if "api" in price and _served(cell, catalog, price["api"]):
            ways = _api(cell, title, price["api"])
        found += [way for way in ways if math.isfinite(way.once + way.each)]
    return found


def _machine(cell: Mapping, title: str, price: Mapping) -> Iterator[Offer]:
    """Yield the offers of a machine. Seconds were measured with the context cached; whole prompts
    take as many more as they take operations."""
    if not all(each.startswith(price["device"]) for each in cell["device"].split(", ")):
        return
    second = price["hour"] / HOUR
    once, each = second * cell["train_device_seconds"], second * cell["prediction_device_seconds"]
    shared = cell["flops_context"] > 0
    yield Offer(title, CACHED if shared else NO_CONTEXT, once, each)
    if shared:
        more = cell["flops_uncached"] / cell["flops_cached"]
        yield Offer(title, WHOLE, once, more * each)


def _served(cell: Mapping, catalog: dict, price: Mapping) -> bool:
    """Return whether an API can give a cell's answers: in context, by an answer of its own. Not
    where the texts of rows are scored, since no API gives the log-probability of its input."""
    if is_trained(catalog, cell["method"]) or is_baseline(catalog, cell["method"]):
        return False
    if catalog["patterns"][cell["pattern"]].get("scores_texts"):
        return False
    return any(fnmatchcase(cell["model"], wanted) for wanted in price["models"])


def _api(cell: Mapping, title: str, price: Mapping) -> Iterator[Offer]:
    """Yield the offers of an API: a million tokens have a price each. The context is written to
    its cache once."""
    context, row = cell["context_tokens"] / MILLION, cell["row_tokens"] / MILLION
    answer = price["output"] * price["output_tokens"] / MILLION
    whole = price["input"] * (context + row) + answer
    yield Offer(title, WHOLE if context else NO_CONTEXT, 0.0, whole)
    if context and "cached_input" in price:
        kept = price.get("storage_hour", 0) / price.get("predictions_per_hour", 1)
        each = context * (price["cached_input"] + kept) + price["input"] * row + answer
        yield Offer(title, CACHED, context * price.get("cache_write", price["input"]), each)


def currency(prices: Mapping[str, dict]) -> str:
    """Return the currency of all prices, of which there is one at least."""
    return next(iter(prices.values()))["currency"]


OFFERED = ["price", "reading", "once", "each"]


def bought(costs: pd.DataFrame, catalog: dict, prices: Mapping[str, dict]) -> pd.DataFrame:
    """Return rows of `cell_costs`, once for each way to buy their predictions (columns OFFERED)."""
    rows = [
        {**row, **{name: getattr(way, name) for name in OFFERED}}
        for row in costs.to_dict("records")
        for way in offers(row, catalog, prices)
    ]
    return pd.DataFrame(rows, columns=[*costs, *OFFERED])


def money_contests(
    evidence: Evidence, catalog: dict, k: int, prices: Mapping[str, dict]
) -> pd.DataFrame:
    """Return each way to buy a trained cell with k shots beside each to buy the same model in
    context, where both read prompts alike, and from how many predictions (`even`) training is no
    dearer.

    Columns are those of `cell_costs.contests`, OFFERED and, of the model in context, OFFERED behind
    `rival_`. Prompts without a beginning in common are read in one way, beside both of the other.
    """
    pairs = contests(evidence, catalog, k)
    rows = []
    for row in pairs.to_dict("records"):
        rival = {name: row[f"rival_{name}"] for name in RIVAL}
        rival = {**rival, "model": row["model"]}
        for way in offers(row, catalog, prices):
            for other in offers(rival, catalog, prices):
                if way.reading == other.reading or NO_CONTEXT in (way.reading, other.reading):
                    rows.append({**row, **_set_against(way, other)})
    return pd.DataFrame(rows, columns=[*pairs, *OFFERED, *(f"rival_{n}" for n in OFFERED), "even"])


def _set_against(way: Offer, other: Offer) -> dict:
    columns = {name: getattr(way, name) for name in OFFERED}
    columns |= {f"rival_{name}": getattr(other, name) for name in OFFERED}
    even = predictions_to_break_even(way.once, way.each, other.once, other.each)
    return {**columns, "even": even}
