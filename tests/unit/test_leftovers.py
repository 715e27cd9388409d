"""What can be freed and what is kept: shown with reasons, and removed exactly if asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import clean
import pytest
from fewshot import exclusion, freeing, presence, records, store
from fewshot.errors import UserError
from fewshot.leftovers import Runs
from fewshot.lock import Lock, holder
from fewshot.state import SeedStore

COMMIT, OLD = "a" * 40, "b" * 40
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def model(name, revision=COMMIT, scratch=None, current=True) -> Path:
    """Lay down a model of 1,000 bytes of weights; return the folder of its revision."""
    folder = Path("results/models", name, revision)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if scratch is None:
        (folder / "model.safetensors").write_bytes(b"w" * 1000)
    else:
        place = store.root_of(str(scratch)) / "any--model" / revision
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(b"w" * 1000)
        store.register(place, folder)
        store.link(place, ["model.safetensors"], folder)
    files = {"config.json": {"bytes": 2}, "model.safetensors": {"bytes": 1000}}
    if current:
        manifest = {"model": name, "kind": "hub", "revision": revision, "files": files}
        records.write_json(folder.parent / "manifest.json", manifest)
        records.write_json(folder.parent / "weights.json", {"files": {"model.safetensors": {}}})
    return folder


def run(name, model="m", finished=True) -> dict[str, str]:
    """Return a run's folder and model, as the study lists them."""
    folder = f"results/runs/{name}"
    if finished:
        records.write_json(f"{folder}/manifest.json", {})
    return {folder: model}


def state(name, owner, size=500) -> Path:
    with SeedStore.open("results/state", name, owner) as found:
        (found.folder / "seed0").mkdir()
        (found.folder / "seed0/predictions.parquet").write_bytes(b"s" * size)
    return Path("results/state", name)


def look(runs, **how) -> dict[str, tuple[bool, str]]:
    """Return what is found: what it is → whether it can be freed, and why."""
    found = freeing.clean(Runs("demo", runs), **how)
    return {each.what: (each.free, each.why) for each in found}


def files() -> dict[str, bytes]:
    found = (path for path in sorted(Path().rglob("*")) if path.name != ".lock")
    return {str(path): path.read_bytes() for path in found if path.is_file()}


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
    records.write_json(local / "manifest.json", {**manifest, "files": files_})
    records.write_json(local / "weights.json", {"files": files_})
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
from fewshot.state import SeedStore
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
    with exclusion.exclusive(store):
        found = look(runs, delete=True)
    assert set(found.values()) == {(False, "a download is running")} and len(found) == 2
    assert files() == before


