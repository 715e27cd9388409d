"""One process for each GPU of a job: who starts whom, and what happens when one fails."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fewshot import launch
from fewshot.errors import UserError
from fewshot.world import World

ROOT = Path(__file__).parents[2]
PART = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from fewshot import records
from fewshot.world import read_world
records.log_to("job.log")
world = read_world()
world.meet()
total = world.sum(torch.tensor([world.rank + 1]))
open(f"part{world.rank}", "w").write(f"{world.size} {int(total)} {world.local_rank}")
"""
FAILING = "import os, sys, time; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(600)"


def test_processes_meet_and_keep_their_own_logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch.spread([sys.executable, "-c", PART, str(ROOT / "scripts")], 2)
    assert [(tmp_path / f"part{i}").read_text() for i in (0, 1)] == ["2 3 0", "2 3 1"]
    assert sorted(path.name for path in tmp_path.glob("job.log*")) == ["job.log", "job.log.rank1"]


def test_a_failing_process_ends_the_others():
    start = time.monotonic()
    with pytest.raises(
        UserError,
        match=r"process 1 of 3 failed \(status 3\); see its log, the one that ends in .rank1",
    ):
        launch.spread([sys.executable, "-c", FAILING], 3)
    assert time.monotonic() - start < 60


def test_the_last_process_to_fail_is_noticed():
    with pytest.raises(UserError, match="process 0 of 2 failed"):
        launch.spread([sys.executable, "-c", "import sys; sys.exit(1)"], 2)


def test_as_many_processes_as_there_are_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.wanted({}) == launch.wanted({"gpu": 1}) == 1
    assert launch.wanted({"gpu": 2}) == 2 and launch.wanted({"gpu": 8}) == 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch.wanted({"gpu": 8}) == 1


def test_a_process_of_several_starts_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(launch, "read_world", lambda: World(1, 4))
    assert launch.wanted({"gpu": 4}) == 1


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from fewshot import launch
child = "import os, time; open('part' + os.environ['RANK'], 'w').write(str(os.getpid()))"
launch.spread([sys.executable, "-c", child + "; time.sleep(600)"], 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end processes")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path, ending):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(ROOT / "scripts")], cwd=tmp_path)
    parts = [tmp_path / f"part{rank}" for rank in (0, 1)]
    assert comes_true(lambda: all(part.exists() and part.read_text() for part in parts))
    parent.send_signal(ending)
    parent.wait()
    for part in parts:
        status = Path("/proc", part.read_text(), "status")
        assert comes_true(lambda status=status: not alive(status))


def alive(status: Path) -> bool:
    return status.exists() and "(zombie)" not in status.read_text()


def comes_true(condition) -> bool:
    """Return whether the condition holds within a minute."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
