"""Seconds and memory of the process that measures."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

MIB = 2**20


def passes(
    run: Callable[[], object], device: str, repeats: int, seconds: float
) -> tuple[list[float], object]:
    """Return the seconds of each pass and what the last returned.

    Passes end after `repeats` or once `seconds` are used up, but there is one at least.
    """
    spent: list[float] = []
    while not spent or (len(spent) < repeats and sum(spent) < seconds):
        wait(device)
        started = time.perf_counter()
        found = run()
        wait(device)
        spent.append(time.perf_counter() - started)
    return spent, found


def wait(device: str) -> None:
    """Let a GPU finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: str) -> int:
    """Forget the peak so far; return the bytes that are held now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return peak(device)
    Path("/proc/self/clear_refs").write_text("5")
    return _status(status, "VmRSS")


def peak(device: str) -> int:
    """Return the most bytes that were held since the last reset.

    On Linux from the process's own page: `ru_maxrss` counts what the parent held before it.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        return _status(status, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(file: Path, key: str) -> int:
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(lines[key].split()[0]) * 1024
