"""Dropout whose masks depend on seed, step, row and place alone.

PyTorch draws masks from one stream, in the order and for the shapes of the tensors that come by:
how a batch is cut, how far its rows are padded and whose rows are beside them would change what is
dropped. Here a mask is a hash of what it is for, so that a seed drops the same alone, together with
others (`stacked_model`), and in micro-batches of any size.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SITES = 64
"""Calls of dropout in a forward pass for which row keys are made at once."""
MULTIPLIERS = 0x2C1B3C6D, 0x297A2D39
"""Odd numbers that carry each bit of a number to the others (prospecting hashes of C. Wellons)."""


class DropoutMasks:
    """The dropout of one seed, whose `stream` is any number of 64 bits.

    `met` is False once a whole pass has met no dropout.
    """

    def __init__(self, stream: int):
        self.stream, self.met = stream, True
        self._drawing: _HashedDropout | None = None

    def keys(self, step: int, sequences: np.ndarray) -> np.ndarray:
        """Return the keys [sequences] of sequences of the draw, by their numbers, at a step."""
        stream, steps = np.array([[self.stream], [step]], dtype=np.uint64)
        return _mixed64(_mixed64(stream ^ _mixed64(steps)) + sequences.astype(np.uint64))

    @contextmanager
    def drawn(self, keys: np.ndarray, device: torch.device) -> Iterator[None]:
        """Let dropout of hidden states be that of these keys, one for each sequence that a forward
        pass reads, which may be of other seeds; what else is random is left to PyTorch."""
        if not self.met:
            yield
            return
        self._drawing = _HashedDropout(keys, device)
        with self._drawing:
            yield
        self.met = self._drawing.site > 0

    def again(self) -> tuple:
        """Return contexts of a piece of the forward pass and of computing it once more in the
        backward pass, for `torch.utils.checkpoint` (`context_fn`)."""
        now = self._drawing
        if now is None or not self.met:
            return nullcontext(), nullcontext()
        return nullcontext(), _HashedDropout(now.keys, now.device, now.site)


class _HashedDropout(TorchFunctionMode):
    """Takes the place of `functional.dropout` for states [sequences, …] or [sequences · tokens, …].

    Weights of attention, which have four dimensions, keep PyTorch's: their places move with the
    padding. `site` counts the calls.
    """

    def __init__(self, keys: np.ndarray, device: torch.device, site: int = 0):
        super().__init__()
        self.keys, self.device, self.site = keys, device, site
        self._blocks: dict[int, torch.Tensor] = {}

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ):
        if func is not functional.dropout:
            return func(*args, **(kwargs or {}))
        return self._dropped(*args, **(kwargs or {}))

    def _dropped(
        self, states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0.0:
            return states
        if states.ndim > 3 or len(states) % len(self.keys) or inplace:
            return functional.dropout(states, p, training, inplace)
        kept = self._hashes(states.numel() // len(self.keys)) >= _threshold(p)
        self.site += 1
        return torch.where(kept.view(states.shape), states * (1 / (1 - p)), 0.0)

    def _hashes(self, places: int) -> torch.Tensor:
        """Return evenly spread numbers, int32 [sequences, places], for the present site."""
        block, row = divmod(self.site, SITES)
        if block not in self._blocks:
            sites = np.arange(block * SITES, (block + 1) * SITES, dtype=np.uint64)
            keys = _mixed64(self.keys[None] + _mixed64(sites)[:, None])
            self._blocks[block] = _as_int32(keys).to(self.device)
        found = self._blocks[block][row][:, None] ^ _of_places(places, self.device)
        found *= MULTIPLIERS[0]
        found ^= found >> 15
        found *= MULTIPLIERS[1]
        return found


def _of_places(count: int, device: torch.device) -> torch.Tensor:
    """Return a number for each place of a sequence, int32 [count]."""
    found = torch.arange(1, count + 1, dtype=torch.int32, device=device)
    for multiplier in MULTIPLIERS:
        found *= multiplier
        found ^= found >> 15
    return found


def _threshold(p: float) -> int:
    """Return the number that a share `p` of the int32 are below."""
    return min(round(p * 2**32), 2**32 - 1) - 2**31


def _as_int32(numbers: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((numbers >> np.uint64(32)).astype(np.uint32).view(np.int32))


def _mixed64(numbers: np.ndarray) -> np.ndarray:
    """Return the splitmix64 hash (Steele et al. 2014) of uint64 numbers."""
    with np.errstate(over="ignore"):
        found = numbers + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))
