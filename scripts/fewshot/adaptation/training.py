"""Fine-tuning, top to bottom: job, seed, epoch, step, loss; scored in the same job.

One loop serves all method families, models and heads.
"""

import gc
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .. import schemas
from ..data import curve_sample
from ..errors import UserError
from ..methods.losses import Answers
from ..prompts.patterns import best_words
from ..runtime.processes import TOLD, mark_shortage, read_shortages
from ..runtime.resume import SeedStore
from ..runtime.stop import Interrupted, Stop
from ..scoring.reader import out_of_memory
from ..scoring.score import Scores
from . import outputs, weights
from .batches import MicroBatch, micro_batches
from .checkpoints import Checkpoints, load_progress, read_conditions, save_progress
from .distillation import teach
from .evaluate import (
    HINT,
    correct_in_domain,
    count_scored,
    curve_frames,
    finish_seed,
    prediction_frames,
    score_sets,
)
from .job import AdaptationJob, read_job
from .seeds import SeedResult, run_seeds
from .setup import SeedRun, Setup, load_setup, release_run, start_run

LOG = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""


def fine_tune(smk) -> None:
    """Train and score all seeds of one job, and write its outputs.

    Told to end, it writes a checkpoint, if that is worth while, and exits with status TOLD.
    """
    train_seeds(read_job(smk), _start)


def train_seeds(
    job: AdaptationJob,
    start: Callable[[AdaptationJob, Stop, SeedStore | None], Callable[[int], SeedResult]],
) -> None:
    """Run the seeds of a job that trains; `start` is told of the end, and loads what they share."""
    with Stop().watched() as stop:
        try:
            run_seeds(job, lambda store: start(job, stop, store))
        except Interrupted:
            LOG.warning("%s: told to end; started again, it goes on from here", job.name)
            raise SystemExit(TOLD) from None


def _start(job: AdaptationJob, stop: Stop, store: SeedStore | None) -> Callable[[int], SeedResult]:
    """Load what all seeds share; return the function that trains one."""
    phases = outputs.Phases()
    with phases.measure("load"):
        setup = load_setup(job)
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
    checkpoints = Checkpoints(folder, seed, setup.job.processes, check)
    shortages = max(read_shortages(), _shortages_before(checkpoints))
    while True:
        run = None
        try:
            run = start_run(setup, seed, shortages, phases, stop, checkpoints)
            return _train(run, folder)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        LOG.warning("%s: seed %d: memory ran out; it starts again with what needs less",
                    setup.job.name, seed)  # fmt: skip
        if setup.job.processes.size > 1:
            # The others wait for this one: the launcher starts all anew.
            mark_shortage()
            raise SystemExit(1)
        shortages += 1
        checkpoints.clear()
        lost, phases = sum(phases.seconds.values()), outputs.Phases()
        phases.seconds["lost"] = lost
        if run is not None:
            release_run(run)
        gc.collect()


def _shortages_before(checkpoints: Checkpoints) -> int:
    """Return how often memory ran out before the newest checkpoint, which was made with less."""
    path = checkpoints.latest()
    return int(read_conditions(path)["shortages"]) if path else 0


def _train(run: SeedRun, folder: Path) -> SeedResult:
    """Go on from the newest checkpoint, or from the start, to the end."""
    _resume(run)
    settings, job = run.setup.job.settings, run.setup.job
    points = curve_sample.curve_epochs(settings["curve_epochs"], settings["epochs"])
    scores = None
    try:
        if 0 in points and not run.progress.curves:  # Nothing is trained.
            scores = _score_curve(run)
            _enter(run, 0, [], scores)
        for epoch in range(run.progress.epoch, settings["epochs"] + 1):
            teach(run, epoch)
            row = train_epoch(run, epoch)
            scores = _score_curve(run) if epoch in points else None
            _enter(run, epoch, [row], scores)
            _report(run, epoch, points)
            run.stop.check(job.processes)
            if run.checkpoints.due(_remaining(run)):
                _write_checkpoint(run)
        return finish_seed(run, scores, folder)
    except Interrupted:
        if run.unspoilt and run.checkpoints.in_time():
            _write_checkpoint(run)
        raise


def _resume(run: SeedRun) -> None:
    """Return to the newest checkpoint, if there is one that was made in the same way."""
    path = run.checkpoints.latest()
    if path is None:
        return
    if read_conditions(path) != run.how:
        LOG.info("%s: its checkpoint was made in another way; it starts again", run.where)
        run.checkpoints.clear()
        return
    run.engine.load(path)
    run.progress = progress = load_progress(path, run.setup.job.processes)
    run.written = progress.step
    progress.resumed = (*progress.resumed, progress.step)
    for phase, seconds in progress.seconds.items():
        run.phases.seconds[phase] = run.phases.seconds.get(phase, 0.0) + seconds
    LOG.info("%s: goes on after epoch %d, step %d", run.where, progress.epoch - 1, progress.step)


def _write_checkpoint(run: SeedRun) -> None:
    if run.written == run.progress.step:
        return  # nothing was trained since
    with run.checkpoints.writing(run.progress.step) as folder:
        run.progress.seconds = dict(run.phases.seconds)
        save_progress(run.progress, run.how, folder, run.setup.job.processes)
        run.engine.save(folder)
    run.written = run.progress.step


def _score_curve(run: SeedRun) -> dict[str, Scores]:
    """Score the rows of the learning curve; the time is told apart from that of all rows."""
    with run.phases.measure("curve"):
        return score_sets(run, run.sets.curve)


