"""A run killed at any moment: the next one finishes with the same bytes."""

import os
import signal
import subprocess
import time

import pytest

RUN = "results/runs/fair/synth-mnli/opt-micro"


def kill_when(project, condition, timeout=120):
    """Start the study in a session of its own and kill -9 all of it once `condition` holds."""
    process = subprocess.Popen(
        project.command("runs"),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + timeout
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "the moment to kill never came"
        time.sleep(0.02)
    assert process.poll() is None, "the study finished before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


MOMENTS = [
    pytest.param("results/shots/**/*.parquet", id="first-draw", marks=pytest.mark.slow),
    pytest.param("results/state/*/seed8*", id="first-seed-trained"),
    pytest.param(
        "results/runs/**/predictions.parquet", id="first-run-written", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("pattern", MOMENTS)
def test_killed_study_finishes_with_the_same_bytes(fresh, finished, pattern):
    kill_when(fresh, lambda: any(fresh.folder.glob(pattern)))
    locked = fresh.snakemake("runs")
    if locked.code:
        assert "--unlock" in locked.output, locked.output
        fresh.run("--unlock")
        fresh.run("runs")
    for kind in ("predictions", "curves"):
        files = sorted((finished.folder / RUN).rglob(f"{kind}.parquet"))
        assert len(files) == 4
        for file in files:
            twin = fresh.folder / file.relative_to(finished.folder)
            assert twin.read_bytes() == file.read_bytes(), file.name
    assert not list(fresh.folder.rglob("*.partial"))
