"""The prompts of a job that trains: of the rows that it scores, and of those that it trains on."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet, new_rows
from ..data.halves import counted_on_curve
from ..errors import UserError
from ..methods.losses import LABEL_WORDS, VOCABULARY
from ..prompts.channel import queries_of
from ..prompts.contexts import others, trained_behind
from ..prompts.label_words import end_tokens
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Prompts, Queries, common_length, encode, truncate
from ..rng import generator
from .batches import one_after_another, query_prompts
from .job import AdaptationJob

LOG = logging.getLogger(__name__)

UNLABELLED = "unlabelled rows"


@dataclass(frozen=True)
class ScoredSet:
    """What is scored of one evaluation set: all its rows (`whole`), or those of the curve.

    `item` has these rows alone, whose prompts are `prompts`.
    """

    item: EvaluationSet
    prompts: Prompts
    whole: bool


@dataclass(frozen=True)
class ScoredSets:
    """What is scored by a job: `curve` and `whole` by evaluation set, `truncated` how many of its
    rows were longer than the method allows, if it does cut them, and inputs without content."""

    curve: dict[str, ScoredSet]
    whole: dict[str, ScoredSet]
    truncated: dict[str, int]
    content_free: ScoredSet

    @property
    def every(self) -> list[Prompts]:
        """Return all prompts."""
        sets = (*self.curve.values(), *self.whole.values(), self.content_free)
        return [each.prompts for each in sets]

    def without(self, count: int) -> "ScoredSets":
        """Return the sets whose prompts lack their first `count` tokens, which all share."""

        def cut(of: ScoredSet) -> ScoredSet:
            return replace(of, prompts=of.prompts.without(count))

        whole = {name: cut(of) for name, of in self.whole.items()}
        curve = {name: whole[name] if of.whole else cut(of) for name, of in self.curve.items()}
        return replace(self, curve=curve, whole=whole, content_free=cut(self.content_free))


@dataclass(frozen=True)
class SeedPrompts:
    """What one seed reads.

    `sets` are scored. `shots` are trained on, whose gold labels are `labels`, and of which `cut`
    were longer than the method allows. In front of all of them stands the learned context, if there
    is one: the tokens `ahead`, each of the shot `shot_of` [ahead], its place in the draw, or of
    none (-1); `own` [shots] are the shots that do not see these tokens. Copies of a row count as
    its first.

    In context distillation `shots` are rows without labels, which the teacher reads as `taught`;
    `unfit` more were drawn, whose prompts are longer than the window behind the context.
    `context_bytes` is the size of the context that a user has to keep beside what is trained.
    """

    sets: ScoredSets
    shots: Prompts
    labels: np.ndarray
    cut: int
    ahead: tuple[int, ...] = ()
    shot_of: np.ndarray | None = None
    own: np.ndarray | None = None
    taught: Prompts | None = None
    unfit: int = 0
    context_bytes: int = 0


class JobPrompts:
    """Tokenizes the rows of a job as its method reads them, behind `virtual_ids`."""

    def __init__(self, job: AdaptationJob, virtual_ids: tuple[int, ...]):
        self.job, self.virtual_ids = job, virtual_ids
        self.tokenizer = job.queries.tokenizer

    def of_seed(self, seed: int) -> SeedPrompts:
        """Return what a seed reads."""
        settings = self.job.settings
        if "unlabelled_rows" in settings:
            return self._distilled(seed)
        if trained_behind(settings) == "all":
            return self._with_learned_context(seed)
        context = self._context(seed) if settings.get("score_context") else ""
        sets = self.scored(context) if context else self.bare
        return SeedPrompts(sets, *self.of_shots(seed), context_bytes=len(context.encode()))

    def _context(self, seed: int) -> str:
        return self.job.pattern.context_of(self.job.shots[seed])

    def _with_learned_context(self, seed: int) -> SeedPrompts:
        """Return what a seed reads whose context of all shots is learned itself."""
        context = self._context(seed)
        sets, (shots, *facts) = self.scored(context), self.of_shots(seed, context)
        tokens, places = self._context_tokens(seed)
        # Nearly always all: a tokenizer may merge the last one with what follows.
        count = min(common_length(tokens, each.prefix) for each in (*sets.every, shots))
        ids = self.job.shots[seed]["id"].to_numpy()
        first = (ids[None] == ids[:, None]).argmax(axis=1)
        shot_of = np.append(first, -1)[places[:count]]
        return SeedPrompts(
            sets.without(count), shots.without(count), *facts, tokens[:count], shot_of, first
        )

    def _distilled(self, seed: int) -> SeedPrompts:
        """Return what a seed of context distillation reads.

        Raises UserError where there are fewer rows than it asks for, or where label words cannot be
        told apart.
        """
        context = self._context(seed)
        rows, unfit = self._rows_that_fit(seed, context)
        bare, taught = (self.of_rows(rows, UNLABELLED, text)[0] for text in ("", context))
        if self.job.settings["loss"] == VOCABULARY:
            # The position of the answer alone.
            bare, taught = bare.with_first_tokens(), taught.with_first_tokens()
            if any(len({*words}) < len(words) for words in taught.words):
                raise UserError(
                    f"methods.yaml: loss: {VOCABULARY} compares where an answer begins, and label "
                    f"words of pattern '{self.job.pattern.name}' begin alike; valid: {LABEL_WORDS}"
                )
        labels = np.zeros(len(rows), dtype=np.int64)  # The teacher's are not known yet.
        read = SeedPrompts(self.bare, bare, labels, 0, taught=taught, unfit=unfit)
        return self._compressed(seed, read) if "virtual_tokens" in self.job.settings else read

    def _rows_that_fit(self, seed: int, context: str) -> tuple[pd.DataFrame, int]:
        """Return the first unlabelled rows that fit the window behind the context, as many as are
        asked for, and how many were passed over; raises UserError where there are fewer."""
        job = self.job
        wanted, window = job.settings["unlabelled_rows"], job.model["window"]
        pool, fit, read = unlabelled_rows(job, seed), [], 0
        while len(fit) < wanted and read < len(pool):
            some = pool.iloc[read : read + wanted]
            prompts, _ = self.of_rows(some, UNLABELLED, context)
            fit += (read + np.flatnonzero(np.array(prompts.lengths) <= window)).tolist()
            read += len(some)
        if len(fit) < wanted:
            raise UserError(
                f"methods.yaml: unlabelled_rows: {wanted} asked for, but task '{job.base}' has "
                f"{len(fit)} training rows that are neither shots nor evaluation rows and fit the "
                f"window of {window} tokens behind the context; valid: {len(fit)} at most"
            )
        unfit = fit[wanted - 1] + 1 - wanted
        if unfit:
            LOG.info("%s: seed %d: %d unlabelled rows passed over, which do not fit the window "
                     "behind the context", job.name, seed, unfit)  # fmt: skip
        return pool.iloc[fit[:wanted]], unfit

    def _compressed(self, seed: int, read: SeedPrompts) -> SeedPrompts:
        """Return what is read where `virtual_tokens` positions stand in the place of the context:
        rows go on from there as they do behind all of it. Raises UserError where it is shorter."""
        sets, (tokens, _) = self.scored(self._context(seed)), self._context_tokens(seed)
        count = min(common_length(tokens, each.prefix) for each in (*sets.every, read.taught))
        kept = self.job.settings["virtual_tokens"]
        if count < kept:
            raise UserError(
                f"methods.yaml: virtual_tokens: {kept} are more than the {count} tokens of the "
                f"context of seed {seed}; valid: {count} at most"
            )
        return replace(
            read, sets=sets.without(count), shots=read.taught.without(count), ahead=tokens[:kept]
        )

    def _context_tokens(self, seed: int) -> tuple[tuple[int, ...], np.ndarray]:
        """Return the tokens of the context of all shots, and the place in the draw of the shot that
        each is of; -1: none."""
        pattern, shots = self.job.pattern, self.job.shots[seed]
        texts = [pattern.context_of(shots.iloc[:end]) for end in range(len(shots) + 1)]
        encoded = [encode(self.tokenizer, [each], special=pattern.adds_special) for each in texts]
        ends = np.maximum.accumulate([len(tokens) for (tokens,) in encoded])
        (whole,) = encoded[-1]
        return whole, np.searchsorted(ends, np.arange(ends[-1]), side="right") - 1

    @cached_property
    def bare(self) -> ScoredSets:
        """Return what is scored without a context."""
        return self.scored()

    def scored(self, context: str = "") -> ScoredSets:
        """Return the prompts of all that is scored, behind `context`."""
        whole, curve, truncated = {}, {}, {}
        counted = counted_on_curve(self.job.evaluation, self.job.settings)
        for item in self.job.evaluation:
            prompts, truncated[item.name] = self._of_set(item, f"set '{item.name}'", context)
            curve[item.name] = whole[item.name] = ScoredSet(item, prompts, True)
            sample = counted[item.name]
            if sample is not item:
                places = np.flatnonzero(item.rows["id"].isin(sample.rows["id"]))
                curve[item.name] = ScoredSet(sample, prompts.of_rows(places), False)
        item = self.job.content_free
        prompts, _ = self._of_set(item, "inputs without content", context)
        return ScoredSets(curve, whole, truncated, ScoredSet(item, prompts, True))

    def of_shots(self, seed: int, context: str = "") -> tuple[Prompts, np.ndarray, int]:
        """Return the prompts of a draw, with one pattern after the other if there are several, the
        rows' labels, and how many of them the pattern cut that cuts most.

        They stand behind `context` or, where the method is trained so, each behind the others.
        """
        job, shots, where = self.job, self.job.shots[seed], f"shots of seed {seed}"
        patterns = job.train_patterns or (job.pattern,)
        if job.settings.get("train_context"):
            parts = [self._behind_others(shots, where, pattern) for pattern in patterns]
        else:
            parts = [self.of_rows(shots, where, context, pattern) for pattern in patterns]
        prompts, cut = zip(*parts, strict=True)
        labels = np.tile(shots["label"].to_numpy(), len(parts))
        return one_after_another(prompts), labels, max(cut)

    def of_rows(
        self, rows: pd.DataFrame, where: str, context: str = "", pattern: Pattern | None = None
    ) -> tuple[Prompts, int]:
        """Return the prompts of rows behind `context`, with a pattern or with the job's own, cut
        where the method cuts them, and how many were; `where` names the rows."""
        pattern, ids = pattern or self.job.pattern, rows["id"].tolist()
        queries = queries_of(self.tokenizer, pattern, rows, ids, not self._classes)
        return self._prompts(queries, pattern, where, context)

    def _of_set(self, item: EvaluationSet, where: str, context: str) -> tuple[Prompts, int]:
        """Return what `of_rows` does, for all rows of an evaluation set."""
        pattern = self.job.pattern
        queries = self.job.queries.of(pattern, item.name, item.rows, not self._classes)
        return self._prompts(queries, pattern, where, context)

    def _prompts(
        self, queries: Queries, pattern: Pattern, where: str, context: str
    ) -> tuple[Prompts, int]:
        """Return the prompts of queries, cut where the method cuts them, and how many were."""
        settings = self.job.settings
        end = end_tokens(self.tokenizer, settings, pattern)
        prompts = query_prompts(queries, pattern, self.virtual_ids, end, self._classes, context)
        limit = settings.get("truncate")
        return truncate(prompts, limit and limit + len(self.virtual_ids), where)

    @property
    def _classes(self) -> int:
        """Return the classes of the method's head; 0 where it reads label words."""
        return len(self.job.labels) if self.job.settings["head"] == "classification" else 0

    def _behind_others(
        self, shots: pd.DataFrame, where: str, pattern: Pattern
    ) -> tuple[Prompts, int]:
        """Return the prompts of shots, each behind the others of the draw in their order."""
        parts = [
            self.of_rows(shots.iloc[[row]], where, pattern.context_of(others(shots, row)), pattern)
            for row in range(len(shots))
        ]
        return one_after_another([prompts for prompts, _ in parts]), 0


def unlabelled_rows(job: AdaptationJob, seed: int) -> pd.DataFrame:
    """Return the training rows that are neither shots of a seed nor have the texts of one or of an
    evaluation row, in an order drawn by task and seed: the same whatever the shots are."""
    order = generator("unlabelled", job.base, seed).permutation(len(job.train))
    rows, shots = job.train.iloc[order], job.shots[seed]
    rows = rows[~rows["id"].isin(shots["id"]).to_numpy()]
    return new_rows(rows, [shots, *(item.rows for item in job.evaluation)])