def _enter(
    run: SeedRun, epoch: int, trained: list[pd.DataFrame], scores: dict[str, Scores] | None
) -> None:
    """Close an epoch: enter its curve rows, note whether it is the best."""
    job, state = run.setup.job, run.progress
    state.curves += trained
    if scores is not None:
        count_scored(run, scores, scores)
        state.curves += curve_frames(run, epoch, scores, run.sets.curve)
        if run.setup.keeps_curve:
            state.predictions += prediction_frames(run, epoch, scores)
        correct = correct_in_domain(run, scores)
        if correct > state.best[0]:
            # Nothing returns to it where all epochs of the curve are kept.
            stays = epoch == job.settings["epochs"] or run.setup.keeps_curve
            with run.phases.measure("keep"):
                trainable, sharded = run.engine.trainable, run.engine.sharded
                state.best_state = (
                    None if stays else weights.take_weights(trainable, sharded, job.processes)
                )
            state.best = (correct, epoch)
    state.epoch, state.done, state.counts = epoch + 1, 0, (0.0, 0.0, 0.0)


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


def train_epoch(run: SeedRun, epoch: int) -> pd.DataFrame:
    """Pass over the rows once; return the epoch's row of the training curve.

    Loss and correct rows are those of the forward passes before each step, with dropout; of the
    last epoch those of the rows that are left for it.
    """
    job, rows, state = run.setup.job, run.rows, run.progress
    order = run.visits.of_epoch(epoch)
    count = sum(map(len, order))
    run.engine.trainable.train()
    with run.phases.measure("train"):
        for batch in order[state.done :]:
            micro = micro_batches(batch, rows.read, run.placement.micro_tokens, job.processes)
            _step(run, epoch, micro, len(batch))
            run.stop.check(job.processes)
    loss_sum, correct, correct_vocabulary = state.counts
    return pd.DataFrame(
        [
            {
                **job.cell,
                "seed": run.seed,
                "epoch": epoch,
                "evaluation_set": "train",
                "group": None,
                "subset": None,
                "label": None,
                "sampled": False,
                "n": count,
                "correct": int(correct),
                "correct_vocabulary": int(correct_vocabulary),
                "mean_logprob": -loss_sum / count,
            }
        ],
        columns=schemas.CURVES.names,
    )


def _step(run: SeedRun, epoch: int, micro: list[MicroBatch], batch: int) -> None:
    """Compute the mean loss of a batch of that size by micro-batches, and update once."""
    state, processes = run.progress, run.setup.job.processes
    counts = torch.zeros(3, dtype=torch.float64, device=run.device)
    for micro_batch in micro:
        answers = _answers(run, micro_batch.rows)
        losses = run.setup.loss(answers)
        if run.setup.origin.penalty is not None:
            losses = losses + run.setup.origin.penalty(run.engine.trainable.model)
        counted = torch.from_numpy(micro_batch.counts).to(run.device)
        run.engine.backward((losses * counted).sum() / batch)
        right = _right(answers, run.rows.row_ids[micro_batch.rows])
        sums = torch.stack([losses.detach(), *right]).double()
        counts += (sums * counted).sum(dim=1)
    counts = processes.sum(counts.cpu()).tolist()
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


def rate(step: int, total: int, settings: dict) -> float:
    """Return the learning rate of a step (from 0): a linear rise over the warm-up, then constant
    or, by `schedule`, falling towards 0 on a line or on half a cosine.

    The warm-up's last step is the first with the full rate; no step has rate 0. Behind the warm-up
    it is that of transformers' `get_scheduler`, whose own rises from 0, a step later.
    """
    warmup = math.ceil(settings["warmup"] * total - 1e-9)
    return settings["learning_rate"] * _share(step, warmup, total, settings.get("schedule"))


def _share(step: int, warmup: int, total: int, schedule: str | None) -> float:
    """Return the share of the full rate that a step has."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "linear":
        return (total - step) / (total - warmup)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / (total - warmup))))
    return 1.0


def _answers(run: SeedRun, rows: np.ndarray) -> Answers:
    """Return what the model answers to some rows of the draw."""
    ids, places, tokens = (part.to(run.device) for part in run.rows.together(rows))
    labels, words = run.rows.labels[rows].to(run.device), run.rows.words
    words = None if words is None else words[rows].to(run.device)
    own = () if run.prompts.own is None else (_own_shots(run, rows),)
    logits = run.engine.forward(ids, places, *own)
    pattern, characters = run.setup.job.pattern, None
    if pattern.rank_by == "characters":
        characters = torch.tensor(pattern.characters, device=run.device)
    mean = run.setup.job.settings.get("answer_loss", "mean") == "mean"
    by_mean = pattern.rank_by == "mean"
    teacher = None
    if run.teacher is not None:
        teacher = run.teacher.of(torch.from_numpy(rows).to(run.device))
    return Answers(logits, tokens, places, ids, labels, words, mean, by_mean, characters, teacher)


def _own_shots(run: SeedRun, rows: np.ndarray) -> torch.Tensor:
    """Return the shot of the draw that each sequence is of, as often as a row is read."""
    own = np.repeat(run.prompts.own[rows], run.rows.lengths.shape[1])
    return torch.from_numpy(own).to(run.device)


@torch.no_grad()
def _right(answers: Answers, row_ids: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whether the highest-ranked label word of each row is gold [rows], and whether each
    token of the gold word is the top one; where only that word was read, the latter twice."""
    top = answers.of_gold((answers.logits.argmax(dim=-1) != answers.tokens).float()) == 0
    if not answers.ranked:
        return top, top
    best = torch.from_numpy(best_words(answers.scores().cpu().numpy().T, row_ids))
    return best.to(top.device) == answers.labels, top
