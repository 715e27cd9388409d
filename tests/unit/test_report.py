"""The report, whole and partial: complete, self-contained, and honest about what is missing."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import report_partial
import simulate
from fewshot import charts, partial, registry, report

CATALOG = simulate.CATALOG
SETTINGS = {
    "study": "sim",
    "title": "A <simulated> study",
    "protocol": "fair",
    "tasks": list(simulate.SIZES),
    "models": list(simulate.MODELS),
    "seeds": "0-4",
}
ENTRIES = registry.read_yaml(Path(__file__).parents[2] / "config" / "figures.yaml")
ENTRIES = registry.check(ENTRIES, "figures", "config/figures.yaml")


@pytest.fixture(scope="module")
def whole(study, study_folder):
    """Return the study with two figures and all tables."""
    figures = {name: ENTRIES["figures"][name] for name in ("id-ood-scatter", "accuracy-by-k")}
    specs = {
        name: charts.make(entry["function"], study, CATALOG, {}, entry["title"])
        for name, entry in figures.items()
    }
    folders = {
        kind: [study_folder / f"results/{folder}/{name}" for name in CATALOG[kind]]
        for kind, folder in (("models", "models"), ("tasks", "raw"))
    }
    return report.Study(
        SETTINGS,
        CATALOG,
        figures,
        ENTRIES["tables"],
        study,
        specs,
        models=partial.manifests_in(folders["models"]),
        sources=partial.manifests_in(folders["tasks"]),
    )


@pytest.fixture(scope="module")
def page(whole):
    return report.page(whole)


def test_the_page_needs_no_other_file(page):
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" not in page
    assert page.count('<img src="data:image/png;base64,iVBOR') == 2


def test_text_is_escaped(page):
    assert "A &lt;simulated&gt; study" in page
    assert "A <simulated> study" not in page


def test_the_page_leads_from_question_to_answer_to_provenance(page):
    order = ["question", "answer", "1-main-result", "2-effect-of-shots", "reading", "provenance"]
    places = [page.index(f'id="{name}"') for name in order]
    assert places == sorted(places)
    for title in ("Fine-tuning minus in-context learning", "Costs", "Coverage"):
        assert f"{title}</h3>" in page


def test_links_within_the_page_lead_somewhere(page):
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page


def test_ids_of_several_charts_do_not_clash(page):
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_provenance_names_models_data_packages_and_code(page):
    for text in ("cdcdcdcdcdcdcdcd", "abababababababab", "2.13.0", "0123456789abcdef", "3.11.7"):
        assert text in page


def test_the_answer_counts_the_simulated_effect(page):
    found = re.search(r"In domain, LoRA was better than In-context learning in (\d+) of 8", page)
    assert 3 <= int(found[1]) <= 4, "on NLI's 120 rows; RTE has 80"


def test_the_headline_stands_once_with_its_files(page):
    assert page.count('href="tables/headline.csv"') == 1
    # The headline, every cell's accuracy and the selection of models.
    assert page.count(">Out of domain</th>") == 3


def test_the_page_says_what_is_incomplete(page):
    assert "53 of 56 cells are complete." in page
    assert "does not fit" in page


def test_the_summary_is_narrow_and_says_where_things_are(whole):
    text = report.summary_text(whole, Path("results/sim"))
    assert max(map(len, text.splitlines())) <= 100
    assert "results/sim/report.html" in text
    assert text.count("In-context learning") == 8  # a row per task and model
    assert "53 of 56 cells are complete." in text


def plan(pairs):
    figures = {"id-ood-scatter": ENTRIES["figures"]["id-ood-scatter"]}
    tables = {name: ENTRIES["tables"][name] for name in ("headline", "coverage")}
    return partial.Plan(SETTINGS, CATALOG, figures, tables, pairs)


def test_a_partial_report_works_with_nothing_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan(simulate.pairs())
    smk = SimpleNamespace(
        params=SimpleNamespace(
            study=planned.settings,
            catalog=planned.catalog,
            figures=planned.figures,
            tables=planned.tables,
            pairs=planned.pairs,
        )
    )
    report_partial.main(smk)
    folder = tmp_path / "results/sim/partial"
    assert "0 of 56 cells are complete." in (folder / "summary.txt").read_text()
    assert "This report is partial" in (folder / "report.html").read_text()
    assert (folder / "figures/id-ood-scatter.png").stat().st_size > 1000
    assert "missing" in (folder / "tables/headline.md").read_text()


def test_a_missing_run_shows_the_last_line_of_its_log(study):
    assert study.logs == {
        ("rte", "opt-s", "lora", "minimal", 32): "ERROR step 12: the loss is not a number"
    }


def test_a_broken_run_counts_as_missing_and_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    pair = simulate.pairs([0, 1])[0]
    pair["jobs"] = [job for job in pair["jobs"] if job["k"] == 16][:2]
    for job in pair["jobs"]:
        simulate.write_run(tmp_path, pair, job, epochs=2)
    Path(pair["jobs"][1]["folder"], "predictions.parquet").write_bytes(b"PAR1 cut off")
    found = partial.collect(plan([pair]))
    status = found.metrics.groupby("method")["status"].agg(set).to_dict()
    assert status == {"icl": {"ok"}, "ft": {"missing"}}
    assert "not a readable Parquet file" in found.logs["nli", "opt-s", "ft", "minimal", 16]


def test_a_run_that_never_started_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert partial.last_line({"folder": "results/runs/x/seeds0-4"}) == partial.NOT_STARTED
    Path("results/logs/runs/x").mkdir(parents=True)
    Path("results/logs/runs/x/seeds0-4.log").write_text("one\ntwo\n\n")
    assert partial.last_line({"folder": "results/runs/x/seeds0-4"}) == "two"
