"""Cells and jobs, and their paths.

A cell is protocol × task × model × method × pattern × k. A job handles the seeds of one cell that
fall into one chunk of a fixed grid of ten, so that asking later for seeds 10-19 adds jobs and
repeats none.
"""

from dataclasses import dataclass

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


def read_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "first-last", or of a single number, in order."""
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last or first) + 1))


def chunks(seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Cut seeds along the fixed grid 0-9, 10-19, …"""
    grid: dict[int, list[int]] = {}
    for seed in seeds:
        grid.setdefault(seed // CHUNK, []).append(seed)
    return [tuple(members) for members in grid.values()]


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
