"""In-context learning: the demonstrations are shown to the model, whose weights stay.

All shots stand in one context; or `shown` of them in each of several, over which the probabilities
of label words are averaged (ensemble of contexts: T-Few's "ensemble ICL" with one shot in each, Liu
et al. 2022, appendix F); or each row is shown those that are like it (`retrieved.py`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np
import pandas as pd
import torch

from ..data.evaluation_sets import EvaluationSet
from ..models.load import pick_device
from ..prompts.contexts import groups
from ..prompts.label_words import label_words
from ..prompts.tokenize import Prompts
from ..scoring.score import Scores, score
from . import outputs
from .frozen_model import load_frozen, shards_weights
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
        sharded = shards_weights(job)
        model = load_frozen(job, sharded)
    with phases.measure("tokenize"):
        prompts_of = tokenized(job)
    LOG.info("%s: model loaded in %.1f s", job.name, phases.seconds["load"])

    def run(seed: int) -> SeedResult:
        nonlocal phases
        mine, phases = phases, outputs.Phases()  # loading counts for the first seed
        return run_seed(job, seed, model, prompts_of, mine, sharded)

    return run


@dataclass(frozen=True)
class SeedPrompts:
    """How the rows of an evaluation set are read for one seed.

    `prompts` puts them behind context number 0 to `contexts` - 1. `kept_bytes` is what a user has
    to keep. `facts` are those of the seed for the manifest, and `of_set` those of a set by name.
    Inputs without content are scored too if `content_free`: where contexts are no row's own.
    """

    contexts: int
    prompts: Callable[[EvaluationSet, int], Prompts]
    kept_bytes: int
    content_free: bool = True
    facts: Mapping[str, object] = field(default_factory=dict)
    of_set: Mapping[str, dict] = field(default_factory=dict)


PromptsOfSeed = Callable[[AdaptationJob, int, torch.nn.Module, outputs.Phases, bool], SeedPrompts]
"""How the tokenized rows of a job are read behind the shots of a seed of it: a function of job,
seed, model, the phases that it is timed in, and whether weights are sharded."""


class SharedContexts:
    """Queries that are put behind the same contexts: one of all shots, or of `shown` each."""

    def __init__(self, job: AdaptationJob):
        self.queries, pattern = {}, job.pattern
        for evaluated in (*job.evaluation, job.content_free):
            if len(evaluated.rows):
                made = job.queries.of(pattern, evaluated.name, evaluated.rows)
                label_words(job.queries.tokenizer, pattern, made.texts[0])
                self.queries[evaluated.name] = made

    def of_seed(
        self,
        job: AdaptationJob,
        seed: int,
        model: torch.nn.Module,
        phases: outputs.Phases,
        sharded: bool,
    ) -> SeedPrompts:
        """Return how rows are read behind the contexts of a seed."""
        contexts = [job.pattern.context(())]
        if job.shots:
            cut = groups(job.shots[seed], job.settings.get("shown"))
            contexts = [job.pattern.context_of(rows) for rows in cut]
        return SeedPrompts(
            len(contexts),
            lambda item, number: self.queries[item.name].prompts(contexts[number]),
            sum(len(context.encode()) for context in contexts),
        )


def tokenized(job: AdaptationJob) -> PromptsOfSeed:
    """Tokenize the rows of all evaluation sets, to be read seed by seed; raises UserError for label
    words that cannot be told apart."""
    if "similarity" in job.settings:
        # Not imported above: an edit of it runs no job again that has the same context for all.
        return import_module(".retrieved", __package__).RetrievedShots(job).of_seed
    return SharedContexts(job).of_seed


def run_seed(
    job: AdaptationJob,
    seed: int,
    model: torch.nn.Module,
    prompts_of: PromptsOfSeed,
    phases: outputs.Phases,
    sharded: bool,
) -> SeedResult:
    """Score all evaluation sets behind the demonstrations of a seed."""
    shown = prompts_of(job, seed, model, phases, sharded)
    predictions, curves, facts = [], [], {}

    def scored(evaluated: EvaluationSet) -> tuple[Scores, dict]:
        scores, counts = [], []
        for number in range(shown.contexts):
            with phases.measure("tokenize"):
                prompts = shown.prompts(evaluated, number)
            which = f" (context {number + 1} of {shown.contexts})" if shown.contexts > 1 else ""
            LOG.info(
                "seed %d, set '%s': %d rows behind a shared prefix of %d tokens%s",
                seed, evaluated.name, len(evaluated.rows), len(prompts.prefix), which,
            )  # fmt: skip
            with phases.measure("score"):
                scores.append(score(
                    model, prompts, batch_tokens=job.batch_tokens_on(pick_device().type),
                    processes=job.processes, sharded=sharded, rank_by=job.pattern.rank_by,
                    characters=job.pattern.characters,
                ))  # fmt: skip
            counts.append(outputs.prompt_tokens(prompts, scores[-1]))
        return averaged(scores), _together(counts)

    for evaluated in job.evaluation:
        scores, counts = scored(evaluated)
        predictions.append(outputs.prediction_frame(job.cell, seed, EPOCH, evaluated, scores))
        curves.append(outputs.curve_frame(job.cell, seed, EPOCH, evaluated, scores))
        facts[evaluated.name] = {
            "route": scores.route,
            **counts,
            **shown.of_set.get(evaluated.name, {}),
            "splits": scores.splits,
            "ties": scores.ties,
            "exact_ties": scores.exact_ties,
        }
    without, read = {}, {}
    if shown.content_free and len(job.content_free.rows):
        without[EPOCH], read[str(EPOCH)] = scored(job.content_free)
    return SeedResult(
        outputs.mark_epochs(pd.concat(predictions, ignore_index=True), EPOCH, EPOCH),
        pd.concat(curves, ignore_index=True),
        {
            **outputs.process_facts(model),
            **shown.facts,
            "scoring": facts,
            **outputs.content_free_facts(job, seed, without),
            "kept_bytes": shown.kept_bytes,
        },
        phases.seconds,
        content_free=read,
    )


def averaged(scores: Sequence[Scores]) -> Scores:
    """Return the scores of rows that were read behind several contexts.

    A label word's log-probability is log((1/C) Σ_c exp(l_c)) over its own in C contexts, computed
    in double precision; the normaliser is the mean, and the most probable token counts as a label
    word's where it is one in most contexts. Raises ValueError for words that are ranked by the
    mean over their tokens and have other tokens in another context.
    """
    first = scores[0]
    if len(scores) == 1:
        return first
    if first.rank_by == "mean" and any((each.tokens != first.tokens).any() for each in scores):
        raise ValueError("label words have other tokens behind another context")
    logprobs = np.stack([each.logprobs for each in scores]).astype(np.float64)
    mean = np.logaddexp.reduce(logprobs, axis=0) - np.log(len(scores))
    known = {}
    if first.logsumexp is not None:  # With channel scoring both are.
        normaliser = np.mean([each.logsumexp for each in scores], axis=0, dtype=np.float64)
        most = np.mean([each.argmax_is_label for each in scores], axis=0) > 0.5
        known = {"logsumexp": normaliser.astype(np.float32), "argmax_is_label": most}
    return replace(
        first,
        **known,
        logprobs=mean.astype(np.float32),
        route=", ".join(dict.fromkeys(each.route for each in scores)),
        tokens_read=sum(each.tokens_read for each in scores),
        splits=sum(each.splits for each in scores),
    )


def _together(counts: list[dict[str, int]]) -> dict[str, object]:
    """Return the counts (`outputs.prompt_tokens`) of a set that was read behind each context: of
    several, those of each under `contexts`."""
    if len(counts) == 1:
        return counts[0]
    return {
        "rows": counts[0]["rows"],
        "longest_tokens": max(each["longest_tokens"] for each in counts),
        "tokens_read": sum(each["tokens_read"] for each in counts),
        "contexts": [
            {key: value for key, value in each.items() if key != "rows"} for each in counts
        ],
    }
