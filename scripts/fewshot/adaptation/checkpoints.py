"""Checkpoints within seeds, or folds of them, that are trained together, written only where
training again would take longer than that."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd
import torch

from ..runtime.processes import ProcessGroup
from ..runtime.resume import WRITE_RATE, remove, sync
from ..storage import damaged_file, folder_checksums, write_checksums
from .weights import store_weights


@dataclass
class TrainingProgress:
    """Where training stands, and what it has found.

    `done` steps of epoch `epoch` are done, `step` of all; `skipped` are those without update, as
    float16 overflowed. `scored` evaluation rows were read, `splits` of their batches halved.
    `counts` are the running epoch's sum of losses, correct rows, and rows whose top token is right;
    `curves` what is stored of the epochs before, and `predictions` where those of all are kept.
    `best` is (correct rows, epoch) of the best curve point in domain, `best_state` the trained
    parameters then, by name, in the first process (None: it is the last epoch). `resumed` are the
    steps after which training went on from a checkpoint, `seconds` those of the phases before the
    last of these. In context distillation `teacher` is what the teacher of round `taught` answers,
    and `rounds` are the facts of each.
    """

    epoch: int = 1
    done: int = 0
    step: int = 0
    skipped: int = 0
    splits: int = 0
    scored: int = 0
    counts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    best: tuple[int, int] = (-1, 0)
    last_loss: float | None = None
    resumed: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    curves: list[pd.DataFrame] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] | None = None
    taught: int = 0
    rounds: list[dict] = field(default_factory=list)
    teacher: dict[str, torch.Tensor] | None = None


FRAMES = ("curves", "predictions")
TEACHER = "teacher.pt"
FILES = {*FRAMES, "best_state", "teacher"}
"""What a checkpoint has files of its own for; the rest is JSON."""


def save_progress(
    progress: TrainingProgress, how: dict[str, object], folder: Path, processes: ProcessGroup
) -> None:
    """Write progress and this process's random state to `folder`.

    `how` says how the seed is run (placement, device, …): another way rounds otherwise.
    """
    store_weights(_random_state(), folder / f"random{processes.rank}.pt")
    if processes.rank:
        return
    names = {entry.name for entry in fields(progress)} - FILES
    plain = {name: getattr(progress, name) for name in sorted(names)}
    (folder / "progress.json").write_text(json.dumps({**plain, "how": how}), "utf-8")
    for name in FRAMES:
        for number, frame in enumerate(getattr(progress, name)):
            frame.to_parquet(folder / f"{name}{number:04d}.parquet")
    if progress.best_state is not None:
        store_weights(progress.best_state, folder / "best.pt")
    if progress.teacher is not None:
        store_weights(progress.teacher, folder / TEACHER)


def read_conditions(folder: Path) -> dict[str, object]:
    """Return how the seed was run that left its progress in `folder`."""
    return json.loads((folder / "progress.json").read_text("utf-8"))["how"]


def load_progress(folder: Path, processes: ProcessGroup) -> TrainingProgress:
    """Return the progress stored in `folder` and set this process's random state to what it was."""
    content = json.loads((folder / "progress.json").read_text("utf-8"))
    del content["how"]
    for name in ("counts", "best", "resumed"):
        content[name] = tuple(content[name])
    frames = {
        name: [pd.read_parquet(path) for path in sorted(folder.glob(f"{name}*.parquet"))]
        for name in FRAMES
    }
    best = folder / "best.pt"
    first = processes.rank == 0 and best.exists()
    state = torch.load(best, weights_only=True) if first else None
    told = folder / TEACHER
    teacher = torch.load(told, weights_only=True) if told.exists() else None
    _set_random_state(torch.load(folder / f"random{processes.rank}.pt", weights_only=True))
    return TrainingProgress(**content, **frames, best_state=state, teacher=teacher)


