"""The most memory that a process, or its GPU, takes while something runs."""

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 2**20
ON_GPU = "GPU memory that PyTorch allocated"
RESIDENT = "resident memory of the process"
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """The peak in MiB, and how much of it was not there before; of what, says `kind`."""

    kind: str
    mib: float = 0.0
    growth_mib: float = 0.0


@contextmanager
def watched(device: torch.device) -> Iterator[Peak]:
    """Yield the peak of what runs within, which is known at the end.

    Of a process that is its resident memory, which Linux is told to count anew; elsewhere it is the
    largest since the process began, and growth what this has risen by.
    """
    if device.type == "cuda":
        peak = Peak(ON_GPU)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        most = torch.cuda.max_memory_allocated(device)
    else:
        peak = Peak(RESIDENT)
        _forget()
        before = _largest()
        yield peak
        most = _largest()
    peak.mib, peak.growth_mib = most / MIB, (most - before) / MIB


def _forget() -> None:
    """Give back what is free, and let the peak become what is resident now, where Linux can."""
    gc.collect()
    # glibc keeps what was freed, so that an earlier, larger pass would count as held before.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        CLEAR.write_text("5", encoding="utf-8")  # proc(5)


def _largest() -> int:
    """Return the bytes that were resident at most."""
    with suppress(OSError):
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
