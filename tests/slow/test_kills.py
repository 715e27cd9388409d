"""A fine-tuning job that is killed anywhere and started again ends in the same bytes."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fewshot import storage
from fewshot.rng import generator
from fewshot.runtime import processes as processes_module
from job_files import write_job
from thinned import thinned
from tiny import write_manifest

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)
SETTINGS = {"epochs": 30, "curve_rows": 8, "learning_rate": 0.03, "keep_weights": True}

SCRIPT = """
import pickle, sys
from pathlib import Path
from fewshot.adaptation import checkpoints, training
from fewshot import storage
from fewshot.runtime import script
checkpoints.EVERY, checkpoints.SHARE, checkpoints.WRITE_RATE = 0.0, 1e9, 1e15
training._remaining = lambda run: 1e9
script.run(training.fine_tune, pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def start(smk, folder: Path, processes: int = 1) -> subprocess.Popen:
    """Start the job's script, which writes a checkpoint after every epoch."""
    (folder / "job.pickle").write_bytes(pickle.dumps(smk))
    (folder / "job.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), "job.py", "job.pickle"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def job(folder: Path, stage: int = 0, **settings):
    """Write a job on a model with dropout, whose random numbers each process has of its own."""
    smk = write_job(folder, kind="opt", seeds=SEEDS, k=10, **(SETTINGS | settings))
    path = folder / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dropout": 0.1}))
    write_manifest(smk.input.model, path.parent)
    smk.resources["zero_stage"] = stage
    return smk


def outputs(smk) -> dict[str, bytes]:
    """Return what must be the same: everything but the manifest, which has timings."""
    folder = Path(smk.output.predictions).parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def states(folder: Path) -> list[str]:
    """Return what lies in the job's state."""
    return sorted(path.name for path in folder.glob("results/state/*/*"))


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], dict[str, bytes]]:
    """Return the function of a family's outputs where nobody interrupts its job."""

    @cache
    def made(family: str) -> dict[str, bytes]:
        smk = job(tmp_path_factory.mktemp(family), family=family)
        assert start(smk, Path(smk.log[0]).parent).wait() == 0
        seeds = storage.read_json(smk.output.manifest)["seeds"]
        together = list(SEEDS) if family == "lora" else [0]
        assert seeds["0"]["together"] == together
        return outputs(smk)

    return made


@pytest.mark.parametrize("family", thinned(["full", "lora"], slow=["lora"]))
def test_kills_at_random_points(tmp_path, whole, family):
    """Any time from loading to the last seed, within the writing of checkpoints too; of seeds that
    are trained one after another and together."""
    smk, draw, kills = job(tmp_path, family=family), generator("kills"), 0
    while True:
        process = start(smk, tmp_path)
        wait_for(lambda: any(each == "lock" for each in states(tmp_path)), process)
        wait_for(lambda: "seeds to do" in Path(smk.log[0]).read_text(), process)
        begin = time.monotonic()
        limit = draw.uniform(0.0, 6.0) if kills < 8 else 600.0
        while process.poll() is None and time.monotonic() - begin < limit:
            time.sleep(0.001)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert not Path(smk.output.manifest).exists()
    assert process.returncode == 0 and kills >= 3
    assert outputs(smk) == whole(family) and states(tmp_path) == []


@pytest.mark.parametrize(
    "moment",
    thinned(["progress.json", "plain.pt", "curves0003.parquet", "best.pt"], slow=["progress.json"]),
)
def test_kills_within_the_writing_of_a_checkpoint(tmp_path, whole, moment):
    smk = job(tmp_path)
    for _ in range(2):
        process = start(smk, tmp_path)
        pattern = f"results/state/*/seed*.partial/seed?/{moment}"
        wait_for(lambda pattern=pattern: list(tmp_path.glob(pattern)), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert any(re.fullmatch(r"seed\d\.step\d+.partial", each) for each in states(tmp_path))
    assert start(smk, tmp_path).wait() == 0
    assert outputs(smk) == whole("full") and states(tmp_path) == []


@pytest.mark.weekly
def test_another_learning_rate_continues_nothing(tmp_path):
    smk = job(tmp_path)
    process = start(smk, tmp_path)
    wait_for(lambda: list(tmp_path.glob("results/state/*/seed1.step*")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    smk.params.method["learning_rate"] = 0.01
    assert start(smk, tmp_path).wait() == 0
    log = Path(smk.log[0]).read_text()
    assert "3 of 3 seeds to do" in log and "goes on after" not in log
    (tmp_path / "other").mkdir()
    other = job(tmp_path / "other", learning_rate=0.01)
    assert start(other, tmp_path / "other").wait() == 0
    assert outputs(smk) == outputs(other)


@pytest.mark.parametrize(("stage", "processes"), thinned([(0, 1), (2, 2), (3, 2)], slow=[(0, 1)]))
def test_told_to_end_it_writes_a_checkpoint_and_goes_on_from_there(
    tmp_path, whole, stage, processes
):
    """One process, and two that share gradients, or all states: the same bytes each time."""
    settings = {} if processes == 1 else {"epochs": 6}
    if processes > 1:
        (tmp_path / "whole").mkdir()
        smk = job(tmp_path / "whole", stage, **settings)
        assert start(smk, tmp_path / "whole", processes).wait() == 0
        expected = outputs(smk)
    else:
        expected = whole("full")
    smk = job(tmp_path, stage, **settings)
    process = start(smk, tmp_path, processes)
    wait_for(lambda: list(tmp_path.glob("results/state/*/seed1.step*")), process)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    assert time.monotonic() - begin < 60
    if processes == 1:
        assert process.returncode == processes_module.TOLD
    assert "told to end; started again, it goes on from here" in Path(smk.log[0]).read_text()
    assert {"seed0"} < set(states(tmp_path)) and "lock" not in states(tmp_path)
    assert start(smk, tmp_path, processes).wait() == 0
    assert "goes on after epoch" in Path(smk.log[0]).read_text()
    assert outputs(smk) == expected and states(tmp_path) == []
    manifest = storage.read_json(smk.output.manifest)
    assert len(manifest["seeds"]["1"]["resumed_after_steps"]) == 1
