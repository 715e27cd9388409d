"""LaTeX: what is escaped, how tables are cut into floats, and that pdflatex sets all of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import simulate
from fewshot import validation
from fewshot.report import latex
from fewshot.report.table_text import Table
from fewshot.report.tables import registry

CATALOG = simulate.CATALOG
ENTRIES = validation.read_yaml(Path(__file__).parents[3] / "config/figures.yaml")["tables"]
PREAMBLE = r"""\documentclass[10pt,twocolumn,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{adjustbox,array,booktabs}
\usepackage[textwidth=16cm,textheight=24.7cm]{geometry}
\begin{document}
"""
TOLERATED = 3.0
"""Points by which a line may stick out: less than the eye sees."""
UNICODE = '→ ≥ ≤ ² ³ “quoted” ‘so’ – — − × ± … † ‡ · √ ½ α β Δ μ σ ↵ ␣ (IA)³ ↓ ← < > | " é ü'


def table(rows, note=""):
    frame = pd.DataFrame(rows)
    return Table(frame, frame, note)


def set_in_latex(folder, bodies):
    """Set a two-column document of `bodies` and return pdflatex's log."""
    (folder / "t.tex").write_text(PREAMBLE + "\n\\clearpage\n".join(bodies) + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True)
    log = (folder / "t.log").read_text(errors="replace")
    assert done.returncode == 0, re.findall(r"^!.*(?:\n.*){3}", log, re.M)
    return log


def overfull(log):
    """Return by how many points each line sticks out, sideways or down."""
    sideways = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)
    down = re.findall(r"Float too large for page by ([\d.]+)pt", log)
    return [float(each) for each in sideways + down]


needs_pdflatex = pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="pdflatex is not installed (texlive-latex-recommended)"
)


def test_latex_escapes_what_it_would_read_as_commands():
    assert latex.escape("a_b & 5 % {x} #1 $") == r"a\_b \& 5 \% \{x\} \#1 \$"
    assert latex.escape("[1, 2]") == "{}[1, 2]"
    assert latex.escape("* as published") == "{}* as published"


def test_a_table_is_scaled_down_to_the_text_width_only_where_it_is_wider():
    text = latex.to_latex(table({"Name": ["a"], "Value": ["1.0"]}), "t", "T 5 %", "C_1", "from x")
    assert text.splitlines() == [
        r"% Preamble: \usepackage[T1]{fontenc}, \usepackage{adjustbox,array,booktabs}",
        "% from x",
        r"\begin{table*}[tp]",
        r"\centering\small",
        r"\setlength{\belowcaptionskip}{4pt}",
        r"\caption{T 5 \%. C\_1}\label{tab:t}",
        r"\begin{adjustbox}{max width=\linewidth}",
        r"\begin{tabular}{@{}lr@{}}",
        r"\toprule",
        r"\textbf{Name} & \textbf{Value} \\",
        r"\midrule",
        r"a & 1.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table*}",
    ]


def test_columns_of_long_texts_are_wrapped():
    rows = {"Key": ["k"], "One": ["word " * 30], "Two": ["a" * 40], "Value": ["1"]}
    text = latex.to_latex(table(rows), "t", "T", "C")
    assert rf"\begin{{tabular}}{{@{{}}l{latex.WRAPPED}lr@{{}}}}" in text


def test_a_table_without_rows_says_so():
    frame = pd.DataFrame({"Name": []})
    for note, shown in (("None fits: 5 %.", r"None fits: 5 \%."), ("", "No results yet.")):
        text = latex.to_latex(Table(frame, frame, note), "t", "T", "C")
        assert shown in text and r"\label{tab:t}" in text and "tabular" not in text


def braces_and_environments_match(text):
    bare = re.sub(r"\\[{}\\]", "", re.sub(r"^%.*", "", text, flags=re.M))
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        opened.append(name) if kind == "begin" else opened.remove(name)
    return depth == 0 and not opened


