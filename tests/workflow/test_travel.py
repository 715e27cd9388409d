"""An archive takes a study elsewhere: there, pages are made and nothing else is run."""

import shutil

import pytest
import simulate
import travels
from fewshot import storage
from project import Project, run_once

# One process for all of them: they share one study.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("travel")]

ANALYSIS = {"compute_metrics", "make_table", "plot_figure", "write_report"}
STUDY = ("--configfile", "study.yaml")
IMPORTED = ("--configfile", "results/sim/imported/study.yaml")


def pages(project: Project) -> dict[str, bytes]:
    """Return the bytes of every table, figure and report."""
    folder = project.folder / "results/sim"
    kinds = ("tables", "figures", "report.html", "summary.txt")
    files = [file for kind in kinds for file in [folder / kind, *(folder / kind).rglob("*")]]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


@pytest.fixture(scope="module")
def exporter(tmp_path_factory) -> Project:
    """Return the project that made a study, its pages and the archive."""

    def build(project):
        shutil.rmtree(project.folder)
        travels.finished(project.folder)
        project.run("all", "export_predictions", *STUDY)

    return run_once(tmp_path_factory, "exporter", build)


@pytest.fixture(scope="module")
def reader(exporter, tmp_path_factory) -> Project:
    """Return another project, which knows none of the study's names, with the archive imported."""
    project = Project.create(tmp_path_factory.mktemp("reader") / "project")
    travels.few_pages(project)
    archive = exporter.folder / "results/sim/predictions.tar"
    output = project.run("import_predictions", "--config", f"archive={archive}")
    assert f"snakemake tables figures {' '.join(IMPORTED)}" in output
    return project


def test_nothing_but_pages_is_made_from_an_archive(exporter, reader):
    """Before the archive is used, while it is, and after."""
    planned = {rule for rule, _ in reader.planned("all", *IMPORTED)}
    assert planned <= ANALYSIS | {"compare_methods"} and "compute_metrics" in planned
    reader.run("all", *IMPORTED)
    ours, theirs = pages(exporter), pages(reader)
    assert len(ours) > 20 and set(ours) == set(theirs)
    # The converter orders a PDF's objects anew each time; its specification is compared.
    differing = [name for name in ours if ours[name] != theirs[name]]
    assert [name for name in differing if not name.endswith(".pdf")] == []
    assert reader.planned("all", *IMPORTED) == []


@pytest.mark.weekly
def test_the_archive_of_an_import_has_the_same_bytes(exporter, reader):
    reader.run("export_predictions", *IMPORTED)
    archives = [each.folder / "results/sim/predictions.tar" for each in (exporter, reader)]
    assert archives[0].read_bytes() == archives[1].read_bytes()


@pytest.mark.weekly
def test_importing_twice_changes_nothing(exporter, reader):
    archive = exporter.folder / "results/sim/predictions.tar"
    output = reader.run("import_predictions", "--config", f"archive={archive}")
    assert "0 files, " in output


def test_without_an_archive_there_is_one_line(reader):
    result = reader.snakemake("import_predictions")
    assert result.code != 0 and "Traceback" not in result.output
    assert "error: no archive named; valid: snakemake import_predictions" in result.output


