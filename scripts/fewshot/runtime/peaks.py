"""The most memory that this process, or its GPU, has taken."""

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_BEFORE = {"cpu": 0, "cuda": 0}
"""Bytes at most, by kind of device, until what was measured last in `aside`."""


def start(device: "torch.device") -> None:
    """Let a GPU's peak begin anew; a process's is that of its whole life."""
    if device.type == "cuda":
        _BEFORE["cuda"] = 0
        forget(device)


def peak(device: "torch.device | None" = None) -> int:
    """Return the bytes at most, but for what ran `aside`: those that PyTorch allocated on a GPU, or
    those of the process that were resident."""
    return max(_BEFORE[_kind(device)], largest(device))


@contextmanager
def aside(device: "torch.device") -> Iterator[None]:
    """Leave what runs within out of the peak, where the system can count anew."""
    _BEFORE[_kind(device)] = peak(device)
    try:
        yield
    finally:
        forget(device)


def largest(device: "torch.device | None" = None) -> int:
    """Return the bytes at most since they were counted anew last."""
    if _kind(device) == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        # Not `ru_maxrss`, which a process inherits from the one that started it.
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget(device: "torch.device") -> None:
    """Give back what is free, and let the peak become what is held now, where Linux can."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    # glibc keeps what was freed, so that an earlier, larger pass would count as held before.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        CLEAR.write_text("5", encoding="utf-8")  # proc(5)


def _kind(device: "torch.device | None") -> str:
    return "cuda" if device is not None and device.type == "cuda" else "cpu"
