"""The report and the interactive figures in a browser, on a desk and on a phone."""

import copy
from pathlib import Path

import pytest
from browser import Browser
from fewshot.report import render, report
from test_report import CATALOG, SETTINGS, inputs

LAYOUT = (Path(__file__).parents[2] / "layout.js").read_text("utf-8")
WIDTHS = (1400, 390)
LONG = "a-name-that-has-no-blank-" * 6
TITLES = {
    "models": ["通义千问二点五 · 一亿二千五百万参数基础模型", LONG, "🚀🔥 OPT", "Модель"],
    "methods": ["文脈内学習（デモンストレーション）", "Fine-tuning with a long title indeed", "🧠"],
    "tasks": ["含意関係認識 🇯🇵", "RTE", LONG],
}
"""Titles of other scripts, of many letters and of few."""
READY = "new Promise((done) => (function wait() { document.querySelector('svg.marks') ? done(true) "
READY += ": setTimeout(wait, 20); })())"
"""Waits until a figure is drawn."""


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(browser, study, study_folder, tmp_path_factory) -> dict[str, Path]:
    """Return the report of the simulated study, and the same with other titles."""
    folder, catalog = tmp_path_factory.mktemp("pages"), copy.deepcopy(CATALOG)
    for kind, titles in TITLES.items():
        for entry, title in zip(catalog[kind].values(), titles, strict=False):
            entry["title"] = title
    settings = SETTINGS | {"title": "公平な比較 🎯 " + LONG}
    found = {
        "plain": inputs(study, study_folder),
        "titles": inputs(study, study_folder, catalog, settings),
    }
    for name, each in found.items():
        report.write_report(each, folder / f"{name}.html", folder / f"{name}.txt")
    return {name: folder / f"{name}.html" for name in found}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["plain", "titles"])
def test_nothing_in_the_report_is_cut_or_overlaps(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.evaluate(LAYOUT) == []


def test_the_check_finds_what_is_wrong(browser, pages):
    """Each rule of the style that is taken away is missed."""
    text = pages["plain"].read_text("utf-8")
    broken = {
        "white-space: nowrap": "wraps",
        "overflow-x: auto": "cannot scroll",
        "position: sticky": "rows lose their names",
        "max-width: none": "only",
    }
    for rule, said in broken.items():
        path = pages["plain"].with_name("broken.html")
        path.write_text(text.replace(rule, "max-width: 100%" if said == "only" else ""), "utf-8")
        browser.open(path, 390)
        assert any(line.startswith(said) for line in browser.evaluate(LAYOUT)), rule


def test_costs_open_when_they_are_linked_to(browser, pages):
    browser.open(pages["plain"], 390)
    shown = "document.getElementById('table-coverage').checkVisibility()"
    assert not browser.evaluate(shown)
    browser.evaluate("location.hash = 'table-coverage'")
    assert browser.evaluate(f"new Promise(requestAnimationFrame).then(() => {shown})")


def test_print_shows_what_is_folded_and_wraps_wide_tables(browser, pages):
    browser.open(pages["plain"], 700)
    browser.print_style(True)
    shown = "[...document.querySelectorAll('h3, table')].every((each) => each.checkVisibility())"
    try:
        assert browser.evaluate(shown)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 700
    finally:
        browser.print_style(False)
    assert not browser.evaluate(shown)


@pytest.fixture(scope="module")
def figure(study, study_folder, tmp_path_factory) -> Path:
    """Return the page of an interactive figure."""
    path = tmp_path_factory.mktemp("figure") / "f.html"
    [spec, *_] = inputs(study, study_folder).specs.values()
    render.render(spec, {"html": path}, "What it\nshows.")
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_an_interactive_figure_has_title_caption_and_full_width(browser, figure, width):
    browser.open(figure, width)
    assert browser.evaluate(READY)
    assert browser.evaluate(LAYOUT) == []
    assert browser.evaluate("document.title") == "In-domain against out-of-domain accuracy"
    assert browser.evaluate("document.querySelector('h1').innerText === document.title")
    assert browser.evaluate("document.querySelector('h1 ~ p').innerText") == "What it shows."
    drawn = browser.evaluate("document.querySelector('svg.marks').getBoundingClientRect().width")
    assert drawn >= max(600, 0.85 * width)


def test_an_interactive_figure_says_that_it_needs_javascript(browser, figure):
    browser.open(figure, 1400, script=False)
    assert "needs JavaScript" in browser.evaluate("document.body.innerText")
    browser.open(figure, 1400)
    assert "needs JavaScript" not in browser.evaluate("document.body.innerText")
