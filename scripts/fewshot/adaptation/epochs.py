"""The end of an epoch of training: its rows of the learning curve, and whether it is the best."""

import pandas as pd

from .. import schemas
from ..scoring.score import Scores
from . import weights
from .evaluate import (
    correct_in_domain,
    count_scored,
    curve_frames,
    prediction_frames,
    score_sets,
)
from .setup import SeedRun


def score_curve(run: SeedRun) -> dict[str, Scores]:
    """Score the rows of the learning curve; the time is told apart from that of all rows."""
    with run.phases.measure("curve"):
        return score_sets(run, run.sets.curve)


def enter(
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


def training_row(run: SeedRun, epoch: int) -> pd.DataFrame:
    """Return a seed's row of the training curve.

    Loss and correct rows are those of the forward passes before each step, with dropout; of the
    last epoch those of the rows that are left for it.
    """
    count = sum(map(len, run.visits.of_epoch(epoch)))
    loss_sum, correct, correct_vocabulary = run.progress.counts
    return pd.DataFrame(
        [
            {
                **run.setup.job.cell,
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
