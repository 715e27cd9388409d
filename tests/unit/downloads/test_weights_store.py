"""Weights on a scratch file system, shared by projects and bounded."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path

import filelock
import pytest
from fewshot import storage
from fewshot.downloads import models, store
from fewshot.errors import UserError
from fewshot.runtime import locks
from hub_server import Fault, Repo

SCRIPTS = Path(__file__).parents[3] / "scripts"
COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
SHARDS = {"model-1-of-2.safetensors": b"first" * 400, "model-2-of-2.safetensors": b"second" * 500}
INDEX = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", **SHARDS}
FILES["model.safetensors.index.json"] = str(INDEX).replace("'", '"').encode()
ENTRY = {"hub": "any/model", "revision": COMMIT}
FOLDER = Path("results/models/m")


@pytest.fixture
def server(hub_server, tmp_path, monkeypatch):
    hub_server.repos["models/any/model"] = Repo(COMMIT, FILES, lfs=tuple(SHARDS))
    for name in ("one", "two", "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    return hub_server


def fetch(server, tmp_path, scratch="scratch", **how) -> dict:
    manifest = models.fetch_model(ENTRY, FOLDER, "m", endpoint=server.url)
    storage.write_json(FOLDER / "manifest.json", manifest)
    how = {"scratch": str(tmp_path / scratch) if scratch else "", "endpoint": server.url, **how}
    return models.fetch_weights(FOLDER / "manifest.json", FOLDER / "weights.json", **how)


def place(tmp_path, scratch="scratch") -> Path:
    return tmp_path / scratch / "fairshot/models/any--model" / COMMIT


def test_weights_lie_on_scratch_and_are_linked(server, tmp_path):
    marker = fetch(server, tmp_path)
    for name, body in SHARDS.items():
        path = FOLDER / COMMIT / name
        assert path.readlink() == place(tmp_path) / name and path.read_bytes() == body
        assert marker["files"][name] == {"path": str(place(tmp_path) / name), "bytes": len(body)}
    rest = [path.name for path in (FOLDER / COMMIT).iterdir() if not path.is_symlink()]
    assert sorted(rest) == ["config.json", "model.safetensors.index.json", "tokenizer.json"]
    assert sorted(path.name for path in place(tmp_path).iterdir()) == [".users", *SHARDS]


def test_two_projects_share_what_one_of_them_fetched(server, tmp_path):
    fetch(server, tmp_path)
    with chdir(tmp_path / "two"):
        fetch(server, tmp_path)
        assert (FOLDER / COMMIT / "model-1-of-2.safetensors").read_bytes() == b"first" * 400
    assert [len(server.gets(name)) for name in SHARDS] == [1, 1]
    folders = [tmp_path / name / FOLDER / COMMIT for name in ("one", "two")]
    assert sorted(store.users(place(tmp_path))) == folders


def test_a_project_that_is_gone_or_links_elsewhere_is_no_user(server, tmp_path):
    fetch(server, tmp_path)
    for path in (FOLDER / COMMIT).glob("*.safetensors"):
        path.unlink()
    assert store.users(place(tmp_path)) == [] and len(store.noted(place(tmp_path))) == 1
    shutil.rmtree("results")
    assert store.users(place(tmp_path)) == []
    store.register(place(tmp_path), Path("/not/seen/from/here/results/models/m") / COMMIT)
    assert len(store.users(place(tmp_path))) == 1, "it may be seen from elsewhere"


def test_a_project_that_may_not_be_looked_into_is_a_user(server, tmp_path, monkeypatch):
    with chdir(tmp_path / "two"):
        fetch(server, tmp_path)
    real = os.stat

    def stat(path, **how):
        if str(path).startswith(f"{tmp_path}/two/"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    folder = tmp_path / "two" / FOLDER / COMMIT
    assert store.users(place(tmp_path)) == [folder] and store.is_hidden(folder)


@pytest.mark.parametrize("present", [True, False], ids=["present", "lacking"])
def test_notes_that_a_file_system_removed_are_made_again(server, tmp_path, present):
    fetch(server, tmp_path)
    folder = FOLDER / COMMIT
    shutil.rmtree(place(tmp_path) / ".users")
    assert not store.is_registered(place(tmp_path), folder)
    if present:
        models.fetch_freed(["m"])
    else:
        (FOLDER / "weights.json").unlink()
        fetch(server, tmp_path, scratch="")
    assert store.users(place(tmp_path)) == [folder.absolute()]


def test_what_a_file_system_refuses_is_named(server, tmp_path):
    place(tmp_path).mkdir(parents=True)
    (place(tmp_path) / ".users").write_text("in the way")
    with pytest.raises(UserError, match=rf"^model 'm': .*'{place(tmp_path)}/.users"):
        fetch(server, tmp_path)
    (FOLDER / "other").mkdir()
    server.repos["models/any/model"] = Repo("b" * 40, FILES, lfs=tuple(SHARDS))
    (FOLDER / ("b" * 40)).write_text("in the way")
    with pytest.raises(UserError, match=rf"^model 'm': .*File exists: '{FOLDER}/bbb"):
        models.fetch_model({**ENTRY, "revision": "b" * 40}, FOLDER, "m", endpoint=server.url)


def test_what_is_in_place_stays_where_it_is(server, tmp_path):
    """Scratch was named later, or another one."""
    before = fetch(server, tmp_path, scratch="")
    (FOLDER / "weights.json").unlink()
    assert fetch(server, tmp_path) == before
    assert not any(path.is_symlink() for path in (FOLDER / COMMIT).iterdir())
    (FOLDER / COMMIT / "model-1-of-2.safetensors").unlink()
    marker = fetch(server, tmp_path)
    where = [Path(entry["path"]).parent for entry in marker["files"].values()]
    assert where == [place(tmp_path), tmp_path / "one" / FOLDER / COMMIT]
    assert [len(server.gets(name)) for name in SHARDS] == [2, 1]


def test_what_a_file_system_removed_is_fetched_again(server, tmp_path):
    first = fetch(server, tmp_path)
    (place(tmp_path) / "model-1-of-2.safetensors").unlink()
    assert fetch(server, tmp_path) == first
    shutil.rmtree(tmp_path / "scratch/fairshot")
    assert fetch(server, tmp_path) == first
    assert [len(server.gets(name)) for name in SHARDS] == [3, 2]


def test_a_scratch_that_is_no_folder_is_named(server, tmp_path):
    with pytest.raises(UserError, match=r"^scratch: \S+/nowhere is not a folder$"):
        fetch(server, tmp_path, scratch="nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_budget_that_would_be_exceeded_stops_before_the_first_byte(server, tmp_path):
    other = tmp_path / "scratch/fairshot/models/other--model" / COMMIT / "model.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x" * 3000)
    match = (
        f"^model 'm': model any/model at revision {COMMIT}: needs 5.00 kB in {tmp_path}/scratch/"
        r"fairshot/models, which holds 3.\d\d kB of at most 8e-06 GB \(disk_budget_gb\); "
        "`snakemake clean` shows what can be freed$"
    )
    with pytest.raises(UserError, match=match):
        fetch(server, tmp_path, budget_gb=8e-6)
    assert not any(server.gets(name) for name in SHARDS)
    fetch(server, tmp_path, budget_gb=8.3e-6)


def test_two_downloads_at_once_do_not_count_on_the_same_room(server, tmp_path):
    server.faults = [Fault("model-2-of-2.safetensors", times=2, delay=0.5)]
    paths = []
    for name, commit in (("m", COMMIT), ("n", "b" * 40)):
        server.repos[f"models/any/{name}"] = Repo(commit, FILES, lfs=tuple(SHARDS))
        entry = {"hub": f"any/{name}", "revision": commit}
        manifest = models.fetch_model(entry, f"results/models/{name}", name, endpoint=server.url)
        storage.write_json(f"results/models/{name}/manifest.json", manifest)
        paths.append([f"results/models/{name}/{file}.json" for file in ("manifest", "weights")])

    def fetch_one(pair):
        try:
            models.fetch_weights(*pair, str(tmp_path / "scratch"), 9e-6, server.url)
            return "fetched"
        except UserError as error:
            return str(error).partition("; ")[0].partition("which ")[2]

    with ThreadPoolExecutor(2) as threads:
        first, second = sorted(threads.map(fetch_one, paths))
    assert first == "fetched" and second.startswith("holds 5."), (first, second)


def test_what_is_there_already_is_not_counted_twice(server, tmp_path):
    fetch(server, tmp_path)
    (FOLDER / "weights.json").unlink()
    fetch(server, tmp_path, budget_gb=1e-9)
    (FOLDER / "weights.json").unlink()
    (FOLDER / COMMIT / "model-2-of-2.safetensors").unlink()
    whole = place(tmp_path) / "model-2-of-2.safetensors"
    digest = storage.sha256(whole)
    partial = place(tmp_path) / ".partial" / digest
    partial.parent.mkdir()
    partial.write_bytes(whole.read_bytes()[:1000])
    whole.unlink()
    (partial.parent / "of another file").write_bytes(b"y" * 2000)
    # 2,000 of the first, 3,000 of the second, of which 1,000 are there, 2,000 of the other one,
    # and the name of the folder that uses them.
    note = len(str(tmp_path / "one" / FOLDER / COMMIT))
    with pytest.raises(UserError, match=r"needs 2.00 kB in .*, which holds 5.\d\d kB of at most"):
        fetch(server, tmp_path, budget_gb=6.9e-6)
    fetch(server, tmp_path, budget_gb=(7000 + note) / 1e9)
    assert server.gets("model-2-of-2.safetensors")[-1]["Range"] == "bytes=1000-"


def test_free_disk_counts_what_is_still_to_come(server, tmp_path, monkeypatch):
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=4999))
    with pytest.raises(UserError, match=r"needs 5.00 kB in \S+/scratch/\S+, where 5.00 kB are f"):
        fetch(server, tmp_path)
    assert not any(server.gets(name) for name in SHARDS)
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=5000))
    fetch(server, tmp_path)


HOLD = """
import sys
from pathlib import Path
from fewshot.runtime.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """Return a folder whose lock another process holds, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline()
    yield tmp_path / "store", process
    process.kill()
    process.wait()


def test_who_comes_second_waits_and_says_so(held, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(locks, "POLL", 0.02)
    monkeypatch.setattr(locks, "REMIND", 0.2)
    folder, process = held
    threading.Timer(0.7, process.stdin.close).start()
    with locks.exclusive(folder):
        lines = [each.getMessage() for each in caplog.records if each.name.startswith("fewshot")]
    assert set(lines) == {f"waiting for another process, which holds {folder}/.lock"}
    assert len(lines) > 1, "now and then"


def test_who_must_not_wait_is_told(held):
    with pytest.raises(filelock.Timeout), locks.exclusive(held[0], wait=False):
        pass


def test_the_lock_of_a_killed_process_is_free(held):
    folder, process = held
    process.kill()
    process.wait()
    with (
        locks.exclusive(folder, wait=False),
        pytest.raises(filelock.Timeout),  # since it is this process's now
        locks.exclusive(folder, wait=False),
    ):
        pass


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=rf"^{tmp_path}/file/store: cannot be locked \(.*\)$"),
        locks.exclusive(tmp_path / "file/store"),
    ):
        pass


def test_a_file_system_that_cannot_lock_is_named(tmp_path, monkeypatch):
    """What filelock would do instead is not undone where its process is killed."""

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(UserError, match=rf"^{tmp_path}: cannot be locked \(.*not implemented"),
        locks.exclusive(tmp_path),
    ):
        pass
