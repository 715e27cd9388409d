"""Tables as Markdown and plain text, and how their numbers are printed."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from ..analysis.titles import CLAIMS, arm_title, titles
from ..formatting import BLANK, counted, percent, points


@dataclass(frozen=True)
class Table:
    """A table: `numbers` in tidy form, `text` as it is printed.

    Rows of `text` that agree in its column "section" stand under one heading; `note` is a line
    below the table; `read` names the parts of the evidence that it was made from. All columns
    stand left where `words` are what it holds.
    """

    numbers: pd.DataFrame
    text: pd.DataFrame
    note: str = ""
    read: tuple[str, ...] = ()
    words: bool = False


NOTHING = "No results yet."
RULES = {"l": " :-- ", "r": " --: "}
"""What aligns a column in Markdown."""
WITHOUT = {BLANK, "", "missing", "does not fit"}
"""What is printed where there is no number."""


def cell_text(row: Mapping) -> str:
    """Return 'mean [low, high]' in percent, marked where seeds are missing."""
    if row["seeds"] == 0:
        return row["status"]
    interval = "" if pd.isna(row["low"]) else f" [{percent(row['low'])}, {percent(row['high'])}]"
    mark = "" if row["seeds"] == row["seeds_planned"] else f" ({seeds_text(row)})"
    return percent(row["mean"]) + interval + mark


def bounds_text(low: float, high: float) -> str:
    """Return '[low, high]' in points, or a blank without bounds."""
    return BLANK if pd.isna(low) else f"[{points(low)}, {points(high)}]"


def change_text(row: Mapping, name: str, low: str, high: str) -> str:
    """Return 'change [low, high]' in points of these columns of a row, without bounds where there
    are none; a blank without a change."""
    ends = "" if pd.isna(row[low]) else f" {bounds_text(row[low], row[high])}"
    return points(row[name]) + ends


def reach(row: Mapping) -> float:
    """Return how far the farther bound of an interval is from its mean; nan without interval."""
    return max(row["high"] - row["mean"], row["mean"] - row["low"])


ALLOWS = {
    "draws and rows": "for rows like these (other draws, other rows)",
    "rows": "for rows like these (other rows) without shots, where nothing is drawn",
    "draws": "for these rows (other draws)",
}
"""What intervals of each of titles.CLAIMS allow for."""


def claims_note(numbers: pd.DataFrame) -> str:
    """Return the sentence on what the intervals of a summary allow for; nothing without any."""
    found = [
        ALLOWS[claim] for claim in CLAIMS if claim in ALLOWS and claim in set(numbers["interval"])
    ]
    if len(found) > 1 and found[-1] == ALLOWS["draws"]:
        found[-1] += (
            " where a score is not an accuracy, not every answer was kept, or all rows are one "
            "cluster"
        )
    return f"95 % intervals are {'; '.join(found)}." if found else ""


def cell_names(row: Mapping, catalog: dict) -> dict[str, str]:
    """Return the printed columns that name a cell."""
    return {
        "Model": titles(catalog, "models")[row["model"]],
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
    }


def seeds_text(row: Mapping) -> str:
    """Return the number of seeds, with the number planned where some are missing: '3/5'."""
    return counted(row["seeds"], row["seeds_planned"])


def sections(table: Table) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (heading, rows without the section column) in their order."""
    if "section" not in table.text:
        yield "", table.text
        return
    for heading, rows in table.text.groupby("section", sort=False):
        yield str(heading), rows.drop(columns="section")


def columns(table: Table) -> list[str]:
    """Return the printed columns."""
    return [name for name in table.text.columns if name != "section"]


def to_markdown(table: Table, title: str, caption: str, origin: str = "") -> str:
    """Return the table in Markdown, one block per section; `origin`: what it was made from."""
    lines = [f"# {_plain(title)}", "", " ".join(caption.split()), ""]
    for heading, rows in sections(table):
        lines += [f"**{_plain(heading)}**", ""] if heading else []
        if rows.empty:
            lines += [] if table.note else [NOTHING]
            continue
        lines += [*markdown_rows(rows.columns, sides(table), values(rows)), ""]
    lines += [_plain(table.note), ""] if table.note else []
    lines += [f"<!-- {line.replace('--', '- -')} -->" for line in origin.splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def markdown_section(heading: str, rows: list[dict[str, str]]) -> str:
    """Return a table of printed cells in Markdown below a heading of the second level."""
    text = pd.DataFrame(rows)
    return "#" + re.sub(r"\n{3,}", "\n\n", to_markdown(Table(text, text), heading, ""))


def markdown_rows(
    names: Iterable[str], sides: Iterable[str], rows: Iterable[Iterable[object]]
) -> list[str]:
    """Return the lines of a Markdown table; of `sides` there is an "l" or "r" for each column."""
    rule = "|" + "|".join(RULES[side] for side in sides) + "|"
    body = [f"| {' | '.join(map(_plain, row))} |" for row in rows]
    return [f"| {' | '.join(map(_plain, names))} |", rule, *body]


def _plain(text: object) -> str:
    """Return text that Markdown reads as text: no column's border, emphasis, code, link or HTML."""
    text = re.sub(r"([\\`*|]|\](?=\())", r"\\\1", " ".join(str(text).split("\n")))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def sides(table: Table) -> str:
    """Return 'l' or 'r' per column: numbers stand right, whatever stands where there is none."""
    if table.words:
        return "l" * len(columns(table))
    value, unit = r"(≈ |< )?[+−-]?[\d.,]+(e[+-]?\d+)?", r"( [kMB]| of [\d.,]+)?"
    number = re.compile(rf"^{value}{unit}([ /\[*†±][^A-Za-z]*)?$")
    letters = ""
    for name in columns(table):
        shown = [str(value) for value in table.text[name] if str(value) not in WITHOUT]
        letters += "r" if 2 * sum(bool(number.match(text)) for text in shown) > len(shown) else "l"
    return letters


def to_text(table: Table, width: int = 100) -> str:
    """Return the table in aligned columns.

    Where a line would be wider than `width`, each row is printed as a block of "column: value".
    """
    blocks = []
    for heading, rows in sections(table):
        body = _aligned(rows, sides(table)) if len(rows) else []
        if max(map(len, body), default=0) > width - 2:  # They stand indented.
            body = [
                line
                for row in rows.to_dict("records")
                for line in ["", *(f"{name}: {value}" for name, value in row.items())]
            ]
        heads = textwrap.wrap(heading, width)
        blocks.append("\n".join([*heads, *(f"  {line}".rstrip() for line in body)]))
    blocks.append(textwrap.fill(table.note, width))
    return "\n\n".join(block for block in blocks if block) or NOTHING


def _aligned(rows: pd.DataFrame, right: str) -> list[str]:
    grid = [list(rows.columns), *values(rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    return [
        "  ".join(
            cell.rjust(size) if side == "r" else cell.ljust(size)
            for cell, size, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in grid
    ]


def values(rows: pd.DataFrame) -> list[list[str]]:
    """Return the printed cells, row by row."""
    return [[str(value) for value in row] for row in rows.itertuples(index=False)]
