"""Jobs that share a machine: each has GPUs of its own, none waits for ever."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from fewshot.errors import UserError
from fewshot.runtime import gpus, launch, locks
from fewshot.runtime.launch import Wanted
from thinned import thinned

ROOT = Path(__file__).parents[3]
TWO = ("0, GPU-aa, 1000", "1, GPU-bb, 1000")
THREE = (*TWO, "2, GPU-cc, 1000")
# Claim so many GPUs, say which and when, hold them for so many seconds.
JOB = """
import json, os, sys, time
from fewshot.runtime import gpus
gpus.POLL = 0.02
count, seconds = int(sys.argv[1]), float(sys.argv[2])
with gpus.claimed({"gpu": count}):
    begin = time.monotonic()
    print(json.dumps(os.environ["CUDA_VISIBLE_DEVICES"].split(",")), flush=True)
    time.sleep(seconds)
    print(json.dumps([begin, time.monotonic()]), flush=True)
"""


def start(count: int, seconds: float = 0.3, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(count), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **env},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holding():
    """Return a function that starts a job of one GPU which ends with the test."""
    jobs = []
    yield lambda **env: jobs.append(start(1, 600, **env)) or jobs[-1]
    for job in jobs:
        job.kill()
        job.communicate()


def result(job: subprocess.Popen) -> tuple[set[str], float, float]:
    """Return the GPUs that a job had, and from when to when."""
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    shown, times = map(json.loads, output.splitlines())
    return set(shown), *times


def overlap(jobs: list[tuple[set[str], float, float]]) -> bool:
    """Return whether any two jobs had a GPU in common at one time."""
    return any(
        one[0] & other[0] and one[1] < other[2] and other[1] < one[2]
        for i, one in enumerate(jobs)
        for other in jobs[:i]
    )


def test_jobs_that_want_several_finish_beside_others(smi):
    smi(*THREE)
    counts = [2, 3, 1, 2, 3, 1, 2]
    jobs = [result(job) for job in [start(count, 0.1) for count in counts]]
    assert [len(shown) for shown, *_ in jobs] == counts
    assert not overlap(jobs)


@pytest.mark.parametrize(
    "ending", thinned([signal.SIGKILL, signal.SIGTERM], [signal.SIGKILL], [signal.SIGTERM])
)
def test_the_gpu_of_a_job_that_is_ended_is_free(smi, holding, ending):
    smi(TWO[0])
    holder = holding()
    assert holder.stdout.readline() == '["0"]\n'
    waiting = start(1, 0)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)
    holder.send_signal(ending)
    assert result(waiting)[0] == {"0"}


@pytest.mark.parametrize(
    ("visible", "number"),
    [("1", "1"), ("2,1", "2"), ("GPU-bb", "1"), ("GPU-c", "2"), ("MIG-GPU-1/2/0", "MIG-GPU-1/2/0")],
)
def test_only_visible_gpus_are_taken(smi, monkeypatch, visible, number):
    smi(*THREE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpus.claimed({"gpu": 1}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == number
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert "CUDA_DEVICE_ORDER" not in os.environ


@pytest.mark.slow
def test_those_who_see_other_gpus_do_not_wait_for_each_other(smi, holding):
    """Nor for a lock under another name: a number and an identifier may mean one GPU."""
    smi(*TWO)
    assert holding(CUDA_VISIBLE_DEVICES="GPU-aa").stdout.readline() == '["0"]\n'
    waiting = holding(CUDA_VISIBLE_DEVICES="0")
    assert holding(CUDA_VISIBLE_DEVICES="1").stdout.readline() == '["1"]\n'
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)


def test_waiting_is_told_once(smi, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(gpus, "POLL", 0.01)
    smi(*TWO)
    with held("GPU-aa") as release:
        threading.Timer(0.2, release).start()
        with gpus.claimed({"gpu": 2}):
            assert caplog.messages == [
                "waiting: 1 of 2 GPUs are free",
                "GPUs of this job: 0 (GPU-aa), 1 (GPU-bb)",
            ]
    assert caplog.messages[-1] == "the job's GPUs are free again"


def test_a_job_that_fails_gives_its_gpus_back(smi):
    smi(TWO[0])
    with pytest.raises(ZeroDivisionError), gpus.claimed({"gpu": 1}):
        assert is_locked("GPU-aa")
        1 / 0  # noqa: B018
    assert not is_locked("GPU-aa")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_job_that_asks_for_none_sees_none(smi):
    smi(*TWO)
    with held("GPU-aa"), held("GPU-bb"), gpus.claimed({"gpu": 0}):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_more_than_there_are_is_one_line(smi, monkeypatch):
    smi(*TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with (
        pytest.raises(UserError, match=r"^gpu = 2: valid: up to 1, the GPUs that are visible$"),
        gpus.claimed({"gpu": 2}),
    ):
        pytest.fail("it was let in")


def test_a_folder_that_cannot_be_written_to_is_one_line(smi, monkeypatch, tmp_path):
    smi(*TWO)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere/fairshot-\d+-GPU-aa.lock: No such file"):
        gpus.claimed({"gpu": 1}).__enter__()


@pytest.mark.parametrize(
    ("resources", "env", "claims"),
    [
        ({"gpu": 1}, {}, True),
        ({"gpu": 1}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"gpu": 2}, {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"gpu": 1, "slurm_partition": "gpu"}, {"SLURM_JOB_ID": "7"}, False),
        ({"gpu": 1}, {"SLURM_JOB_ID": "7"}, True),
        ({"gpu": 4, "nodes": 2}, {}, False),
    ],
    ids=["alone", "one", "of-several", "submitted", "inside", "nodes"],
)
def test_what_is_a_jobs_own_is_not_claimed(smi, resources, env, claims):
    smi(*TWO)
    with gpus.claimed(resources, env):
        assert ("CUDA_VISIBLE_DEVICES" in env) == claims == is_locked("GPU-aa")


def test_without_gpus_nothing_is_claimed(smi, tmp_path):
    smi("No devices were found")
    with gpus.claimed({"gpu": 1}):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not list((tmp_path / "locks").iterdir())


SCRIPT = """
import os, sys
from types import SimpleNamespace
from fewshot.runtime import launch
def main(smk):
    assert "torch" not in sys.modules, "it would have counted the GPUs already"
    print(os.environ["CUDA_VISIBLE_DEVICES"])
