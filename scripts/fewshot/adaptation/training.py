"""Fine-tuning: the one loop of all families, models and heads, scored in the same job."""

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..data import samples
from ..runtime.interrupts import Interrupted, Stop
from ..runtime.ranks import TOLD, mark_shortage, read_shortages
from ..runtime.state import SeedStore
from ..scoring.reading import out_of_memory
from ..scoring.scoring import Scores
from . import outputs, progress, weights
from .checkpoints import Checkpoints
from .completion import finish
from .epochs import train_epoch
from .jobs import Job, SeedResult, read_job, run_seeds
from .marking import correct_in_domain, count, curve_rows, score_sets
from .preparation import Run, Setup, begin, load, release

LOG = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""


def fine_tune(smk) -> None:
    """Train and score all seeds of one job, and write its outputs.

    Told to end, it writes a checkpoint, if that is worth while, and exits with status TOLD.
    """
    job = read_job(smk)
    with Stop().watched() as stop:
        try:
            run_seeds(job, lambda store: _start(job, stop, store))
        except Interrupted:
            LOG.warning("%s: told to end; started again, it goes on from here", job.name)
            raise SystemExit(TOLD) from None


def _start(job: Job, stop: Stop, store: SeedStore | None) -> Callable[[int], SeedResult]:
    """Load what all seeds share; return the function that trains one."""
    phases = outputs.Phases()
    with phases.measure("load"):
        setup = load(job)
    # The first seed carries the time of what all share.
    clocks = iter([phases])
    check = store.check if store else lambda: None
    return lambda seed: train_seed(setup, seed, job.state, next(clocks, None), stop, check)


def train_seed(
    setup: Setup,
    seed: int,
    folder: Path,
    phases: outputs.Phases | None = None,
    stop: Stop | None = None,
    check: Callable[[], None] = lambda: None,
) -> SeedResult:
    """Train on the draw of `seed` from the base weights, scoring as the settings ask for.

    Checkpoints are written to `folder` and continued from there, adapters too. Row predictions are
    kept for the last epoch and for the one that is best in domain (the earliest of equals). Where
    memory runs out the seed starts again with a placement that needs less; the manifest says so.
    Raises UserError where a loss or a score is not finite, or where memory cannot be helped.
    """
    stop, phases = stop or Stop(), phases or outputs.Phases()
    checkpoints = Checkpoints(folder, seed, setup.job.world, check)
    shortages = max(read_shortages(), _shortages_before(checkpoints))
    while True:
        run = None
        try:
            run = begin(setup, seed, shortages, phases, stop, checkpoints)
            return _train(run, folder)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        LOG.warning("%s: seed %d: memory ran out; it starts again with what needs less",
                    setup.job.name, seed)  # fmt: skip
        if setup.job.world.size > 1:
            # The others wait for this one: the launcher starts all anew.
            mark_shortage()
            raise SystemExit(1)
        shortages += 1
        checkpoints.clear()
        lost, phases = sum(phases.seconds.values()), outputs.Phases()
        phases.seconds["lost"] = lost
        if run is not None:
            release(run)
        gc.collect()


def _shortages_before(checkpoints: Checkpoints) -> int:
    """Return how often memory ran out before the newest checkpoint, which was made with less."""
    path = checkpoints.latest()
    return int(progress.read_how(path)["shortages"]) if path else 0


def _train(run: Run, folder: Path) -> SeedResult:
    """Go on from the newest checkpoint, or from the start, to the end."""
    _resume(run)
    settings, job = run.setup.job.settings, run.setup.job
    points = samples.curve_epochs(settings["curve_epochs"], settings["epochs"])
    scores = None
    try:
        for epoch in range(run.progress.epoch, settings["epochs"] + 1):
            row = train_epoch(run, epoch)
            scores = _score_curve(run) if epoch in points else None
            _enter(run, epoch, row, scores)
            _report(run, epoch, points)
            run.stop.check(job.world)
            if run.checkpoints.due(_remaining(run)):
                _write_checkpoint(run)
        return finish(run, scores, folder)
    except Interrupted:
        if run.unspoilt and run.checkpoints.in_time():
            _write_checkpoint(run)
        raise


def _resume(run: Run) -> None:
    """Return to the newest checkpoint, if there is one that was made in the same way."""
    path = run.checkpoints.latest()
    if path is None:
        return
    if progress.read_how(path) != run.how:
        LOG.info("%s: its checkpoint was made in another way; it starts again", run.where)
        run.checkpoints.clear()
        return
    run.engine.load(path)
    run.progress = found = progress.load(path, run.setup.job.world)
    run.written = found.step
    found.resumed = (*found.resumed, found.step)
    for phase, seconds in found.seconds.items():
        run.phases.seconds[phase] = run.phases.seconds.get(phase, 0.0) + seconds
    LOG.info("%s: goes on after epoch %d, step %d", run.where, found.epoch - 1, found.step)


def _write_checkpoint(run: Run) -> None:
    if run.written == run.progress.step:
        return  # nothing was trained since
    with run.checkpoints.writing(run.progress.step) as folder:
        run.progress.seconds = dict(run.phases.seconds)
        progress.save(run.progress, run.how, folder, run.setup.job.world)
        run.engine.save(folder)
    run.written = run.progress.step


def _score_curve(run: Run) -> dict[str, Scores]:
    """Score the rows of the learning curve; the time is told apart from that of all rows."""
    with run.phases.measure("curve"):
        return score_sets(run, run.setup.curve)


def _enter(run: Run, epoch: int, row: pd.DataFrame, scores: dict[str, Scores] | None) -> None:
    """Close an epoch: enter its curve rows, note whether it is the best."""
    job, state = run.setup.job, run.progress
    state.curves.append(row)
    if scores is not None:
        count(run, scores, scores)
        state.curves += curve_rows(run, epoch, scores, run.setup.curve)
        correct = correct_in_domain(run, scores)
        if correct > state.best[0]:
            last = epoch == job.settings["epochs"]
            with run.phases.measure("keep"):
                student, sharded = run.engine.student, run.engine.sharded
                state.best_state = None if last else weights.take(student, sharded, job.world)
            state.best = (correct, epoch)
    state.epoch, state.done, state.counts = epoch + 1, 0, (0.0, 0.0, 0.0)


def _remaining(run: Run) -> float:
    """Return about how many seconds are left: of epochs, and of all rows of what is kept."""
    state, seconds = run.progress, run.phases.seconds
    train, curve = (seconds.get(phase, 0.0) for phase in ("train", "curve"))
    epochs = run.setup.job.settings["epochs"] + 1 - state.epoch
    rows = sum(len(each.rows) for each in run.setup.whole.values())
    passes = 1 if state.best_state is None else 2
    scoring = curve / state.scored * rows * passes if state.scored else 0.0
    return (train + curve) / (state.epoch - 1) * epochs + scoring


def _report(run: Run, epoch: int, points: list[int]) -> None:
    """Log a line now and then, and after the last epoch."""
    state, now = run.progress, time.monotonic()
    if epoch == points[-1] or now - run.reported >= PROGRESS:
        run.reported = now
        train, scoring = (run.phases.seconds.get(each, 0.0) for each in ("train", "curve"))
        LOG.info("%s: epoch %d of %d, step %d, loss %.4f, at best %d correct in domain; %.1f "
                 "steps/s, %.1f s scoring", run.where, epoch, points[-1], state.step,
                 state.last_loss, state.best[0], state.step / train, scoring)  # fmt: skip
