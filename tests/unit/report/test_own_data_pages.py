"""The report of a study of one's own data set without an out-of-domain set: nothing is empty."""

import re
from pathlib import Path

import own_data
import pytest
from fewshot.report import report
from fewshot.report.table_text import NOTHING, to_markdown
from fewshot.report.tables.registry import make_table
from thinned import thinned

EMPTY = re.compile(r"\bNo\b[^.]*\byet\b")
"""What figures and tables say that have nothing to show."""
GRIDS = {
    "in context and fine-tuned": own_data.GRID,
    "in context alone": own_data.GRID[:1],
    "fine-tuned alone": own_data.GRID[1:],
    "one number of shots": [{**block, "k": [16]} for block in own_data.GRID],
}
MAIN = dict(
    zip(GRIDS, ("differences", "calibration", "methods-compared", "differences"), strict=True)
)


@pytest.fixture(
    scope="module",
    params=thinned(GRIDS, ["in context and fine-tuned"], ["in context alone", "fine-tuned alone"]),
)
def made(request, tmp_path_factory) -> tuple[str, report.ReportInputs]:
    """Return the name of a grid and the report's inputs with it, of two sizes."""
    config, runs = (tmp_path_factory.mktemp(name) for name in ("config", "runs"))
    study = own_data.load(config, grid=GRIDS[request.param], models=["opt-s", "opt-l"])
    return request.param, own_data.results(study, runs)


def texts(spec: dict) -> list[str]:
    """Return all texts of a specification."""
    if isinstance(spec, str):
        return [spec]
    parts = spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ()
    return [text for part in parts for text in texts(part)]


def test_no_figure_is_empty(made):
    _, study = made
    assert study.specs
    for name, spec in study.specs.items():
        assert not [text for text in texts(spec) if EMPTY.search(text)], name


def test_no_table_is_empty(made):
    _, study = made
    for name, entry in study.tables.items():
        table = make_table(entry["function"], study.evidence, study.catalog, entry["options"])
        assert NOTHING not in to_markdown(table, name, ""), name


def test_figures_say_when_they_are_empty(made):
    """What the tests above look for is what an entry without results says."""
    _, study = made
    spec = own_data.make_figure("id_ood_scatter", study.evidence, study.catalog, {}, "A title")
    assert [text for text in texts(spec) if EMPTY.search(text)]


def test_page_and_summary_speak_of_no_set_that_is_not_there(made):
    name, study = made
    page, summary = report.page(study), report.summary_text(study, Path("results/mine"))
    for text in (page, summary):
        assert not EMPTY.search(text)
        assert "Out of domain" not in text
    assert "made to break its shortcuts" not in page
    assert page.index("<img") < page.index('id="question"')
    first = re.search('<h3 id="figure-([^"]+)"', page)[1]
    assert first == MAIN[name]
    assert ("In domain, fine-tuning is" in summary) == (MAIN[name] == "differences")


@pytest.mark.slow
def test_a_finished_study_without_comparison_does_not_say_yet(made):
    name, study = made
    alone = "No fine-tuned model stands beside the same model in context."
    assert (alone in report.page(study)) == name.endswith("alone")
