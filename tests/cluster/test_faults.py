"""Jobs that are cancelled, preempted, cut off or out of time go on where they were."""

import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from fewshot.storage import read_json
from project import Project
from runs import (
    BROKEN,
    ONE_NODE,
    RUNS,
    TIGHT,
    TWO_NODES,
    in_training,
    job_of,
    megabytes,
    place,
    process_of,
    records,
    shrink,
    snakemake,
    started,
    wait_for,
    waiting,
)
from testbed import output, tried, until

LOGS = {run: f"{run.replace('results/', 'results/logs/', 1)}.log" for run in (ONE_NODE, TWO_NODES)}


@pytest.fixture
def project(cluster, local, tmp_path) -> Project:
    """Return a copy in which nothing was run yet."""
    folder = tmp_path / "project"
    shutil.copytree(local.folder, folder, symlinks=True)
    for part in ("runs", "logs/runs", "benchmarks", "state"):
        shutil.rmtree(folder / "results" / part)
    shutil.rmtree(folder / ".snakemake")
    copy = Project(folder)
    place(copy, TIGHT)
    return copy


def same(project: Project, local: Project, run: str) -> bool:
    """Return whether a run has the bytes of the local one, timings aside."""
    files = [path for path in (local.folder / run).rglob("*") if path.is_file()]
    assert len(files) >= 3
    return all(
        (project.folder / path.relative_to(local.folder)).read_bytes() == path.read_bytes()
        for path in files
        if path.name != "manifest.json"
    )


def states(project: Project) -> list[Path]:
    return list((project.folder / "results/state").glob("*/*"))


def starts(since: float, method: str) -> list[str]:
    """Return the states of all starts of a method's job, in their order."""
    return [job.state for job in records(since) if f"_{method}_" in job.name]


def test_cancelled_jobs_go_on_and_a_failing_cell_stops_nobody(project, local):
    """On one node and on two: the processes on both write their checkpoint."""
    start = time.time()
    shrink(project, "broken")
    left = {"long-lora", "long-ft"}

    def cancel_those_in_training():
        for method in [each for each in left if in_training(project, each)()]:
            output("scancel", job_of("fine_tune", method))
            left.remove(method)
        return not left

    with started(project, "runs", "--profile", "slurm") as run:
        wait_for(cancel_those_in_training, run, "both methods in training")
        assert run.wait() == 1
    for path, method in ((ONE_NODE, "long-lora"), (TWO_NODES, "long-ft")):
        assert starts(start, method) == ["CANCELLED", "COMPLETED"]
        log = (project.folder / LOGS[path]).read_text()
        assert "1 of 2 seeds to do" in log and "seed 9: goes on after epoch" in log
        assert same(project, local, path)
        manifest = read_json(project.folder / path / "manifest.json")
        assert len(manifest["seeds"]["9"]["resumed_after_steps"]) == 1
    assert starts(start, "broken") == ["FAILED"] * 3
    assert not (project.folder / BROKEN / "manifest.json").exists()
    for cell in ("k0/seeds0-0", "k4/seeds8-9"):
        assert (project.folder / RUNS / "in-context/minimal" / cell / "manifest.json").exists()
    assert states(project) == []
    partial = snakemake(project, "report_partial", "--profile", "slurm")
    assert partial.process.returncode == 0, partial.printed
    report = (project.folder / "results/paper/partial/report.html").read_text()
    assert "Broken" in report and "loss" in report and "not finite" in report


def test_preempted_and_then_without_power_a_job_comes_back_by_itself(cluster, project, local):
    """Snakemake only waits: SLURM puts the job into the queue again, under the same number."""
    start, log = time.time(), project.folder / LOGS[ONE_NODE]
    with started(project, f"{ONE_NODE}/manifest.json", "--profile", "slurm") as run:
        wait_for(in_training(project, "long-lora"), run, "training")
        number = job_of("fine_tune", "long-lora")
        node = output("squeue", "-h", "-j", number, "-o", "%N").strip()
        options = f"--parsable -A lab -p urgent -w {node} --exclusive -t 10 -o /dev/null"
        urgent = output("sbatch", *options.split(), "--wrap", "sleep 600").strip()
        wait_for(lambda: waiting(number), run, "preemption")
        assert "preempted: SLURM starts this job again" in log.read_text()
        # Else SLURM lets two minutes pass before a job may start again.
        output("scontrol", "update", f"job={number}", "StartTime=now")
        wait_for(in_training(project, "long-lora", "goes on after epoch"), run, "the second start")
        other = output("squeue", "-h", "-j", number, "-o", "%N").strip()
        assert {node, other} == {"gpu1", "gpu2"}
        cluster.cut_power(other)
        wait_for(lambda: waiting(number), run, "the node's failure to be noticed")
        output("scancel", urgent)
        output("scontrol", "update", f"job={number}", "StartTime=now")
        try:
            assert run.wait() == 0, run.printed
        finally:
            cluster.start_node(other)
            until(lambda: cluster.states()[other] in ("idle", "mixed"), other)
    assert starts(start, "long-lora") == ["PREEMPTED", "NODE_FAIL", "COMPLETED"]
    assert same(project, local, ONE_NODE) and states(project) == []


