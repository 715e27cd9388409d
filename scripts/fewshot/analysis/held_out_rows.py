"""What the test half of a task's own evaluation rows says, where the others chose the best epoch.

Under the selection `halves.SELECTION` every method is judged in domain by the test half alone, so
that all are compared on the same rows; out of domain it is judged by all rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..data import halves
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from . import predictions
from .curves import by_part

APART = " (test half)"
"""What follows a task's name where its test half stands beside all of its rows; no task's name
ends so."""


def half_beside(sets: Sequence[EvaluationSet], task: str) -> EvaluationSet:
    """Return the test half of the task's own set under a name of its own; raises UserError as
    `halves.half_for_test`."""
    (own,) = (item for item in sets if item.name == task)
    return replace(halves.half_for_test(own), name=f"{task}{APART}")


def check_chooser(folder: str, settings: dict, *, by_half: bool) -> None:
    """Raise UserError where a run's best epoch was chosen by other rows than the study asks for;
    `settings` are the run's, which have no epochs where nothing was trained."""
    found = settings.get("best_epoch") == halves.SELECTION
    if "curve_epochs" in settings and found != by_half:
        told, asked = (halves.SELECTION if each else "in-domain" for each in (found, by_half))
        raise UserError(
            f"{Path(folder, 'manifest.json')}: best_epoch is {told}, and the study has {asked}; "
            "remove the folder"
        )


def half_counts(scores: pd.DataFrame, half: EvaluationSet) -> pd.DataFrame:
    """Return the counts by part of the rows of `half`, in the columns that `curves.read_curves`
    gives; `scores` are those of `predictions.score_predictions`."""
    frames = [
        half.parts.assign(
            **{key: row[key] for key in predictions.KEYS},
            sampled=False,
            correct=by_part(row["correct"], half),
            correct_vocabulary=row["vocabulary"],
            logprob=row["logprob"],
        )
        for row in scores[scores["evaluation_set"] == half.name].to_dict("records")
    ]
    return pd.concat(frames, ignore_index=True)


def judging_sets(
    metrics: pd.DataFrame, sets: Iterable[EvaluationSet]
) -> Iterator[tuple[EvaluationSet, bool]]:
    """Yield the sets that a task's arms are judged by, and whether that is the test half: each set
    and, of the task's own, the test half besides where its metrics count it (`counted_by`).

    Nothing where there are no metrics.
    """
    for item in sets if len(metrics) else ():
        yield item, False
        if item.name == metrics["task"].iloc[0] and len(counted_by(metrics, half=True)):
            yield halves.half_for_test(item), True


def counted_by(metrics: pd.DataFrame, *, half: bool) -> pd.DataFrame:
    """Return the metric rows that count the test half alone, or all others."""
    chosen = metrics["selection"].astype(object) == halves.SELECTION
    inside = metrics["domain"].astype(object) == "in"
    return metrics[(chosen & inside).to_numpy(dtype=bool) == half]
