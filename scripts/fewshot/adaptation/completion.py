"""The end of a seed: all rows are scored for the epochs that are kept, adapters are written."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from ..models.models import size_of
from ..scoring.scoring import Scores
from . import effort, outputs, weights
from .jobs import SeedResult
from .marking import count, curve_rows, score_sets
from .preparation import Run, release
from .student import parameter_facts

PROBES = 4
"""Rows of the draw on which stored parameters are compared with those in memory."""


def finish(run: Run, curve: Mapping[str, Scores] | None, folder: Path) -> SeedResult:
    """Return what is stored of the seed, and let go of its engine.

    `curve` are the last epoch's scores, which are those of all rows for sets small enough.
    """
    job, state = run.setup.job, run.progress
    with run.phases.measure("write"):
        files = _write_weights(run, folder)
    kept = _score_kept(run, curve or {})
    predictions = [
        outputs.prediction_frame(job.cell, run.seed, epoch, each.name, each.rows, scores[each.name])
        for epoch, scores in sorted(kept.items())
        for each in job.evaluation
    ]
    facts = _facts(run, kept[max(kept)], files)
    release(run)
    return SeedResult(
        pd.concat(predictions, ignore_index=True),
        pd.concat(state.curves, ignore_index=True),
        facts,
        run.phases.seconds,
        files,
    )


def _facts(run: Run, last: dict[str, Scores], files: dict[str, object]) -> dict[str, object]:
    """Return what the manifest tells of the seed; `last` are the scores of the last epoch."""
    setup, state = run.setup, run.progress
    facts = {
        **outputs.describe(run.engine.student),
        "parameters": parameter_facts(run.engine.student),
        "steps": state.step,
        "skipped_steps": state.skipped,
        "training": effort.training(
            run.rows.lengths, setup.job.settings["epochs"], setup.origin.tokens_ahead
        ),
        "kept_bytes": _trained_bytes(run),
        "scored_rows": state.scored,
        "scoring": {
            name: effort.reading(setup.whole[name].prompts, scores) for name, scores in last.items()
        },
        "splits": state.splits,
        "ties": {name: scores.ties for name, scores in last.items()},
        "placement": asdict(run.placement),
        "shortages": run.shortages,
        "resumed_after_steps": list(state.resumed),
        "adapters": sorted(files),
    }
    if "truncate" in setup.job.settings:
        facts["truncated"] = {**setup.truncated, "train": run.rows.truncated}
    return facts


def _trained_bytes(run: Run) -> int:
    """Return the size of the trained parameters, whether or not they are kept."""
    trained = (each for each in run.engine.student.parameters() if each.requires_grad)
    return sum(size_of(each) * each.element_size() for each in trained)


def _score_kept(run: Run, curve: Mapping[str, Scores]) -> dict[int, dict[str, Scores]]:
    """Return the scores of all rows after the last epoch and after the best one."""
    setup, state = run.setup, run.progress
    last, best = setup.job.settings["epochs"], state.best[1]
    known = {name: scores for name, scores in curve.items() if setup.curve[name].whole}
    kept = {last: _score_rest(run, last, known)}
    if best != last:
        run.unspoilt = False
        with run.phases.measure("keep"):
            weights.put(run.engine.student, state.best_state, run.engine.sharded, setup.job.world)
        kept[best] = _score_rest(run, best, {})
    return kept


def _score_rest(run: Run, epoch: int, known: dict[str, Scores]) -> dict[str, Scores]:
    """Score what is not known yet, and enter into the curves what was only sampled there."""
    sets = {name: scored for name, scored in run.setup.whole.items() if name not in known}
    with run.phases.measure("score"):
        scores = known | score_sets(run, sets)
    count(run, scores, sets)
    sampled = {name: scores[name] for name in sets if not run.setup.curve[name].whole}
    run.progress.curves += curve_rows(run, epoch, sampled, run.setup.whole)
    return {each.name: scores[each.name] for each in run.setup.job.evaluation}


def _write_weights(run: Run, folder: Path) -> dict[str, object]:
    """Write the trained parameters, and prove that what was written gives the same logits.

    Full weights are kept on request only: 60 GB a seed for a model of 30B parameters. Raises
    OSError where the stored ones differ.
    """
    job, student, sharded = run.setup.job, run.engine.student, run.engine.sharded
    if job.settings["family"] == "full" and not job.settings["keep_weights"]:
        return {}
    path = folder / f"seed{run.seed}.weights.partial" / f"seed{run.seed}.safetensors"
    state = weights.take(student, sharded, job.world)
    if job.world.rank == 0:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        about = {**job.cell, "seed": run.seed, "epoch": job.settings["epochs"]}
        weights.write(path, state, about)
    before = _probe(run)
    weights.wipe(student, sharded, job.world)
    stored = weights.read(path, student) if job.world.rank == 0 else {}
    weights.put(student, stored, sharded, job.world)
    if not torch.equal(_probe(run), before):
        raise OSError(f"{path}: what was written does not give the logits of what was trained")
    return {path.name: partial(os.replace, path)}


@torch.no_grad()
def _probe(run: Run) -> torch.Tensor:
    """Return the logits of a few training rows."""
    student, rows = run.engine.student.eval(), run.rows
    lengths = rows.lengths[:PROBES]
    ids = rows.ids[:PROBES, : int(lengths.max())].to(run.device)
    return student(ids, torch.from_numpy(lengths - 1).to(run.device))
