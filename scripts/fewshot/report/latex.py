"""Tables as LaTeX with booktabs, laid out to fit the text width of a two-column paper.

Widths are estimated from Computer Modern's metrics, which are wider than those of Times. A table
that is too wide is set smaller, then its text columns are wrapped, then its columns are split; one
that is too high becomes several floats. The preamble needs booktabs and array, nothing else.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .table_text import NOTHING, Table, columns, sections, sides, values
from .widths import LOOSE, TEXT_WIDTH, Column, Layout, em, header_lines, lay_out

CHARACTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\n": " ",
    "\u00a0": "~",
    "\u202f": r"\,",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': r"\textquotedbl{}",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\dots{}",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "↵": r"$\hookleftarrow$",
    "␣": r"\textvisiblespace{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "√": r"$\surd$",
    "∞": r"$\infty$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "°": r"$^{\circ}$",
    "¹": "$^{1}$",
    "²": "$^{2}$",
    "³": "$^{3}$",
    "½": "$1/2$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "Δ": r"$\Delta$",
    "μ": r"$\mu$",
    "σ": r"$\sigma$",
}
"""What pdflatex would read as commands, or cannot print."""

PAGE = 620.0
"""Points of a page that rows and rules may fill, below the caption."""
HELD = 12
"""Floats of one table after which the page is ended."""
CAPTION = (12.0, 95)
"""Points of a line of the caption, and characters in it."""


@dataclass(frozen=True)
class Line:
    """One line of the body: a section's heading, or the cells of a row."""

    heading: str = ""
    cells: tuple[str, ...] = ()


def to_latex(table: Table, name: str, title: str, caption: str, origin: str = "") -> str:
    """Return the table as one or more table* environments, labelled tab:`name`.

    `origin` is a comment: what the table was made from.
    """
    head = ["% Preamble: \\usepackage[T1]{fontenc}, \\usepackage{array,booktabs}"]
    head += [f"% {line}" for line in origin.splitlines()]
    text = escape(f"{title}. {' '.join(caption.split())}")
    label = f"tab:{name}"
    if table.text.empty:
        body = _environment(text, label, [escape(table.note or NOTHING)], "")
        return "\n".join([*head, *body]) + "\n"
    floats = list(_floats(table, len(text)))
    lines = []
    for i, content in enumerate(floats):
        # LaTeX holds back so many floats at most.
        lines += [r"\clearpage"] if i and i % HELD == 0 else []
        shown = text if i == 0 else escape(f"{title} (continued).")
        note = escape(table.note) if i == len(floats) - 1 else ""
        lines += _environment(shown, "" if i else label, content, note, continued=i > 0)
    return "\n".join([*head, *lines]) + "\n"


def _environment(
    caption: str, label: str, content: list[str], note: str, *, continued: bool = False
) -> list[str]:
    return [
        r"\begin{table*}[tp]",
        *([r"\addtocounter{table}{-1}"] if continued else []),
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{caption}}}" + (rf"\label{{{label}}}" if label else ""),
        *content,
        *([rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {note}}}"] if note else []),
        r"\end{table*}",
    ]


def _floats(table: Table, caption: int) -> Iterator[list[str]]:
    """Yield what stands in each float: groups of columns, each cut into pages."""
    names = columns(table)
    shown = [Column.of(name, side, [str(value) for value in table.text[name]])
             for name, side in zip(names, sides(table), strict=True)]  # fmt: skip
    for layout in lay_out(shown):
        room = PAGE - CAPTION[0] * math.ceil(caption / CAPTION[1])
        room -= layout.size.line * math.ceil(len(table.note) / 110)
        for page in _pages(list(_lines(table, layout)), layout, room):
            yield _tabular(page, layout)


def _lines(table: Table, layout: Layout) -> Iterator[Line]:
    for heading, rows in sections(table):
        if heading:
            yield Line(heading)
        for row in values(rows):
            yield Line(cells=tuple(row[i] for i in layout.columns))


def _pages(lines: Sequence[Line], layout: Layout, room: float) -> Iterator[list[Line]]:
    """Cut lines into pages of at most `room` points; a section that goes on says so."""
    page, used, heading = [], 0.0, ""
    for i, line in enumerate(lines):
        heading = line.heading or heading
        needed = layout.height(line.heading, line.cells)
        if line.heading and i + 1 < len(lines):  # A heading never stands last on its page.
            needed += layout.height("", lines[i + 1].cells)
        if page and used + needed > room:
            yield page
            page, used = [], 0.0
            if heading and not line.heading:
                page = [Line(f"{heading} (continued)")]
                used = layout.height(page[0].heading, ())
        page.append(line)
        used += layout.height(line.heading, line.cells)
    yield page


def _tabular(lines: Sequence[Line], layout: Layout) -> list[str]:
    spec = "".join(
        side if width is None else rf">{{\raggedright\arraybackslash}}p{{{width:.1f}pt}}"
        for side, width in zip(layout.sides, layout.widths, strict=True)
    )
    # Rows of several lines stand a little apart.
    end = rf" \\[{LOOSE:g}pt]" if any(layout.widths) else r" \\"
    body = []
    for i, line in enumerate(lines):
        if line.heading:
            body += [r"\midrule"] if i else []
            body += [_heading(line.heading, layout), r"\addlinespace[2pt]"]
        else:
            body.append(" & ".join(map(escape, line.cells)) + end)
    return [
        rf"\{layout.size.name}\setlength{{\tabcolsep}}{{{layout.size.gap / 2:g}pt}}%",
        rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        r"\toprule",
        " & ".join(_head(column, i, layout) for i, column in enumerate(layout.names)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _heading(text: str, layout: Layout) -> str:
    width = max(layout.total, min(em(text) * layout.size.em * 1.05, TEXT_WIDTH))
    box = rf"@{{}}>{{\raggedright\arraybackslash}}p{{{width:.1f}pt}}@{{}}"
    return rf"\multicolumn{{{len(layout.names)}}}{{{box}}}{{\textit{{{escape(text)}}}}} \\"


def _head(name: str, place: int, layout: Layout) -> str:
    """Return a column's head, in as many lines as keep it from widening the column."""
    if layout.widths[place] is not None:
        return rf"\textbf{{{escape(name)}}}"
    lines = header_lines(name, layout.cells[place])
    bold = [rf"\textbf{{{escape(line)}}}" for line in lines]
    if len(bold) == 1:
        return bold[0]
    side = layout.sides[place]
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r"\\".join(bold) + r"\end{tabular}"


def escape(text: str) -> str:
    """Return `text` with what LaTeX would misread escaped; a leading [ or * is no option."""
    escaped = "".join(CHARACTERS.get(character, character) for character in str(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped
