"""A run killed at any moment: the next one finishes with the same bytes."""

import os
import signal
import subprocess
import time

import pytest
from fewshot.rng import generator

RUN = "results/runs/fair/synth-mnli/opt-micro"


def begin(project, *arguments) -> subprocess.Popen:
    """Start Snakemake in a session of its own; its output goes to the file `output`."""
    with (project.folder / "output").open("w") as output:
        return subprocess.Popen(
            project.command(*arguments), cwd=project.folder, env=project.environment(),
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would this one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


def kill_when(project, condition, target="runs", timeout=120):
    """Kill -9 a run and all its jobs once `condition` holds."""
    process = begin(project, target)
    deadline = time.monotonic() + timeout
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "the moment to kill never came"
        time.sleep(0.02)
    assert process.poll() is None, "the study finished before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def assert_same_bytes(project, finished):
    for kind in ("predictions", "curves"):
        files = sorted((finished.folder / RUN).rglob(f"{kind}.parquet"))
        assert len(files) == 4
        for file in files:
            twin = project.folder / file.relative_to(finished.folder)
            assert twin.read_bytes() == file.read_bytes(), file.name
    assert not list(project.folder.rglob("*.partial"))


WRITTEN = "results/runs/**/predictions.parquet"
MOMENTS = [
    pytest.param("fresh", "results/shots/**/*.parquet", id="first-draw", marks=pytest.mark.weekly),
    pytest.param("ready", "results/state/*/seed8*", id="first-seed-trained"),
    pytest.param("ready", WRITTEN, id="first-run-written", marks=pytest.mark.weekly),
]


@pytest.mark.slow
@pytest.mark.parametrize(("begun", "pattern"), MOMENTS)
def test_killed_study_finishes_with_the_same_bytes(begun, finished, pattern, request):
    study = request.getfixturevalue(begun)
    kill_when(study, lambda: any(study.folder.glob(pattern)))
    locked = study.snakemake("runs")
    if locked.code:
        assert "--unlock" in locked.output, locked.output
        study.run("--unlock")
        study.run("runs")
    assert_same_bytes(study, finished)


@pytest.mark.weekly
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_study_that_is_told_to_end_at_random_moments_finishes_with_the_same_bytes(
    fresh, finished, told
):
    """Ctrl-C reaches all processes of a terminal, SIGTERM Snakemake alone."""
    draw, ends = generator("told to end", int(told)), 0
    while True:
        process = begin(fresh, "runs")
        try:
            process.wait(draw.uniform(3.0, 8.0) if ends < 8 else 600.0)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, told) if told == signal.SIGINT else process.send_signal(told)
        process.wait(120)
        ends += 1
    # How many jobs end between two moments depends on the machine.
    assert process.returncode == 0 and ends >= 1, (fresh.folder / "output").read_text()
    assert_same_bytes(fresh, finished)
