"""One pass of a model over prompts: batches in their order, halved where memory runs out.

Rows are cut into canonical batches by a pure function of their lengths and a constant
(`packing.py`), so that what is read off does not depend on memory, processes or order.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from ..errors import UserError
from ..runtime.processes import ProcessGroup
from .packing import Layout, PackedSequence, canonical_batches, halves, length_of
from .reader import Reader, out_of_memory

log = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""


class Found(Protocol):
    """What is read off hidden states: `arrays` have an entry per row, 0 until it is entered."""

    arrays: tuple[np.ndarray, ...]

    def made(self, hidden: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, ...]:
        """Return what is computed of a batch's hidden states [reads, width], on their device."""

    def enter(self, made: tuple[torch.Tensor, ...], layout: Layout) -> None:
        """Enter into the arrays what `made` has computed."""


class Pass:
    """One pass over all rows, whose results are entered into `found`.

    `tokens_read` counts tokens without padding, `splits` the batches that were halved as memory ran
    out. If `sharded`, no process can read without the others (ZeRO stage 3).
    """

    def __init__(
        self,
        reader: Reader,
        sequences: list[PackedSequence],
        found: Found,
        batch_tokens: int,
        processes: ProcessGroup,
        sharded: bool,
    ):
        self.reader, self.found, self.processes, self.sharded = reader, found, processes, sharded
        prompts = reader.prompts
        lengths = [len(reader.start) + length_of(prompts, sequence) for sequence in sequences]
        batches = canonical_batches(lengths, batch_tokens)
        self.tokens_read = sum(lengths) + len(prompts.prefix) - len(reader.start)
        portions = processes.portions([len(batch) * lengths[batch[-1]] for batch in batches])
        self.batches = [[sequences[i] for i in batches[j]] for j in portions[processes.rank]]
        self.rounds = max(map(len, portions))
        # Where no process can read alone, one with less to do reads a row again.
        self.idle = [sequences[batches[0][0]]] if sharded else None
        self.splits = 0
        self._waiting: tuple | None = None

    def run(self, pause: Callable[[], None] = lambda: None) -> list[np.ndarray]:
        """Read all batches and return the arrays, those of all processes in each.

        `pause` is called before each round of batches, by all processes as often.
        """
        started = reported = time.monotonic()
        done, count = 0, sum(map(_rows, self.batches))
        for number in range(self.rounds):
            pause()
            if number >= len(self.batches):
                if self.idle:
                    self._forward(self.idle)
                continue
            batch = self.batches[number]
            self._read(batch)
            done += _rows(batch)
            now = time.monotonic()
            # A set that took no time is not worth a line: training scores after every epoch.
            if now - reported >= PROGRESS or (done == count and now - started >= 1.0):
                reported = now
                log.info("%d of %d rows, %.1f rows/s", done, count, done / max(now - started, 1e-9))
        self._enter()
        *arrays, splits = (
            self.processes.sum(torch.from_numpy(part)).numpy()
            for part in (*self.found.arrays, np.array([self.splits]))
        )
        self.splits = int(splits[0])
        return arrays

    def _read(self, batch: list[PackedSequence]) -> None:
        try:
            made = self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            made = None
        # The batch before this one is fetched while a GPU works on this one.
        self._enter()
        self._waiting = made
        if made is not None:
            return
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        parts = self._halves(batch)
        if self.reader.device.type == "cuda":
            torch.cuda.empty_cache()
        self.splits += 1
        for part in parts:
            self._read(part)

    def _halves(
        self, batch: list[PackedSequence]
    ) -> tuple[list[PackedSequence], list[PackedSequence]]:
        prompts, longest = self.reader.prompts, batch[-1]
        tokens = len(self.reader.start) + length_of(prompts, longest)
        if self.sharded and self.processes.size > 1:
            raise UserError(
                f"memory ran out on a batch of {_rows(batch)} rows of up to {tokens} tokens, which "
                "cannot be halved where processes share the weights: lower batch_tokens"
            )
        parts = halves(batch)
        if parts is None:
            raise UserError(
                f"row with id {prompts.ids[longest.rows[0][0]]}: reading its {tokens} tokens alone "
                "takes more memory than there is; use a larger machine or a smaller model"
            )
        log.warning(
            "memory ran out on %d rows of up to %d tokens: halved (results may differ by rounding)",
            _rows(batch), tokens,
        )  # fmt: skip
        return parts

    def _forward(self, batch: list[PackedSequence]) -> tuple:
        """Return what is made of a batch's hidden states, and its layout."""
        hidden, layout = self.reader.hidden(batch)
        return self.found.made(hidden, layout), layout

    def _enter(self) -> None:
        """Enter the results of the batch that is waiting, if one is."""
        if self._waiting is not None:
            made, self._waiting = self._waiting, None
            self.found.enter(*made)


def _rows(batch: list[PackedSequence]) -> int:
    """Return how many rows' first words are read off in a batch."""
    return sum(0 in words for sequence in batch for _, words in sequence.rows)
