"""What the benchmarks' tables share: described columns, aligned text and promised numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Target:
    """A number that the project promises, what was found, and whether that keeps the promise."""

    text: str
    found: str
    reached: bool


def column(name: str, kind: pa.DataType, text: str, nullable: bool = True) -> pa.Field:
    """Return a column of a stored table with its description."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, every column as wide as its widest cell."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)).rstrip() for line in lines)


def summary(found: list[Target]) -> str:
    """Return one line per target."""
    lines = [("reached" if t.reached else "not reached", t.found, t.text) for t in found]
    return "\n".join(f"{state:>11}  {value:>9}  {text}" for state, value, text in lines)
