"""The golden study's report, with all of its tables and figures, in a browser."""

from contextlib import chdir
from pathlib import Path

import pytest
from browser import Browser
from fewshot.report import report
from fewshot.report.figures import registry

from golden import study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]

LAYOUT = (Path(__file__).parents[1] / "layout.js").read_text("utf-8")


def test_nothing_in_the_report_is_cut_or_overlaps(golden, tmp_path):
    plan = study.plan()
    specs = {
        name: registry.make_figure(
            entry["function"], golden, plan.catalog, entry["options"], entry["title"]
        )
        for name, entry in plan.figures.items()
    }
    given = (plan.settings, plan.catalog, plan.figures, plan.tables, golden, specs)
    with Browser() as browser, chdir(tmp_path):
        report.write_report(report.ReportInputs(*given), "report.html", "summary.txt")
        for width in (1400, 1000, 700, 390):
            browser.open(Path("report.html"), width)
            assert browser.evaluate(LAYOUT) == [], width