@pytest.mark.slow
def test_every_table_is_whole(study):
    """Braces and environments match, and each row of the body has a cell in every column."""
    texts = dict(tables_of(study))
    assert len(texts) >= 15
    for name, text in texts.items():
        assert braces_and_environments_match(text), name
        for body in re.findall(
            r"\\begin\{tabular\}\{@.*?\n\\toprule\n(.*?)\\bottomrule", text, re.S
        ):
            head, *rows = body.splitlines()
            cells = {
                row.count(" & ") for row in rows if row.endswith(r"\\") and "multicol" not in row
            }
            assert cells == {head.count(" & ")}, name


def test_long_tables_become_several_floats_and_repeat_their_headings():
    rows = {"section": ["First"] * 100 + ["Second"] * 30, "Name": [f"row {i}" for i in range(130)]}
    text = latex.to_latex(table(rows, "A note."), "long", "Title", "C")
    parts = text.split(r"\begin{table*}")[1:]
    assert len(parts) == 3 and "First (continued)" in parts[1]
    assert [part.count("A note.") for part in parts] == [0, 0, 1]
    assert [r"\addtocounter{table}{-1}" in part for part in parts] == [False, True, True]
    assert [r"\label{tab:long}" in part for part in parts] == [True, False, False]
    assert all(f"row {i} " in text for i in range(130))
    assert max(part.count(r" \\") for part in parts) <= latex.ROWS + 1  # and the columns' heads
    # A heading never stands last: the second section's comes with its first row.
    rows["section"] = ["First"] * 43 + ["Second"] * 87
    first = latex.to_latex(table(rows), "long", "Title", "C").split(r"\begin{table*}")[1]
    assert "First" in first and "Second" not in first


def test_heads_are_broken_where_they_would_widen_their_column():
    text = latex.to_latex(
        table({"A long name of it": ["1.0"], "Out of domain": ["x" * 20]}), *"tTC"
    )
    assert r"\begin{tabular}[b]{@{}r@{}}\textbf{A long}\\\textbf{name of it}\end{tabular}" in text
    assert r"\textbf{Out of domain}" in text


def tables_of(study):
    """Yield the name and LaTeX of each entry that the simulated study has."""
    for name, entry in ENTRIES.items():
        if not name.startswith("welch"):  # They ask for tasks that this study does not have.
            options = entry.get("options", {})
            made = registry.make_table(entry["function"], study, CATALOG, options)
            yield name, latex.to_latex(made, name, entry["title"], entry["caption"])


@needs_pdflatex
def test_every_table_is_set_without_sticking_out(study, tmp_path):
    log = set_in_latex(tmp_path, [text for _, text in tables_of(study)])
    assert max(overfull(log), default=0) <= TOLERATED


@needs_pdflatex
def test_characters_beyond_ascii_are_set(tmp_path):
    rows = {"Name": [UNICODE, "x"], "Value": ["+1.0*†", "−2.0"]}
    text = latex.to_latex(table(rows, UNICODE), "t", f"Title {UNICODE}", f"Caption {UNICODE}")
    log = set_in_latex(tmp_path, [text])
    assert "undefined" not in log.lower()
    assert max(overfull(log), default=0) <= TOLERATED


@needs_pdflatex
@pytest.mark.parametrize("columns", [3, 7, 14])
@pytest.mark.parametrize("words", [1, 12])
def test_tables_of_any_shape_fit(tmp_path, columns, words):
    rows = {"section": ["A heading that is rather long " * 4] * 70}
    rows |= {"Model": ["GPT-NeoX-20B"] * 70, "Method": ["Pattern-based fine-tuning " * words] * 70}
    rows |= {f"Some long column name {i}": ["88.8 [80.0, 95.5]"] * 70 for i in range(columns)}
    log = set_in_latex(tmp_path, [latex.to_latex(table(rows, "Note. " * 80), "t", "T", "C " * 99)])
    assert max(overfull(log), default=0) <= TOLERATED
