"""Score a model in training: the learning curve, and all rows of the epochs that are kept.

At the end of a seed adapters are written, and read back to prove that they give the same logits.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..errors import UserError
from ..models.parts import tokens_ahead
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Prompts
from ..runtime import peaks
from ..runtime.stop import Interrupted
from ..scoring.routes import ReadingPlan
from ..scoring.score import Scores, score
from . import outputs, weights
from .job_prompts import ScoredSet
from .seeds import SeedResult
from .setup import SeedRun, release_run
from .trainable_model import parameter_facts
from .visits import training_tokens

HINT = "lower learning_rate in methods.yaml, or give the model another dtype"


def score_sets(run: SeedRun, sets: Mapping[str, ScoredSet]) -> dict[str, Scores]:
    """Score evaluation sets by name.

    Raises UserError for scores that are not finite, Interrupted where the process is to end.
    """
    head, pattern = run.engine.trainable.head, run.setup.job.pattern
    return {
        name: _scored(
            *(run, name, scored.prompts, pattern, head),
            run.plans[name] if scored is run.sets.curve.get(name) else None,
        )
        for name, scored in sets.items()
    }


def _scored(
    run: SeedRun,
    name: str,
    prompts: Prompts,
    pattern: Pattern | None = None,
    head: torch.nn.Module | None = None,
    plan: ReadingPlan | None = None,
) -> Scores:
    """Score the prompts of what is called `name`, whose label words rank as a pattern says, by the
    readout over the vocabulary unless there is a `head`."""
    job = run.setup.job
    ranked = {"rank_by": pattern.rank_by, "characters": pattern.characters} if pattern else {}
    scores = score(
        run.engine.trainable.model,
        prompts,
        batch_tokens=job.batch_tokens_on(run.device.type),
        head=head,
        processes=job.processes,
        sharded=run.engine.sharded,
        pause=lambda: run.stop.check(job.processes),
        plan=plan,
        **ranked,
    )
    if not np.isfinite(scores.logsumexp).all():
        raise UserError(
            f"{run.where}: scores of '{name}' are not finite after step {run.progress.step}; "
            f"the last finite loss was {run.progress.last_loss}; {HINT}"
        )
    return scores


def count_scored(run: SeedRun, scores: Mapping[str, Scores], names: Iterable[str]) -> None:
    """Add up the rows and halved batches of scores that are entered."""
    for name in names:
        run.progress.scored += len(scores[name].logprobs)
        run.progress.splits += scores[name].splits


def curve_frames(
    run: SeedRun, epoch: int, scores: Mapping[str, Scores], sets: Mapping[str, ScoredSet]
) -> list[pd.DataFrame]:
    """Return the rows of the curves for what was scored of `sets`."""
    job = run.setup.job
    return [
        outputs.curve_frame(
            job.cell, run.seed, epoch, scored.item, scores[name], sampled=not scored.whole
        )
        for name, scored in sets.items()
        if name in scores
    ]


def prediction_frames(run: SeedRun, epoch: int, scores: Mapping[str, Scores]) -> list[pd.DataFrame]:
    """Return the row predictions of an epoch, for each evaluation set of the job."""
    job = run.setup.job
    return [
        outputs.prediction_frame(job.cell, run.seed, epoch, item, scores[item.name])
        for item in job.evaluation
    ]


def correct_in_domain(run: SeedRun, scores: Mapping[str, Scores]) -> int:
    """Return the curve's rows of the task's own set whose most probable label word is gold."""
    name = run.setup.job.evaluation[0].name
    rows = run.sets.curve[name].item.rows
    best = scores[name].best_words(rows["id"].to_numpy())
    return int((best == rows["label"].to_numpy()).sum())


PROBES = 4
"""Rows of the draw on which stored parameters are compared with those in memory."""


def finish_seed(run: SeedRun, curve: Mapping[str, Scores] | None, folder: Path) -> SeedResult:
    """Return what is stored of the seed, and let go of its engine.

    `curve` are the last epoch's scores, which are those of all rows for sets small enough.
    """
    job, state = run.setup.job, run.progress
    with run.phases.measure("write"):
        files = _write_weights(run, folder)
    with _undone_if_interrupted(run):
        kept, content_free = _score_last(run, curve or {})
        elsewhere = _score_elsewhere(run)
        _score_best(run, kept, content_free)
    predictions = state.predictions or [
        frame
        for epoch, scores in sorted(kept.items())
        for frame in prediction_frames(run, epoch, scores)
    ]
    facts = _facts(run, kept[max(kept)], files)
    facts |= outputs.content_free_facts(job, run.seed, content_free)
    release_run(run)
    whole = pd.concat(predictions, ignore_index=True)
    return SeedResult(
        outputs.mark_epochs(whole, job.settings["epochs"], state.best[1]),
        pd.concat(state.curves, ignore_index=True),
        facts,
        run.phases.seconds,
        files,
        elsewhere,
        {
            str(epoch): outputs.prompt_tokens(run.sets.content_free.prompts, scores)
            for epoch, scores in sorted(content_free.items())
        },
    )


def _score_elsewhere(run: SeedRun) -> pd.DataFrame | None:
    """Return what a study measures outside the task, with the weights of the last epoch: before the
    best ones may take their place."""
    job, trainable = run.setup.job, run.engine.trainable
    if job.elsewhere is None:
        return None
    # By name, as `job` reads it.
    forgetting = import_module(".forgetting", __package__)
    mode = forgetting.ReadingMode(
        run.setup.prompts.virtual_ids, tokens_ahead(trainable.model), trainable.head is None
    )
    with run.phases.measure("forgetting"), peaks.aside(run.device):
        return job.elsewhere.measure(job.cell, [run.seed], mode, partial(_scored, run))


@contextmanager
def _undone_if_interrupted(run: SeedRun) -> Iterator[None]:
    """Leave the seed as it was after its last step where the process is to end within.

    What was scored is scored again. The weights of that step, where others may take their place,
    are kept for seeds that are trained together, whose checkpoint has all that are not finished.
    """
    state, trainable = run.progress, run.engine.trainable
    before = list(state.curves), state.scored, state.splits
    changes = len(run.together) > 1 and not run.setup.keeps_curve
    last = weights.take_weights(trainable) if changes else None
    try:
        yield
    except Interrupted:
        state.curves, state.scored, state.splits = before
        if last is not None:
            weights.put_weights(trainable, last)
            run.unspoilt = True
        raise


def _facts(run: SeedRun, last: dict[str, Scores], files: dict[str, object]) -> dict[str, object]:
    """Return what the manifest tells of the seed; `last` are the scores of the last epoch."""
    setup, state = run.setup, run.progress
    facts = {
        **outputs.process_facts(run.engine.trainable),
        "parameters": parameter_facts(run.engine.trainable),
        "steps": state.step,
        "skipped_steps": state.skipped,
        "training": training_tokens(run.rows, run.visits, run.ahead),
        "kept_bytes": weights.trained_bytes(run.engine.trainable) + run.prompts.context_bytes,
        "scored_rows": state.scored,
        "scoring": {
            name: {
                **outputs.prompt_tokens(run.sets.whole[name].prompts, scores),
                "exact_ties": scores.exact_ties,
            }
            for name, scores in last.items()
        },
        "splits": state.splits,
        "ties": {name: scores.ties for name, scores in last.items()},
        "placement": asdict(run.placement),
        "shortages": run.shortages,
        "together": list(run.together),
        "resumed_after_steps": list(state.resumed),
        "adapters": sorted(files),
        **({"forgetting": setup.job.elsewhere.facts} if setup.job.elsewhere else {}),
    }
    if state.rounds:
        facts["distillation"] = {"unfit_rows": run.prompts.unfit, "rounds": state.rounds}
    if "truncate" in setup.job.settings:
        facts["truncated"] = {**run.sets.truncated, "train": run.rows.truncated}
    return facts


def _score_last(
    run: SeedRun, curve: Mapping[str, Scores]
) -> tuple[dict[int, dict[str, Scores]], dict[int, Scores]]:
    """Return by epoch the scores of all rows, and those of inputs without content: of the last."""
    last = run.setup.job.settings["epochs"]
    from_curve = {name: scores for name, scores in curve.items() if run.sets.curve[name].whole}
    return {last: _score_rest(run, last, from_curve)}, {last: _score_content_free(run)}


def _score_best(
    run: SeedRun, kept: dict[int, dict[str, Scores]], content_free: dict[int, Scores]
) -> None:
    """Enter the scores after the best epoch, unless it is the last or the curve keeps all epochs'
    predictions; its weights take the place of the last ones."""
    setup, state = run.setup, run.progress
    best = state.best[1]
    if best not in kept and not setup.keeps_curve:
        run.unspoilt = False
        with run.phases.measure("keep"):
            weights.put_weights(
                run.engine.trainable, state.best_state, run.engine.sharded, setup.job.processes
            )
        kept[best] = _score_rest(run, best, {})
        content_free[best] = _score_content_free(run)


def _score_rest(run: SeedRun, epoch: int, from_curve: dict[str, Scores]) -> dict[str, Scores]:
    """Score what is not known yet, and enter into the curves what was only sampled there."""
    sets = {name: scored for name, scored in run.sets.whole.items() if name not in from_curve}
    with run.phases.measure("score"):
        scores = from_curve | score_sets(run, sets)
    count_scored(run, scores, sets)
    sampled = {name: scores[name] for name in sets if not run.sets.curve[name].whole}
    run.progress.curves += curve_frames(run, epoch, sampled, run.sets.whole)
    return {evaluated.name: scores[evaluated.name] for evaluated in run.setup.job.evaluation}


def _score_content_free(run: SeedRun) -> Scores:
    scored = run.sets.content_free
    with run.phases.measure("score"):
        return score_sets(run, {scored.item.name: scored})[scored.item.name]


def _write_weights(run: SeedRun, folder: Path) -> dict[str, object]:
    """Write the trained parameters, and prove that what was written gives the same logits.

    Full weights are kept on request only: 60 GB a seed for a model of 30B parameters. Raises
    OSError where the stored ones differ.
    """
    job, trainable, sharded = run.setup.job, run.engine.trainable, run.engine.sharded
    if not job.settings.get("keep_weights", True):
        return {}
    path = folder / f"seed{run.seed}.weights.partial" / f"seed{run.seed}.safetensors"
    state = weights.take_weights(trainable, sharded, job.processes)
    if job.processes.rank == 0:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        about = {**job.cell, "seed": run.seed, "epoch": job.settings["epochs"]}
        weights.write_weights(path, state, about)
    before = _probe(run)
    weights.wipe_weights(trainable, sharded, job.processes)
    stored = weights.read_weights(path, trainable) if job.processes.rank == 0 else {}
    weights.put_weights(trainable, stored, sharded, job.processes)
    if not torch.equal(_probe(run), before):
        raise OSError(f"{path}: what was written does not give the logits of what was trained")
    return {path.name: partial(os.replace, path)}


@torch.no_grad()
def _probe(run: SeedRun) -> torch.Tensor:
    """Return the logits of a few training rows."""
    trainable, rows = run.engine.trainable.eval(), run.rows
    ids, places, _ = rows.together(np.arange(len(rows.labels))[:PROBES])
    return trainable(ids.to(run.device), places.to(run.device))
