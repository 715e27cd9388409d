"""Context distillation: the model behind the shots teaches itself to answer without them.

Of rows without labels the model answers each behind all k shots: as in-context learning does on the
same draw, before anything is trained. Training brings its answers to the bare rows close to these
(Askell et al. 2021, KL(p0(x | C) || p(x)) over texts; Snell et al. 2022). Only answers are compared
here, at the position where one is expected. In each further round the teacher is the student that
the round before has trained, behind the same shots; within a round it is frozen.
"""

import logging
from collections import Counter

import numpy as np
import torch

from ..methods.losses import VOCABULARY, Teacher
from ..models.parts import without_prefix
from ..prompts.patterns import best_words, ranking
from ..scoring.score import score
from ..scoring.top_tokens import top_tokens
from . import outputs
from .setup import SeedRun, read_rows

LOG = logging.getLogger(__name__)

TOP = 50
"""Most probable tokens that are kept of what the teacher answers (Askell et al. 2021); all others
count as one."""


def teach(run: SeedRun, epoch: int) -> None:
    """Let the model of the epoch's round say what the rows' answers should be, once in a round.

    Raises Interrupted where the process is to end.
    """
    if run.prompts.taught is None:
        return
    state, number = run.progress, round_of(epoch, run.setup.job.settings)
    if state.taught != number:
        # A prefix that learns the context is the student's: the teacher reads the context itself.
        with run.phases.measure("teach"), without_prefix(run.engine.trainable.model):
            state.teacher, fact = _answers(run)
        state.taught = number
        state.rounds.append({**fact, "epoch": epoch})
        told = ", ".join(f"{label}: {count}" for label, count in fact["answered"].items())
        LOG.info("%s: round %d: the teacher's answers by label: %s", run.where, number, told)
    elif run.teacher is not None:
        return  # Else training goes on from a checkpoint, which has the answers.
    labels = state.teacher["labels"].numpy()
    run.rows = read_rows(run.setup.job, run.prompts.shots, labels, run.ahead)
    run.teacher = Teacher(
        state.teacher["logprobs"].to(run.device),
        run.setup.job.settings["temperature"],
        state.teacher["tokens"].to(run.device) if "tokens" in state.teacher else None,
    )


def round_of(epoch: int, settings: dict) -> int:
    """Return the round of an epoch, both from 1: rounds have as many epochs each, or one more."""
    return 1 + (epoch - 1) * settings["rounds"] // settings["epochs"]


def _answers(run: SeedRun) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Return what the model answers to the rows behind the context, and the facts of it.

    `logprobs` [rows, choices] are those of label words, or of the tokens `tokens` [rows, choices];
    `labels` [rows] are the label words that rank highest.
    """
    job, trained, prompts = run.setup.job, run.engine.trainable, run.prompts.taught
    read = {
        "batch_tokens": job.batch_tokens_on(run.device.type),
        "processes": job.processes,
        "sharded": run.engine.sharded,
        "pause": lambda: run.stop.check(job.processes),
    }
    if job.settings["loss"] == VOCABULARY:
        found = top_tokens(trained.model, prompts, TOP, job.settings["temperature"], **read)
        kept = {"logprobs": found.logprobs, "tokens": found.tokens}
        # Which stand for the label words: ranked as these are, by one token each.
        one, by = np.ones(found.words.shape), job.pattern.rank_by
        ranks = ranking(found.words, one, by, job.pattern.characters)
        labels = best_words(ranks.T, np.array(prompts.ids))
    else:
        found = score(
            trained.model, prompts, rank_by=job.pattern.rank_by,
            characters=job.pattern.characters, **read,
        )  # fmt: skip
        kept = {"logprobs": found.ranking.astype(np.float32)}
        labels = found.best_words(np.array(prompts.ids))
    kept["labels"] = labels.astype(np.int64)
    counts = Counter(labels.tolist())
    answers = {str(label): counts[label] for label in range(len(job.labels))}
    facts = {**outputs.prompt_tokens(prompts, found), "answered": answers}
    return {
        name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in kept.items()
    }, facts
