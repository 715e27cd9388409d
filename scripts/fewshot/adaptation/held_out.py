"""Held-out scores of the shots: learn from some rows of a draw as ever, and score the others.

A job has the cell, settings and seeds of an adaptation job. A seed's draw is cut into folds
(`data.folds`); in each the method learns from the rows that are left, which are the context in
their order or are trained on with the same settings and seed, and scores those that are held out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from .. import schemas
from ..data.evaluation_sets import EvaluationSet
from ..data.folds import HELD_OUT, Fold, folds_of
from .job import AdaptationJob, read_job
from .outputs import mark_epochs
from .seeds import SeedResult

OF_PROCESS = ("device", "parameters", "peak_memory_mib")
"""Facts of a seed that do not belong to one fold."""


def read_held_out_job(smk, uses_context: bool) -> AdaptationJob:
    """Read the inputs of a job that scores shots, as `read_job` does: without evaluation sets."""
    job = read_job(smk, uses_context)
    # As a setting, by which a state and a manifest are told from those of the evaluation sets.
    settings = {**job.settings, "cross_validation": smk.params.cross_validation}
    return replace(job, evaluation=(), settings=settings)


def seed_folds(job: AdaptationJob, seed: int) -> list[Fold]:
    """Return the folds of a seed's draw, stratified by the labels that are shown, as no one who has
    these rows knows others; but for "prequential", tasks that differ in order alone have the same.
    """
    how = job.settings["cross_validation"]
    return folds_of(job.shots[seed], how, len(job.labels), job.base, seed)


def fold_jobs(job: AdaptationJob, seed: int) -> Iterator[AdaptationJob]:
    """Yield the job of each fold: its shots are the rows that are learned from, its evaluation set
    those that are held out. Nothing that is trained is kept."""
    shots = job.shots[seed]
    settings = {**job.settings, "keep_weights": False, "curve_rows": "all"}
    for fold in seed_folds(job, seed):
        rows = shots.iloc[fold.held_out].reset_index(drop=True).assign(group=None, subset=None)
        learned = shots.iloc[fold.learned].reset_index(drop=True)
        yield replace(
            job,
            shots={seed: learned},
            evaluation=(
                EvaluationSet(
                    HELD_OUT, tuple(range(len(job.labels))), rows, label_names=job.labels
                ),
            ),
            settings=settings,
        )


def together(results: Sequence[SeedResult], folds: Sequence[Fold], name: str) -> SeedResult:
    """Return the results of a seed's folds as one, whose predictions are in the draw's order.

    Raises ValueError unless every held-out row has one prediction for each epoch.
    """
    facts = [{**result.facts, **_content_free(result)} for result in results]
    shared = {key: facts[0][key] for key in OF_PROCESS}
    shared["peak_memory_mib"] = max(each["peak_memory_mib"] for each in facts)
    each = [
        {key: fact[key] for key in fact if key not in OF_PROCESS}
        # Places in the draw: which predictions are behind which content-free inputs.
        | {"held_out": fold.held_out.tolist()}
        for fact, fold in zip(facts, folds, strict=True)
    ]
    phases = dict.fromkeys(phase for result in results for phase in result.seconds)
    return SeedResult(
        _predictions(results, folds, name),
        _curves([result.curves for result in results]),
        {**shared, "folds": each},
        {phase: sum(result.seconds.get(phase, 0.0) for result in results) for phase in phases},
    )


def _content_free(result: SeedResult) -> dict[str, dict]:
    return {"content_free_scoring": result.content_free} if result.content_free else {}


def _predictions(results: Sequence[SeedResult], folds: Sequence[Fold], name: str) -> pd.DataFrame:
    frames = []
    for result, fold in zip(results, folds, strict=True):
        frame, size = result.predictions, len(fold.held_out)
        for _, part in frame.groupby("epoch"):
            if len(part) != size:
                raise ValueError(f"{name}: {len(part)} predictions for {size} held-out rows")
            frames.append(part.assign(place=fold.held_out))
    whole = pd.concat(frames, ignore_index=True).sort_values(["epoch", "place"])
    right = whole.groupby("epoch")["correct"].sum()
    # Of the draw, not of a fold: that of equals which comes first, as elsewhere.
    whole = mark_epochs(whole, right.index.max(), right.idxmax())
    expected = np.sort(np.concatenate([fold.held_out for fold in folds]))
    for epoch, part in whole.groupby("epoch"):
        if not np.array_equal(part["place"], expected):
            raise ValueError(f"{name}: epoch {epoch}: not one prediction for each held-out row")
    return whole.drop(columns="place").reset_index(drop=True)


def _curves(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return counts (schemas.CURVES) added up over folds, and mean log-probabilities of all rows;
    those of "train" are over what each fold trained on."""
    whole = pd.concat(frames, ignore_index=True)
    whole["mean_logprob"] *= whole["n"]
    counts = ["n", "correct", "correct_vocabulary", "mean_logprob"]
    parts = ["group", "subset"]  # Which held-out rows have none of.
    keys = [name for name in schemas.CURVES.names if name not in (*counts, *parts)]
    # In the order of the epochs, the training loss of each first, as other curves have them.
    whole["held"] = whole["evaluation_set"] == HELD_OUT
    # What no fold knows stays unknown.
    summed = whole.groupby([*keys, "held"], dropna=False)[counts].sum(min_count=1).reset_index()
    summed = summed.sort_values(["epoch", "held", "label"], kind="stable", ignore_index=True)
    summed["mean_logprob"] /= summed["n"]
    return summed.assign(**dict.fromkeys(parts))[schemas.CURVES.names]
