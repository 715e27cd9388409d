"""One process for each GPU of a job: who starts whom, and what happens when one fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fewshot.errors import UserError
from fewshot.runtime import launch
from fewshot.runtime.launch import Wanted
from fewshot.runtime.processes import ProcessGroup
from srun import pretend

ROOT = Path(__file__).parents[3]
PART = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from fewshot.runtime import script
from fewshot.runtime.processes import read_process_group
script.log_to("job.log")
processes = read_process_group()
processes.connect()
total = processes.sum(torch.tensor([processes.rank + 1]))
open(f"part{processes.rank}", "w").write(f"{processes.size} {int(total)} {processes.local_rank}")
processes.disconnect()
"""
FAILING = "import os, sys, time; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(600)"


@pytest.mark.slow
def test_processes_meet_and_keep_their_own_logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch.spread([sys.executable, "-c", PART, str(ROOT / "scripts")], Wanted(2), tmp_path / "mark")
    assert [(tmp_path / f"part{i}").read_text() for i in (0, 1)] == ["2 3 0", "2 3 1"]
    assert sorted(path.name for path in tmp_path.glob("job.log*")) == ["job.log", "job.log.rank1"]


def test_a_failing_process_ends_the_others(tmp_path):
    start = time.monotonic()
    with pytest.raises(
        UserError,
        match=r"process 1 of 3 failed \(status 3\); see its log, the one that ends in .rank1",
    ):
        launch.spread([sys.executable, "-c", FAILING], Wanted(3), tmp_path / "mark")
    assert time.monotonic() - start < 60


def test_the_last_process_to_fail_is_noticed(tmp_path):
    with pytest.raises(UserError, match="process 0 of 2 failed"):
        launch.spread(
            [sys.executable, "-c", "import sys; sys.exit(1)"], Wanted(2), tmp_path / "mark"
        )


