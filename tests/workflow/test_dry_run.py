"""Job counts of the shipped studies, worked out by hand."""

import re

import pytest
from project import ROOT, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("dry") / "project")


def counts(output: str) -> dict[str, int]:
    """Parse the job statistics of a dry run."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.M)}


def test_demo_stays_small(project):
    jobs = counts(project.run("--dry-run"))
    assert jobs["run_in_context"] + jobs["fine_tune"] <= 40


def test_paper_grid(project):
    """13 models, 2 tasks; in context 3 patterns × 4 k; trained 3 patterns × 5 k + 3 methods × 5 k.

    Draws: 2 tasks × 5 k × 10 seeds. Ten seeds make one chunk.
    """
    jobs = counts(project.run("--dry-run", "--configfile", "config/paper.yaml"))
    assert jobs["run_in_context"] == 13 * 2 * 3 * 4
    assert jobs["fine_tune"] == 13 * 2 * (3 * 5 + 3 * 5)
    assert jobs["sample_shots"] == 2 * 5 * 10
    assert jobs["check_fit"] == jobs["compute_metrics"] == 13 * 2
    assert jobs["download_model"] == 13
    assert jobs["download_data"] == 3
    assert jobs["prepare_task"] == 5


def test_another_study_is_not_merged_with_the_demo(project):
    output = project.run("--dry-run", "--configfile", "config/paper.yaml")
    assert "synth-mnli" not in output
    assert "opt-micro" not in output


def test_slurm_profile_resolves_as_typed(project):
    output = project.run("--profile", "slurm", "--dry-run")
    assert counts(output)["fine_tune"] == 780


def test_slurm_profile_asks_for_gpus_and_memory(project):
    target = "results/runs/fair/rte/opt-13b/pattern-ft/minimal/k16/seeds0-9/manifest.json"
    output = project.run("--profile", "slurm", "--dry-run", target)
    block = output[output.index("rule fine_tune:") :].split("\n\n")[0]
    resources = dict(
        item.split("=", 1)
        for item in re.search(r"resources: (.*)", block)[1].split(", ")
        if "=" in item
    )
    assert resources["gpu"] == "4"
    assert int(resources["mem_mb"]) > 12_853 * 16
    assert int(resources["runtime"]) > 240, "larger models ask for more time"


def test_ten_seeds_more_add_jobs_and_rename_none(tmp_path):
    project = Project.create(tmp_path / "project")
    before = project.planned("--configfile", "config/paper.yaml")
    study = project.read("config/paper.yaml") | {"seeds": "0-19"}
    project.edit("config/paper.yaml", lambda content: content.update(study))
    after = project.planned("--configfile", "config/paper.yaml")
    runs = ("run_in_context", "fine_tune")
    old = {path for rule, path in before if rule in runs}
    new = {path for rule, path in after if rule in runs}
    assert old < new
    assert all("seeds10-19" in path for path in new - old)


def test_every_target_is_named_in_the_readme(project):
    readme = (ROOT / "README.md").read_text()
    listed = project.run("--list-target-rules").splitlines()
    targets = [line for line in listed if re.fullmatch("[a-z_]+", line)]
    assert {"all", "report_partial", "rebuild_embedded"} <= set(targets)
    for target in set(targets) - {"all"}:
        assert f"`snakemake {target}" in readme, target
