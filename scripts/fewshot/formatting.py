"""How numbers are printed: percentages, points, p-values, counts and sizes."""

import math

import pandas as pd

BLANK = "–"


UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
"""Of bytes, in steps of 1,000."""


def percent(share: float) -> str:
    """Return a share in percent with one decimal."""
    return BLANK if pd.isna(share) else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, signed."""
    return BLANK if pd.isna(difference) else signed(100 * difference, 1)


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign and so many decimals; zero has no sign."""
    if pd.isna(value):
        return BLANK
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def p_value(p: float) -> str:
    """Return a p-value with three decimals, or a bound below a thousandth."""
    return BLANK if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(done: int, planned: int) -> str:
    """Return a number, with the number planned where that is larger."""
    return str(int(done)) if done == planned else f"{int(done)}/{int(planned)}"


def number_of(count: int, noun: str) -> str:
    """Return a number with what is counted, in the plural unless it is one."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size_text(size: float, exact: bool = False) -> str:
    """Return bytes with two digits or more in a unit of 1,000, as 4.2 MB; `exact`: as 4.23 MB, for
    sizes that stand beside each other."""
    if pd.isna(size):
        return BLANK
    if size < 1000:
        return f"{size:.0f} B"
    power = min(int(math.log10(size) / 3), len(UNITS) - 1)
    value = size / 1000**power
    if exact:
        return f"{value:,.2f} {UNITS[power]}"
    return f"{value:.1f} {UNITS[power]}" if value < 9.95 else f"{value:,.0f} {UNITS[power]}"
