"""Run a measurement in a process of its own, whose peak of memory is then that measurement's.

A worker is a module of this package whose main block calls `serve` with its function; jobs and
results travel as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fewshot.errors import UserError


def run(worker: str, job: dict, scratch: Path) -> dict:
    """Start `benchmarks.<worker>`, which sees the modules this process sees; return its result.

    `job` has system, model, device ("cpu" or "cuda") and threads, and what the worker's function
    wants besides. Raises UserError with the worker's last words where it fails.
    """
    task, result = scratch / "job.json", scratch / "result.json"
    task.write_text(json.dumps(job))
    command = [sys.executable, "-m", f"benchmarks.{worker}", str(task), str(result)]
    done = subprocess.run(command, env=environment(job), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{job['system']} with {job['model']} failed: {_last_words(done)}")
    return json.loads(result.read_text())


def serve(measure: Callable[[dict], dict]) -> None:
    """Be the worker: read the job that the command line names and write what `measure` finds."""
    task, result = map(Path, sys.argv[1:])
    result.write_text(json.dumps(measure(json.loads(task.read_text()))))


def environment(job: dict) -> dict[str, str]:
    """Return the worker's environment: its threads, one GPU or none, and no network."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(job["threads"]),
        # Several GPUs would be used at once by some systems; a GPU that is not wanted, by others.
        "CUDA_VISIBLE_DEVICES": seen if job["device"] == "cuda" else "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _last_words(done: subprocess.CompletedProcess) -> str:
    if done.returncode < 0:
        return f"killed by signal {-done.returncode} (9: memory may have run out)"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
