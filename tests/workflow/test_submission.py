"""What a real start with the SLURM profile checks before it submits or downloads anything."""

import os
import re
import sys

import pytest
import yaml
from project import Project
from runs import shrink
from slurm_commands import SITE, calls, stand_in

RUN = "results/runs/fair/synth-mnli/opt-mini/long-ft/minimal/k4/seeds8-9/predictions.parquet"


@pytest.fixture
def project(tmp_path) -> Project:
    """Return a small study on a cluster of stand-ins that take every job."""
    made = Project.create(tmp_path / "project")
    shrink(made)
    path = f"{stand_in(tmp_path)}{os.pathsep}{os.environ['PATH']}"
    made.variables["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{path}"
    return made


def place(project: Project, **changes) -> None:
    path = project.folder / "profiles/slurm/site.yaml"
    path.write_text(yaml.safe_dump({**SITE, **changes}))


def refused(project: Project, *arguments: str) -> list[str]:
    """Return the errors of a start that must have submitted and made nothing."""
    done = project.snakemake("--profile", "slurm", *arguments)
    assert done.code == 1, done.output
    asked = calls(project.folder.parent, "sbatch")
    assert (
        all("--test-only" in call for call in asked) and not (project.folder / "results").exists()
    )
    assert "Traceback" not in done.output
    return [line for line in done.output.splitlines() if line.startswith("error:")]


@pytest.mark.weekly
def test_a_plan_with_placeholders_says_so(project):
    """A dry run plans for a cluster that is not filled in; so does estimate, which submits none."""
    for arguments in (("-n",), ("estimate", "--executor", "local")):
        printed = project.run("--profile", "slurm", *arguments)
        assert "missing or wrong: account, " in printed and "planned with placeholders" in printed
    assert not calls(project.folder.parent, "sbatch")
    place(project)
    assert "planned with placeholders" not in project.run("--profile", "slurm", "-n")


@pytest.mark.slow
def test_the_site_is_checked_as_a_target(project):
    place(project)
    printed = project.run("check_site", "--profile", "slurm")
    assert "profiles/slurm/site.yaml: SLURM agrees, and takes jobs of all" in printed
    assert calls(project.folder.parent, "sbatch")
    done = project.snakemake("check_site")
    assert done.code == 1
    assert "error: no cluster is named; valid: snakemake check_site --profile slurm" in done.output


@pytest.mark.weekly
def test_jobs_left_over_end_the_start_and_are_named(project):
    """They would write the same files; nothing is cancelled for the user."""
    place(project)
    queue = project.folder.parent / "squeue.out"
    here = f"7|PENDING|rule_prepare_task_wildcards_a|{project.folder}"
    queue.write_text(f"{here}\n8|PENDING|rule_x|/elsewhere\n")
    (line,) = refused(project, RUN)
    assert line.endswith("scancel 7") and not calls(project.folder.parent, "scancel")


@pytest.mark.weekly
def test_a_start_without_the_facts_of_the_cluster_submits_nothing(project):
    place(project)
    (line,) = refused(project, RUN, "--default-resources", "mem_mb=100")
    assert "--default-resources replaces the profile's" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a\n", "must hold a mapping"), ("a: 'b\n", "line 2: found unexpected end of stream")],
)
def test_a_site_that_cannot_be_read_is_one_line(project, text, expected):
    (project.folder / "profiles/slurm/site.yaml").write_text(text)
    assert refused(project, RUN) == [f"error: profiles/slurm/site.yaml: {expected}"]


def asked(printed: str, rule: str, name: str) -> list[int]:
    """Return the values of a resource of all jobs of a rule, as a dry run prints them."""
    blocks = re.findall(rf"^ *rule {rule}:\n((?:.+\n)+)", printed, re.M)
    return [int(re.search(rf"\b{name}=(\d+)", block)[1]) for block in blocks]


@pytest.mark.slow
def test_the_last_attempt_asks_for_what_the_site_has_at_most(project):
    """What the first attempt needs is asked for."""
    place(project, gpu_max_hours=0.5, host_memory_gb=5.5)
    printed = project.run("--profile", "slurm", "-n", "--attempt", "3")
    adapting = ("fine_tune", "run_in_context")
    assert [asked(printed, rule, "runtime") for rule in adapting] == [[30] * 2] * 2
    assert [asked(printed, rule, "mem_mb") for rule in adapting] == [[5632] * 2] * 2
    assert asked(printed, "compute_metrics", "mem_mb") == [8000]
    assert asked(printed, "prepare_task", "mem_mb") == [5632] * 3
