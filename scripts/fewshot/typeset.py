"""Tables as LaTeX (booktabs), Markdown and plain text."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table: `numbers` in tidy form, `text` as it is printed.

    Rows of `text` that agree in its column "section" stand under one heading; `note` is a line
    below the table.
    """

    numbers: pd.DataFrame
    text: pd.DataFrame
    note: str = ""


BLANK = "–"
NOTHING = "No results yet."
LATEX = {
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
    "·": r"$\cdot$",
    "–": "--",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "…": r"\dots{}",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
LONG = 45


def percent(share: float) -> str:
    """Return a share in percent with one decimal."""
    return BLANK if pd.isna(share) else f"{100 * share:.1f}"


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


def to_markdown(table: Table, title: str, caption: str) -> str:
    """Return the table in Markdown, one block per section."""
    lines = [f"# {title}", "", " ".join(caption.split()), ""]
    for heading, rows in sections(table):
        lines += [f"**{heading}**", ""] if heading else []
        if rows.empty:
            lines += [(table.note and "") or NOTHING]
            continue
        cells = [[str(value).replace("|", "\\|") for value in row] for row in _values(rows)]
        lines.append("| " + " | ".join(rows.columns) + " |")
        lines.append("|" + "|".join(_alignment(rows)) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in cells]
        lines.append("")
    lines += [table.note] if table.note else []
    return "\n".join(lines).rstrip() + "\n"


def _alignment(rows: pd.DataFrame) -> list[str]:
    return [" :-- " if side == "l" else " --: " for side in sides(rows)]


def sides(rows: pd.DataFrame) -> str:
    """Return 'l' or 'r' per column: numbers stand right."""
    number = re.compile(r"^(≈ )?[\d.,]+(e[+-]?\d+)?([ /\[].*)?$")
    return "".join(
        "r" if len(rows) and sum(bool(number.match(str(v))) for v in rows[name]) * 2 > len(rows)
        else "l"
        for name in rows.columns
    )  # fmt: skip


def to_text(table: Table, width: int = 100) -> str:
    """Return the table in aligned columns.

    Where a line would be wider than `width`, each row is printed as a block of "column: value".
    """
    blocks = []
    for heading, rows in sections(table):
        body = _aligned(rows) if len(rows) else []
        if max(map(len, body), default=0) > width:
            body = [
                line
                for row in rows.to_dict("records")
                for line in ["", *(f"{name}: {value}" for name, value in row.items())]
            ]
        blocks.append("\n".join([*_wrap(heading, width), *(f"  {line}".rstrip() for line in body)]))
    blocks += _wrap(table.note, width)
    return "\n\n".join(block for block in blocks if block) or NOTHING


def _aligned(rows: pd.DataFrame) -> list[str]:
    grid = [list(rows.columns), *_values(rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    right = sides(rows)
    return [
        "  ".join(
            cell.rjust(size) if side == "r" else cell.ljust(size)
            for cell, size, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in grid
    ]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)


def _values(rows: pd.DataFrame) -> list[list[str]]:
    return [[str(value) for value in row] for row in rows.itertuples(index=False)]


def to_latex(table: Table, name: str, title: str, caption: str) -> str:
    """Return a table environment (booktabs; longtable where it exceeds a page).

    The preamble needs booktabs and longtable; each heading spans the columns.
    """
    names = columns(table)
    body = []
    for i, (heading, rows) in enumerate(sections(table)):
        body += [r"\midrule"] if i else []
        if heading:
            span = rf"\multicolumn{{{len(names)}}}{{@{{}}l}}{{\textit{{{escape(heading)}}}}} \\"
            body += [span, r"\addlinespace[2pt]"]
        body += [" & ".join(map(escape, row)) + r" \\" for row in _values(rows)]
    if table.text.empty:
        body = [rf"\multicolumn{{{max(len(names), 1)}}}{{l}}{{{escape(table.note or NOTHING)}}} \\"]
    head = " & ".join(rf"\textbf{{{escape(column)}}}" for column in names) + r" \\"
    text = escape(f"{title}. {' '.join(caption.split())}")
    right = (sides(table.text[names]) if len(table.text) else "l" * len(names)) or "l"
    parts = (right, head, body, text, f"tab:{name}", escape(table.note) if len(table.text) else "")
    return _longtable(*parts) if len(body) > LONG else _table(*parts)


def _table(sides: str, head: str, body: list[str], caption: str, label: str, note: str) -> str:
    lines = [
        r"\begin{table*}",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}",
        r"\toprule",
        *([head, r"\midrule"] if head != r" \\" else []),
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\smallskip\footnotesize {note}"] if note else []),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _longtable(sides: str, head: str, body: list[str], caption: str, label: str, note: str) -> str:
    lines = [
        r"\begingroup\small",
        rf"\begin{{longtable}}{{@{{}}{sides}@{{}}}}",
        rf"\caption{{{caption}}}\label{{{label}}}\\",
        r"\toprule",
        head,
        r"\midrule\endfirsthead",
        r"\toprule",
        head,
        r"\midrule\endhead",
        r"\bottomrule\endfoot",
        *body,
        r"\end{longtable}",
        *([rf"\noindent\footnotesize {note}"] if note else []),
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return `text` with LaTeX's special characters escaped; a leading [ is no option."""
    escaped = "".join(LATEX.get(character, character) for character in str(text))
    return "{}" + escaped if escaped.startswith("[") else escaped