def test_scratch_is_freed_with_the_links_that_lead_there(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    place = scratch / "fairshot/models/any--model" / COMMIT
    assert look(run("a", finished=False), scratch=str(scratch), delete=True)
    assert (folder / "model.safetensors").read_bytes() == b"w" * 1000
    # Known by its links, also where scratch is not named.
    look(run("a"), delete=True)
    assert not place.exists() and not (folder / "model.safetensors").is_symlink()
    assert (folder / "config.json").exists() and scratch.is_dir()


def test_what_another_project_uses_is_kept(tmp_path, project):
    scratch, other = tmp_path / "scratch", tmp_path / "other"
    scratch.mkdir()
    other.mkdir()
    folder = model("m", scratch=scratch)
    with chdir(other):
        theirs = model("m", scratch=scratch)
    found = look(run("a"), delete=True)
    why = f"{other / theirs} uses it too"
    assert found == {f"weights of m ({folder})": (False, why)}
    assert (folder / "model.safetensors").exists()
    for path in (other / theirs).iterdir():
        path.unlink()
    look(run("a"), delete=True)
    assert not (scratch / "fairshot/models/any--model" / COMMIT).exists()


def test_two_names_of_one_revision_go_together_or_not_at_all(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    one, two = model("one", scratch=scratch), model("two", scratch=scratch)
    found = look(run("a", model="one") | run("b", model="two", finished=False), delete=True)
    why = f"{two.absolute()} uses it too"
    assert found[f"weights of one ({one})"] == (False, why)
    assert (one / "model.safetensors").exists()
    look(run("a", model="one") | run("b", model="two"), delete=True)
    assert not any(path.is_symlink() for path in Path("results").rglob("*"))
    assert not list(scratch.rglob("*.safetensors"))


def test_what_nobody_is_noted_to_use_is_kept(tmp_path):
    """A file system that removes old files removes notes as well."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    place = scratch / "fairshot/models/any--model" / COMMIT
    for note in (place / ".users").iterdir():
        note.unlink()
    [(free, why)] = look(run("a"), delete=True).values()
    assert not free and why == f"{place} has lost its notes on who uses it; remove it by hand"
    (folder / "model.safetensors").unlink()
    [(free, why)] = look(run("a"), scratch=str(scratch), delete=True).values()
    assert not free and why == "not noted who uses them"
    store.register(place, folder)
    [(free, why)] = look(run("a"), scratch=str(scratch), delete=True).values()
    assert free and why == "no project links to them any more" and not place.exists()


def test_only_what_a_store_holds_is_removed_behind_a_link(tmp_path):
    """A link that a user made leads to a user's files."""
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"w" * 1000)
    folder = model("m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(mine)
    look(run("a"), delete=True)
    assert mine.exists() and not (folder / "model.safetensors").is_symlink()


@pytest.mark.parametrize("level", ["model", "revision"])
def test_what_lies_behind_a_link_in_the_place_of_a_folder_is_kept(tmp_path, level):
    folder, mine = model("m"), tmp_path / "mine"
    (folder / ".partial").mkdir()
    (folder / ".partial/abc").write_bytes(b"123")
    link = folder.parent if level == "model" else folder
    link.rename(mine)
    link.symlink_to(mine)
    before = sorted(mine.rglob("*"))
    found = look(run("a"), delete=True)
    assert found == {f"link {link}": (False, f"{mine} is not looked into")}
    assert sorted(mine.rglob("*")) == before and link.is_symlink()


def test_partial_downloads_behind_links_are_kept(tmp_path):
    scratch, mine = tmp_path / "scratch", tmp_path / "mine"
    for part in ("source", COMMIT):
        (mine / part / ".partial").mkdir(parents=True)
        (mine / part / ".partial/abc").write_bytes(b"123")
    (mine / "source/.dev.tsv.77.partial").write_bytes(b"1234")
    for link in (Path("results/raw/rte"), scratch / "fairshot/models/any--model"):
        link.parent.mkdir(parents=True)
    Path("results/raw/rte").symlink_to(mine / "source")
    (scratch / "fairshot/models/any--model").symlink_to(mine)
    before = sorted(mine.rglob("*"))
    assert look(run("a"), scratch=str(scratch), delete=True) == {}
    assert sorted(mine.rglob("*")) == before


def test_what_a_project_that_is_gone_used_is_shown_and_kept(tmp_path, project):
    scratch, other = tmp_path / "scratch", tmp_path / "other"
    scratch.mkdir()
    other.mkdir()
    with chdir(other):
        theirs = model("m", scratch=scratch).absolute()
    look_here = {"scratch": str(scratch), "delete": True}
    assert look({}, **look_here) == {}, "another project's"
    shutil.rmtree(other)
    place = scratch / "fairshot/models/any--model" / COMMIT
    why = f"{theirs} cannot be seen from here; if it is gone, remove them by hand"
    assert look({}, **look_here) == {f"weights in {place}": (False, why)}
    assert (place / "model.safetensors").exists()


def test_links_to_a_scratch_that_is_gone_are_removed(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    shutil.rmtree(scratch)
    assert [free for free, _ in look(run("a"), delete=True).values()] == [True]
    assert not (folder / "model.safetensors").is_symlink()


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


def test_snakemake_frees_states_of_finished_runs_of_its_own_plan():
    for name in ("a", "b", "c"):
        state(name, {"run": f"results/runs/{name}", "model": "m"})
    run("a"), run("c")
    freeing.free_finished({"results/runs/a", "results/runs/b"})
    assert sorted(path.name for path in Path("results/state").iterdir()) == ["b", "c"]


def call(capsys, delete, **resources) -> str:
    params = SimpleNamespace(study="demo", runs=run("a") | run("b", "n", False), delete=delete)
    clean.main(SimpleNamespace(params=params, resources=resources))
    return capsys.readouterr().out


def test_the_script_prints_sizes_reasons_and_sums(capsys):
    folder, kept = model("m"), model("n")
    state("s", {"run": "results/runs/a", "model": "m"}, size=1500)
    owner = Path("results/state/s/owner.json").stat().st_size
    size = f"{(1500 + owner) / 1000:.2f} kB"
    lines = [
        f"{(2500 + owner) / 1000:.2f} kB:",
        f"     1.00 kB  weights of m ({folder}): all runs of study 'demo' are finished (1)",
        f"  {size:>10}  state results/state/s: results/runs/a is finished",
        "Kept, 1.00 kB:",
        f"     1.00 kB  weights of n ({kept}): needed by 1 of 1 runs",
    ]
    text = "\n".join(lines) + "\n"
    assert call(capsys, "no") == "Could be freed (deleted with --config delete=yes), " + text
    assert call(capsys, "yes") == "Freed, " + text
    assert call(capsys, "yes") == "\n".join(["Nothing can be freed.", *lines[3:], ""])


def test_what_cannot_be_removed_is_kept_and_ends_in_one_line(capsys, monkeypatch):
    folder = model("m")
    state("s", {"run": "results/runs/a", "model": "m"})
    real = Path.unlink

    def unlink(path, **how):
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, **how)

    monkeypatch.setattr(Path, "unlink", unlink)
    message = f"clean: 1 of what was to go could not be removed: weights of m ({folder})"
    with pytest.raises(UserError, match=rf"^{re.escape(message)}$"):
        call(capsys, "yes")
    freed, kept = capsys.readouterr().out.split("Kept")
    assert "state results/state/s" in freed and "cannot be removed ([Errno 13] Perm" in kept


def test_what_cannot_be_read_ends_in_one_line(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    model("m", scratch=scratch)
    (scratch / "fairshot/models/any--model" / COMMIT / ".users/a").mkdir()
    with pytest.raises(UserError, match=r"^clean: .*Is a directory: '\S+/\.users/a'$"):
        look(run("a"))


def test_what_the_script_does_not_understand_is_one_line(capsys):
    with pytest.raises(UserError, match=r"^--config delete=True; valid: yes, no$"):
        call(capsys, "True")
    with pytest.raises(UserError, match=r"^scratch: nowhere is not a folder$"):
        call(capsys, "no", scratch="nowhere")
