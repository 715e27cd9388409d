"""The report of a study: complete, self-contained, and honest about what is missing."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import make_table
import pandas as pd
import pytest
import simulate
import write_report
from fewshot import schemas, storage, validation
from fewshot.analysis import result_schemas, statistics_schemas, stats
from fewshot.report import answers, partial, provenance, report
from fewshot.report.figures import registry
from fewshot.report.tables.comparisons import main_comparisons
from markupsafe import escape

CATALOG = simulate.CATALOG
SETTINGS = {
    "study": "sim",
    "title": "A <simulated> study",
    "protocol": "fair",
    "tasks": list(simulate.SIZES),
    "models": list(simulate.MODELS),
    "seeds": "0-4",
}
ENTRIES = validation.read_yaml(Path(__file__).parents[3] / "config" / "figures.yaml")
ENTRIES = validation.validate(ENTRIES, "figures", "config/figures.yaml")

# The paper's matrices ask for tasks that this study does not have.
TABLES = {name: each for name, each in ENTRIES["tables"].items() if not name.startswith("welch")}
FILES = {
    "metrics": ["results/metrics/sim/nli/a.parquet", "results/metrics/sim/rte/a.parquet"],
    "comparisons": ["results/statistics/sim/nli/comparisons.parquet"],
    "manifests": ["results/runs/a/manifest.json"] * 3,
}


def inputs(study, study_folder, catalog=CATALOG, settings=SETTINGS):
    """Return what a report on the simulated study is made from: two figures and all tables."""
    figures = {name: ENTRIES["figures"][name] for name in ("id-ood-scatter", "accuracy-by-k")}
    specs = {
        name: registry.make_figure(entry["function"], study, catalog, {}, entry["title"])
        for name, entry in figures.items()
    }
    folders = {
        kind: [study_folder / f"results/{folder}/{name}" for name in catalog[kind]]
        for kind, folder in (("models", "models"), ("tasks", "raw"))
    }
    return report.ReportInputs(
        settings,
        catalog,
        figures,
        TABLES,
        study,
        specs,
        models=partial.manifests_in(folders["models"]),
        sources=partial.manifests_in(folders["tasks"]),
        files=FILES,
        versions={"table": "7ab1e", "figure": "f19e"},
    )


@pytest.fixture(scope="module")
def whole(study, study_folder):
    return inputs(study, study_folder)


@pytest.fixture(scope="module")
def page(whole):
    return report.page(whole)


def test_the_page_needs_no_other_file(page):
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" not in page
    assert page.count('<img src="data:image/png;base64,iVBOR') == 2


def test_what_else_was_found_is_told_on_the_page_and_in_the_summary(whole, monkeypatch):
    said = [{"id": "elsewhere", "title": "Elsewhere", "sentences": ["All else is as it was."]}]
    monkeypatch.setattr(report, "further", lambda evidence, catalog: said)
    assert "All else is as it was.\n" in report.summary_text(whole, Path("results/sim"))
    text = report.page(replace(whole, figures={}, specs={}, tables={}))
    assert '<h3 id="elsewhere">Elsewhere</h3>\n<ul><li>All else is as it was.</li></ul>' in text


def test_costs_and_settings_are_folded_and_nothing_else_is(page):
    categories = {entry["category"] for kind in ENTRIES.values() for entry in kind.values()}
    assert set(report.FOLDED) <= categories
    assert len({each[0] for each in categories}) == len(categories), "each has its own number"
    folded = re.findall(r'<details class="folded"><summary>\s*<h2 id="([^"]+)"', page)
    assert folded == ["6-costs-and-coverage", "7-setting"]
    for name in ("table-costs", "table-coverage", "table-models", "table-hyperparameters"):
        before = page[: page.index(f'id="{name}"')]
        assert before.count("<details") == before.count("</details>") + 1
    before = page[: page.index('id="reading"')]
    assert before.count("<details") == before.count("</details>")


@pytest.mark.weekly
def test_what_is_missing_is_linked_where_it_is_folded(whole):
    whole = replace(whole, partial=True, figures={})
    text = report.page(whole)
    assert 'last line of its log under\n“<a href="#table-coverage">Coverage</a>”.</p>' in text
    tables = {name: each for name, each in whole.tables.items() if name != "coverage"}
    text = report.page(replace(whole, tables=tables))
    assert "What is missing is\nmarked.</p>" in text


@pytest.mark.parametrize(("points", "pixels"), [(504, 806), (375, 600), (300, 600)])
def test_figures_have_their_own_width_but_not_below_600_pixels(points, pixels):
    dots = points * report.SCREEN // 72
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + dots.to_bytes(4) + (dots // 2).to_bytes(4)
    assert report._size(header) == {"width": pixels, "height": pytest.approx(pixels / 2, abs=1)}


def test_text_is_escaped(page):
    assert "A &lt;simulated&gt; study" in page
    assert "A <simulated> study" not in page


def test_the_page_leads_from_question_to_answer_to_provenance(page):
    order = ["found", "figure-id-ood-scatter", "question", "answer", "limits", "headline"]
    order += ["1-main-result", "2-effect-of-shots", "reading", "provenance"]
    places = [page.index(f'id="{name}"') for name in order]
    assert places == sorted(places)
    for title in ("Fine-tuning minus in-context learning", "Costs", "Coverage"):
        assert f"{title}</h3>" in page


def test_links_within_the_page_lead_to_one_place(page):
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_provenance_names_models_data_packages_and_code(page):
    for text in ("cdcdcdcdcdcdcdcd", "abababababababab", "2.13.0", "0123456789abcdef", "3.11.7"):
        assert text in page


@pytest.mark.weekly
def test_provenance_counts_runs_that_scored_shots_apart(whole):
    assert "Shots held out" not in report.page(whole)
    run = whole.evidence.manifests[0]
    held = [run | {"settings": {"cross_validation": how}, "code": "fedcba"} for how in (4, 4, 9)]
    tables = provenance.provenance([], [], [run], CATALOG, held)
    rows = tables["Shots held out"].text.to_dict("records")
    found = [(row["Held out"], row["Code version"], row["Runs"]) for row in rows]
    assert found == [("4", "fedcba", "2"), ("9", "fedcba", "1")]
    assert "Shots held out" in report.page(replace(whole, held_out=held))


def test_the_answer_counts_the_simulated_effect(page, study):
    frame = main_comparisons(study.comparisons, CATALOG)
    inside = frame[frame["domain"] == "in"]
    better = (inside["verdict"] == "better").sum()
    assert 4 <= better <= len(inside) == 16  # five seeds and 80 rows do not find all of them
    said = f"fine-tuning is better than in-context learning in {better} of 16 comparisons"
    assert page.index(f"In domain, {said}") < page.index("<img")
    assert "32 comparisons" in page and "What cannot be concluded" in page


def test_the_limits_follow_from_seeds_and_comparisons(page):
    # 2 / 2^5 = 0.0625; four models are corrected together.
    assert "The smallest p of the permutation test of 5 seeds is 0.062; over 4 comparisons" in page
    assert "makes it 0.25, so that it can never fall below 0.05" in page


def test_every_test_is_explained_once(page):
    for text in stats.MEANING.values():
        assert page.count(str(escape(text))) == 1


def test_every_entry_says_what_it_was_made_from(page, whole):
    made = re.findall(r"Made from ([^<]*)\.</p>", page)
    assert len(made) == len(whole.tables) + len(whole.figures)
    place = page.index('id="table-comparison"')
    found = page[place : page.index("<h3", place)]
    path = "results/statistics/sim/nli/comparisons.parquet"
    assert f"Made from comparisons: {path}; code: 7ab1e." in found
    place = page.index('id="figure-id-ood-scatter"')
    found = page[place : page.index("<h3", place)]
    assert "Made from metrics: 2 files of results/metrics/sim; code: f19e." in found


def test_links_of_files_name_every_format(page):
    for kind in report.TABLE_FILES:
        assert f'href="tables/comparison.{kind}"' in page
    for kind in report.FIGURE_FILES:
        assert f'href="figures/id-ood-scatter.{kind}"' in page


@pytest.mark.weekly
def test_draws_that_are_not_shared_are_not_called_shared(whole):
    other = replace(whole, catalog=CATALOG | {"shared_draws": False})
    text = report.page(other)
    assert "the same stored draws" not in text
    assert "draws are not paired" in text


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
    long = replace(whole, settings=SETTINGS | {"title": "A long title " * 20})
    assert max(map(len, report.summary_text(long, Path("x")).splitlines())) <= 100
    assert "results/sim/report.html" in text
    assert text.startswith("A <simulated> study\n\nIn domain, fine-tuning is better than in-con")
    table = text[: text.index("on average over")]
    assert table.count("In-context learning") == 8  # a row per task and model
    assert "53 of 56 cells are complete." in text


def test_the_summary_says_in_how_many_comparisons_fine_tuning_was_better(whole):
    text = " ".join(report.summary_text(whole, Path("results/sim")).split())
    for line in answers.answer(whole.evidence.comparisons, whole.catalog).found:
        assert line in text
    assert "Out of domain, fine-tuning is better" in text
    assert "gives p < 0.05 after correction" in text


def test_origins_name_files_folders_and_what_was_computed():
    files = {
        "metrics": ["a/b/x.parquet", "a/b/y.parquet"],
        "windows": ["f.parquet"],
        "manifests": [],
    }
    text = provenance.origin(["metrics", "windows", "manifests"], files, "12")
    assert text == "metrics: 2 files of a/b\ncontexts and windows: f.parquet\ncode: 12"
    text = provenance.origin(["metrics", "logs"], {"manifests": ["m.json"]}, "12")
    assert text == "metrics: computed from 1 run\ncode: 12"


@pytest.fixture(scope="module")
def stored(study, tmp_path_factory):
    """Return the inputs of the rules that make tables and the report, as stored files."""
    folder = tmp_path_factory.mktemp("stored")
    frames = {
        "metrics": result_schemas.METRICS,
        "comparisons": statistics_schemas.COMPARISONS,
        "windows": schemas.WINDOWS,
    }
    for name, schema in frames.items():
        storage.write_table(folder / f"{name}.parquet", getattr(study, name), schema)
    storage.write_json(folder / "manifest.json", study.manifests[0])
    files = {name: [str(folder / f"{name}.parquet")] for name in frames}
    return files | {"manifests": [str(folder / "manifest.json")], "variance": [], "costs": []}


def test_the_script_of_tables_notes_what_it_read(stored, tmp_path):
    paths = {"table": "t.parquet", "csv": "t.csv", "tex": "t.tex", "md": "t.md"}
    entry = ENTRIES["tables"]["comparison"]
    smk = SimpleNamespace(
        input=SimpleNamespace(**stored),
        output=SimpleNamespace(**{kind: tmp_path / name for kind, name in paths.items()}),
        params=SimpleNamespace(name="comparison", catalog=CATALOG, code="c0de", **entry),
    )
    make_table.main(smk)
    line = f"comparisons: {stored['comparisons'][0]}"
    assert f"% {line}\n% code: c0de\n" in (tmp_path / "t.tex").read_text()
    assert f"<!-- {line} -->\n<!-- code: c0de -->\n" in (tmp_path / "t.md").read_text()
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == 32


def test_the_script_of_the_report_answers_from_stored_files(stored, tmp_path):
    smk = SimpleNamespace(
        input=SimpleNamespace(**stored, held_out=[], models=[], sources=[], tables=[], figures=[]),
        output=SimpleNamespace(report=tmp_path / "report.html", summary=tmp_path / "s.txt"),
        params=SimpleNamespace(
            study=SETTINGS,
            catalog=CATALOG,
            figures={},
            tables={"headline": ENTRIES["tables"]["headline"]},
            versions={"table": "c0de", "figure": "c0de"},
        ),
    )
    write_report.main(smk)
    text = (tmp_path / "report.html").read_text()
    assert "fine-tuning is better than in-context learning in" in text
    assert f"Made from metrics: {stored['metrics'][0]}; code: c0de." in text
    assert "In-context learning" in (tmp_path / "s.txt").read_text()
