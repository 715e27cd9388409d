"""Tables as the report's page shows them: which columns name a row, and where they stand still."""

import unicodedata

from ..formatting import BLANK
from . import table_text
from .table_text import Table

MOST_NAMES = 4
"""Leading columns that may name a row."""
ROOM, STILL = 92.0, 42.0
"""How wide the page is, in ems of a table, and columns that do not scroll may be together."""
NARROW = 16.0
"""How wide they may be on a phone, in ems."""
GAP = 1.05
"""Ems between two columns."""
EMS = {
    0.42: "fijlrtI .,:;·'|!()[]{}-–/",
    0.98: "mwMW%@&+−±=<>≈→",
    0.64: "abcdeghknopqsuvxyz0123456789_*",
}
"""How wide letters are at most, in ems, in DejaVu Sans: few fonts are wider."""
CAPITAL, FOREIGN, IDEOGRAPH, BOLD = 0.8, 0.9, 1.1, 1.1
"""Ems of other letters of ASCII, of letters beyond, and of ideographs and emoji; and how much wider
column heads are for being bold."""
OF_LETTER = {letter: ems for ems, letters in EMS.items() for letter in letters}


def shown(table: Table) -> dict:
    """Return a table as the page's template wants it.

    The first `names` columns name a row, and are `widths` wide (ems). Those with `offsets` do not
    scroll with the others. On a phone where they are wider than NARROW (`foldable`), and anywhere
    if they leave no room beside them (`labelled`), the name of a row is a line of its own, which
    is the first item of a row.
    """
    parts = [
        (heading, rows.astype(str).to_numpy().tolist())
        for heading, rows in table_text.sections(table)
    ]
    columns, sides = table_text.columns(table), table_text.sides(table)
    names = naming_columns([rows for _, rows in parts], len(columns))
    rows = [row for _, rows in parts for row in rows]
    cells = [GAP + max((width(row[i]) for row in rows), default=0) for i in range(len(columns))]
    heads = [GAP + BOLD * width(name) for name in columns]
    widths = [round(max(each), 2) for each in zip(cells, heads, strict=True)]
    ends = [sum(widths[: i + 1]) for i in range(names)]
    labelled = bool(names) and ends[-1] > STILL and sum(widths) > ROOM
    return {
        "columns": columns,
        "sides": sides,
        "names": names,
        "widths": widths[:names],
        "offsets": [round(sum(widths[:i]), 2) for i, end in enumerate(ends) if end <= STILL],
        "labelled": labelled,
        "foldable": labelled or sum(cells[:names]) > NARROW,
        "sections": [
            (heading, [(row_name(columns, sides, row[:names]), row) for row in rows])
            for heading, rows in parts
        ],
        "count": len(table.text),
        "note": table.note,
    }


def naming_columns(parts: list[list[list[str]]], columns: int) -> int:
    """Return how many of the leading columns it takes to tell the rows of each part apart; 1 where
    not even MOST_NAMES do, 0 in a table without columns."""
    for count in range(1, min(MOST_NAMES, columns) + 1):
        if all(len({tuple(row[:count]) for row in rows}) == len(rows) for rows in parts):
            return count
    return min(1, columns)


def row_name(columns: list[str], sides: str, values: list[str]) -> str:
    """Return the name of a row as one line: words alone, numbers after the name of their column."""
    named = zip(columns, sides, values, strict=False)
    said = [value if side == "l" else f"{name}\xa0{value}" for name, side, value in named]
    return ", ".join(text for text, value in zip(said, values, strict=True) if value != BLANK)


def width(text: str) -> float:
    """Return how wide a line of text is, in ems: rather too much than too little."""
    return sum(OF_LETTER.get(letter) or _other(letter) for letter in text)


def _other(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return IDEOGRAPH
    return CAPITAL if letter.isascii() else FOREIGN
