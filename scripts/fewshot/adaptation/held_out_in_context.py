"""Held-out scores of the shots of methods that show them (see `held_out`)."""

from collections.abc import Callable
from dataclasses import replace

import torch

from ..prompts.window import OK, UNFIT
from . import in_context
from .frozen_model import load_frozen, shards_weights
from .held_out import fold_jobs, read_held_out_job, seed_folds, together
from .job import AdaptationJob, check_window
from .outputs import Phases
from .seeds import SeedResult, run_seeds


def cross_validate(smk) -> None:
    """Score the held-out rows of all seeds of one job, and write its outputs.

    Raises UserError where there are too few shots for that.
    """
    job = read_held_out_job(smk, uses_context=True)
    job = replace(job, status=check_folds(job))
    run_seeds(job, lambda _: start_in_context(job))


def check_folds(job: AdaptationJob) -> dict[int, str]:
    """Return seed → "ok" or "does not fit": also where a fold does not, whose contexts may hold
    other rows together than those of all shots."""
    status = dict(job.status)
    for seed in job.seeds:
        if status[seed] == OK:
            parts = (replace(part, seeds=(seed,)) for part in fold_jobs(job, seed))
            found = {check_window(part, uses_context=True)[seed] for part in parts}
            status[seed] = OK if found == {OK} else UNFIT
    return status


def start_in_context(job: AdaptationJob) -> Callable[[int], SeedResult]:
    """Load the model once and return the function that scores a seed's held-out rows."""
    phases = Phases()
    torch.set_num_threads(job.threads)
    with phases.measure("load"):
        sharded = shards_weights(job)
        model = load_frozen(job, sharded)
    # The first fold that is run carries the time of what all share.
    clocks = iter([phases])

    def run(seed: int) -> SeedResult:
        results = []
        for part in fold_jobs(job, seed):
            mine = next(clocks, None) or Phases()
            with mine.measure("tokenize"):
                prompts_of = in_context.tokenized(part)
            results.append(in_context.run_seed(part, seed, model, prompts_of, mine, sharded))
        return together(results, seed_folds(job, seed), job.name)

    return run
