"""What SLURM says of a job's end reaches the report of an unfinished study."""

import os

import pytest
from fewshot.report import partial
from fewshot.runtime import slurm

FOLDER = "results/runs/fair/rte/opt-1.3b/lora/minimal/k16/seeds0-9"
NAME = "fair_rte_opt-1.3b_lora_minimal_16_0_9"
LOG = "results/logs/runs/fair/rte/opt-1.3b/lora/minimal/k16/seeds0-9.log"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slurm._shared.cache_clear()
    for path in (LOG, f".snakemake/slurm_logs/rule_fine_tune/{NAME}/47.log"):
        (tmp_path / path).parent.mkdir(parents=True)
    return tmp_path


def say(project, text: str, number: int = 47, time: float | None = None) -> None:
    path = project / f".snakemake/slurm_logs/rule_fine_tune/{NAME}/{number}.log"
    path.write_text(text)
    if time is not None:
        os.utime(path, (time, time))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "slurmstepd: error: *** JOB 47 ON gpu1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME "
            "LIMIT ***\nsrun: error: gpu1: task 0: Exited with exit code 1\n",
            "SLURM job 47: JOB 47 ON gpu1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT",
        ),
        (
            "slurmstepd-gpu1: error: Exceeded job memory limit\n",
            "SLURM job 47: Exceeded job memory limit",
        ),
        ("srun: error: gpu1: task 0: Killed\n", "SLURM job 47: gpu1: task 0: Killed"),
        ("Building DAG of jobs...\nerror: no such thing\n", ""),
    ],
)
def test_the_reason_is_slurms_last_error(project, text, expected):
    say(project, text)
    assert slurm.of_cluster(FOLDER, 0.0) == expected


def test_of_several_tries_the_newest_counts(project):
    say(project, "slurmstepd: error: first\n", 9, time=1000.0)
    say(project, "slurmstepd: error: second\n", 10, time=2000.0)
    assert slurm.of_cluster(FOLDER, 0.0) == "SLURM job 10: second"


def share(project, number: int, folders: list[str], text: str) -> None:
    """Write the log of a submission that the jobs of these runs shared."""
    path = project / f".snakemake/slurm_logs/group_short_fair_rte_opt-1.3b/{number}.log"
    path.parent.mkdir(exist_ok=True)
    outputs = [f"    output: {folder}/manifest.json\n" for folder in folders]
    path.write_text("".join((*outputs, text)))


def test_of_a_shared_submission_all_its_jobs_know_the_reason(project):
    other = FOLDER.replace("k16", "k128")
    share(project, 48, [FOLDER, other], "slurmstepd: error: Exceeded job memory limit\n")
    share(project, 49, [f"{FOLDER}9"], "slurmstepd: error: of seeds0-99\n")
    expected = "SLURM job 48: Exceeded job memory limit"
    assert slurm.of_cluster(FOLDER, 0.0) == slurm.of_cluster(other, 0.0) == expected
    assert partial.last_line(FOLDER) == expected
    assert slurm.of_cluster(FOLDER.replace("k16", "k64"), 0.0) == ""


def test_what_was_said_long_before_the_jobs_own_log_is_of_another_try(project):
    say(project, "slurmstepd: error: old\n", time=1000.0)
    assert slurm.of_cluster(FOLDER, 1030.0) and not slurm.of_cluster(FOLDER, 2000.0)


def test_the_report_shows_the_log_and_slurms_word(project):
    say(project, "slurmstepd: error: Exceeded job memory limit\n")
    assert partial.last_line(FOLDER) == "SLURM job 47: Exceeded job memory limit"
    (project / LOG).write_text("seed 3 done\n\n")
    assert partial.last_line(FOLDER) == ("seed 3 done (SLURM job 47: Exceeded job memory limit)")


def test_without_a_cluster_nothing_is_added(project):
    (project / LOG).write_text("error: a reason\n")
    assert partial.last_line(FOLDER) == "error: a reason"