launch.run(main, SimpleNamespace(resources={"gpu": 1}, threads=1, log=["job.log"], output=[]))
"""


def test_a_script_sees_its_gpu_before_torch_looks(smi, tmp_path):
    smi(*TWO)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    with held("GPU-aa"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=env, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "GPUs of this job: 1 (GPU-bb)" in (tmp_path / "job.log").read_text()


def test_processes_of_a_job_share_what_it_claimed(smi, tmp_path, monkeypatch):
    """Each sees all of the job's GPUs, and claims none for itself."""
    smi(*THREE)
    part = (
        "import os\nfrom fewshot.runtime import gpus\n"
        "with gpus.claimed({'gpu': 2}):\n"
        "    open('part' + os.environ['RANK'], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    )
    (tmp_path / "part.py").write_text(part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", ["part.py"])
    monkeypatch.setattr(launch, "wanted", lambda _: Wanted(2))
    with held("GPU-bb"):
        launch._run(
            lambda _: pytest.fail("run in this process"),
            SimpleNamespace(resources={"gpu": 2}, threads=1, log=["job.log"], output=[]),
        )
    assert [(tmp_path / f"part{rank}").read_text() for rank in (0, 1)] == ["0,2", "0,2"]


@contextmanager
def held(name: str):
    """Hold a lock as another job would; gives the function that lets go of it."""
    stack = gpus.ExitStack()
    assert locks.lock_on_machine(name, stack)
    with stack:
        yield stack.close


def is_locked(name: str) -> bool:
    with gpus.ExitStack() as stack:
        return not locks.lock_on_machine(name, stack)


def test_one_at_a_time_is_alone_on_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(locks, "POLL", 0.01)
    order = []

    def second():
        with locks.alone_on_machine("a name"):
            order.append("second")

    waiting = threading.Thread(target=second)
    with locks.alone_on_machine("a name"), locks.alone_on_machine("another"):
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
