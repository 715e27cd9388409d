"""Names that hold markup stay text on every kind of page."""

import re

import altair
import pandas as pd
from fewshot.report import render
from fewshot.report.table_text import Table, to_markdown

HOSTILE = (
    '</script><script>alert("x")</script><img src=x onerror=alert(1)> a|b *c* `d` [e](http://f)'
)


def spec(title: str) -> dict:
    rows = pd.DataFrame({"x": [1, 2], "name": [title, "other"]})
    chart = altair.Chart(rows, title=title).mark_point()
    return chart.encode(x="x:Q", color=altair.Color("name:N", title=title)).to_dict()


def test_interactive_pages_run_no_title():
    page, harmless = (render.to_html(spec(title)) for title in (HOSTILE, "harmless"))
    for tag in ("<script", "</script", "<img"):
        assert page.count(tag) == harmless.count(tag)
    # The title is there all the same, as JSON in a script spells it.
    assert r"\u003cscript>alert(\"x\")" in page
    assert render.LESS not in page


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
