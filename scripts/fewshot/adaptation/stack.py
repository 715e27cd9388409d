"""Seeds, or folds of them, that are trained together: started, interrupted, and gone on with, as
one."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..runtime.stop import Stop
from .checkpoints import (
    Checkpoints,
    folder_of,
    load_progress,
    names_in,
    read_conditions,
    save_progress,
)
from .forward_pass import ForwardPass
from .outputs import Phases
from .setup import Member, SeedRun, release_run, start_run, state_bytes

LOG = logging.getLogger(__name__)


@dataclass
class Stack:
    """Members that are trained together, or one alone: their runs, the forward pass of all, and
    their checkpoints, of which the newest was `written` after that step.

    Those whose names are not `left` to do are stored already; they are trained but not scored.
    """

    runs: list[SeedRun]
    forward: ForwardPass
    checkpoints: Checkpoints
    left: tuple[int | str, ...]
    written: int = -1

    @property
    def going(self) -> list[SeedRun]:
        """Return the runs that nothing has ended."""
        return [run for run in self.runs if run.failure is None]

    def behind(self, epoch: int) -> list[SeedRun]:
        """Return the runs that have not finished an epoch: some have, if their scoring was done
        when another's was interrupted."""
        return [run for run in self.going if run.progress.epoch == epoch]

    @contextmanager
    def failing(self, run: SeedRun) -> Iterator[None]:
        """Keep the error that ends a run, so that others can go on; raise it if none is left."""
        try:
            yield
        except UserError as error:
            run.failure = error
            if not any(other.name in self.left for other in self.going):
                raise


def start_stack(
    members: Sequence[Member],
    left: Sequence[int | str],
    shortages: int,
    phases: Phases,
    stop: Stop,
    checkpoints: Checkpoints,
) -> Stack:
    """Start `members`, and go on from their newest checkpoint if it was made in the same way.

    After the last step none needs the others. The checkpoint then has only those that were not
    finished; if these are all that are `left` to do, by their names, they alone are started.
    `shortages` says how often memory ran out before; `phases` are those of the first that is left.
    """
    path, names = checkpoints.latest(), tuple(member.name for member in members)
    parts = names_in(path) if path else {*map(str, names)}
    clocks = {name: Phases() for name in names} | {left[0]: phases}
    runs = [
        start_run(member, shortages, clocks[member.name], stop, names)
        for member in members
        if str(member.name) in parts
    ]
    processes = checkpoints.processes
    states = (state_bytes(run.engine.trainable, run.placement, processes) for run in runs)
    checkpoints.expect(sum(states))
    stack = Stack(runs, ForwardPass(runs), checkpoints, tuple(left))
    if path is None:
        return stack
    if parts >= {*map(str, left)} and all(_conditions(path, run.name) == run.how for run in runs):
        _resume(stack, path)
        return stack
    LOG.info("%s: its checkpoint was made in another way; it starts again", runs[0].where)
    checkpoints.clear()
    for run in runs:
        release_run(run)
    return start_stack(members, left, shortages, phases, stop, checkpoints)


def shortages_before(checkpoints: Checkpoints) -> int:
    """Return how often memory ran out before the newest checkpoint, which was made with less."""
    path = checkpoints.latest()
    return int(_conditions(path, min(names_in(path)))["shortages"]) if path else 0


def _conditions(path: Path, name: int | str) -> dict[str, object]:
    return read_conditions(folder_of(path, name))


def _resume(stack: Stack, path: Path) -> None:
    for run in stack.runs:
        part = folder_of(path, run.name)
        run.engine.load(part)
        run.progress = progress = load_progress(part, run.setup.job.processes)
        stack.written = progress.step
        progress.resumed = (*progress.resumed, progress.step)
        for phase, seconds in progress.seconds.items():
            run.phases.seconds[phase] = run.phases.seconds.get(phase, 0.0) + seconds
        LOG.info("%s: goes on after epoch %d, step %d", run.where, progress.epoch - 1,
                 progress.step)  # fmt: skip


def write_checkpoint(stack: Stack) -> None:
    """Write one checkpoint of all that a stack trains, which stand after the same step.

    None is written if nothing was trained since the last one, nor if a run has failed: a
    checkpoint cannot tell that, so all start again.
    """
    step = stack.runs[0].progress.step
    if stack.written == step or stack.going != stack.runs:
        return
    with stack.checkpoints.writing(step) as folder:
        for run in stack.runs:
            part = folder_of(folder, run.name)
            part.mkdir(exist_ok=True)
            run.progress.seconds = dict(run.phases.seconds)
            save_progress(run.progress, run.how, part, run.setup.job.processes)
            run.engine.save(part)
    stack.written = step
