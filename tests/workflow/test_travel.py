"""An archive takes a study elsewhere: there, pages are made and nothing else is run."""

import shutil

import pytest
import travels
from project import Project, run_once

ANALYSIS = {"compute_metrics", "make_table", "plot_figure", "render_figure", "write_report"}
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


def test_the_archive_of_an_import_has_the_same_bytes(exporter, reader):
    reader.run("export_predictions", *IMPORTED)
    archives = [each.folder / "results/sim/predictions.tar" for each in (exporter, reader)]
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_importing_twice_changes_nothing(exporter, reader):
    archive = exporter.folder / "results/sim/predictions.tar"
    output = reader.run("import_predictions", "--config", f"archive={archive}")
    assert "0 files, " in output


def test_without_an_archive_there_is_one_line(reader):
    result = reader.snakemake("import_predictions")
    assert result.code != 0 and "Traceback" not in result.output
    assert "error: no archive named; valid: snakemake import_predictions" in result.output
