"""Scores of a model in training: of the curve's rows, and of all rows of what is kept."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ..errors import UserError
from ..scoring.scoring import Scores, score
from . import outputs
from .preparation import Run, Scored

HINT = "lower learning_rate in methods.yaml, or give the model another dtype"


def score_sets(run: Run, sets: Mapping[str, Scored]) -> dict[str, Scores]:
    """Score evaluation sets by name.

    Raises UserError for scores that are not finite, Interrupted where the process is to end.
    """
    job, student = run.setup.job, run.engine.student
    found = {}
    for name, scored in sets.items():
        found[name] = score(
            student.model,
            scored.prompts,
            batch_tokens=job.batch_tokens_on(run.device.type),
            head=student.head,
            world=job.world,
            sharded=run.engine.sharded,
            pause=lambda: run.stop.check(job.world),
            way=run.ways[name] if scored is run.setup.curve[name] else None,
        )
        if not np.isfinite(found[name].logsumexp).all():
            raise UserError(
                f"{run.where}: scores of '{name}' are not finite after step {run.progress.step}; "
                f"the last finite loss was {run.progress.last_loss}; {HINT}"
            )
    return found


def count(run: Run, scores: Mapping[str, Scores], names: Iterable[str]) -> None:
    """Add up the rows and halved batches of scores that are entered."""
    for name in names:
        run.progress.scored += len(scores[name].logprobs)
        run.progress.splits += scores[name].splits


def curve_rows(
    run: Run, epoch: int, scores: Mapping[str, Scores], sets: Mapping[str, Scored]
) -> list[pd.DataFrame]:
    """Return the rows of the curves for what was scored of `sets`."""
    job = run.setup.job
    return [
        outputs.curve_frame(
            job.cell, run.seed, epoch, each.name, of.rows, scores[each.name], each.merge,
            sampled=not of.whole, parts=of.parts,
        )
        for each, of in ((each, sets[each.name]) for each in job.evaluation if each.name in scores)
    ]  # fmt: skip


def correct_in_domain(run: Run, scores: Mapping[str, Scores]) -> int:
    """Return the curve's rows of the task's own set whose most probable label word is gold."""
    name = run.setup.job.evaluation[0].name
    gold = run.setup.curve[name].rows["label"].to_numpy()
    return int((scores[name].ranking.argmax(axis=1) == gold).sum())
