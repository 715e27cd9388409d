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


def test_nothing_is_fetched_for_a_site_that_is_not_filled_in(project):
    """Else weights of a study would fill the home folder, where `scratch` is missing."""
    assert len(refused(project, "download")) == len(SITE)
    place(project, scratch="weights")
    (line,) = refused(project, "download")
    assert "scratch: 'weights' must be an absolute path, or none" in line


def test_a_plan_with_placeholders_says_so(project):
    printed = project.run("--profile", "slurm", "plan")
    assert "missing or wrong: account, " in printed and "planned with placeholders" in printed
    place(project)
    assert "planned with placeholders" not in project.run("--profile", "slurm", "plan")


def test_gpus_of_a_job_are_those_that_its_request_is_for(project):
    place(project)
    (line,) = refused(project, RUN, "--set-resources", "fine_tune:gpu=8", "fine_tune:nodes=2")
    assert f"error: {RUN}: gpu = 8 and nodes = 2, but the memory plan has 1 and 1;" in line


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


@pytest.mark.parametrize(("hours", "shared", "limit"), [(0.5, False, 30), (4, True, 4 * 60 // 6)])
def test_the_last_attempt_asks_for_what_the_site_has_at_most(project, hours, shared, limit):
    """Six limits of half an hour are more than one. What the first attempt needs is asked for."""
    place(project, gpu_max_hours=hours, host_memory_gb=5.5)
    printed = project.run("--profile", "slurm", "-n", "--attempt", "3")
    assert ("Group job short_paper_fair_synth-mnli_opt-mini" in printed) == shared
    adapting = ("fine_tune", "run_in_context")
    assert [asked(printed, rule, "runtime") for rule in adapting] == [[limit] * 2] * 2
    assert [asked(printed, rule, "mem_mb") for rule in adapting] == [[5632] * 2] * 2
    assert asked(printed, "compute_metrics", "mem_mb") == [8000]
    assert asked(printed, "prepare_task", "mem_mb") == [5632] * 3


def test_jobs_left_over_are_told_to_end_whatever_they_were_together_with(project):
    """A submission's name has the rules of its jobs, and which these are is chance. Whether a job
    is short enough to be together with others may have changed since, too."""
    place(project, short_minutes=0)
    group, cell = "fair_synth-mnli_opt-mini", RUN.removeprefix("results/runs/")
    alone = "_".join(re.sub(r"/k(\d+)/seeds(\d+)-(\d+)/.*", r"/\1/\2/\3", cell).split("/"))
    ours = [
        *(f"short_paper_{group}_{rules}" for rules in ("fine_tune", "fine_tune_run_in_context")),
        f"fine_tune_wildcards_{alone}",
        "shots_fair_synth-mnli_4_sample_shots",
        "prepare_task_wildcards_synth-mnli_train",
    ]
    others = [
        f"short_other_{group}_fine_tune",
        "short_paper_fair_synth-mnli_opt-mini-2_fine_tune",
        f"fine_tune_wildcards_{alone}0",
        "figures_paper_plot_figure",
    ]
    lines = [f"{i}|PENDING|rule_{name}|{project.folder}" for i, name in enumerate(ours + others)]
    queue = project.folder.parent / "squeue.out"
    queue.write_text("\n".join(lines))
    # Once they are told to end, the queue cannot be asked any more, which ends the start.
    (project.folder.parent / "bin/scancel").write_text(
        f'#!/bin/sh\necho "$@" > {queue.parent}/told\necho error:closed > {queue}\n'
    )
    (line,) = refused(project, RUN)
    assert line == "error: squeue --me -h -o %A: closed"
    assert (queue.parent / "told").read_text().split() == [str(i) for i in range(len(ours))]
