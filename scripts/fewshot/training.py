"""Fine-tuning: the one loop of all families, models and heads, scored after every epoch."""

import logging
import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from . import outputs, records
from .batches import Share, epoch_shares
from .engine import gathered, set_rate
from .errors import UserError
from .freezing import trainable_state, write_state
from .jobs import Job, SeedResult, read_job, run_seeds
from .preparation import Run, Setup, begin, load
from .scoring import Scores, score
from .student import parameter_facts

LOG = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""

HINT = "lower learning_rate in config/methods.yaml, or give the model another dtype"


def fine_tune(smk) -> None:
    """Train and score all seeds of one job, and write its outputs."""
    job = read_job(smk)
    run_seeds(job, lambda: _start(job))


def _start(job: Job) -> Callable[[int], SeedResult]:
    """Load what all seeds share; return the function that trains one."""
    phases = outputs.Phases()
    with phases.measure("load"):
        setup = load(job)
    # The first seed carries the time of what all share.
    clocks = iter([phases])
    return lambda seed: train_seed(setup, seed, next(clocks, None))


def train_seed(setup: Setup, seed: int, phases: outputs.Phases | None = None) -> SeedResult:
    """Train on the draw of `seed` from the base weights, scoring after each epoch.

    Row predictions are kept for the last epoch and for the one that is best in domain (the
    earliest of equals). Raises UserError where a loss or a score is not finite.
    """
    run = begin(setup, seed, phases or outputs.Phases())
    curves: list[pd.DataFrame] = []
    kept: dict[str, tuple[int, dict[str, Scores]]] = {}
    best = -1
    for epoch in range(1, setup.job.settings["epochs"] + 1):
        with run.phases.measure("train"):
            curves.append(_train_epoch(run, epoch))
        with run.phases.measure("score"):
            scores = _score_all(run, epoch)
            curves += _curves(run, epoch, scores)
        correct = _correct_in_domain(setup.job, scores)
        if correct > best:
            best, kept["best"] = correct, (epoch, scores)
        kept["last"] = (epoch, scores)
        _report(run, epoch, correct)
    return _finish(run, curves, dict(kept.values()))


def _train_epoch(run: Run, epoch: int) -> pd.DataFrame:
    """Pass over the rows once; return the epoch's row of the training curve.

    Loss and correct rows are those of the forward passes before each step, with dropout.
    """
    job, rows = run.setup.job, run.rows
    size = job.settings["batch_size"]
    total = job.settings["epochs"] * math.ceil(len(rows.labels) / size)
    counts = torch.zeros(3, dtype=torch.float64)
    run.engine.train()
    for share in epoch_shares(len(rows.labels), size, job.cell["task"], run.seed, epoch, job.world):
        set_rate(run.engine, rate(run.step, total, job.settings))
        loss, counted = _loss(run, share)
        run.step += 1
        _check_loss(run, epoch, loss.item())
        run.engine.backward(loss)
        run.engine.step()
        counts += counted
    loss_sum, correct, correct_vocabulary = job.world.sum(counts).tolist()
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
                "n": len(rows.labels),
                "correct": int(correct),
                "correct_vocabulary": int(correct_vocabulary),
                "mean_logprob": -loss_sum / len(rows.labels),
            }
        ],
        columns=records.CURVES.names,
    )


def rate(step: int, total: int, settings: dict) -> float:
    """Return the learning rate of a step (from 0): a linear rise over the warm-up, then constant.

    The warm-up's last step is the first with the full rate; no step has rate 0.
    """
    warmup = math.ceil(settings["warmup"] * total - 1e-9)
    return settings["learning_rate"] * min(1.0, (step + 1) / max(warmup, 1))