@pytest.mark.weekly
def test_results_made_elsewhere_join_the_same_tables(exporter, tmp_path):
    """A model that was only ever run by lm-evaluation-harness: nothing of it is fetched."""
    shutil.copytree(exporter.folder, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project")
    hub = {"hub": "nobody/nothing", "revision": "0" * 40, "window": 1024, "dtype": "float32"}
    project.edit(
        "config/models.yaml",
        lambda models: models.update({"opt-l": {**simulate.MODELS["opt-l"], **hub}}),
    )
    harness = {"family": "imported", "head": "language-model", "title": "Harness"}
    harness["prompts"] = "pattern"
    project.edit("config/methods.yaml", lambda methods: methods.update(harness=harness))
    logs = travels.write_logs(project.folder, 16, (0, 1))
    block = {"methods": ["harness"], "patterns": ["minimal"], "k": [16], "seeds": "0-1"}
    block["models"] = ["opt-l"]
    tables = ["accuracy", "costs"]
    project.edit("study.yaml", lambda c: c.update(grid=[*c["grid"], block], tables=tables))
    run = "results/runs/fair/nli/opt-l/harness/minimal/k16/seeds0-1"
    result = project.snakemake("all", *STUDY)
    [line] = [each for each in result.output.splitlines() if each.startswith("error:")]
    assert result.code != 0 and line.startswith(f"error: {run}: not there, and method 'harness'")

    result = project.snakemake("convert_lm_eval", *STUDY)
    assert result.code != 0 and "error: no logs named; valid: snakemake conv" in result.output
    told = ("--config", f"lm_eval={logs}")
    assert [rule for rule, _ in project.planned("convert_lm_eval", *STUDY, *told)] == [
        "convert_lm_eval"
    ]
    output = project.run("convert_lm_eval", *STUDY, *told)
    archive = "archive=results/sim/lm_eval.tar"
    assert f"snakemake import_predictions --config {archive}" in output
    project.run("import_predictions", *STUDY, "--config", archive)
    jobs = project.planned("all", *STUDY)
    made = {(rule, output) for rule, output in jobs if rule not in ANALYSIS | {"compare_methods"}}
    assert made == {("check_window", "results/windows/sim/nli/opt-l.parquet")}
    project.run("all", *STUDY)
    table = storage.read_table(project.folder / "results/sim/tables/accuracy.parquet")
    own = table[table["method"] == "harness"]
    assert set(own["model"]) == {"opt-l"} and (own["seeds"] == 2).all()
    assert (own["mean"] == 0.5).all(), "every row is called label 0, and half of them are"
    costs = storage.read_table(project.folder / "results/sim/tables/costs.parquet")
    assert "harness" not in set(costs["method"]) and "icl" in set(costs["method"])
    assert "Harness" in (project.folder / "results/sim/report.html").read_text()
    assert project.planned("all", *STUDY) == []
    shutil.rmtree(project.folder / "logs")
    assert project.planned("all", *STUDY) == [], "a run that was imported needs its logs no more"


@pytest.mark.weekly
def test_results_go_to_other_software_without_a_run(exporter):
    """Also what no run knows: who gives them."""
    told = ("--config", "organization=Some Lab", "rows=no")
    assert [rule for rule, _ in exporter.planned("export_results", *STUDY, *told)] == [
        "export_results"
    ]
    output = exporter.run("export_results", *STUDY, *told)
    folder = exporter.folder / "results/sim/exchange"
    records = sorted((folder / "every_eval_ever/data/fairshot-sim/nobody/nothing").glob("*.json"))
    hub = sorted((folder / "hub").rglob("*.yaml"))
    cells = len(simulate.MODELS) // 2 * 7 - 1  # of two models one cell does not fit
    assert len(records) == len(hub) == cells and f"{cells} cells in results/sim/exch" in output
    about = storage.read_json(records[0])["source_metadata"]
    assert about["source_organization_name"] == "Some Lab"
    assert "left out: 1 cells without a result or a language model" in output
    result = exporter.snakemake("export_tracking", *STUDY, "--config", "tracker=mlflw")
    assert result.code != 0 and "unknown tracker 'mlflw'; did you mean 'mlflow'?" in result.output


@pytest.mark.weekly
def test_an_imported_study_can_be_extended(finished, fresh):
    """With rows and models fetched first, only what is new is run."""
    finished.run("export_predictions")
    fresh.run("data")
    archive = finished.folder / "results/demo/predictions.tar"
    fresh.run("import_predictions", "--config", f"archive={archive}")
    assert {rule for rule, _ in fresh.planned()} <= ANALYSIS | {"compare_methods"}
    fresh.edit("config/config.yaml", lambda content: content.update(seeds="8-10"))
    jobs = fresh.planned()
    run = [path for rule, path in jobs if rule in ("run_in_context", "fine_tune")]
    assert len(run) == 3 and all("/seeds10-10/" in path for path in run)
    assert [path for rule, path in jobs if rule == "sample_shots"] == [
        "results/shots/fair/synth-mnli/k4/seed10.parquet"
    ]
    assert not {rule for rule, _ in jobs} & {"prepare_task", "download_data", "download_model"}

    # Imported first, there are neither raw files nor texts: what needs them stops, and says so.
    for name in ("data", "raw", "models"):
        shutil.rmtree(fresh.folder / "results" / name)
    fresh.run("import_predictions", "--config", f"archive={archive}")
    result = fresh.snakemake("export_lm_eval")
    assert result.code != 0 and "Traceback" not in result.output
    assert "train.parquet is gone" in result.output
