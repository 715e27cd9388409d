"""The most memory that a process, or its GPU, takes while something runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..runtime import peaks

MIB = 2**20
ON_GPU = "GPU memory that PyTorch allocated"
RESIDENT = "resident memory of the process"


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
    found = Peak(ON_GPU if device.type == "cuda" else RESIDENT)
    peaks.forget(device)
    before = peaks.largest(device)
    yield found
    most = peaks.largest(device)
    found.mib, found.growth_mib = most / MIB, (most - before) / MIB
