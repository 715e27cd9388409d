"""In-context learning: the demonstrations are shown to the model, whose weights stay."""

import logging
from collections.abc import Callable

import pandas as pd
import torch

from ..models.load import load_model, pick_device
from ..models.tokenizer import load_tokenizer
from ..prompts.label_words import label_words
from ..prompts.tokenize import Queries
from ..scoring.score import score
from . import outputs
from .job import AdaptationJob
from .seeds import SeedResult

LOG = logging.getLogger(__name__)

EPOCH = 0
"""Nothing is trained."""


def start_in_context(job: AdaptationJob) -> Callable[[int], SeedResult]:
    """Load the model once and return the function that scores all evaluation sets for a seed.

    With k = 0 there are no demonstrations and prompts are bare queries. Several processes share
    the rows, each with the whole model, or its weights too. Raises UserError for label words that
    cannot be told apart.
    """
    phases = outputs.Phases()
    torch.set_num_threads(job.threads)
    with phases.measure("load"):
        tokenizer = load_tokenizer(job.model_manifest)
        sharded = _shards_weights(job)
        model = _load(job, sharded)
    queries = {}
    with phases.measure("tokenize"):
        for each in job.evaluation:
            texts = job.pattern.queries(each.rows)
            names = [f"{each.name}/{number}" for number in each.rows["id"]]
            words, alone = job.pattern.words, job.pattern.words_alone
            queries[each.name] = Queries(tokenizer, texts, names, words, alone)
            label_words(tokenizer, job.pattern, texts[0])
    LOG.info("%s: model loaded in %.1f s", job.name, phases.seconds["load"])

    def run(seed: int) -> SeedResult:
        nonlocal phases
        mine, phases = phases, outputs.Phases()  # loading counts for the first seed
        return _run_seed(job, seed, model, queries, mine, sharded)

    return run


def _shards_weights(job: AdaptationJob) -> bool:
    """Return whether the processes share the weights: at ZeRO stage 3, which the memory plan takes
    where a GPU cannot hold them all. Sharing only the rows is faster, and the scores are the same.
    """
    return job.placement.zero_stage == 3 and job.processes.size > 1


def _load(job: AdaptationJob, sharded: bool) -> torch.nn.Module:
    def load():
        return load_model(job.model_manifest, job.model, job.cell["model"])

    if not sharded:
        return load().to(pick_device())
    from ..models.deepspeed_zero import shard_model

    return shard_model(load, job.model["dtype"], job.processes)


def _run_seed(job, seed, model, queries, phases, sharded) -> SeedResult:
    context = job.pattern.context_of(job.shots[seed]) if job.shots else ""
    predictions, curves, facts = [], [], {}
    for each in job.evaluation:
        with phases.measure("tokenize"):
            prompts = queries[each.name].prompts(context)
        LOG.info(
            "seed %d, set '%s': %d rows behind a shared prefix of %d tokens",
            seed, each.name, len(prompts.ids), len(prompts.prefix),
        )  # fmt: skip
        with phases.measure("score"):
            scores = score(
                model, prompts, batch_tokens=job.batch_tokens_on(pick_device().type),
                processes=job.processes, sharded=sharded, rank_by=job.pattern.rank_by,
            )  # fmt: skip
        predictions.append(outputs.prediction_frame(job.cell, seed, EPOCH, each, scores))
        curves.append(outputs.curve_frame(job.cell, seed, EPOCH, each, scores))
        facts[each.name] = {
            "route": scores.route,
            **outputs.prompt_tokens(prompts, scores),
            "splits": scores.splits,
            "ties": scores.ties,
            "exact_ties": scores.exact_ties,
        }
    return SeedResult(
        pd.concat(predictions, ignore_index=True),
        pd.concat(curves, ignore_index=True),
        {**outputs.process_facts(model), "scoring": facts, "kept_bytes": len(context.encode())},
        phases.seconds,
    )
