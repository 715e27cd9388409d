"""Which states of jobs can be removed and which are kept: shown with reasons, removed if asked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import clean as script
import pytest
from fewshot import storage
from fewshot.errors import UserError
from fewshot.runtime.locks import holder
from fewshot.runtime.resume import SeedStore

SCRIPTS = Path(__file__).parents[3] / "scripts"
STATES = Path("results/state")


pytestmark = pytest.mark.usefixtures("project")


def finish(name) -> str:
    """Lay down the manifest of a run, written last; return its folder."""
    storage.write_json(f"results/runs/{name}/manifest.json", {})
    return f"results/runs/{name}"


def state(name, owner, size=500) -> Path:
    """Lay down the state of a job of one seed; return its folder."""
    with SeedStore.open(STATES, name, owner) as found:
        (found.folder / "seed0").mkdir()
        (found.folder / "seed0/predictions.parquet").write_bytes(b"s" * size)
    return STATES / name


def owned(run, model="m") -> dict[str, str]:
    return {"run": f"results/runs/{run}", "model": model}


def look(capsys, *runs, delete="no") -> list[str]:
    """Return the lines that `snakemake clean` prints; `runs` are those of study 'demo'."""
    folders = [f"results/runs/{name}" for name in runs]
    params = SimpleNamespace(study="demo", runs=folders, delete=delete)
    script.main(SimpleNamespace(params=params))
    return capsys.readouterr().out.splitlines()


def test_states_go_with_the_run_they_belong_to(capsys):
    for name in ("done", "open", "foreign", "foreign-done"):
        state(name, owned(name))
    finish("done")
    finish("foreign-done")
    shown = look(capsys, "done", "open")
    assert [re.sub(r", [\d.]+ kB|^ +[\d.]+ B  ", "", line) for line in shown] == [
        "Can be removed (by --config delete=yes):",
        "results/state/done: results/runs/done is finished",
        "results/state/foreign-done: results/runs/foreign-done is finished",
        "Kept:",
        "results/state/foreign: results/runs/foreign is not finished, and not of study 'demo'",
        "results/state/open: results/runs/open is not finished",
    ]
    assert len(list(STATES.iterdir())) == 4, "shown, not removed"
    assert look(capsys, "done", "open", delete="yes")[0].startswith("Removed, ")
    assert sorted(path.name for path in STATES.iterdir()) == ["foreign", "open"]
    assert look(capsys, "done", "open")[0] == "No state of a job can be removed."


def test_only_yes_and_no_are_answers(capsys):
    with pytest.raises(UserError, match=r"^--config delete=maybe; valid: yes, no$"):
        look(capsys, delete="maybe")


def test_a_running_jobs_state_is_kept(capsys):
    finish("a")
    with SeedStore.open(STATES, "f", owned("a")):
        [_, line] = look(capsys, "a", delete="yes")[1:]
    assert f"results/state/f: locked by process {os.getpid()} on " in line


def test_a_finished_jobs_state_goes_while_another_job_of_its_model_runs(capsys):
    state("m1", owned("m1"))
    finish("m1")
    with SeedStore.open(STATES, "m2", owned("m2")):
        look(capsys, "m1", "m2", delete="yes")
        assert [path.name for path in STATES.iterdir()] == ["m2"]


def test_a_state_that_does_not_say_whose_it_is_is_kept(capsys):
    (state("old", None) / "owner.json").unlink()
    [_, _, line] = look(capsys, delete="yes")
    assert "results/state/old: does not say which run it belongs to; remove it by hand" in line


def test_a_killed_jobs_lock_keeps_nothing(capsys):
    code = """
import sys, time
from fewshot.runtime.resume import SeedStore
with SeedStore.open("results/state", "f", {"run": "results/runs/a", "model": "m"}) as store:
    (store.folder / "seed0").mkdir()
    print("held", flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout.readline()
    finish("a")
    assert "locked by" in look(capsys, "a")[-1]
    process.kill()
    process.wait()
    assert look(capsys, "a", delete="yes")[0].startswith("Removed, ")
    assert not (STATES / "f").exists()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (3000, True), (4000, False)])
def test_a_lock_of_another_machine_lives_while_its_heart_may_beat(tmp_path, age, alive):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"machine": "elsewhere", "host": "node7", "pid": 1}))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    assert holder(path) == ("process 1 on node7" if alive else None)
    assert holder(tmp_path / "none") is None
