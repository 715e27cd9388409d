"""Fine-tuning against in-context learning: every pair of arms, every test, corrected by family."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from ..rng import generator
from . import statistics_schemas, stats
from .arms import Arms, Bootstrap, answers_of, arms_of, bootstrap_of, seeds_status
from .held_out_rows import counted_by, judging_sets
from .metrics import ACCURACIES
from .pairs import SAME_MODEL, SIDE, pairs_of
from .titles import OWN_METRICS

SIDES = ("arm", "reference")
PAIRED = ["p_paired", "t_low", "t_high", "p_permutation", "floor_permutation"]
IMPROVEMENT = ["improvement", "improvement_low", "improvement_high"]
CROSSED = ["error", "df", "draw_part", "row_part", "both_part"]
BOOTSTRAP = ["bootstrap_low", "bootstrap_high", "p_bootstrap"]
SCORES = (*ACCURACIES, "roc_area")
"""What is compared. The area under the ROC curve counts no answers: it has tests over seeds only.
"""


def compare(
    metrics: pd.DataFrame,
    outcomes: pd.DataFrame,
    sets: Iterable[EvaluationSet],
    catalog: dict,
) -> pd.DataFrame:
    """Return all comparisons (statistics_schemas.COMPARISONS) of one task.

    `metrics` and `outcomes` are those of all its models, `sets` its evaluation sets. Where the
    catalog says that draws are not shared (`shared_draws` is false), each side keeps its own seeds,
    they vary apart and no paired test is made. Everything missing stays: a pair with one seed has
    an interval over rows alone and no test, one without any no estimate, and its status says why.
    """
    frames = [
        frame
        for item, half in judging_sets(metrics, sets)
        for frame in _compare_on(item, counted_by(metrics, half=half), outcomes, catalog)
    ]
    columns = statistics_schemas.COMPARISONS.names
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _compare_on(
    item: EvaluationSet, metrics: pd.DataFrame, outcomes: pd.DataFrame, catalog: dict
) -> Iterator[pd.DataFrame]:
    """Yield the comparisons on one set by each score: by accuracy of all pairs, by others of the
    same model alone and where any run has them."""
    task = metrics["task"].iloc[0]
    pairs = pairs_of(arms_of(metrics, outcomes, item.name).keys, catalog)
    if pairs.empty:
        return
    same_model = pairs[pairs["family"] == SAME_MODEL].reset_index(drop=True)
    bootstrap = bootstrap_of(task, item, outcomes)
    own = OWN_METRICS.get(catalog.get("tasks", {}).get(task, {}).get("metric"))
    # Which answers are right tells the predictions of two labels only.
    scores = [*SCORES, own[0]] if own and item.label_count == 2 else SCORES
    shared = catalog.get("shared_draws", True)
    for score in scores:
        arms = arms_of(metrics, outcomes, item.name, score)
        compared = pairs if score == "accuracy" else same_model
        if len(compared) and (score == "accuracy" or not np.isnan(arms.score).all()):
            frame = _compare_by(score, arms, compared, outcomes, bootstrap, shared)
            frame["protocol"] = metrics["protocol"].iloc[0]
            yield frame[statistics_schemas.COMPARISONS.names]


def _compare_by(
    score: str,
    arms: Arms,
    pairs: pd.DataFrame,
    outcomes: pd.DataFrame,
    bootstrap: Bootstrap,
    shared: bool,
) -> pd.DataFrame:
    task, name = bootstrap.task, bootstrap.item.name
    frame = _names(pairs, arms.keys).assign(
        task=task, evaluation_set=name, domain="in" if name == task else "out", score=score
    )
    both = _scores(arms, pairs, shared)
    rng = generator("permutation", task, name)
    frame = frame.assign(**_counts(arms, pairs, both, shared), **_tests(*both, shared, rng))
    answers = answers_of(score)
    if answers is not None:
        bootstrap = bootstrap.of_answers(outcomes[answers].to_numpy(dtype=object))
    asked = _Answered(arms, pairs, both, bootstrap, score, shared)
    known = asked.whole & frame["difference"].notna().to_numpy()
    frame = frame.assign(**asked.crossed(known))
    low, high = stats.t_bounds(frame["difference"], frame["error"], frame["df"])
    p = stats.t_test(frame["difference"], frame["error"], frame["df"])
    frame = frame.assign(low=low, high=high, p_crossed=np.where(frame["seeds"] > 1, p, np.nan))
    frame = frame.assign(
        **asked.bootstrapped(frame["difference"], frame["p_crossed"].notna()),
        clusters=np.where(known, len(bootstrap.clusters.sizes), 0),
    )
    if answers is not None:
        clusters = len(bootstrap.clusters.sizes)
        why = "no variance" if clusters > 1 else "one cluster of rows"
        flat = known & frame["error"].isna() & (frame["seeds"] > 1)
        frame["status"] = frame["status"].where(~flat, _also(frame["status"], why))
        sampled = frame["difference"].notna() & ~known
        frame["status"] = frame["status"].where(~sampled, _also(frame["status"], "sampled rows"))
    return _corrected(frame, pairs["group"])


def _names(pairs: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """Return family and the names of both sides of each pair."""
    arm = keys.iloc[pairs["arm"]].reset_index(drop=True)
    other = keys.iloc[pairs["reference"]].reset_index(drop=True)[SIDE].add_prefix("reference_")
    return pd.concat([pairs[["family"]], arm, other], axis=1)


def _scores(arms: Arms, pairs: pd.DataFrame, shared: bool) -> list[np.ndarray]:
    """Return the scores [P, S] of both sides, nan for a shared draw that one of them lacks."""
    a, b = (arms.score[pairs[side]] for side in SIDES)
    if not shared:
        return [a, b]
    common = ~np.isnan(a + b)
    return [np.where(common, side, np.nan) for side in (a, b)]


def _counts(
    arms: Arms, pairs: pd.DataFrame, both: list[np.ndarray], shared: bool
) -> dict[str, np.ndarray]:
    """Return seeds, rows and status of each pair; apart, of the side that limits it."""
    sides = [pairs[side].to_numpy() for side in SIDES]
    planned, unfit = ([mask[at] for at in sides] for mask in (arms.planned, arms.unfit))
    if shared:
        one, two = planned
        planned = [one & two] * 2
        unfit = [one & two & (unfit[0] | unfit[1])] * 2
    large = np.iinfo(np.int64).max
    used = [~np.isnan(values) for values in both]
    rows = [np.where(here, arms.rows[at], large) for here, at in zip(used, sides, strict=True)]
    fewest = np.minimum(*rows).min(axis=1)
    counts = [np.stack([mask.sum(axis=1) for mask in masks]) for masks in (used, planned, unfit)]
    told = [_limiting(list(map(tuple, pair))) for pair in np.stack(counts).T.tolist()]
    return {
        "seeds": [done for done, _, _ in told],
        "seeds_planned": [wanted for _, wanted, _ in told],
        "rows": np.where(fewest < large, fewest, 0),
        "status": pd.Series([seeds_status(*values) for values in told]),
    }


def _limiting(sides: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return the counts (done, planned, unfit) of the side that a reader has to know of.

    It is one without a test, else one that lacks seeds, else the one with fewer.
    """
    return min(sides, key=lambda side: (side[0] > 1, side[0] >= side[1], side[0]))