def test_as_many_processes_as_there_are_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.wanted({}) == launch.wanted({"gpu": 1}) == Wanted(1)
    assert launch.wanted({"gpu": 2}) == Wanted(2) and launch.wanted({"gpu": 8}) == Wanted(4)
    slurm = {"SLURM_JOB_ID": "7"}
    assert launch.wanted({"gpu": 8, "nodes": 2}, slurm) == Wanted(8, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch.wanted({"gpu": 8}) == Wanted(1)
    assert launch.wanted({"gpu": 8, "nodes": 2}, slurm) == Wanted(2, 2)


def test_several_nodes_take_slurm():
    with pytest.raises(UserError, match="nodes = 2: only SLURM can start"):
        launch.wanted({"gpu": 8, "nodes": 2}, {})


def test_a_process_of_several_starts_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(launch, "read_process_group", lambda: ProcessGroup(1, 4))
    monkeypatch.setattr(launch, "spread", lambda *_: pytest.fail("it starts processes"))
    done = []
    launch._run(done.append, SimpleNamespace(resources={"gpu": 4, "nodes": 2}))
    assert len(done) == 1


@pytest.mark.slow
def test_srun_starts_the_processes_of_several_nodes(tmp_path, monkeypatch):
    """A stand-in for srun starts them as SLURM would; the step at hand is not passed on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{pretend(tmp_path)}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    command = [sys.executable, "-c", PART, str(ROOT / "scripts")]
    assert launch.spread(command, Wanted(4, 2), tmp_path / "mark")
    assert (tmp_path / "options").read_text() == (
        "--overlap --nodes=2 --ntasks=4 --ntasks-per-node=2 --cpus-per-task=1 --kill-on-bad-exit=1"
    )
    found = [(tmp_path / f"part{rank}").read_text() for rank in range(4)]
    assert found == ["4 10 0", "4 10 1", "4 10 0", "4 10 1"]
    logs = {path.name for path in tmp_path.glob("job.log*")}
    assert logs == {"job.log", *(f"job.log.rank{rank}" for rank in (1, 2, 3))}


SCARCE = """
import os, sys, time
tries = open(f"try{os.environ['RANK']}", "a")
tries.write(os.environ["FAIRSHOT_SHORTAGES"])
tries.close()
if os.environ["FAIRSHOT_SHORTAGES"] < "2":
    if os.environ["RANK"] == "0":
        time.sleep(600)
    # What srun makes of it: the status of those that were killed.
    open(os.environ["FAIRSHOT_SHORTAGE_MARK"], "w").close()
    sys.exit(137)
"""


def test_processes_that_run_out_of_memory_start_again_and_ask_for_less(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scarce.py").write_text(SCARCE)
    monkeypatch.setattr(sys, "argv", ["scarce.py"])
    monkeypatch.setattr(launch, "wanted", lambda _: Wanted(2))
    launch._run(
        lambda _: pytest.fail("run in this process"),
        SimpleNamespace(resources={}, log=["scarce.log"], threads=1),
    )
    assert [(tmp_path / f"try{rank}").read_text() for rank in (0, 1)] == ["012", "012"]
    assert not (tmp_path / "scarce.log.short").exists()


PATIENT = """
import signal, sys, time
def late(*_):
    time.sleep(1)
    open("kept", "a").write("x")
    sys.exit(143)
signal.signal(signal.SIGTERM, late)
open("ready", "a").write("x")
time.sleep(600)
"""
TELLING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fewshot.runtime import launch
try:
    launch.spread([sys.executable, "-c", sys.argv[2]], launch.Wanted(2), Path("mark"))
except launch.Told:
    sys.exit(143)
"""


def test_processes_that_are_told_to_end_have_the_time_to(tmp_path):
    """Not only as long as those whose fellow failed: they may write a checkpoint."""
    command = [sys.executable, "-c", TELLING, str(ROOT / "scripts"), PATIENT]
    process = subprocess.Popen(command, cwd=tmp_path)
    ready, kept = tmp_path / "ready", tmp_path / "kept"
    assert comes_true(lambda: ready.exists() and ready.read_text() == "xx")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert kept.read_text() == "xx" and launch.PATIENCE > 20 * launch.GRACE


WORKING = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from fewshot.runtime import launch
def work(smk):
    Path("ready").touch()
    time.sleep(600)
launch.run(work, SimpleNamespace(log=["job.log"], output=[], resources={}, threads=1))
"""
SCONTROL = """#!{python}
import sys
assert sys.argv[1:] == ["show", "job", "7"]
print("JobId=7 JobState=RUNNING PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime={time}")
"""


@pytest.mark.parametrize("time_", ["None", "2026-01-01T00:00:00"])
def test_told_to_end_it_ends_but_where_slurm_will_start_it_again(tmp_path, time_):
    """A preempted job that ends by itself would count as failed, and not come back."""
    (tmp_path / "scontrol").write_text(SCONTROL.format(python=sys.executable, time=time_))
    (tmp_path / "scontrol").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING, str(ROOT / "scripts")],
        cwd=tmp_path, env={**os.environ, "PATH": path, "SLURM_JOB_ID": "7"},
    )  # fmt: skip
    assert comes_true((tmp_path / "ready").exists)
    process.send_signal(signal.SIGTERM)
    log = tmp_path / "job.log"
    if time_ == "None":
        assert process.wait(60) == 143
        assert "preempted" not in log.read_text()
    else:
        assert comes_true(lambda: "preempted: SLURM starts this job again" in log.read_text())
        assert process.poll() is None
        process.kill()
    assert "told to end" in log.read_text() and "Traceback" not in log.read_text()


PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fewshot.runtime import launch
child = "import os, time; open('part' + os.environ['RANK'], 'w').write(str(os.getpid()))"
launch.spread([sys.executable, "-c", child + "; time.sleep(600)"], launch.Wanted(2), Path("mark"))
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
