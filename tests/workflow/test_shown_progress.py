"""What a person sees of a run: a line in words for each job, and one at Ctrl-C."""

import os
import re
import signal
import subprocess
import time

import pytest
from project import ROOT
from test_interruption import begin


def with_plugin(project):
    """Return the project with the plugin where `make setup` puts it: on Python's path."""
    project.variables["PYTHONPATH"] = str(ROOT / "scripts/plugins")
    return project


@pytest.mark.weekly
def test_the_profile_asks_for_the_plugin_and_jobs_are_told_by_their_titles(study):
    for kind in ("svg", "vl.json"):
        (study.folder / f"results/demo/figures/id-ood-scatter.{kind}").unlink()
    run = subprocess.run(
        with_plugin(study).command("fig_id_ood_scatter"), cwd=study.folder, text=True,
        env=study.environment(), capture_output=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = [line for line in run.stderr.splitlines() if " · " in line]
    assert re.fullmatch(r"1/2 · plot figure · id-ood-scatter · \d+ s · about \d+ s left", told[0])
    made = "results/demo/figures/id-ood-scatter.{svg,pdf,png,html}"
    assert re.fullmatch(rf"2/2 · fig_id_ood_scatter → {re.escape(made)} · \d+ s", told[1])
    assert len(told) == 2 and "Report:" not in run.stderr + run.stdout


@pytest.mark.weekly
def test_a_misspelt_file_of_the_study_is_told_with_the_nearest_one(fresh):
    fresh = with_plugin(fresh)
    done = subprocess.run(
        fresh.command("results/demo/tables/headlin.md"), cwd=fresh.folder, text=True,
        env=fresh.environment(), capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: command line: unknown target 'results/demo/tables/headlin.md'; did you mean "
        "'results/demo/tables/headline.md'?"
    )


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line_with_the_status_of_a_shell(ready):
    seed = "results/state/*/seed8*"
    process = begin(with_plugin(ready), "runs", "--cores", "1")
    deadline = time.monotonic() + 120
    while not any(ready.folder.glob(seed)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 128 + signal.SIGINT
    lines = (ready.folder / "output").read_text().splitlines()
    [last] = [line for line in lines[1:] if " · " not in line and " jobs to run" not in line]
    assert last == lines[-1]
    assert last.startswith("Stopped by Ctrl-C.")
