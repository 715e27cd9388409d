"""The patterns that a method trains with, where these are others than the one it is scored with."""

from collections.abc import Sequence
from dataclasses import replace

from ..models.tokenizer import load_tokenizer
from ..prompts.chat import read_pattern
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Prompts
from ..prompts.training_window import check_training_patterns
from ..prompts.window import UNFIT, WindowChecker
from .job import AdaptationJob


def training_patterns(job: AdaptationJob, tokenizer) -> tuple[Pattern, ...]:
    """Return the patterns of which each visit of a row draws one: the job's own, unless the
    setting `train_patterns` has others, bound to the task."""
    told = job.settings.get("train_patterns")
    return tuple(read_pattern(each, tokenizer) for each in told) if told else (job.pattern,)


def check_training_window(job: AdaptationJob) -> AdaptationJob:
    """Return a job whose seeds' status also tells whether their shots fit the window with each of
    these patterns; raises UserError for label words that cannot be told apart."""
    settings, cell = job.settings, job.cell
    if "train_patterns" not in settings:
        return job
    tokenizer = load_tokenizer(job.model_manifest)
    patterns = {pattern.name: pattern for pattern in training_patterns(job, tokenizer)}
    shots = {("own", cell["k"], seed): drawn for seed, drawn in job.shots.items()}
    asked = {
        **{name: cell[name] for name in ("method", "pattern", "k")},
        "seeds": job.seeds,
        "draw": "own",
        "uses_context": False,
        "needs_words": settings["head"] == "language-model",
        "virtual_tokens": settings.get("virtual_tokens", 0),
        "truncate": settings.get("truncate"),
        "end_token": settings.get("end_token", False),
        "train_patterns": list(patterns),
    }
    checker = WindowChecker(tokenizer, patterns, {}, shots)
    found = check_training_patterns(checker, cell, [asked], job.model["window"])
    unfit = {key[-1]: UNFIT for key, row in found.items() if row["status"] == UNFIT}
    return replace(job, status={**job.status, **unfit})


def one_after_another(parts: Sequence[Prompts]) -> Prompts:
    """Return the prompts of some rows, made with one pattern after the other, as those of as many
    rows."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        ids=tuple(number for part in parts for number in part.ids),
        prefix=(),
        suffixes=[part.prefix + suffix for part in parts for suffix in part.suffixes],
        words=[words for part in parts for words in part.words],
    )
