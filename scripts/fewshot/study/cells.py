"""Cells and jobs, and their paths.

A cell is protocol × task × model × method × pattern × k. A job handles the seeds of one cell that
fall into one chunk of a fixed grid of ten, so that asking later for seeds 10-19 adds jobs and
repeats none. Its folder names the first and the last of them, so a gap ends a job.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

CHUNK = 10


IMPORTED = "imported"
"""The method family of results made elsewhere."""


@dataclass(frozen=True, order=True)
class Cell:
    """What one number in a table is about."""

    protocol: str
    task: str
    model: str
    method: str
    pattern: str
    k: int

    @property
    def folder(self) -> str:
        """Return the cell's path below results/runs/, logs/ and benchmarks/."""
        return f"{self.protocol}/{self.task}/{self.model}/{self.method}/{self.pattern}/k{self.k}"


@dataclass(frozen=True, order=True)
class Job:
    """One adaptation job: a cell and a contiguous range of its data seeds."""

    cell: Cell
    seeds: tuple[int, ...]

    @property
    def folder(self) -> str:
        """Return the job's path below results/runs/, logs/ and benchmarks/."""
        return f"{self.cell.folder}/seeds{self.seeds[0]}-{self.seeds[-1]}"


def latency_file(run: str) -> str:
    """Return where the latencies of a run are measured to, by its folder."""
    return f"results/latency/{run.removeprefix('results/')}.parquet"


def read_seeds(given: int | str | Iterable[int]) -> tuple[int, ...]:
    """Return in ascending order the seeds of a number n (0 to n - 1), "first-last" or a list.

    `given` has passed the schema. Where the last is below the first there are none.
    """
    if isinstance(given, int):
        return tuple(range(given))
    if isinstance(given, str):
        first, last = map(int, given.split("-"))
        return tuple(range(first, last + 1))
    return tuple(sorted(given))


def chunks(seeds: Iterable[int]) -> list[tuple[int, ...]]:
    """Cut ascending seeds along the fixed grid 0-9, 10-19, …, and where some are left out."""
    return _ranges(seeds, CHUNK)


def seed_ranges(seeds: Iterable[int]) -> str:
    """Return ascending seeds as text: first-last of each range without a gap, such as 0-4, 7."""
    ranges = _ranges(seeds)
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ranges)


def _ranges(seeds: Iterable[int], size: float = math.inf) -> list[tuple[int, ...]]:
    """Return the ranges without a gap of ascending seeds, cut at multiples of `size`."""
    grouped = groupby(enumerate(seeds), lambda item: (item[1] - item[0], item[1] // size))
    return [tuple(seed for _, seed in members) for _, members in grouped]


@dataclass(frozen=True)
class Protocol:
    """The kinds of draw (see `shots.DRAWS`) of methods that use a context, and that train."""

    in_context: str
    trained: str


PROTOCOLS = {
    "fair": Protocol("fair", "fair"),
    "mosbach2023": Protocol("mosbach2023-in-context", "mosbach2023-fine-tuning"),
}
DRAWS = tuple(
    dict.fromkeys(kind for each in PROTOCOLS.values() for kind in (each.in_context, each.trained))
)
UNBALANCED = ("mosbach2023-fine-tuning",)
"""Kinds of draw that do not take as many rows of each label, so that any k will do."""
