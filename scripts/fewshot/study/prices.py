"""Prices of a study, which only the figures and tables of money are told."""

from collections.abc import Mapping

from ..errors import UserError, unknown
from .figure_needs import any_called
from .own_entries import Places


def with_prices(
    figures: Mapping[str, dict], prices: Mapping[str, dict], models: Mapping[str, dict],
    places: Places,
) -> dict[str, dict]:  # fmt: skip
    """Return figures and tables in which those that need prices have them among their options, so
    that another price makes these alone anew.

    Raises UserError where prices have several currencies, which nothing here converts, and for an
    API of a model that is in no registry.
    """
    _check(prices, models, places)
    return {
        kind: {name: _told(entry, prices) for name, entry in entries.items()}
        for kind, entries in figures.items()
    }


def _told(entry: dict, prices: Mapping[str, dict]) -> dict:
    if not entry["needs"].get("prices"):
        return entry
    return {**entry, "options": {**entry["options"], "prices": dict(prices)}}


def _check(prices: Mapping[str, dict], models: Mapping[str, dict], places: Places) -> None:
    first = next(iter(prices), "")
    for name, price in prices.items():
        where = f"{places.of('prices', name)}: {name}"
        if price["currency"] != prices[first]["currency"]:
            raise UserError(
                f"{where}.currency: {price['currency']} beside {prices[first]['currency']} of "
                f"'{first}'; valid: one currency for all"
            )
        for wanted in price.get("api", {}).get("models", ()):
            if not any_called(models, wanted):
                raise unknown("model", wanted, models, f"{where}.api.models")