def _also(status: pd.Series, what: str) -> pd.Series:
    return status.where(status != "ok", "").str.cat([what] * len(status), sep="; ").str.lstrip("; ")


def _tests(
    a: np.ndarray, b: np.ndarray, shared: bool, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the tests over seeds [P] of accuracies [P, S], nan for pairs with too few seeds."""
    counts = [(~np.isnan(values)).sum(axis=1) for values in (a, b)]
    enough = np.minimum(*counts) > 0
    a, b = np.where(enough[:, None], a, np.nan), np.where(enough[:, None], b, np.nan)
    n = np.where(enough, counts, 0)
    welch = stats.welch_tests(a, b)
    paired = _paired(a, b, rng) if shared else dict.fromkeys(PAIRED, np.full(len(a), np.nan))
    if not shared:  # Other draws on these rows, of either side.
        paired |= {"t_low": welch.difference.low, "t_high": welch.difference.high}
    return paired | {
        "mean": _mean(a, n[0]),
        "reference_mean": _mean(b, n[1]),
        "difference": welch.difference.mean,
        "welch_t": welch.t,
        "welch_df": welch.df,
        "p_welch": welch.p,
        **_improvement(a, b, shared),
    }


def _paired(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the tests over shared draws, PAIRED, of accuracies [P, S]."""
    paired, flips = stats.paired_tests(a, b), stats.permutation_tests(a, b, rng)
    values = (paired.p, paired.difference.low, paired.difference.high, flips.p, flips.floor)
    return dict(zip(PAIRED, values, strict=True))


def _mean(values: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)


def _improvement(a: np.ndarray, b: np.ndarray, shared: bool) -> dict[str, np.ndarray]:
    """Return how often a run of a pair [P] beats one of its reference, nan without seeds."""
    beats = stats.paired_improvement if shared else stats.probability_of_improvement
    values = np.full((3, len(a)), np.nan)
    for i in np.flatnonzero(~np.isnan(a).all(axis=1)):
        share = beats(a[i], b[i])
        values[:, i] = share.mean, share.low, share.high
    return dict(zip(IMPROVEMENT, values, strict=True))


@dataclass(frozen=True)
class _Answered:
    """The pairs [P] of arms by one score, with the answers of the seeds that they rest on.

    `both` are the scores [P, S] of both sides, nan for a seed that does not count.
    """

    arms: Arms
    pairs: pd.DataFrame
    both: list[np.ndarray]
    bootstrap: Bootstrap
    score: str
    shared: bool

    @property
    def whole(self) -> np.ndarray:
        """Return which pairs [P] have the row predictions of all their seeds on both sides."""
        sides = [
            (np.isnan(values) | (self.arms.outcome[self.pairs[side]] >= 0)).all(axis=1)
            for side, values in zip(SIDES, self.both, strict=True)
        ]
        return sides[0] & sides[1]

    def runs(self, at: int) -> list[np.ndarray]:
        """Return the outcomes' rows of the seeds of both sides of a pair."""
        return [
            self.arms.outcome[self.pairs[side].iloc[at]][~np.isnan(values[at])]
            for side, values in zip(SIDES, self.both, strict=True)
        ]

    def crossed(self, known: np.ndarray) -> dict[str, np.ndarray]:
        """Return CROSSED of the pairs, for other draws and other rows; nan where not `known`."""
        results = np.full((len(CROSSED), len(self.pairs)), np.nan)
        for at in np.flatnonzero(known):
            results[:, at] = self._error(*self.runs(at))
        return dict(zip(CROSSED, results, strict=True))

    def _error(self, *sides: np.ndarray) -> tuple[float, ...]:
        """Return CROSSED of one pair, from the outcomes' rows of its sides."""
        a, b = (self.bootstrap.sums(runs, self.score) for runs in sides)
        parts_of = self.bootstrap.clusters.parts
        if self.shared:
            found = parts_of(np.subtract(a, b, dtype=float))
            error = stats.error_of(found)
            return error.error, error.df, found.draws, found.rows, found.both
        one, two = parts_of(a), parts_of(b)
        found = parts_of((a.mean(axis=0) - b.mean(axis=0))[None])
        error = stats.error_apart(one, two, found)
        return error.error, error.df, one.draws + two.draws, found.rows, one.both + two.both

    def bootstrapped(self, difference: pd.Series, tested: pd.Series) -> dict[str, np.ndarray]:
        """Return BOOTSTRAP of the pairs, the check of their verdicts; nan where not `tested`."""
        results = np.full((len(BOOTSTRAP), len(self.pairs)), np.nan)
        sides = ("draws", "draws" if self.shared else "other draws")
        for at in np.flatnonzero(tested):
            runs = self.runs(at)
            lines = [
                self.bootstrap.line(each, side, self.score)
                for each, side in zip(runs, sides, strict=True)
            ]
            test = stats.crossed_bootstrap(*lines, difference.iloc[at], len(runs[0]))
            results[:, at] = test.difference.low, test.difference.high, test.p
        return dict(zip(BOOTSTRAP, results, strict=True))


def _corrected(frame: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Add p-values adjusted within each group, and how many comparisons a group has."""
    numbers = frame[[f"p_{name}" for name in statistics_schemas.TESTS]].to_numpy(dtype=float)
    holm, bh = np.full_like(numbers, np.nan), np.full_like(numbers, np.nan)
    for places in group.groupby(group, sort=False).indices.values():
        for column in range(len(statistics_schemas.TESTS)):
            holm[places, column] = stats.holm(numbers[places, column])
            bh[places, column] = stats.benjamini_hochberg(numbers[places, column])
    adjusted = {f"holm_{name}": holm[:, i] for i, name in enumerate(statistics_schemas.TESTS)}
    adjusted |= {f"bh_{name}": bh[:, i] for i, name in enumerate(statistics_schemas.TESTS)}
    # The verdict rests on the crossed error: a pair without its p takes no part in that correction.
    tested = frame["p_crossed"].notna().groupby(group).transform("sum")
    estimated = frame["difference"].notna().groupby(group).transform("sum")
    return frame.assign(**adjusted, family_size=tested.where(tested > 0, estimated))