def test_a_job_that_reaches_its_time_limit_goes_on_with_more_time_and_memory(project, local):
    """SLURM warns it five minutes before; here its limit is cut down to two while it trains."""
    start = time.time()
    longer = ("--set-resources", "fine_tune:runtime=20*attempt")
    place(project, {**TIGHT, "host_memory_gb": 16})
    with started(project, f"{ONE_NODE}/manifest.json", "--profile", "slurm", *longer) as run:
        wait_for(in_training(project, "long-lora"), run, "training")
        # It would have ended by the time that SLURM, which looks twice a minute, warns it; before
        # that, SLURM lets it run again.
        process_of(project, "fine_tune").suspend()
        number = job_of("fine_tune", "long-lora")
        output("scontrol", "update", f"job={number}", "TimeLimit=2")
        assert run.wait() == 0, run.printed
    found = [job for job in records(start) if "_long-lora_" in job.name]
    assert [(job.state, job.minutes) for job in found] == [("FAILED", 2), ("COMPLETED", 40)]
    first, second = (megabytes(job.asked["mem"]) for job in found)
    assert second == 2 * first
    assert "goes on after epoch" in (project.folder / LOGS[ONE_NODE]).read_text()
    assert same(project, local, ONE_NODE) and states(project) == []


def test_a_job_that_slurm_ends_for_its_memory_starts_again_with_more(project, local):
    start, cell = time.time(), f"{RUNS}/in-context/minimal/k0/seeds0-0"
    memory = ("--set-resources", "run_in_context:mem_mb=250 if attempt == 1 else 4000")
    run = snakemake(project, f"{cell}/manifest.json", "--profile", "slurm", *memory)
    assert run.process.returncode == 0, run.printed
    jobs = records(start)
    found = [(job.state, megabytes(job.asked["mem"])) for job in jobs]
    assert found == [("FAILED", 250), ("COMPLETED", 4000)]
    (log,) = project.folder.glob(f".snakemake/slurm_logs/**/{jobs[0].number}.log")
    assert "exceeded memory limit" in log.read_text()
    assert same(project, local, cell)


def test_ctrl_c_cancels_all_jobs_and_a_later_start_goes_on(project, local):
    start, target = time.time(), (f"{ONE_NODE}/manifest.json", "--profile", "slurm")
    with started(project, *target) as run:
        wait_for(in_training(project, "long-lora"), run, "training")
        run.process.send_signal(signal.SIGINT)
        assert run.wait() != 0
    assert starts(start, "long-lora") == ["CANCELLED"]
    again = snakemake(project, *target)
    assert again.process.returncode == 0, again.printed
    assert "goes on after epoch" in (project.folder / LOGS[ONE_NODE]).read_text()
    assert same(project, local, ONE_NODE) and states(project) == []


def test_snakemake_killed_and_started_again_names_what_it_left_and_goes_on(project, local):
    """Jobs that still run or wait end the start; once they are cancelled, all go on."""
    start = time.time()
    targets = [f"{run}/manifest.json" for run in (ONE_NODE, TWO_NODES)]
    output("scontrol", "update", "nodename=gpu2", "state=drain", "reason=test")
    try:
        with started(project, *targets, "--profile", "slurm") as run:
            wait_for(in_training(project, "long-lora"), run, "training")
            queued = job_of("fine_tune", "long-ft")
            assert waiting(queued)
            # Held, or a fast machine would end the training during the starts that follow.
            training = process_of(project, "fine_tune")
            training.suspend()
            run.kill()
        assert "--unlock" in snakemake(project, *targets, "--profile", "slurm").printed
        assert snakemake(project, "--unlock").process.returncode == 0
        refused = snakemake(project, *targets, "--profile", "slurm")
        assert refused.process.returncode == 1
        numbers = re.search(r"^error: .*scancel ([\d ]+)$", refused.printed, re.M)[1].split()
        assert queued in numbers and len(numbers) == 2 and waiting(queued)
        training.resume()
        output("scancel", *numbers)
        with started(project, *targets, "--profile", "slurm") as run:
            output("scontrol", "update", "nodename=gpu2", "state=resume")
            assert run.wait() == 0, run.printed
    finally:
        tried("scontrol", "update", "nodename=gpu2", "state=resume")
    assert starts(start, "long-lora") == ["CANCELLED", "COMPLETED"]
    assert starts(start, "long-ft") == ["CANCELLED", "COMPLETED"]
    assert "goes on after epoch" in (project.folder / LOGS[ONE_NODE]).read_text()
    assert all(same(project, local, path) for path in (ONE_NODE, TWO_NODES))
    assert states(project) == []
