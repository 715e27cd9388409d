"""How wide a table's columns print, and which sizes, wraps and splits make it fit a page."""

from collections.abc import Sequence
from dataclasses import dataclass

TEXT_WIDTH = 452.0
"""Points: the 16 cm of two columns on A4 (ACL's; the narrowest of the usual two-column styles)."""

NAMING = 4
"""Among so many leading columns those that name a row end with the last one of text."""

GLYPHS = {
    0.28: "ijl.,:;'!|[]·",
    0.33: "- ",
    0.39: 'frst()"',
    0.5: "aeco0123456789g/–*?ckvxyz“”",
    0.56: "bdhnpquS",
    0.73: "wABCDEFGHKLNOPQRTUVXYZJ&_",
    0.78: "+−=×±<>→≥≤≈%$#@",
    0.87: "mMW",
}
"""Widths of Computer Modern's characters in em (the design size); what is not listed is 0.6."""
EM = {character: width for width, characters in GLYPHS.items() for character in characters}
OTHER = 0.6
BOLD = 1.15
TIGHT, LONG = 8.0, 20.0
"""Em from which a column of text may be wrapped, and from which that beats a smaller size."""
CAUTION = 1.05
"""How much wider than estimated a word may be."""
LOOSE = 2.0
"""Points between rows where cells are wrapped."""


@dataclass(frozen=True)
class Size:
    """A font size: its command, points per em of the widths above, gap and line, in points."""

    name: str
    em: float
    gap: float
    line: float


# Computer Modern is relatively wider at small sizes: an em of cmr7 is 7.97 pt wide, not 7.
SIZES = (
    Size("small", 9.25, 10.0, 11.0),
    Size("footnotesize", 8.5, 8.0, 9.5),
    Size("scriptsize", 7.97, 6.0, 8.0),
)


@dataclass(frozen=True)
class Column:
    """A column's name and side, and in em its widest cell, its natural width and longest word."""

    name: str
    side: str
    cells: float
    natural: float
    word: float

    @classmethod
    def of(cls, name: str, side: str, cells: Sequence[str]) -> "Column":
        """Measure a column."""
        widest = max(map(em, cells), default=0.0)
        head = max(em(line) * BOLD for line in header_lines(name, widest))
        words = [em(word) for cell in set(cells) for word in cell.split()]
        words += [em(word) * BOLD for word in name.split()]
        return cls(name, side, widest, max(widest, head), max(words, default=0.0))


@dataclass(frozen=True)
class Layout:
    """Which columns stand in a table, how large, and the width in points of wrapped ones."""

    size: Size
    columns: tuple[int, ...]
    names: tuple[str, ...]
    sides: str
    cells: tuple[float, ...]
    widths: tuple[float | None, ...]
    total: float

    def height(self, heading: str, cells: Sequence[str]) -> float:
        """Return the points that a heading or a row takes."""
        if heading:
            wide = max(self.total, TEXT_WIDTH / 2)
            return self.size.line * line_count(heading, wide / self.size.em) + 9.0
        lines = [
            line_count(cell, width / self.size.em) if width else 1
            for cell, width in zip(cells, self.widths, strict=True)
        ]
        return self.size.line * max([1, *lines]) + LOOSE * any(self.widths)


def em(text: str) -> float:
    """Return the width of a text in em."""
    return sum(EM.get(character, OTHER) for character in text)


def line_count(text: str, width: float) -> int:
    """Return how many lines a text takes when its words fill lines of `width` em."""
    lines, used = 1, 0.0
    for word in text.split():
        wide = em(word) * CAUTION
        if used and used + EM[" "] + wide > width:
            lines, used = lines + 1, 0.0
        used += wide + (EM[" "] if used else 0.0)
    return lines


def header_lines(name: str, cells: float) -> list[str]:
    """Break a column's name in two lines at most, no wider than its cells where words allow."""
    words = name.split() or [""]
    splits = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    if em(name) <= cells / BOLD or not splits:
        return [name]
    return list(min(splits, key=lambda lines: max(map(em, lines))))


