"""What a benchmark reads its times and its memory from.

Rivals are measured by it too, in environments without the project's packages: nothing but the
standard library is imported, and torch only where the device is a GPU.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(work: Callable[[], object], device: str, clock: str = "wall") -> tuple[float, object]:
    """Return the seconds that `work` takes, on a GPU until it is done, and what it returns."""
    wait(device)
    started = CLOCKS[clock]()
    found = work()
    wait(device)
    return CLOCKS[clock]() - started, found


def passes(work: Callable[[], object], job: dict) -> tuple[list[float], object]:
    """Return the seconds of each pass and what the last returned.

    Passes end after the job's `repeats` or once its `seconds` are used up; there is one at least.
    """
    spent: list[float] = []
    while not spent or (len(spent) < job["repeats"] and sum(spent) < job["seconds"]):
        seconds, found = timed(work, job["device"], job.get("clock", "wall"))
        spent.append(seconds)
    return spent, found


def wait(device: str) -> None:
    """Let a GPU finish what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def reset_peak(device: str) -> int:
    """Forget the peak so far; return the bytes that are held now."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not Path("/proc/self/clear_refs").exists():
        return peak(device)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak(device: str = "cpu") -> int:
    """Return the most bytes that were held since the last reset.

    On Linux from the process's own page: `ru_maxrss` counts what the parent held before it.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB."""
    return peak() / MIB


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[key].split()[0]) * 1024