def _random_state() -> dict[str, torch.Tensor]:
    """Return the states of the generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


LOG = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two checkpoints, at least."""
SHARE = 0.05
"""Share of the time that may go into writing them."""
HASH_RATE = 1e9
"""Bytes whose checksum a process computes in a second."""
GRACE = 240.0
"""Seconds in which a process that is told to end must have written one: SLURM gives 300."""


class Checkpoints:
    """The checkpoints under `folder` of what is trained together, by its `names` (see `Member`), of
    which the newest counts: the folder of a step, with one for each.

    `check` raises where this job no longer owns the folder.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[int | str],
        processes: ProcessGroup,
        check: Callable[[], None] = lambda: None,
    ):
        self.folder, self.processes, self.check = folder, processes, check
        first, last = names[0], names[-1]
        # The first is what the state drops when that is finished (see `SeedStore.save`).
        self.name = f"seed{first}" if first == last else f"seeds{first}-{last}"
        self.cost = 0.0
        self._last = time.monotonic()

    def expect(self, size: int) -> None:
        """Say about how many bytes each process will write."""
        self.cost = size / WRITE_RATE + size / HASH_RATE

    def latest(self) -> Path | None:
        """Return the newest checkpoint; those whose files have changed are dropped."""
        for path in self.processes.broadcast(self._all()):
            # Each process reads its share of the files again.
            shares = self.processes.gather(damaged_file(path, self._share))
            damaged = next(filter(None, shares), None)
            if damaged and self.processes.rank == 0:
                LOG.warning("%s: %s is damaged; the checkpoint is dropped", path, damaged)
                remove(path)
        return self.processes.broadcast(max(self._all(), key=_step, default=None))

    def due(self, remaining: float) -> bool:
        """Return whether to write one now, with `remaining` seconds of work left."""
        since = time.monotonic() - self._last
        worth = self.cost < remaining and since >= max(EVERY, self.cost / SHARE)
        return self.processes.broadcast(worth)

    def in_time(self) -> bool:
        """Return whether a process that is told to end has the time to write one."""
        return self.processes.broadcast(self.cost < GRACE)

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Yield the folder that all processes write to; it counts once all are done.

        There must be no checkpoint of that step yet.
        """
        begin = time.monotonic()
        final = self.folder / f"{self.name}.step{step}"
        partial = final.with_name(f"{final.name}.partial")
        if self.processes.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.processes.barrier()
        yield partial
        self.processes.barrier()
        shares = self.processes.gather(folder_checksums(partial, self._share))
        if self.processes.rank == 0:
            write_checksums(partial, dict(item for share in shares for item in share.items()))
            for path in [*partial.rglob("*"), partial]:
                sync(path)
            self.check()
            older = self._all()
            partial.rename(final)
            sync(self.folder)
            for path in older:
                remove(path)
        self.processes.barrier()
        self._last = time.monotonic()
        self.cost = self._last - begin
        LOG.info("%s: checkpoint after step %d in %.1f s", self.name, step, self.cost)

    def clear(self) -> None:
        """Remove all of them."""
        if self.processes.rank == 0:
            for path in self._all():
                remove(path)
        self.processes.barrier()

    @property
    def _share(self) -> slice:
        """Return which of a checkpoint's files, in order, this process reads again."""
        return slice(self.processes.rank, None, self.processes.size)

    def _all(self) -> list[Path]:
        paths = self.folder.glob(f"{self.name}.step*")
        return [path for path in paths if path.suffix != ".partial"]


def folder_of(checkpoint: Path, name: int | str) -> Path:
    """Return the part of a checkpoint that is one member's."""
    return checkpoint / f"seed{name}"


def names_in(checkpoint: Path) -> set[str]:
    """Return the names of those that a checkpoint has a part of."""
    return {path.name.removeprefix("seed") for path in checkpoint.glob("seed*")}


def _step(path: Path) -> int:
    return int(path.name.rpartition(".step")[2])
