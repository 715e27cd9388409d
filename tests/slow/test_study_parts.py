"""A study planned in parts, as one that is too large for a single plan (rules/README.md)."""

import re

import pytest
from project import ROOT, Planned, Project, parse_plan
from small_study import shrink

ADAPTATION = {"run_in_context", "fine_tune", "fit_baseline"}


def runs(jobs: list[Planned]) -> list[str]:
    """Return the first file of each run that is planned."""
    return sorted(job.outputs[0] for job in jobs if job.rule in ADAPTATION)


def make(project: Project, jobs: list[Planned]) -> None:
    """Make the files of jobs, empty."""
    for path in (project.folder / path for job in jobs for path in job.outputs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.slow
def test_parts_leave_no_run_out_and_the_last_start_plans_what_follows_them(tmp_path):
    project = Project.create(tmp_path / "project")
    shrink(project)

    def plan(*told):
        return parse_plan(project.run("--dry-run", *told))

    whole = plan("runs")
    first = plan("runs", "--batch", "runs=1/2")
    make(project, first)
    second = plan("runs", "--batch", "runs=2/2")
    assert runs(first) and runs(second) and sorted(runs(first) + runs(second)) == runs(whole)

    make(project, whole)
    text = (ROOT / "rules/README.md").read_text("utf-8")
    (told,) = re.findall(r"^snakemake (all --allowed-rules .+?) --configfile", text, re.M)
    rules = {job.rule for job in plan(*told.split())}
    assert rules == {*told.split()[2:]} - {"choose_settings"}, "the study makes no choice"
    manifest = runs(whole)[0].replace("predictions.parquet", "manifest.json")
    (project.folder / manifest).unlink()
    ended = project.snakemake("--dry-run", *told.split())
    assert ended.code and manifest in ended.output
