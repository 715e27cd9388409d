"""What can be freed and what is kept: shown with reasons, and removed exactly if asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fewshot import storage
from fewshot.downloads import presence, store
from fewshot.runtime import locks
from fewshot.runtime.locks import Lock, holder
from fewshot.runtime.resume import SeedStore
from leftover_files import COMMIT, OLD, files, look, model, run, state

SCRIPTS = Path(__file__).parents[3] / "scripts"


pytestmark = pytest.mark.usefixtures("project")


def test_weights_go_once_all_runs_are_finished(project):
    folder = model("m")
    runs = run("a") | run("b", finished=False)
    what = f"weights of m ({folder})"
    assert look(runs) == {what: (False, "needed by 1 of 2 runs")}
    assert look(runs, delete=True) and (folder / "model.safetensors").exists()
    runs |= run("b")
    why = "all runs of study 'demo' are finished (2)"
    before = files()
    assert look(runs) == {what: (True, why)}
    assert files() == before, "shown, not deleted"
    assert look(runs, delete=True) == {what: (True, why)}
    assert set(before) - set(files()) == {str(folder / "model.safetensors")}
    assert set(files()) < set(before) and not presence.is_there("m")
    assert look(runs) == {}


def test_weights_that_no_cell_needs_go_and_local_models_are_never_looked_at():
    folder = model("m")
    local = Path("results/models/local")
    manifest = {"model": "local", "kind": "local", "revision": None, "path": "my/model"}
    files_ = {"model.safetensors": {"bytes": 4}}
    storage.write_json(local / "manifest.json", {**manifest, "files": files_})
    storage.write_json(local / "weights.json", {"files": files_})
    Path("my/model").mkdir(parents=True)
    Path("my/model/model.safetensors").write_text("mine")
    found = look(run("a", model="local"), delete=True)
    assert found == {f"weights of m ({folder})": (True, "no cell of study 'demo' needs it")}
    assert Path("my/model/model.safetensors").exists() and (local / "weights.json").exists()


def test_a_revision_that_the_manifest_does_not_name_goes_whole():
    model("m")
    old = model("m", revision=OLD, current=False)
    found = look(run("a", finished=False), delete=True)
    why = f"the model's manifest names another revision, {COMMIT}"
    assert found[f"weights of m ({old})"] == (True, why)
    assert not old.exists() and Path("results/models/m/weights.json").exists()


def test_without_a_manifest_what_a_run_needs_is_kept():
    folder = model("m", current=False)
    found = look(run("a", finished=False))
    assert found == {f"weights of m ({folder})": (False, "needed by 1 of 1 runs")}


def test_a_running_jobs_model_and_state_are_kept():
    folder, other = model("m"), model("other")
    with SeedStore.open("results/state", "f", {"run": "results/runs/a", "model": "m"}):
        found = look(run("a") | run("b", model="other"), delete=True)
    assert found[f"weights of m ({folder})"] == (False, "a running job uses it")
    free, why = found["state results/state/f"]
    assert not free and why.startswith(f"locked by process {os.getpid()} on ")
    assert found[f"weights of other ({other})"][0] and not list(other.glob("*.safetensors"))


def test_a_running_job_of_an_older_version_keeps_all_weights():
    folder = model("m")
    Path("results/state/f").mkdir(parents=True)
    with Lock(Path("results/state/f/lock")):
        found = look(run("a"))
    why = "a job is running that does not say what it uses"
    assert found[f"weights of m ({folder})"] == (False, why)


def test_states_go_with_the_run_they_belong_to():
    runs = run("done") | run("open", finished=False)
    for name in ("done", "open", "foreign", "foreign-done"):
        state(name, {"run": f"results/runs/{name}", "model": "m"})
    run("foreign-done")
    assert look(runs, delete=True) == {
        "state results/state/done": (True, "results/runs/done is finished"),
        "state results/state/foreign": (
            False,
            "results/runs/foreign is not finished, and not of study 'demo'",
        ),
        "state results/state/foreign-done": (True, "results/runs/foreign-done is finished"),
        "state results/state/open": (False, "results/runs/open is not finished"),
    }
    assert sorted(path.name for path in Path("results/state").iterdir()) == ["foreign", "open"]


@pytest.mark.parametrize("done", [True, False])
def test_a_state_of_an_older_version_is_kept_until_all_runs_are_finished(done):
    folder = state("old", None)
    (folder / "owner.json").unlink()
    [(free, why)] = look(run("a") | run("b", finished=done), delete=True).values()
    assert free == done == (not folder.exists())
    assert why.startswith("of an older version, which did not note whose it is; ")


def test_a_study_without_runs_frees_no_old_state():
    (state("old", None) / "owner.json").unlink()
    assert [free for free, _ in look({}).values()] == [False]


def test_a_killed_jobs_lock_keeps_nothing():
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
    assert [free for free, _ in look(run("a")).values()] == [False]
    process.kill()
    process.wait()
    assert look(run("a"), delete=True) == {
        "state results/state/f": (True, "results/runs/a is finished")
    }
    assert not Path("results/state/f").exists()


@pytest.mark.parametrize(("age", "alive"), [(0, True), (3000, True), (4000, False)])
def test_a_lock_of_another_machine_lives_while_its_heart_may_beat(tmp_path, age, alive):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"machine": "elsewhere", "host": "node7", "pid": 1}))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    assert holder(path) == ("process 1 on node7" if alive else None)
    assert holder(tmp_path / "none") is None


def test_partial_downloads_can_go(project, tmp_path):
    scratch = tmp_path / "scratch"
    (scratch / "fairshot/models/any--model" / COMMIT / ".partial").mkdir(parents=True)
    (scratch / "fairshot/models/any--model" / COMMIT / ".partial/abc").write_bytes(b"12")
    for folder in (f"results/models/m/{COMMIT}", "results/raw/rte"):
        Path(folder, ".partial").mkdir(parents=True)
        Path(folder, ".partial/abc").write_bytes(b"123")
    Path("results/raw/web").mkdir()
    Path("results/raw/web/.dev.tsv.77.partial").write_bytes(b"1234")
    found = look(run("a", finished=False), scratch=str(scratch), delete=True)
    partials = {what: why for what, why in found.items() if what.startswith("partial")}
    assert len(partials) == 4 and all(free for free, _ in partials.values())
    assert not list(Path().rglob("*.partial")) and not list(scratch.rglob(".partial"))


@pytest.mark.parametrize("store", [store.HOME, store.HOME / "m"], ids=["weights", "facts"])
def test_nothing_of_a_store_goes_while_a_download_runs(store):
    folder, runs = model("m"), run("a")
    (folder / ".partial").mkdir()
    (folder / ".partial/abc").write_bytes(b"123")
    before = files()
    with locks.exclusive(store):
        found = look(runs, delete=True)
    assert set(found.values()) == {(False, "a download is running")} and len(found) == 2
    assert files() == before


def test_a_finished_jobs_state_is_kept_while_a_job_of_its_model_runs():
    """They may share a submission, in which a failure starts all again."""
    owners = {name: {"run": f"results/runs/{name}", "model": name[0]} for name in ("m1", "n1")}
    for name, owner in owners.items():
        state(name, owner)
    runs = run("m1") | run("n1", "n") | run("m2", finished=False)
    with SeedStore.open("results/state", "m2", {"run": "results/runs/m2", "model": "m"}):
        found = look(runs, delete=True)
    why = "results/runs/m1 is finished, but may share the submission of a job that is running"
    assert found["state results/state/m1"] == (False, why)
    assert sorted(path.name for path in Path("results/state").iterdir()) == ["m1"]
    assert look(runs)["state results/state/m1"] == (True, "results/runs/m1 is finished")
