"""Finished seeds survive a kill at any moment, and two writers never meet."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from fewshot.errors import UserError
from fewshot.runtime.locks import Lock
from fewshot.runtime.resume import SeedStore, fingerprint, read_owner

SCRIPTS = Path(__file__).parents[3] / "scripts"

FRAME = pd.DataFrame(
    {
        "model": pd.Categorical(["a", "a", "b"], categories=["b", "a"]),
        "label": pd.array([0, None, 1], dtype="Int8"),
        "logprob": pd.array([-0.1, -1e-30, float("-inf")], dtype="float32"),
        "mean": [0.1, 1 / 3, float("nan")],
        "top": [True, False, True],
    }
)


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen:
    """Run `code` in another Python; it says a line when it is where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline()
    return process


HOLD = """
import sys, time
from fewshot.runtime.resume import SeedStore
with SeedStore.open(sys.argv[1], "job"):
    print("held", flush=True)
    time.sleep(60)
"""

SAVE = """
import sys, time
import pandas as pd
from fewshot.runtime.resume import SeedStore

def slow(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)

with SeedStore.open(sys.argv[1], "job") as store:
    store.save(0, {"curves": pd.DataFrame({"n": [1]})}, {"loss": 0.5})
    store.save(1, {"curves": pd.DataFrame({"n": [2]})}, {}, {"adapter": slow})
"""


@pytest.mark.parametrize("name", ["curves.parquet", "files/a", "info.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_a_damaged_seed_is_done_again(tmp_path, caplog, name, damage):
    with SeedStore.open(tmp_path, "job") as store:
        store.save(3, {"curves": FRAME}, {"loss": 0.1}, {"a": lambda path: path.write_text("w")})
        path = tmp_path / "job/seed3" / name
        whole = path.read_bytes()
        path.write_bytes(
            {"flip": whole[:-1] + bytes([whole[-1] ^ 1]), "cut": whole[:-1]}.get(damage, b"")
        )
        if damage == "lose":
            path.unlink()
        assert not store.has(3)
        assert f"{name.rpartition('/')[2]} is damaged; the seed is done again" in caplog.text
        assert not path.exists()
        store.save(3, {"curves": FRAME}, {})
        assert store.has(3)


def test_what_is_loaded_equals_what_was_saved(tmp_path):
    with SeedStore.open(tmp_path, "job") as store:
        assert not store.has(3)
        store.save(3, {"predictions": FRAME}, {"loss": 0.1}, {"a": lambda p: p.write_text("w")})
        assert store.has(3)
        seed = store.load(3)
    pd.testing.assert_frame_equal(seed.frames["predictions"], FRAME)
    assert seed.info == {"loss": 0.1}
    assert seed.files["a"].read_text() == "w"


def test_a_job_that_fails_before_its_first_seed_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), SeedStore.open(tmp_path, "job"):
        raise RuntimeError("no model")
    assert list(tmp_path.iterdir()) == []


def test_a_state_says_whose_it_is_while_there_is_anything_in_it(tmp_path):
    owner = {"run": "results/runs/a", "model": "m"}
    with SeedStore.open(tmp_path, "job", owner) as store:
        assert read_owner(store.folder) == owner
        store.save(0, {"curves": FRAME}, {})
    assert read_owner(tmp_path / "job") == owner
    with SeedStore.open(tmp_path, "job", owner) as store:
        assert store.has(0)
        store.discard()
    assert list(tmp_path.iterdir()) == []
    assert read_owner(tmp_path / "job") == {}, "nothing, and no error, for what says nothing"


def test_kill_9_in_the_middle_of_a_save(tmp_path):
    process = start(SAVE, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "job" / "seed1.partial" / "files" / "adapter").exists()
    with SeedStore.open(tmp_path, "job") as store:
        assert store.has(0) and not store.has(1)
        assert store.load(0).info == {"loss": 0.5}
        store.save(1, {"curves": FRAME}, {})
        assert store.load(1).files == {}


def test_a_live_lock_keeps_the_second_writer_out(tmp_path):
    process = start(HOLD, tmp_path)
    try:
        with pytest.raises(UserError, match=f"process {process.pid} .*alive"):
            SeedStore.open(tmp_path, "job").__enter__()
    finally:
        process.kill()
        process.wait()


def test_this_process_cannot_open_a_state_twice(tmp_path):
    with (
        SeedStore.open(tmp_path, "job"),
        pytest.raises(UserError, match="alive"),
        SeedStore.open(tmp_path, "job"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_taken_over_and_logged(tmp_path, caplog):
    process = start(HOLD, tmp_path)
    process.kill()  # not yet waited for: a zombie is dead as well
    time.sleep(0.2)
    with SeedStore.open(tmp_path, "job"):
        assert f"taking over from process {process.pid}" in caplog.text
        entry = json.loads((tmp_path / "job" / "lock").read_text())
        assert entry["pid"] == os.getpid()
    process.wait()


def test_a_reused_process_number_is_not_the_holder(tmp_path):
    path = tmp_path / "lock"
    with Lock(path):
        entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "started": "1"}))
    with Lock(path):
        assert json.loads(path.read_text()) == entry


@pytest.mark.parametrize("content", ['{"machine": "elsewhere", "host": "node7", "pid": 1}', ""])
def test_a_silent_lock_of_another_machine_is_taken_over(tmp_path, content, caplog):
    path = tmp_path / "lock"
    path.write_text(content)
    with Lock(path, beat=0.04, silence=0.3) as lock:
        lock.check()
    assert "taking over" in caplog.text
    assert not path.exists()


def test_a_beating_lock_of_another_machine_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with Lock(path, beat=0.05) as lock:
        # What the second process reads must not look like its own machine.
        monkeypatch.setattr("fewshot.runtime.locks._machine", lambda: "elsewhere")
        with pytest.raises(UserError, match="alive"), Lock(path, beat=0.2, silence=5):
            pass
        lock.check()


def test_a_lost_lock_stops_the_first_writer(tmp_path):
    with SeedStore.open(tmp_path, "job") as store:
        path = tmp_path / "job" / "lock"
        path.rename(tmp_path / "elsewhere")
        path.write_text("{}")
        with pytest.raises(UserError, match="lost"):
            store.save(0, {"curves": FRAME}, {})
        assert not store.has(0)
    assert path.exists()


def test_the_fingerprint_changes_with_each_part_and_not_with_the_order_of_keys():
    base = fingerprint({"rate": 1e-3, "k": 16}, {"data": "ab"}, 1, 2)
    assert base == fingerprint({"k": 16, "rate": 1e-3}, {"data": "ab"}, 1, 2)
    others = [
        fingerprint({"rate": 2e-3, "k": 16}, {"data": "ab"}, 1, 2),
        fingerprint({"rate": 1e-3, "k": 16}, {"data": "ac"}, 1, 2),
        fingerprint({"rate": 1e-3, "k": 16}, {"data": "ab"}, 2, 2),
        fingerprint({"rate": 1e-3, "k": 16}, {"data": "ab"}, 1, 1),
    ]
    assert len({base, *others}) == 5
