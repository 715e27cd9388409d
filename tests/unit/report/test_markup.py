"""Names that hold markup stay text on every kind of page."""

import html
import re
from types import SimpleNamespace

import altair
import jinja2
import pandas as pd
import pytest
from docutils.core import publish_parts
from fewshot.report import render
from fewshot.report.figure_page import figure_page
from fewshot.report.table_text import Table, to_markdown
from fewshot.report.tables.registry import write_table_files
from project import ROOT

HOSTILE = (
    '</script><script>alert("x")</script><img src=x onerror=alert(1)> a|b *c* `d` [e](http://f)'
)


CAPTION = ROOT / "rules/captions/entry.rst"


def spec(title: str) -> dict:
    rows = pd.DataFrame({"x": [1, 2], "name": [title, "other"]})
    chart = altair.Chart(rows, title=title).mark_point()
    made = chart.encode(x="x:Q", color=altair.Color("name:N", title=title)).to_dict()
    return {**made, "description": title}


def test_interactive_pages_run_no_title():
    page, harmless = (
        figure_page(spec(title), title, render.vega_version()) for title in (HOSTILE, "harmless")
    )
    for tag in ("<script", "</script", "<img"):
        assert page.count(tag) == harmless.count(tag)
    # The title is there all the same, as JSON in a script spells it.
    assert r"\u003cscript>alert(\"x\")" in page


def test_drawings_hold_titles_as_text():
    drawing = render.to_svg(spec(HOSTILE))
    assert "<script" not in drawing and "<img" not in drawing
    assert "&lt;script" in drawing


def test_markdown_shows_names_as_they_are():
    text = pd.DataFrame({"section": [HOSTILE] * 2, HOSTILE: ["1", "2"], "cell": [HOSTILE, "x"]})
    page = to_markdown(Table(text, text, note=HOSTILE), HOSTILE, "A caption.", "made --> of")
    assert not re.search(r"<(script|/script|img)", page)
    assert not re.search(r"(?<!\\)[`*](?!\*)(?<!\*\*)", page.replace("**", ""))
    assert not re.search(r"(?<!\\)\]\(", page)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert page.count("-->") == page.count("<!--") == 1


@pytest.mark.parametrize(
    "caption",
    [
        "Accuracy (*mean*), 95 % intervals: {{ config }} `a`_ <http://b> |c| [1]_ d_ \\\\ e",
        ".. raw:: html\n\n   <script>alert(1)</script>",
        "Text.\n\n.. include:: /etc/hostname\n",
        "`here <javascript:alert(1)>`_",
        "- a\n- b",
    ],
)
def test_captions_are_text_in_the_report_of_snakemake(caption):
    """It reads them as reStructuredText, whose directives take in files and raw HTML."""
    settings = {"report_level": 1, "halt_level": 2}  # A system message is an error.
    given = SimpleNamespace(params=SimpleNamespace(caption=caption))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(CAPTION.read_text()).render(snakemake=given)
    page = publish_parts(text, writer_name="html", settings_overrides=settings)["body"]
    assert page.count("<") == 2, "a paragraph and nothing within"
    assert html.unescape(page) == f"<p>{' '.join(caption.split())}</p>\n"


def test_a_spreadsheet_finds_no_formula_in_a_table(tmp_path):
    formula = '=HYPERLINK("http://evil","see")'
    numbers = pd.DataFrame({formula: ["@SUM(A1)", "plain"], "value": [-0.5, 1.5], "n": [-1, 2]})
    paths = {kind: tmp_path / f"t.{kind}" for kind in ("parquet", "csv", "tex", "md")}
    write_table_files(Table(numbers, numbers.astype(str)), paths, "t", "T", "Caption.")
    found = pd.read_csv(paths["csv"])
    assert list(found) == [f"'{formula}", "value", "n"]
    assert found.iloc[0].tolist() == ["'@SUM(A1)", -0.5, -1] and found.iloc[1, 0] == "plain"
