"""Tables as LaTeX with booktabs, for the text width of a two-column paper.

A table that is wider is scaled down by adjustbox, long cells are wrapped, and a table of many rows
becomes several floats.
"""

import math
import textwrap

from .table_text import NOTHING, Table, columns, sections, sides, values

# Pairs: a character, and what stands for it in math mode.
MATHS = r"""
< <  > >  | |  · \cdot  − -  → \rightarrow  ← \leftarrow  ↓ \downarrow  ↑ \uparrow
↵ \hookleftarrow  × \times  ± \pm  ≥ \geq  ≤ \leq  ≈ \approx  ≠ \neq  √ \surd  ∞ \infty
† ^{\dagger}  ‡ ^{\ddagger}  ° ^{\circ}  ¹ ^{1}  ² ^{2}  ³ ^{3}  ½ 1/2
α \alpha  β \beta  Δ \Delta  μ \mu  σ \sigma
""".split()
TEXT = r"""
\ \textbackslash{}  ~ \textasciitilde{}  ^ \textasciicircum{}  " \textquotedbl{}  … \dots{}
␣ \textvisiblespace{}  – --  — ---  “ ``  ” ''  ‘ `  ’ '
""".split()
CHARACTERS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{key: f"${text}$" for key, text in zip(MATHS[::2], MATHS[1::2], strict=True)},
    **dict(zip(TEXT[::2], TEXT[1::2], strict=True)),
    **{"\n": " ", "\u00a0": "~", "\u202f": r"\,"},
}
"""What pdflatex would read as commands, or cannot print."""

PREAMBLE = r"\usepackage[T1]{fontenc}, \usepackage{adjustbox,array,booktabs}"
ROWS = 45
"""Lines of one float at most, headings of sections included."""
WRAP = 40
"""Characters of a cell's line at most."""
WRAPPED = r">{\raggedright\arraybackslash}p{18em}"
"""A column of cells that are longer."""
HELD = 12
"""Floats of one table after which the page is ended: LaTeX holds back so many."""


def to_latex(table: Table, name: str, title: str, caption: str, origin: str = "") -> str:
    """Return the table as one or more table* environments, labelled tab:`name`.

    `origin` is a comment: what the table was made from.
    """
    lines = [f"% {line}" for line in (f"Preamble: {PREAMBLE}", *origin.splitlines())]
    text = escape(f"{title}. {' '.join(caption.split())}")
    first = rf"\caption{{{text}}}\label{{tab:{name}}}"
    text = escape(f"{title} (continued).")
    later = rf"\addtocounter{{table}}{{-1}}\caption{{{text}}}"
    if table.text.empty:
        lines += _environment(first, [escape(table.note or NOTHING)])
        return "\n".join(lines) + "\n"
    pages = _pages(table)
    for i, page in enumerate(pages):
        lines += [r"\clearpage"] if i and i % HELD == 0 else []
        content = _tabular(table, page)
        if i == len(pages) - 1 and table.note:
            note = rf"\footnotesize {escape(table.note)}"
            content.append(rf"\par\smallskip\parbox{{\linewidth}}{{{note}}}")
        lines += _environment(later if i else first, content)
    return "\n".join(lines) + "\n"


def _environment(caption: str, content: list[str]) -> list[str]:
    start = [r"\begin{table*}[tp]", r"\centering\small", r"\setlength{\belowcaptionskip}{4pt}"]
    return [*start, caption, *content, r"\end{table*}"]


def _pages(table: Table) -> list[list[str]]:
    """Return the lines of each float's body; a section that goes on says so."""
    pages, used = [[]], 0
    for heading, rows in sections(table):
        for i, row in enumerate(values(rows)):
            high = max(math.ceil(len(cell) / WRAP) or 1 for cell in row)
            if used and used + high + (i == 0) > ROWS:
                pages, used = [*pages, []], 0
            if heading and (i == 0 or not used):
                shown = rf"\textit{{{escape(heading + (' (continued)' if i else ''))}}}"
                pages[-1] += [r"\midrule"] if used else []
                pages[-1].append(rf"\multicolumn{{{len(row)}}}{{@{{}}l@{{}}}}{{{shown}}} \\")
                used += 1
            pages[-1].append(" & ".join(map(escape, row)) + r" \\")
            used += high
    return pages


def _tabular(table: Table, body: list[str]) -> list[str]:
    names = columns(table)
    longest = [max(len(str(cell)) for cell in table.text[name]) for name in names]
    pairs = zip(sides(table), longest, strict=True)
    spec = "".join(WRAPPED if most > WRAP else side for side, most in pairs)
    return [
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        r"\toprule",
        " & ".join(map(_head, names, sides(table), longest)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
    ]


def _head(name: str, side: str, longest: int) -> str:
    """Return a column's head, in as many lines as keep it from widening the column."""
    lines = textwrap.wrap(name, max(longest, 10)) or [""]
    bold = r"\\".join(rf"\textbf{{{escape(line)}}}" for line in lines)
    if len(lines) == 1 or longest > WRAP:
        return rf"\textbf{{{escape(name)}}}"
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{bold}\end{{tabular}}"


def escape(text: str) -> str:
    """Return `text` with what LaTeX would misread escaped; a leading [ or * is no option."""
    escaped = "".join(CHARACTERS.get(character, character) for character in str(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped
