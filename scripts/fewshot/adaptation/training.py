"""Fine-tuning, top to bottom: job, seed, epoch, step, loss; scored in the same job.

One loop serves all method families, models and heads.
"""

import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..data import curve_sample
from ..errors import UserError
from ..prompts.window import OK
from ..runtime.processes import TOLD, mark_shortage, read_shortages
from ..runtime.resume import SeedStore
from ..runtime.stop import Interrupted, Stop
from ..scoring.reader import out_of_memory
from ..scoring.score import Scores
from . import outputs
from .batches import micro_batches
from .checkpoints import Checkpoints
from .distillation import teach
from .epochs import enter, score_curve, training_row
from .evaluate import HINT, finish_seed
from .forward_pass import right
from .job import AdaptationJob, read_job
from .learning_rate import rate
from .seeds import Runner, SeedResult, run_stacks
from .setup import Member, SeedRun, Setup, load_setup, release_run
from .stack import Stack, shortages_before, start_stack, write_checkpoint
from .stack_cuts import cut_stacks

LOG = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""


def fine_tune(smk) -> None:
    """Train and score all seeds of one job, and write its outputs.

    Told to end, it writes a checkpoint, if that is worth while, and exits with status TOLD.
    """
    train_seeds(read_job(smk), _start)


def train_seeds(
    job: AdaptationJob, start: Callable[[AdaptationJob, Stop, SeedStore | None], Runner]
) -> None:
    """Run the seeds of a job that trains; `start` is told of the end, and loads what they share."""
    with Stop().watched() as stop:
        try:
            run_stacks(job, lambda store: start(job, stop, store))
        except Interrupted:
            LOG.warning("%s: told to end; started again, it goes on from here", job.name)
            raise SystemExit(TOLD) from None


def _start(job: AdaptationJob, stop: Stop, store: SeedStore | None) -> Runner:
    """Load what all seeds share; return the function that trains those that are left to do."""
    phases = outputs.Phases()
    with phases.measure("load"):
        setup = load_setup(job)
    members = [Member(setup, seed) for seed in job.seeds if job.status[seed] == OK]
    check = store.check if store else lambda: None
    return lambda todo: train_members(members, todo, job.state, phases, stop, check)


def train_members(
    members: Sequence[Member],
    left: Sequence[int | str],
    folder: Path,
    phases: outputs.Phases,
    stop: Stop,
    check: Callable[[], None],
) -> Iterator[tuple[int | str, SeedResult]]:
    """Train the members of a job whose names are `left` to do, in stacks: see `train_stack`.

    Of a stack all are trained again while one is left to do, since rounding depends on them.
    """
    # The first carries the time of what all share.
    clocks = iter([phases])
    for stack in cut_stacks(members):
        mine = [member.name for member in stack if member.name in left]
        if mine:
            yield from train_stack(stack, folder, next(clocks, None), stop, check, mine)


def train_seed(
    setup: Setup,
    seed: int,
    folder: Path,
    phases: outputs.Phases | None = None,
    stop: Stop | None = None,
    check: Callable[[], None] = lambda: None,
) -> SeedResult:
    """Train one seed alone: see `train_stack`."""
    ((_, result),) = train_stack([Member(setup, seed)], folder, phases, stop, check)
    return result


def train_stack(
    members: Sequence[Member],
    folder: Path,
    phases: outputs.Phases | None = None,
    stop: Stop | None = None,
    check: Callable[[], None] = lambda: None,
    left: Sequence[int | str] | None = None,
    shortages: int = 0,
) -> Iterator[tuple[int | str, SeedResult]]:
    """Train `members`, each on its draw from the base weights, scoring as its settings ask for.

    They take each step at once, and what they share of the model is computed for the rows of all
    (see `stacked_model`). They must start from one model (`Setup.origin`) and take as many steps of
    as many rows in the same epochs; rows, label words, loss and learning rate are each one's own.
    Gives each of the names `left` (default: all) with its result. Checkpoints are written to
    `folder` and continued from there, adapters too. Row predictions are kept for the last epoch and
    for the one that is best on the curve in domain (the earliest of equals), which the setting
    `best_epoch` may count over the choice half alone. Where memory runs out several start again
    alone, and one alone with a placement that needs less; the manifest says so. Raises UserError
    where memory cannot be helped and, once the others are done, where a loss or a score is not
    finite.
    """
    job, named = members[0].setup.job, {member.name: member for member in members}
    stop, phases, left = stop or Stop(), phases or outputs.Phases(), list(left or named)
    processes = job.processes
    checkpoints = Checkpoints(folder, [*named], processes, check)
    alone = len(members) == 1
    # Before an interruption memory ran out for all together, where one alone has come further.
    together = alone or not any(Checkpoints(folder, [name], processes).latest() for name in left)
    shortages = max(shortages, read_shortages(), shortages_before(checkpoints))
    while together:
        stack = None
        try:
            stack = start_stack(members, left, shortages, phases, stop, checkpoints)
            for name, result in _train(stack, folder):
                left.remove(name)
                yield name, result
            if not alone:  # The state drops those of one alone when it is stored.
                checkpoints.clear()
            return
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        LOG.warning("%s: seed %s: memory ran out; it starts again with what needs less",
                    job.name, ", ".join(map(str, left)))  # fmt: skip
        if processes.size > 1:
            # The others wait for this one: the launcher starts all anew.
            mark_shortage()
            raise SystemExit(1)
        shortages, together = shortages + 1, alone
        checkpoints.clear()
        spent, phases = phases.seconds, outputs.Phases()
        phases.seconds["lost"] = sum(spent[phase] for phase in spent if phase != "forgetting")
        for run in stack.runs if stack else ():
            release_run(run)
        gc.collect()
    for name in left:
        mine, phases = phases, None
        yield from train_stack(
            [named[name]], folder, mine, stop, check, shortages=max(1, shortages)
        )


def _train(stack: Stack, folder: Path) -> Iterator[tuple[int | str, SeedResult]]:
    """Train to the end, give each name that is left with its result, and raise what ended another.

    Goes on from where the runs stand, of which scoring may be ahead in some.
    """
    setup, runs = stack.runs[0].setup, stack.runs
    job, settings, stop = setup.job, setup.job.settings, stack.runs[0].stop
    points = curve_sample.curve_epochs(settings["curve_epochs"], settings["epochs"])
    scores: dict[int | str, dict[str, Scores] | None] = {}
    try:
        for run in [run for run in runs if run.name in stack.left]:
            if 0 in points and not run.progress.curves:  # Nothing is trained.
                with stack.failing(run):
                    scores[run.name] = score_curve(run)
                    enter(run, 0, [], scores[run.name])
        for epoch in range(min(run.progress.epoch for run in runs), settings["epochs"] + 1):
            for run in stack.behind(epoch):
                teach(run, epoch)
            train_epoch(stack, epoch)
            for run in stack.behind(epoch):
                with stack.failing(run):
                    scored = epoch in points and run.name in stack.left
                    scores[run.name] = score_curve(run) if scored else None
                    enter(run, epoch, [training_row(run, epoch)], scores[run.name])
                    _report(run, epoch, points)
            stop.check(job.processes)
            if stack.checkpoints.due(sum(map(_remaining, stack.going))):
                write_checkpoint(stack)
        for run in [run for run in stack.going if run.name in stack.left]:
            result = None
            with stack.failing(run):
                result = finish_seed(run, scores.get(run.name), folder)
            if result is not None:
                runs.remove(run)
                yield run.name, result
    except Interrupted:
        if all(run.unspoilt for run in runs) and stack.checkpoints.in_time():
            write_checkpoint(stack)
        raise
    for run in runs:
        if run.failure is not None:
            raise run.failure


def _remaining(run: SeedRun) -> float:
    """Return about how many seconds are left: of epochs, and of all rows of what is kept."""
    state, seconds = run.progress, run.phases.seconds
    train, curve = (seconds.get(phase, 0.0) for phase in ("train", "curve"))
    epochs = run.setup.job.settings["epochs"] + 1 - state.epoch
    rows = sum(len(scored.item.rows) for scored in run.sets.whole.values())
    passes = 1 if state.best_state is None else 2
    scoring = curve / state.scored * rows * passes if state.scored else 0.0
    return (train + curve) / (state.epoch - 1) * epochs + scoring


def _report(run: SeedRun, epoch: int, points: list[int]) -> None:
    """Log a line now and then, and after the last epoch."""
    state, now = run.progress, time.monotonic()
    if epoch == points[-1] or now - run.reported >= PROGRESS:
        run.reported = now
        train, scoring = (run.phases.seconds.get(phase, 0.0) for phase in ("train", "curve"))
        # Before the first epoch that is scored none is the best.
        best = f", at best {state.best[0]} correct in domain" if state.best[1] else ""
        LOG.info("%s: epoch %d of %d, step %d, loss %.4f%s; %.1f steps/s, %.1f s scoring",
                 run.where, epoch, points[-1], state.step, state.last_loss, best,
                 state.step / train, scoring)  # fmt: skip


def train_epoch(stack: Stack, epoch: int) -> None:
    """Pass over the rows of each run once, or over those that are left for the epoch."""
    done = stack.behind(epoch)[0].progress.done
    order = [run.visits.of_epoch(epoch) for run in stack.runs]
    stack.forward.model.train()
    with outputs.measured_together([run.phases for run in stack.runs], "train"):
        for batches in zip(*(of_run[done:] for of_run in order), strict=True):
            _step(stack, epoch, batches)
            stack.runs[0].stop.check(stack.runs[0].setup.job.processes)


def _step(stack: Stack, epoch: int, batches: Sequence[np.ndarray]) -> None:
    """Compute the mean loss of each run's batch by micro-batches, and update each once.

    One that has failed stays in the passes, where its rows change those of no other.
    """
    runs, device = stack.runs, stack.runs[0].device
    processes = runs[0].setup.job.processes
    lengths, tokens = [run.rows.read for run in runs], runs[0].placement.micro_tokens
    sums = torch.zeros(len(runs), 3, dtype=torch.float64, device=device)
    for pieces in micro_batches(batches, lengths, tokens, processes):
        found = stack.forward.answers([piece.rows for piece in pieces])
        means = []
        for number, (run, piece, answers) in enumerate(zip(runs, pieces, found, strict=True)):
            losses = run.setup.loss(answers)
            if run.setup.origin.penalty is not None:
                losses = losses + run.setup.origin.penalty(run.engine.trainable.model)
            counted = torch.from_numpy(piece.counts).to(device)
            means.append((losses * counted).sum() / len(batches[number]))
            rows = run.rows.row_ids[piece.rows]
            counts = torch.stack([losses.detach(), *right(answers, rows)]).double()
            sums[number] += (counts * counted).sum(dim=1)
        # Of none does the loss depend on what another trains.
        runs[0].engine.backward(means[0] if len(means) == 1 else torch.stack(means).sum())
    counts = processes.sum(sums.cpu()).tolist()
    for run, batch, of_run in zip(runs, batches, counts, strict=True):
        if run.failure is None:
            with stack.failing(run):
                _update(run, epoch, of_run, len(batch))


def _update(run: SeedRun, epoch: int, counts: list[float], batch: int) -> None:
    """Update a run's parameters by the gradients of a batch of that size, of which `counts` are
    the sum of losses, the correct rows, and those whose top token is right."""
    state = run.progress
    loss = counts[0] / batch
    if not math.isfinite(loss):
        raise UserError(
            f"{run.where}: the loss is {loss} at epoch {epoch}, step {state.step + 1}; the last "
            f"finite loss was {state.last_loss}; {HINT}"
        )
    if not run.engine.step(rate(state.step, run.visits.steps, run.setup.job.settings)):
        state.skipped += 1
    state.last_loss = loss
    state.counts = tuple(a + b for a, b in zip(state.counts, counts, strict=True))
    state.step += 1
    state.done += 1