def lay_out(columns: Sequence[Column]) -> list[Layout]:
    """Return the layouts that show all columns: one, or several that repeat the leading text."""
    every = tuple(range(len(columns)))
    whole = _first_fit(columns, every, SIZES)
    if whole:
        return [whole]
    texts = [i for i in every[:NAMING] if columns[i].side == "l"]
    keys = every[: max(texts, default=0) + 1]
    groups: list[tuple[int, ...]] = []
    for i in every[len(keys) :]:
        longer = (*groups[-1], i) if groups else (*keys, i)
        if groups and _first_fit(columns, longer, SIZES[:2]):
            groups[-1] = longer
        else:
            groups.append((*keys, i))
    found = [_first_fit(columns, group, SIZES) for group in groups]
    if None in found:  # No size fits: the smallest, its words may stick out.
        return [each or _layout(columns, group, SIZES[-1], _squeezed(columns, group))
                for each, group in zip(found, groups, strict=True)]  # fmt: skip
    smallest = max(SIZES.index(each.size) for each in found)
    sizes = SIZES[smallest:]
    return [_first_fit(columns, group, sizes) for group in groups]


def _first_fit(
    columns: Sequence[Column], chosen: tuple[int, ...], sizes: Sequence[Size]
) -> Layout | None:
    """Return the layout that fits and reads best: see the order of attempts."""
    attempts = [(size, False) for size in sizes[:2]]
    if any(columns[i].side == "l" and columns[i].natural > LONG for i in chosen):
        attempts += [(size, True) for size in sizes[:2]]
    attempts += [(size, False) for size in sizes[2:]] + [(size, True) for size in sizes]
    for size, wrap in attempts:
        widths = _wrapped(columns, chosen, size) if wrap else [None] * len(chosen)
        if widths and _total(columns, chosen, size, widths) <= TEXT_WIDTH + 0.01:
            return _layout(columns, chosen, size, widths)
    return None


def _layout(
    columns: Sequence[Column], chosen: tuple[int, ...], size: Size, widths: list[float | None]
) -> Layout:
    shown = [columns[i] for i in chosen]
    return Layout(
        size,
        chosen,
        tuple(column.name for column in shown),
        "".join(column.side for column in shown),
        tuple(column.cells for column in shown),
        tuple(widths),
        _total(columns, chosen, size, widths),
    )


def _total(
    columns: Sequence[Column], chosen: tuple[int, ...], size: Size, widths: list[float | None]
) -> float:
    each = [
        columns[i].natural * size.em if width is None else width
        for i, width in zip(chosen, widths, strict=True)
    ]
    return sum(each) + size.gap * (len(chosen) - 1)


def _wrapped(
    columns: Sequence[Column], chosen: tuple[int, ...], size: Size
) -> list[float | None] | None:
    """Return the points of each wrapped column (None: as wide as it is), or None if none fits."""
    flexible = [i for i in chosen if columns[i].side == "l" and columns[i].natural > TIGHT]
    fixed = sum(columns[i].natural * size.em for i in chosen if i not in flexible)
    room = TEXT_WIDTH - fixed - size.gap * (len(chosen) - 1)
    found: dict[int, float | None] = {}
    # The narrowest first: what a column does not need is left for the wider ones.
    for i in sorted(flexible, key=lambda i: columns[i].natural):
        share = room / (len(flexible) - len(found))
        natural, word = columns[i].natural * size.em, CAUTION * columns[i].word * size.em
        found[i] = None if natural <= share else max(share, word)
        room -= natural if found[i] is None else found[i]
    if room < -0.01:
        return None
    return [found.get(i) for i in chosen]


def _squeezed(columns: Sequence[Column], chosen: tuple[int, ...]) -> list[float | None]:
    room = TEXT_WIDTH - SIZES[-1].gap * (len(chosen) - 1)
    total = sum(columns[i].natural for i in chosen)
    return [max(room * columns[i].natural / total, 10.0) for i in chosen]