def _loss(run: Run, share: Share) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the share's loss and its counts: sum of losses, correct rows, correct tokens."""
    rows, targets = run.rows, torch.tensor(run.setup.targets)
    last, labels = rows.last[share.rows], rows.labels[share.rows]
    ids = rows.ids[share.rows, : int(last.max()) + 1]
    logits = run.engine(ids.to(run.device), last.to(run.device))
    gold = targets[labels].to(run.device)
    mean = functional.cross_entropy(logits, gold)
    counts = torch.zeros(3, dtype=torch.float64)
    if share.factor:
        words = logits.detach()[:, targets.to(run.device)].argmax(dim=-1).cpu()
        top = logits.detach().argmax(dim=-1) == gold
        counts += torch.tensor([mean.item() * len(labels), (words == labels).sum(), top.sum()])
    return mean * share.factor, counts


def _check_loss(run: Run, epoch: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"{run.where}: the loss is {loss} at epoch {epoch}, step {run.step}; the last finite "
            f"loss was {run.last_loss}; {HINT}"
        )
    run.last_loss = loss


def _score_all(run: Run, epoch: int) -> dict[str, Scores]:
    """Score every evaluation set; raises UserError for scores that are not finite."""
    setup, student, job = run.setup, run.engine.module, run.setup.job
    run.engine.eval()
    found = {}
    for name, prompts in setup.prompts.items():
        found[name] = score(
            student.model,
            prompts,
            batch_tokens=job.batch_tokens_on(run.device.type),
            head=student.head,
            world=job.world,
            sharded=job.zero_stage == 3,
        )
        run.splits += found[name].splits
        if not np.isfinite(found[name].logsumexp).all():
            raise UserError(
                f"{run.where}: scores of '{name}' are not finite after epoch {epoch}, step "
                f"{run.step}; the last finite loss was {run.last_loss}; {HINT}"
            )
    return found


def _curves(run: Run, epoch: int, scores: dict[str, Scores]) -> list[pd.DataFrame]:
    job = run.setup.job
    return [
        outputs.curve_frame(
            job.cell, run.seed, epoch, each.name, each.rows, scores[each.name], each.merge
        )
        for each in job.evaluation
    ]


def _correct_in_domain(job: Job, scores: dict[str, Scores]) -> int:
    """Return the rows of the task's own set whose most probable label word is gold."""
    own = job.evaluation[0]
    return int((scores[own.name].ranking.argmax(axis=1) == own.rows["label"].to_numpy()).sum())


def _report(run: Run, epoch: int, correct: int) -> None:
    """Log a line now and then, and after the last epoch."""
    epochs, now = run.setup.job.settings["epochs"], time.monotonic()
    if epoch == epochs or now - run.reported >= PROGRESS:
        run.reported = now
        train, scoring = (run.phases.seconds[each] for each in ("train", "score"))
        LOG.info("%s: epoch %d of %d, step %d, loss %.4f, %d correct in domain; %.1f steps/s, "
                 "%.1f s scoring", run.where, epoch, epochs, run.step, run.last_loss, correct,
                 run.step / train, scoring)  # fmt: skip


def _finish(run: Run, curves: list[pd.DataFrame], kept: dict[int, dict[str, Scores]]) -> SeedResult:
    """Return what is stored of the seed and let go of its engine."""
    job, student = run.setup.job, run.engine.module
    predictions = [
        outputs.prediction_frame(job.cell, run.seed, epoch, each.name, each.rows, scores[each.name])
        for epoch, scores in sorted(kept.items())
        for each in job.evaluation
    ]
    files = {}
    # Full weights are kept on request only: 60 GB per seed for a model of 30B parameters.
    if job.settings["family"] != "full" or job.settings["keep_weights"]:
        with gathered(student, job.zero_stage):
            state = trainable_state(student)
        about = {**job.cell, "seed": run.seed, "epoch": max(kept)}
        files = {f"seed{run.seed}.safetensors": lambda path: write_state(path, state, about)}
    facts = {
        **outputs.describe(student),
        "parameters": parameter_facts(run.setup.base),
        "steps": run.step,
        "splits": run.splits,
        "ties": {name: scores.ties for name, scores in kept[max(kept)].items()},
        "adapters": sorted(files),
    }
    run.engine.destroy()
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    return SeedResult(
        pd.concat(predictions, ignore_index=True),
        pd.concat(curves, ignore_index=True),
        facts,
        run.phases.seconds,
        files,
    )
